"""A home with the pipeline flight_delay in it, on drawn features: small, made by the stages themselves in seconds."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from tailrace import days, settings
from tailrace.lineage import pins
from tailrace.spec import PipelineSpec, registry, zone
from tailrace.stages import audit, evaluate, monitor, promote, publish, score, train
from tailrace.wiring import Wiring
from tests.support import work

FIRST, LAST = dt.date(2013, 1, 24), dt.date(2013, 2, 13)
TRAINED, AGAIN = dt.date(2013, 2, 5), dt.date(2013, 2, 12)
PUBLISHED = (dt.date(2013, 2, 6), dt.date(2013, 2, 7), dt.date(2013, 2, 8))
CORRECTED = dt.date(2013, 2, 1)
LOOK_BACK, ROWS = 28, 150


def make(home: Path) -> settings.Settings:
    """Two versions, the first of them champion; three published days, the last of them by either version."""
    configured = settings.load({"TAILRACE_HOME": str(home)})
    services, spec = Wiring(configured), registry.get("flight_delay")
    for place, day in enumerate(days.span(FIRST, LAST)):
        features, outcomes = _day(spec, day, place)
        # A source day that was landed anew before the last features took it in.
        landed = {each: f"{each.day:08x}{int(each == CORRECTED and day == LAST):08x}" for each in _sources(day)}
        _publish(services, spec.features_table, day, features, pins.source_note(landed))
        _publish(services, spec.outcomes_table, day + dt.timedelta(days=1), outcomes, {})
    for day in (TRAINED, AGAIN):
        trained = train.run(work(services, spec), day, seed=1, trials=2)
        evaluate.run(work(services, spec), trained.training_run)
        if day == TRAINED:
            now = dt.datetime.now(dt.UTC)
            promote.run(
                work(services, spec), trained.training_run, recorded_at=now, decided_by="ann", reason="the first one"
            )
    for place, day in enumerate((*PUBLISHED, PUBLISHED[-1])):
        run = f"installation-{place}"
        score.run(work(services, spec, run), day, model="2" if place == len(PUBLISHED) else "as-of")
        audit.run(work(services, spec, run), day)
        publish.run(work(services, spec, run), day)
    monitor.run(work(services, spec, "monitor"), PUBLISHED[-1])
    return configured


def _sources(day: dt.date) -> list[dt.date]:
    return list(days.span(day - dt.timedelta(days=LOOK_BACK), day))


def _publish(services: Wiring, table: str, day: dt.date, rows: pa.Table, notes: Mapping[str, str]) -> None:
    staged = services.lake.stage(table, day, "drawn", rows.to_reader())
    services.lake.publish(staged, {"run_id": "drawn", **notes})


def _day(spec: PipelineSpec, day: dt.date, seed: int) -> tuple[pa.Table, pa.Table]:
    """Features of the day, and outcomes that depend on some of them and are known a day later."""
    random = np.random.default_rng(seed)
    columns = {
        name: pa.array(random.normal(size=ROWS))
        if kind == "numeric"
        else pa.array(random.choice(["AA", "UA", "DL"], ROWS).tolist())
        for name, kind in spec.features.columns.items()
    }
    keys = pa.array([f"{day}-{number:04d}" for number in range(ROWS)])
    due, known = (days.cutoff(each, zone(spec)) for each in (day, day + dt.timedelta(days=1)))
    odds = columns["temperature_f"].to_numpy() * 1.5 + columns["plane_seats"].to_numpy() - 1
    late = random.random(ROWS) < 1 / (1 + np.exp(-odds))
    moment = pa.timestamp("us", tz="UTC")
    features = pa.table(
        {
            "flight_key": keys,
            "scheduled_departure": pa.array([due + dt.timedelta(hours=12)] * ROWS, moment),
            "known_at": pa.array([due] * ROWS, moment),
            **columns,
        }
    )
    outcomes = pa.table({"flight_key": keys, "known_at": pa.array([known] * ROWS, moment), "late": pa.array(late)})
    return features, outcomes


if __name__ == "__main__":
    make(Path(sys.argv[1]))
