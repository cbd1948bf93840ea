"""The training set: features with the outcomes that were known when training began, from pins.

The join runs in this process (`join`), unless the engine runs it where the engine stores its data.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from tailrace.contracts import Engine, LabelledRows, LakeReader, Pin
from tailrace.errors import TrainingFailed, UpstreamMissing
from tailrace.rows import completeness
from tailrace.spec import LABEL, PipelineSpec, cutoff
from tailrace.training.join import join


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
    _refuse_too_few(spec, day, parts)
    return parts


def _refuse_missing_days(lake: LakeReader, spec: PipelineSpec, day: dt.date) -> None:
    """Raise UpstreamMissing for missing days: a late or half-finished night must not silently change the model."""
    first, _, last = window(spec, day)
    # Outcomes known by the first day's cutoff belong to days before it.
    missing = completeness.missing(lake, spec, features=(first, last), outcomes=(first + dt.timedelta(days=1), day))
    if missing:
        raise UpstreamMissing(f"{spec.name} cannot be trained as of {day}: {completeness.sentence(missing)}")


def _refuse_too_few(spec: PipelineSpec, day: dt.date, parts: TrainingSet) -> None:
    first, holdout_first, last = window(spec, day)
    problems = []
    if parts.learning.rows == 0:
        problems.append(
            f"no rows with a known outcome from {first} to {holdout_first - dt.timedelta(days=1)} to learn from"
        )
    if parts.holdout.num_rows == 0:
        problems.append(f"no rows with a known outcome from {holdout_first} to {last} to evaluate on")
    if parts.holdout.num_rows == 1:
        problems.append(
            f"only one row with a known outcome from {holdout_first} to {last} to evaluate on, which says nothing "
            "about chance: at least two are needed"
        )
    if problems:
        raise TrainingFailed(
            f"{spec.name}: {' and '.join(problems)}, when trained as of {day}. "
            "Run the warehouse for these days, train as of another day, or give window.holdout_days more days."
        )
