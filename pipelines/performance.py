"""How good published predictions were, once outcomes are known."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import UpstreamMissing
from pipelines.interfaces import Commit, Lake
from pipelines.metrics import measure
from pipelines.spec import PipelineSpec
from pipelines.training_set import refuse_repeated_keys

LATE_DAYS = 7
"""How long after the spec's lag outcomes of a day are still looked for."""


@dataclass(frozen=True)
class DayReport:
    """A published day. `metrics` is empty while no outcome of the day is known."""

    day: dt.date
    commit: Commit
    known_outcomes: int
    metrics: Mapping[str, float]


def day_report(lake: Lake, spec: PipelineSpec, day: dt.date) -> DayReport:
    """What was published for a day and how it turned out. Raises UpstreamMissing."""
    published = lake.days(spec.predictions_table)
    if day not in published:
        known = f"Published: {min(published)} to {max(published)}." if published else "No day is published yet."
        raise UpstreamMissing(
            f"{spec.predictions_table} has no published predictions of {day}. {known} "
            f"Publish them with: tailrace predict {spec.name} --date {day}."
        )
    judged = with_outcomes(lake, spec, day)
    metrics = {}
    if judged.num_rows:
        labels = judged[spec.outcome.label].to_numpy()
        metrics = measure(labels, judged[spec.predictions.score].to_numpy())
    return DayReport(day, published[day], judged.num_rows, metrics)


def with_outcomes(lake: Lake, spec: PipelineSpec, day: dt.date) -> pa.Table:
    """The day's predictions that have a known outcome, with the label; empty if none has."""
    key, score, label = list(spec.features.key), spec.predictions.score, spec.outcome.label
    predictions = lake.read(spec.predictions_table, first=day, last=day, columns=[*key, score]).read_all()
    last = day + dt.timedelta(days=spec.outcome.lag_days + LATE_DAYS)
    outcomes = lake.read(spec.outcomes_table, first=day, last=last, columns=[*key, label]).read_all()
    refuse_repeated_keys(spec, spec.outcomes_table, outcomes)
    joined = predictions.join(outcomes, keys=key, join_type="inner")
    return joined.filter(pc.and_(pc.is_valid(joined[label]), pc.is_valid(joined[score])))
