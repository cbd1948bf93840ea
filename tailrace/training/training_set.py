"""The point-in-time join: features with the outcomes that were known when training began.

It runs in this process, on Arrow, unless the engine runs it where the engine stores its data.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.contracts import Engine, Joined, LabelledRows, LakeReader, Pin, Scan
from tailrace.engines.encoding import doubles_where_null
from tailrace.errors import TrainingFailed, UpstreamMissing
from tailrace.lineage.digests import rows_digest
from tailrace.rows import completeness, refusals, roles
from tailrace.spec import LABEL, PipelineSpec, cutoff

_ROW = "number of the row"


@dataclass(frozen=True)
class ArrowRows:
    """Labelled rows in this process's memory: the columns to learn from, and the labels as `LABEL`."""

    contents: pa.Table
    columns: tuple[str, ...]

    @property
    def rows(self) -> int:
        return int(self.contents.num_rows)

    def table(self) -> pa.Table:
        return self.contents.select(list(self.columns))

    def labels(self) -> pa.Array:
        return self.contents[LABEL].combine_chunks()

    def head(self, rows: int) -> pa.Table:
        nullable = [name for name in self.columns if self.contents[name].null_count]
        return doubles_where_null(self.table().slice(0, rows), nullable)

    @property
    def days(self) -> tuple[dt.date, dt.date]:
        first_and_last = pc.min_max(self.contents["ds"]).as_py()
        return first_and_last["min"], first_and_last["max"]


@dataclass(frozen=True)
class TrainingSet:
    """Rows with known outcomes, split by day into rows to learn from and the holdout.

    `holdout` is sorted by event time and key and has its labels as `LABEL`. It covers about a week and is always in
    this process's memory. `digests` are the digests of the features and outcomes that the rows were made from.
    """

    learning: LabelledRows
    holdout: pa.Table
    pins: dict[str, Pin]
    digests: Mapping[str, str]

    @property
    def holdout_labels(self) -> pa.Array:
        """Booleans, in the holdout's order."""
        return self.holdout[LABEL].combine_chunks()


def window(spec: PipelineSpec, day: dt.date) -> tuple[dt.date, dt.date, dt.date]:
    """First day of the window, first day of the holdout, last day. A training as of `day` sees no later day."""
    last = day - dt.timedelta(days=spec.outcome.lag_days)
    return (
        last - dt.timedelta(days=spec.window.days - 1),
        last - dt.timedelta(days=spec.window.holdout_days - 1),
        last,
    )


def pin_inputs(lake: LakeReader, spec: PipelineSpec, day: dt.date) -> dict[str, Pin]:
    """Pins of the inputs of a training as of `day`: features of the window, outcomes known by the day.

    Raises UpstreamMissing, which names the days of the window that are not published yet, and TrainingFailed if the
    published ones have no rows.
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
            f"{spec.name}: {' and '.join(empty)} have no rows from {first} to {last}; run the warehouse for these "
            "days first, or train as of a day whose window is published."
        )
    return pins


def load(lake: LakeReader, engine: Engine, spec: PipelineSpec, day: dt.date, *, pins: Mapping[str, Pin]) -> TrainingSet:
    """The training set as of `day` from pinned inputs. Raises LookAhead, KeysRepeated, TrainingFailed, PinLost."""
    key, features, outcome = spec.features.key, spec.features, spec.outcome
    # Without a known_at of the mart's, the moment of the snapshot is no input: it must not change the digests.
    moment = [] if features.known_at is None else [features.known_at]
    feature_columns = [*key, "ds", features.event_time, *moment, *features.learned_from]
    scans = (
        lake.scan(pins["features"], feature_columns),
        lake.scan(pins["outcomes"], [*key, outcome.order_column, outcome.label]),
    )
    _, holdout_from, _ = window(spec, day)
    known_by = cutoff(spec, day)
    joined = engine.join(spec, *scans, known_by=known_by, holdout_from=holdout_from)
    if joined is None:
        joined = join(spec, *scans, known_by=known_by, holdout_from=holdout_from)
    parts = TrainingSet(joined.learning, joined.holdout, dict(pins), joined.digests)
    _refuse_empty(spec, day, parts)
    return parts


def join(spec: PipelineSpec, features: Scan, outcomes: Scan, *, known_by: dt.datetime, holdout_from: dt.date) -> Joined:
    """`Engine.join` in this process's memory. Raises LookAhead, KeysRepeated, ContractBroken, PinLost."""
    key, event_time = list(spec.features.key), spec.features.event_time
    label, order = spec.outcome.label, spec.outcome.order_column
    rows = features.reader().read_all().sort_by([(name, "ascending") for name in key])
    # Without corrections each key has one row, and the rows are sorted by key alone.
    known = outcomes.reader().read_all().sort_by([(name, "ascending") for name in (*key, order)])
    roles.check_joinable(spec, rows, known)
    refuse_look_ahead(spec, rows)
    refuse_repeated_keys(spec, rows)
    refuse_repeated_outcomes(spec, known)

    in_time = last_known(spec, _known_by(spec, known, known_by))
    learnt = roles.labels(spec, spec.outcomes_table, in_time[label])
    labels = in_time.select(key).append_column(LABEL, learnt)
    joined = rows.join(labels.filter(pc.is_valid(labels[LABEL])), keys=key, join_type="inner")
    joined = joined.sort_by([(name, "ascending") for name in (event_time, *key)])
    in_holdout = pc.greater_equal(joined["ds"], pa.scalar(holdout_from))
    return Joined(
        ArrowRows(joined.filter(pc.invert(in_holdout)), spec.features.learned_from),
        joined.filter(in_holdout),
        {"features": rows_digest(rows), "outcomes": rows_digest(known)},
    )


def _known_by(spec: PipelineSpec, outcomes: pa.Table, moment: dt.datetime) -> pa.Table:
    """The outcomes known by then; all of them where the mart says only on which day: no later day is pinned."""
    known_at = spec.outcome.known_at
    return outcomes if known_at is None else outcomes.filter(pc.less_equal(outcomes[known_at], pa.scalar(moment)))


def refuse_look_ahead(spec: PipelineSpec, rows: pa.Table) -> None:
    """Raises LookAhead if a row of features contains values that were unknown at its day's cutoff."""
    for problem in roles.look_ahead(spec, rows):
        raise problem


def refuse_repeated_keys(spec: PipelineSpec, features: pa.Table) -> None:
    """Raises KeysRepeated, with examples, if a key has more than one row of features."""
    keys, examples = _repeated(spec, features, spec.features.key)
    if keys:
        raise refusals.repeated_keys(spec, keys, examples)


def refuse_repeated_outcomes(spec: PipelineSpec, outcomes: pa.Table) -> None:
    """Raises KeysRepeated, with examples, if two outcomes of a key became known at the same moment."""
    keys, examples = _repeated(spec, outcomes, [*spec.features.key, spec.outcome.order_column])
    if keys:
        raise refusals.repeated_outcomes(spec, keys, examples)


def last_known(spec: PipelineSpec, outcomes: pa.Table) -> pa.Table:
    """For each key, the outcome that became known last: a corrected outcome has the same key as the original."""
    key, order = list(spec.features.key), spec.outcome.order_column
    if outcomes.select(key).group_by(key).aggregate([]).num_rows == outcomes.num_rows:
        return outcomes
    newest_first = outcomes.sort_by([(order, "descending")])
    numbered = newest_first.select(key).append_column(_ROW, pa.array(range(outcomes.num_rows), pa.int64()))
    last = numbered.group_by(key).aggregate([(_ROW, "min")])
    return newest_first.take(last[f"{_ROW}_min"])


def _repeated(spec: PipelineSpec, rows: pa.Table, by: Sequence[str]) -> tuple[int, list[dict[str, object]]]:
    """How many keys have several rows with the same values of `by`, and some of these keys."""
    key = list(spec.features.key)
    counted = rows.select(list(by)).group_by(list(by)).aggregate([([], "count_all")])
    repeated = counted.filter(pc.greater(counted["count_all"], 1)).select(key).group_by(key).aggregate([])
    return repeated.num_rows, repeated.slice(0, refusals.EXAMPLES).to_pylist()


def _refuse_missing_days(lake: LakeReader, spec: PipelineSpec, day: dt.date) -> None:
    """Raise UpstreamMissing for missing days: a late or half-finished night must not silently change the model."""
    first, _, last = window(spec, day)
    # Outcomes known by the first day's cutoff belong to days before it.
    missing = completeness.missing(lake, spec, features=(first, last), outcomes=(first + dt.timedelta(days=1), day))
    if missing:
        raise UpstreamMissing(f"{spec.name} cannot be trained as of {day}: {completeness.sentence(missing)}")


def _refuse_empty(spec: PipelineSpec, day: dt.date, parts: TrainingSet) -> None:
    first, holdout_first, last = window(spec, day)
    problems = []
    if parts.learning.rows == 0:
        problems.append(
            f"no rows with a known outcome from {first} to {holdout_first - dt.timedelta(days=1)} to learn from"
        )
    if parts.holdout.num_rows == 0:
        problems.append(f"no rows with a known outcome from {holdout_first} to {last} to evaluate on")
    if problems:
        raise TrainingFailed(
            f"{spec.name}: {' and '.join(problems)}, when trained as of {day}. "
            "Run the warehouse for these days, or train as of another day."
        )
