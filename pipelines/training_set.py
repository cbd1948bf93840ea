"""The point-in-time join: features with the outcomes that were known when training began."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipelines import days
from pipelines.errors import KeysRepeated, LookAhead, TrainingFailed, UpstreamMissing
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
    last = day - dt.timedelta(days=spec.outcome.lag_days)
    return (
        last - dt.timedelta(days=spec.window.days - 1),
        last - dt.timedelta(days=spec.window.holdout_days - 1),
        last,
    )


def pin_inputs(lake: Lake, spec: PipelineSpec, day: dt.date) -> dict[str, Pin]:
    """Pins of what a training as of `day` reads: features of the window, outcomes known by the day.

    Raises UpstreamMissing naming the days of the window that are not published yet, TrainingFailed if
    those that are hold no rows.
    """
    first, _, last = window(spec, day)
    _refuse_missing_days(lake, spec, day)
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
    refuse_repeated_keys(spec, spec.features_table, rows)
    refuse_repeated_keys(spec, spec.outcomes_table, known)
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


def refuse_repeated_keys(spec: PipelineSpec, table: str, rows: pa.Table) -> None:
    """Raises KeysRepeated with some of the keys that more than one row has."""
    key = list(spec.features.key)
    counted = rows.select(key).group_by(key).aggregate([([], "count_all")])
    repeated = counted.filter(pc.greater(counted["count_all"], 1))
    if repeated.num_rows:
        examples = "; ".join(", ".join(str(row[name]) for name in key) for row in repeated.slice(0, 3).to_pylist())
        raise KeysRepeated(
            f"{table}: {repeated.num_rows} keys ({', '.join(key)}) are there more than once, for example {examples}. "
            "A key names one row over all days; correct the dbt model, or add to features.key what tells rows apart."
        )


def _refuse_missing_days(lake: Lake, spec: PipelineSpec, day: dt.date) -> None:
    """A night that is late must not make a silently different model."""
    first, _, last = window(spec, day)
    published = lake.days(spec.features_table)
    begins = max(first, min(published, default=first))
    missing = [str(one) for one in days.span(begins, last) if one not in published]
    problems = [f"{spec.features_table} of {', '.join(missing[:5])} ({len(missing)} days)"] if missing else []
    if day not in lake.days(spec.outcomes_table):
        problems.append(f"{spec.outcomes_table} of {day}")
    if problems:
        raise UpstreamMissing(
            f"{spec.name} cannot be trained as of {day}: {' and '.join(problems)} are not published; run the "
            f"warehouse for these days first (tailrace warehouse --date ... --to {day})."
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
