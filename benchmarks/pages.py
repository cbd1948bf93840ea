"""How long the pages take on the server: 50 pipelines, 400 days each, limit one second a page.

The first look after a start of the api-server reads every table's history once, and is shown without a limit.
"""

from __future__ import annotations

import datetime as dt
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from pipelines import promotions, registry
from pipelines.interfaces import Commit
from pipelines.lake.delta import DeltaLake
from pipelines.pages import charts, day, overview, pipeline, rendering
from pipelines.pages.activity import Approval, Attempt, DbtNode, NextRun
from pipelines.pages.remembered import RememberedLake, RememberedTracker, newest_log
from pipelines.pages.sources import Sources
from pipelines.promotions import Promotion
from pipelines.spec import PipelineSpec
from pipelines.stages import monitor
from pipelines.tracking.memory import MemoryTracker

PIPELINES, DAYS, ROWS = 50, 400, 1000
FIRST = dt.date(2012, 1, 1)
LIMIT_SECONDS = 1.0


class Nights:
    """Every day was published by a run of Airflow's; the last one was refused."""

    def __init__(self, names: Sequence[str]) -> None:
        now = dt.datetime.now(dt.UTC)
        last = FIRST + dt.timedelta(days=DAYS)
        refused = "is refused:\n  - 31.0% of the scores are null (46 of 150); at most 0.0% may be."
        self._days = {
            FIRST + dt.timedelta(days=offset): Attempt("d", f"r{offset}", FIRST, "success", now)
            for offset in range(DAYS)
        }
        self._last = {name: Attempt("d", "r", last, "failed", now, "audit", refused) for name in names}

    def latest(self, pipelines: Sequence[str]) -> Mapping[str, Attempt]:
        return self._last

    def by_day(self, pipeline: str) -> Mapping[dt.date, Attempt]:
        return self._days

    def next_runs(self, pipelines: Sequence[str]) -> Mapping[str, NextRun]:
        return dict.fromkeys(pipelines, NextRun(dt.datetime.now(dt.UTC)))

    def approvals(self, pipelines: Sequence[str]) -> Mapping[str, Sequence[Approval]]:
        return {}

    def nodes(self, dag_id: str, run_id: str) -> Sequence[DbtNode] | None:
        return None

    def form(self, dag_id: str) -> Mapping[str, Mapping[str, Any]] | None:
        return None


def run() -> list[str]:
    """Print the table; what was missed."""
    example = registry.get("flight_delay")
    specs = [replace(example, name=f"pipeline_{number:02d}") for number in range(PIPELINES)]
    with tempfile.TemporaryDirectory(prefix="tailrace-pages-") as folder:
        root = Path(folder)
        _seed(root / "lake", specs)
        lake, tracker = DeltaLake(str(root / "lake")), MemoryTracker(root / "tracker")
        sources = Sources(
            RememberedLake(lake, newest_log(root / "lake")),
            RememberedTracker(lambda: tracker),
            Nights([spec.name for spec in specs]),
            lambda: dt.datetime.now(dt.UTC),
        )
        pages: Mapping[str, Callable[[], str]] = {
            "overview": lambda: _overview(sources, specs),
            "pipeline": lambda: _pipeline(sources, specs[0]),
            "day": lambda: _day(sources, specs[0], FIRST + dt.timedelta(days=100)),
        }
        table = Table("page", "first look, s", "again, s", "limit, s", title=f"{PIPELINES} pipelines, {DAYS} days")
        missed = []
        for name, show in pages.items():
            first, again = _seconds(show), statistics.median(_seconds(show) for _ in range(5))
            table.add_row(name, f"{first:.2f}", f"{again:.3f}", f"{LIMIT_SECONDS:g}")
            if again > LIMIT_SECONDS:
                missed.append(f"the page {name} took {again:.2f} s; at most {LIMIT_SECONDS:g} s is the aim")
        Console().print(table)
    return missed


def _seconds(show: Callable[[], str]) -> float:
    began = time.perf_counter()
    show()
    return time.perf_counter() - began


def _overview(sources: Sources, specs: Sequence[PipelineSpec]) -> str:
    held = overview.gather(sources, specs, {})
    return rendering.page("overview", mount="/tailrace", airflow="", page=held, hidden=0)


def _pipeline(sources: Sources, spec: PipelineSpec) -> str:
    held = pipeline.gather(sources, spec)
    rows = held.performance or ()
    drawn = {
        "performance": charts.performance(rows, held.metric, held.decisions),
        "drift": charts.drift(rows, held.decisions),
    }
    may = dict.fromkeys(("backfill", "predict", "train", "rollback", "approve"), True)
    return rendering.page("pipeline", mount="/tailrace", airflow="", page=held, charts=drawn, may=may)


def _day(sources: Sources, spec: PipelineSpec, when: dt.date) -> str:
    held = day.gather(sources, spec, when)
    drawn = charts.histogram(held.histogram, held.day, "1") if held.histogram else None
    return rendering.page(
        "day", mount="/tailrace", airflow="", page=held, chart_figure=drawn, docs={}, may={"predict": True}
    )


def _seed(root: Path, specs: Sequence[PipelineSpec]) -> None:
    """One pipeline's tables are published day by day; the others' are copies of them, which is what they would be."""
    import shutil

    lake, first = DeltaLake(str(root)), specs[0]
    for offset in range(DAYS):
        when = FIRST + dt.timedelta(days=offset)
        _publish(lake, first.predictions_table, when, _predictions(first, when))
        _publish(lake, f"performance/{first.name}", when, _performance(offset))
    for spec in specs[1:]:
        for kind in ("predictions", "performance"):
            shutil.copytree(root / kind / first.name, root / kind / spec.name)
    for spec in specs:
        now = dt.datetime.now(dt.UTC)
        promotions.record(lake, Promotion(spec.name, "1", FIRST, now, "run", "gate", "it is better"))


def _publish(lake: DeltaLake, table: str, when: dt.date, rows: pa.Table) -> Commit:
    metadata = {"model_version": "1", "model_choice": "as-of", "audit": "passed", "audit_warnings": "0"}
    return lake.publish(lake.stage(table, when, f"run-{when}", rows.to_reader()), metadata)


def _predictions(spec: PipelineSpec, when: dt.date) -> pa.Table:
    return pa.table(
        {
            spec.features.key[0]: [f"{when}-{number}" for number in range(ROWS)],
            spec.predictions.score: [number / ROWS for number in range(ROWS)],
            spec.predictions.decision: [number > 500 for number in range(ROWS)],
        }
    )


def _performance(offset: int) -> pa.Table:
    """A row as the monitor writes it."""
    measured = monitor.DayPerformance(
        FIRST + dt.timedelta(days=offset),
        model_version="1",
        rows=ROWS,
        known_outcomes=ROWS - 2,
        base_rate=0.2,
        mean_score=0.21,
        roc_auc=0.6 + 0.1 * (offset % 7) / 7,
        log_loss=0.5,
        brier=0.15,
        score_psi=0.1,
        worst_feature="feature_24",
        worst_feature_psi=0.24,
        feature_psi=json.dumps({f"feature_{number}": 0.01 * number for number in range(25)}),
        drift="ok",
        note="",
    )
    return pa.Table.from_pylist([asdict(measured)], schema=monitor.SCHEMA)
