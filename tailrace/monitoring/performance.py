"""The quality of published predictions, measured once the outcomes are known."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tailrace.champions import policies
from tailrace.contracts import Commit, LakeReader
from tailrace.errors import UpstreamMissing
from tailrace.rows import completeness, roles
from tailrace.spec import PipelineSpec
from tailrace.training.join import last_known, refuse_repeated_outcomes

FORMER_METRICS = ("roc_auc", "log_loss", "brier")
"""Columns of the performance tables that release 0.1 made."""

_TOLD_OTHERWISE = frozenset({*FORMER_METRICS, "base_rate", "metrics"})


@dataclass(frozen=True)
class DayReport:
    """A published day. `metrics` is empty until the first outcome of the day is known."""

    day: dt.date
    commit: Commit
    known_outcomes: int
    metrics: Mapping[str, float]


def in_present_form(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the performance table with its `metrics` as a mapping, whichever release wrote it.

    Release 0.1 had a column for each metric, and `base_rate` for the mean label.
    """
    found = {name: value for name, value in row.items() if name not in _TOLD_OTHERWISE}
    if row.get("metrics") is not None:
        return {**found, "metrics": json.loads(row["metrics"])}
    metrics = {name: row[name] for name in FORMER_METRICS if row.get(name) is not None}
    return {**found, "mean_label": row.get("base_rate"), "metrics": metrics}


def day_report(lake: LakeReader, spec: PipelineSpec, day: dt.date) -> DayReport:
    """The predictions of a day compared with its outcomes. Raises UpstreamMissing."""
    published = lake.days(spec.predictions_table)
    if day not in published:
        known = f"Published: {min(published)} to {max(published)}." if published else "No day is published yet."
        raise UpstreamMissing(
            f"{spec.predictions_table} has no published predictions of {day}. {known} "
            f"Publish them with: tailrace predict {spec.name} --date {day}."
        )
    spec = policies.as_published(spec, published[day].metadata)
    judged = with_outcomes(lake, spec, day)
    metrics = {}
    if judged.num_rows:
        metrics = spec.problem.measure(*labels_and_predictions(spec, judged))
    return DayReport(day, published[day], judged.num_rows, metrics)


def labels_and_predictions(spec: PipelineSpec, judged: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """The encoded labels and the predictions of the rows that `with_outcomes` found."""
    return judged[spec.outcome.label].to_numpy(), spec.problem.of_published(spec.predictions, judged)


def with_outcomes(lake: LakeReader, spec: PipelineSpec, day: dt.date) -> pa.Table:
    """The day's predictions whose last known outcome has a label, with that label; empty if there are none.

    The label is encoded. Raises KeysRepeated, ContractBroken, and UpstreamMissing naming days whose outcomes are not
    published although later ones are.
    """
    key = list(spec.features.key)
    needed = spec.problem.needed_columns(spec.predictions)
    predictions = lake.read(spec.predictions_table, first=day, last=day, columns=[*key, *needed]).read_all()
    return labelled(lake, spec, day, predictions)


def labelled(lake: LakeReader, spec: PipelineSpec, day: dt.date, predictions: pa.Table) -> pa.Table:
    """Those of a day's predictions, published or not, whose last known outcome has a label, with it as `with_outcomes`.

    Raises what `with_outcomes` raises.
    """
    key, outcome = list(spec.features.key), spec.outcome
    last = day + dt.timedelta(days=outcome.last_lag)
    if missing := completeness.missing_outcomes(lake, spec, day + dt.timedelta(days=1), last):
        raise UpstreamMissing(
            f"{spec.name}: the predictions of {day} cannot be evaluated: {completeness.sentence(missing)}"
        )
    columns = [*key, outcome.order_column, outcome.label]
    outcomes = lake.read(spec.outcomes_table, first=day, last=last, columns=columns).read_all()
    outcomes = outcomes.sort_by([(name, "ascending") for name in key])
    refuse_repeated_outcomes(spec, outcomes)
    known = last_known(spec, outcomes)
    labels = roles.labels(spec, spec.outcomes_table, known[outcome.label])
    joined = predictions.join(known.select(key).append_column(outcome.label, labels), keys=key, join_type="inner")
    # A prediction that is NaN counts as missing, like a null.
    missing = pc.is_null(joined[outcome.label])
    for name in spec.problem.columns_due(spec.predictions):
        missing = pc.or_(missing, pc.is_null(joined[name], nan_is_null=True))
    return joined.filter(pc.invert(missing))
