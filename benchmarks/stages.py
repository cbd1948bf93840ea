"""Seconds of each stage on the demo's data: one night, cold libraries excluded.

The peer is the demo itself: the same stages, run here in one process without Airflow, so that the
difference to `make demo` is what orchestration and process starts cost.
"""

from __future__ import annotations

import datetime as dt
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

FIRST, LAST = dt.date(2013, 1, 1), dt.date(2013, 3, 12)
TRAINED = dt.date(2013, 3, 1)
TRIALS = 12


def run() -> list[str]:
    """Print the table; there is no aim to miss."""
    with tempfile.TemporaryDirectory(prefix="tailrace-stages-") as scratch:
        os.environ["TAILRACE_HOME"] = str(Path(scratch))
        seconds = _measure()
    table = Table("stage", "days", "seconds", title="Stages of the demo, in one process", title_justify="left")
    for stage, days, took in seconds:
        table.add_row(stage, str(days), f"{took:.2f}")
    Console().print(table)
    return []


def _measure() -> list[tuple[str, int, float]]:
    from tailrace import days, settings
    from tailrace.rows import scheduled_days
    from tailrace.spec import registry
    from tailrace.stages import audit, build, evaluate, ingest, promote, publish, score, snapshot, train, validate
    from tailrace.wiring import Wiring
    from tailrace.work import Work

    services, spec, configured = Wiring(settings.load()), registry.get("flight_delay"), settings.load()
    work = Work(services=services, spec=spec, run_id="bench")
    found: list[tuple[str, int, float]] = []
    count, absent = (LAST - FIRST).days + 1, scheduled_days.absent(FIRST, LAST)

    def timed(stage: str, days: int, action: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = action()
        found.append((stage, days, time.perf_counter() - started))
        return result

    timed("ingest", count, lambda: ingest.run(services, FIRST, LAST))
    timed("build", count, lambda: build.run(services, FIRST, LAST, absent=absent))
    timed("validate", count, lambda: validate.run(work, FIRST, LAST))
    timed("snapshot", count, lambda: [snapshot.run(work, day) for day in days.span(FIRST, LAST)])
    trained = timed("train", 42, lambda: train.run(work, TRAINED, seed=configured.seed, trials=TRIALS))
    timed("evaluate", 7, lambda: evaluate.run(work, trained.training_run))
    now = dt.datetime.now(dt.UTC)
    timed("promote", 1, lambda: promote.run(work, trained.training_run, recorded_at=now))
    timed("score", 1, lambda: score.run(work, TRAINED))
    timed("audit", 1, lambda: audit.run(work, TRAINED))
    timed("publish", 1, lambda: publish.run(work, TRAINED))
    timed("build one day more", 1, lambda: build.run(services, LAST, LAST, absent=absent))
    return found
