"""A small lake of made-up flights, enough for the real pipeline to train on and to score."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa

from tailrace import days
from tailrace.lake.delta import DeltaLake
from tailrace.spec import PipelineSpec, registry, zone

FLIGHTS_A_DAY = 60
SEED = 20130301


def publish(lake_root: Path, last: dt.date) -> PipelineSpec:
    """Features and outcomes of the training window up to `last`, and features of the two days after it.

    A flight of a carrier with many late flights in 7 days is late more often.
    """
    spec = registry.get("flight_delay")
    lake = DeltaLake(str(lake_root))
    random = np.random.default_rng(SEED)
    first = last - dt.timedelta(days=spec.window.days)
    for day in days.span(first, last + dt.timedelta(days=1)):
        features, late = _flights(spec, day, random)
        _publish(lake, spec.features_table, day, features)
        next_day = day + dt.timedelta(days=1)
        known = pa.array([days.cutoff(next_day, zone(spec))] * FLIGHTS_A_DAY, pa.timestamp("us", tz="UTC"))
        outcomes = pa.table(
            {
                "flight_key": features["flight_key"],
                "ds": pa.array([next_day] * FLIGHTS_A_DAY, pa.date32()),
                "known_at": known,
                "late": pa.array(late),
            }
        )
        _publish(lake, spec.outcomes_table, next_day, outcomes)
    return spec


def _flights(spec: PipelineSpec, day: dt.date, random: np.random.Generator) -> tuple[pa.Table, np.ndarray]:
    columns: dict[str, pa.Array] = {
        "flight_key": pa.array([f"{day}-{number:04d}" for number in range(FLIGHTS_A_DAY)]),
        "ds": pa.array([day] * FLIGHTS_A_DAY, pa.date32()),
        "scheduled_departure": pa.array(
            [dt.datetime.combine(day, dt.time(15), dt.UTC)] * FLIGHTS_A_DAY, pa.timestamp("us", tz="UTC")
        ),
        "known_at": pa.array([days.cutoff(day, zone(spec))] * FLIGHTS_A_DAY, pa.timestamp("us", tz="UTC")),
    }
    for name, kind in spec.features.columns.items():
        if kind == "categorical":
            columns[name] = pa.array(random.choice(["A", "B", "C"], FLIGHTS_A_DAY).tolist())
        else:
            columns[name] = pa.array(random.random(FLIGHTS_A_DAY))
    rate = np.asarray(columns["carrier_late_rate_7d"])
    return pa.table(columns), random.random(FLIGHTS_A_DAY) < 0.1 + 0.6 * rate


def _publish(lake: DeltaLake, table: str, day: dt.date, rows: pa.Table) -> None:
    lake.publish(lake.stage(table, day, f"synthetic-{day}", rows.to_reader()), {"pipeline": "flight_delay"})
