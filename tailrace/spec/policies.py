"""What a pipeline demands: of a challenger, of the predictions that are published, and of the days that follow.

Each policy lists its own problems.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from tailrace.errors import did_you_mean
from tailrace.problems import Problem
from tailrace.problems.metrics import METRICS, Metric
from tailrace.spec.checks import LATER, one_of, share
from tailrace.spec.columns import Features

APPROVALS = ("auto", "human")


@dataclass(frozen=True, kw_only=True)
class Gate:
    """When a challenger replaces the champion.

    On the holdout its metric must reach the limit (`floor` or `ceiling`), be better than the baseline `beat`, and be
    better than the champion's by `margin`. A limit is needed unless `beat` is given; for a metric that has a
    value for a model that has learned nothing (0.5 for roc_auc), this is the default.
    """

    metric: str = ""
    """The metric that decides, measured on the holdout. Empty: the problem's own, such as `roc_auc` for `Binary` and
    `mae` for `Regression`."""
    floor: float | None = None
    """The least value of the metric, if higher is better. A challenger below it never becomes champion."""
    margin: float = 0.0
    """In units of the metric: a challenger must be better than the champion by at least this. 0: by any amount."""
    slices: tuple[str, ...] = ()
    """Categorical features: the gate also compares both models on the rows of each of their values."""
    slice_tolerance: float = 0.05
    """In units of the metric: on a slice, a challenger may be worse than the champion by at most this."""
    slice_rows: int = 200
    """In rows of the holdout: slices with fewer are not judged."""
    approval: Literal["auto", "human"] = "auto"
    """`auto`: a challenger that passes becomes champion. `human`: a person then decides."""
    approval_days: float = 3
    """In days: how long a person may take. A challenger that nobody has decided about by then is rejected."""
    ceiling: float | None = field(default=None, metadata=LATER)
    """The greatest value of the metric, if lower is better. A challenger above it never becomes champion."""
    beat: str | None = field(default=None, metadata=LATER)
    """A baseline that the challenger must be better than, such as `prior`, `mean` or a numeric feature. None: no
    baseline is compared."""

    def completed(self, problem: Problem) -> Gate:
        """With the problem's own metric and its usual limit, where the spec says nothing of them."""
        name = self.metric or problem.gate_metric
        chance = METRICS[name].chance if name in METRICS else None
        if chance is None or any(each is not None for each in (self.floor, self.ceiling, self.beat)):
            return replace(self, metric=name)
        return replace(self, metric=name, floor=chance)

    def problems(self, features: Features, problem: Problem) -> Iterator[str]:
        """A sentence for each thing that is wrong."""
        yield from one_of("gate.metric", self.metric, problem.metrics)
        yield from one_of("gate.approval", self.approval, APPROVALS)
        if self.metric in problem.metrics:
            yield from self._limits(METRICS[self.metric])
        if self.beat is not None:
            yield from problem.baseline_problems(self.beat, features.columns)
        if not 0 < self.approval_days <= 365:
            yield f"gate.approval_days is {self.approval_days}; it must be more than 0 days, and at most 365."
        if self.slice_rows < 1:
            yield f"gate.slice_rows is {self.slice_rows}; at least 1 is needed."
        yield from self._slices(features.columns)

    def _limits(self, metric: Metric) -> Iterator[str]:
        low, high = metric.bounds
        if self.floor is not None and not metric.greater_is_better:
            yield f"gate.floor is {self.floor}, but lower is better for {metric.name}; say gate.ceiling instead."
        if self.ceiling is not None and metric.greater_is_better:
            yield f"gate.ceiling is {self.ceiling}, but higher is better for {metric.name}; say gate.floor instead."
        if (self.floor, self.ceiling, self.beat) == (None, None, None):
            limit = "floor" if metric.greater_is_better else "ceiling"
            yield (
                f"gate has no limit for {metric.name}, so any first model would become champion; give gate.{limit} or "
                "gate.beat."
            )
        for name, given in (("floor", self.floor), ("ceiling", self.ceiling)):
            if given is not None and not low <= given <= high:
                yield f"gate.{name} is {given}; {metric.name} is always {_between(low, high)}."
        for name, step in (("margin", self.margin), ("slice_tolerance", self.slice_tolerance)):
            if math.isfinite(high - low):
                yield from share(f"gate.{name}", step)
            elif step < 0:
                yield f"gate.{name} is {step}; it must not be negative."

    def _slices(self, kinds: Mapping[str, str]) -> Iterator[str]:
        for column in self.slices:
            kind = kinds.get(column)
            if kind is None:
                yield f"gate.slices has {column!r}, which is not a feature.{did_you_mean(column, kinds)}"
            elif kind != "categorical":
                yield f"gate.slices has {column!r}, which is {kind}; only categorical features have values to slice by."


def _between(low: float, high: float) -> str:
    if math.isinf(low):
        return f"{high:g} or less"
    return f"{low:g} or more" if math.isinf(high) else f"between {low:g} and {high:g}"


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The columns that are published, besides key, event time and model version.

    Several classes, and the ends of an interval, have columns named after the score: `<score>_<class>`, `<score>_low`,
    `<score>_high`.
    """

    score: str = "score"
    """The name of the column with the probability or the number that is predicted."""
    decision: str = "decision"
    """The name of the column that says whether the probability is `threshold` or more, or which class is predicted. A
    `Regression` has no such column."""
    threshold: float = 0.5
    """The probability, from 0 to 1, from which the decision of a `Binary` is true."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What staged predictions must be like to be published."""

    max_null_share: float = 0.0
    """A share from 0 to 1: so many of the day's predictions may have no score."""
    min_coverage: float = 1.0
    """A share from 0 to 1: at least so many of the day's feature rows must have a prediction."""
    max_psi: float | None = None
    """Deprecated: use `max_psi_excess`. The greatest population stability index (PSI) of the day's scores against those
    of the training's holdout, whatever single days are like. None: not judged."""
    psi_rows: int = 200
    """In rows: on a day with fewer, `max_psi` and `max_psi_excess` are not judged."""
    max_psi_excess: float | None = field(default=None, metadata=LATER)
    """A PSI: the day's scores may go so far beyond what a single day may have, which follows from the holdout's days,
    the days published before, and the number of rows; 0.25 is common. None: not judged."""

    def problems(self) -> Iterator[str]:
        """A sentence for each thing that is wrong."""
        yield from share("audit.max_null_share", self.max_null_share)
        yield from share("audit.min_coverage", self.min_coverage)
        if self.max_psi is not None and not self.max_psi > 0:
            yield f"audit.max_psi is {self.max_psi}; it must be more than 0 (0.25 is a common alarm), or None."
        if self.max_psi_excess is not None and not self.max_psi_excess > 0:
            yield f"audit.max_psi_excess is {self.max_psi_excess}; it must be more than 0 (0.25 is common), or None."
        if self.psi_rows < 1:
            yield f"audit.psi_rows is {self.psi_rows}; at least 1 is needed."

    def deprecated(self) -> Iterator[str]:
        """A sentence for each field that is used and should no longer be."""
        if self.max_psi is not None:
            yield (
                "audit.max_psi is deprecated: it knows nothing of single days, so it refuses sound ones. Replace it by "
                "max_psi_excess=0.25 and train again; docs/drift.md explains both."
            )


@dataclass(frozen=True, kw_only=True)
class Monitor:
    """When a published day's features or scores are said to drift, by their population stability index (PSI).

    A single day differs from the weeks a model learned from. So a day counts as `watch` by how far its PSI goes beyond
    what a single day of the model's training window may have, and as `alarm` by how far it goes beyond that and beyond
    the days published before: it jumped. Days of fewer than `rows` rows are not judged.
    """

    watch_psi: float = 0.1
    """A PSI: so far beyond what a single day of the training may have, a day counts as `watch`."""
    alarm_psi: float = 0.25
    """A PSI: so far beyond what a single day of the training and of the four weeks before may have, a day counts as
    `alarm`."""
    rows: int = 100
    """In rows: days with fewer are not judged."""

    def problems(self) -> Iterator[str]:
        """A sentence for each thing that is wrong."""
        if not 0 < self.watch_psi <= self.alarm_psi:
            yield (
                f"monitor.watch_psi is {self.watch_psi} and monitor.alarm_psi is {self.alarm_psi}; both must be more "
                "than 0, and the alarm not below the watch (0.1 and 0.25 are common)."
            )
        if self.rows < 1:
            yield f"monitor.rows is {self.rows}; at least 1 is needed."


@dataclass(frozen=True, kw_only=True)
class Review:
    """How far an edit may move the predictions before `tailrace diff` ends with exit code 1.

    The predictions of the last published days, before and after the edit, by the champions of those days.
    """

    max_flips: float = 0.02
    """A share from 0 to 1: so many decisions, or predicted classes, may be others."""
    max_shift: float = 0.05
    """In standard deviations of the scores before the edit: so far they may move on average."""
    max_moved: float | None = None
    """A share from 0 to 1: so many predictions may differ at all. None: any number."""
    max_loss: float | None = None
    """In units of the gate's metric: so much worse it may be on days whose outcomes are known. None: not judged."""
    refusals: bool = False
    """Whether an edit may be such that tonight's build, validation or audit would refuse its days."""
    unlearned: bool = field(default=False, metadata=LATER)
    """Whether features may go far beyond what the champion learned from, so that a training is due."""

    def problems(self) -> Iterator[str]:
        """A sentence for each thing that is wrong."""
        yield from share("review.max_flips", self.max_flips)
        if self.max_moved is not None:
            yield from share("review.max_moved", self.max_moved)
        for name, limit in (("max_shift", self.max_shift), ("max_loss", self.max_loss)):
            if limit is not None and not limit >= 0:
                yield f"review.{name} is {limit}; it must be 0 or more."
