"""The point-in-time join: features with the outcomes that were known when training began."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipelines import days
from pipelines.errors import LookAhead, TrainingFailed
from pipelines.interfaces import Lake, Pin
from pipelines.provenance import rows_digest
from pipelines.spec import PipelineSpec, zone

LABEL = "__label"


@dataclass(frozen=True)
class TrainingSet:
    """Rows with known outcomes, sorted by event time and key, cut into learning and holdout by day.

    `digests` name the contents of the features and outcomes they were made of.
    """

    learning: pa.Table
    holdout: pa.Table
    pins: dict[str, Pin]
    digests: dict[str, str]

    @staticmethod
    def labels(part: pa.Table) -> pa.Array:
        return part[LABEL].combine_chunks()


def window(spec: PipelineSpec, day: dt.date) -> tuple[dt.date, dt.date, dt.date]:
    """First day of the window, first day of the holdout, last day: a training as of `day` sees none later."""
    last = day - dt.timedelta(days=1)
    return (
        day - dt.timedelta(days=spec.window.days),
        day - dt.timedelta(days=spec.window.holdout_days),
        last,
    )


def pin_inputs(lake: Lake, spec: PipelineSpec, day: dt.date) -> dict[str, Pin]:
    """Pins of what a training as of `day` reads: features of the window, outcomes known by the day.

    Raises UpstreamMissing if a table is missing, TrainingFailed if the window has no published day.
    """
    first, _, last = window(spec, day)
    pins = {
        "features": lake.pin(spec.features_table, first=first, last=last),
        "outcomes": lake.pin(spec.outcomes_table, first=first, last=day),
    }
    empty = [pin.table for pin in pins.values() if pin.rows == 0]
    if empty:
        raise TrainingFailed(
            f"{spec.name}: {' and '.join(empty)} hold no rows from {first} to {last}; run the warehouse for these "
            "days first, or train as of a day whose window is published."
        )
    return pins


def load(lake: Lake, spec: PipelineSpec, day: dt.date, pins: dict[str, Pin]) -> TrainingSet:
    """The training set as of `day` from pinned inputs. Raises LookAhead, TrainingFailed."""
    key, features, outcome = list(spec.features.key), spec.features, spec.outcome
    feature_columns = [*key, "ds", features.event_time, features.known_at, *features.columns]
    rows = lake.read_pin(pins["features"], feature_columns).read_all().sort_by([(name, "ascending") for name in key])
    known = lake.read_pin(pins["outcomes"], [*key, outcome.known_at, outcome.label]).read_all()
    known = known.sort_by([(name, "ascending") for name in key])
    refuse_look_ahead(spec, rows)
    digests = {"features": rows_digest(rows), "outcomes": rows_digest(known)}

    in_time = known.filter(pc.less_equal(known[outcome.known_at], pa.scalar(days.cutoff(day, zone(spec)))))
    labels = in_time.select([*key, outcome.label]).rename_columns([*key, LABEL])
    joined = rows.join(labels.filter(pc.is_valid(labels[LABEL])), keys=key, join_type="inner")
    joined = joined.sort_by([(name, "ascending") for name in (features.event_time, *key)])

    _, holdout_first, _ = window(spec, day)
    held = pc.greater_equal(joined["ds"], pa.scalar(holdout_first))
    parts = TrainingSet(joined.filter(pc.invert(held)), joined.filter(held), dict(pins), digests)
    _refuse_empty(spec, day, parts)
    return parts


def refuse_look_ahead(spec: PipelineSpec, rows: pa.Table) -> None:
    """Raises LookAhead if a feature row carries what was not known by the cutoff of its day."""
    late = 0
    examples: list[str] = []
    for day in pc.unique(rows["ds"]).to_pylist():
        moment = days.cutoff(day, zone(spec))
        of_day = rows.filter(pc.equal(rows["ds"], pa.scalar(day)))
        known = of_day[spec.features.known_at]
        bad = of_day.filter(pc.or_(pc.is_null(known), pc.greater(known, pa.scalar(moment))).fill_null(True))
        late += bad.num_rows
        for row in bad.slice(0, max(0, 3 - len(examples))).to_pylist():
            name = "/".join(str(row[column]) for column in spec.features.key)
            examples.append(f"{name} known at {row[spec.features.known_at]}, due at {moment}")
    if late:
        raise LookAhead(
            f"{spec.features_table}: {late} rows carry values that were not known when predictions were due, "
            f"for example {'; '.join(examples)}. Correct {spec.name}_features in dbt so that "
            f"{spec.features.known_at} is at most 00:00 {spec.schedule.timezone} of ds, and build these days again."
        )


def _refuse_empty(spec: PipelineSpec, day: dt.date, parts: TrainingSet) -> None:
    first, holdout_first, last = window(spec, day)
    problems = []
    if parts.learning.num_rows == 0:
        problems.append(
            f"no rows with a known outcome from {first} to {holdout_first - dt.timedelta(days=1)} to learn from"
        )
    if parts.holdout.num_rows == 0:
        problems.append(f"no rows with a known outcome from {holdout_first} to {last} to judge by")
    if problems:
        raise TrainingFailed(
            f"{spec.name}: {' and '.join(problems)}, training as of {day}. "
            "Run the warehouse for these days, or train as of another day."
        )
