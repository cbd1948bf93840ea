"""The quality of published predictions, measured once the outcomes are known."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.contracts import Commit, LakeReader
from tailrace.errors import UpstreamMissing
from tailrace.problems.metrics import measure
from tailrace.rows import completeness, roles, scheduled_days
from tailrace.spec import PipelineSpec
from tailrace.training.training_set import last_known, refuse_repeated_outcomes

LATE_DAYS = scheduled_days.LATE_DAYS
"""How long, after the spec's lag, the monitor still looks for new outcomes of a day."""


@dataclass(frozen=True)
class DayReport:
    """A published day. `metrics` is empty until the first outcome of the day is known."""

    day: dt.date
    commit: Commit
    known_outcomes: int
    metrics: Mapping[str, float]


def day_report(lake: LakeReader, spec: PipelineSpec, day: dt.date) -> DayReport:
    """The predictions of a day compared with its outcomes. Raises UpstreamMissing."""
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


def with_outcomes(lake: LakeReader, spec: PipelineSpec, day: dt.date) -> pa.Table:
    """The day's predictions whose last known outcome has a label, with that label; empty if there are none.

    The label is a boolean. Raises KeysRepeated, ContractBroken, and UpstreamMissing naming days whose outcomes are not
    published although later ones are.
    """
    key, score, outcome = list(spec.features.key), spec.predictions.score, spec.outcome
    predictions = lake.read(spec.predictions_table, first=day, last=day, columns=[*key, score]).read_all()
    last = day + dt.timedelta(days=outcome.lag_days + LATE_DAYS)
    if missing := completeness.missing_outcomes(lake, spec, day + dt.timedelta(days=1), last):
        raise UpstreamMissing(
            f"{spec.name}: the predictions of {day} cannot be evaluated: {completeness.sentence(missing)}"
        )
    columns = [*key, outcome.known_at, outcome.label]
    outcomes = lake.read(spec.outcomes_table, first=day, last=last, columns=columns).read_all()
    refuse_repeated_outcomes(spec, outcomes)
    known = last_known(spec, outcomes)
    labels = roles.labels(spec, spec.outcomes_table, known[outcome.label])
    joined = predictions.join(known.select(key).append_column(outcome.label, labels), keys=key, join_type="inner")
    # A score that is NaN counts as missing, like a null.
    missing = pc.or_(pc.is_null(joined[outcome.label]), pc.is_null(joined[score], nan_is_null=True))
    return joined.filter(pc.invert(missing))
