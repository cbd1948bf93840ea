"""What a pipeline demands: of a challenger, of the predictions that are published, and of the days that follow.

Each policy lists its own problems.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tailrace.errors import did_you_mean
from tailrace.spec.checks import one_of, share
from tailrace.spec.columns import Features

GATE_METRICS = ("roc_auc", "pr_auc", "log_loss", "brier")
PROBABILITY_METRICS = ("roc_auc", "pr_auc", "brier")
APPROVALS = ("auto", "human")


@dataclass(frozen=True, kw_only=True)
class Gate:
    """When a challenger replaces the champion.

    It must reach `floor` on the holdout, beat the champion's metric by `margin`, and fall below
    the champion by at most `slice_tolerance` on every value of `slices` with `slice_rows` rows or more.
    With `approval` "human" a person then decides; whom nobody answers for `approval_days` days is rejected.
    """

    metric: str = "roc_auc"
    floor: float = 0.5
    margin: float = 0.0
    slices: tuple[str, ...] = ()
    slice_tolerance: float = 0.05
    slice_rows: int = 200
    approval: Literal["auto", "human"] = "auto"
    approval_days: float = 3

    def problems(self, features: Features) -> Iterator[str]:
        """A sentence for each thing that is wrong."""
        yield from one_of("gate.metric", self.metric, GATE_METRICS)
        yield from one_of("gate.approval", self.approval, APPROVALS)
        if self.metric in PROBABILITY_METRICS:
            yield from share("gate.floor", self.floor)
            yield from share("gate.margin", self.margin)
            yield from share("gate.slice_tolerance", self.slice_tolerance)
        elif min(self.floor, self.margin, self.slice_tolerance) < 0:
            yield "gate.floor, gate.margin and gate.slice_tolerance must not be negative."
        if not 0 < self.approval_days <= 365:
            yield f"gate.approval_days is {self.approval_days}; it must be more than 0 days, and at most 365."
        if self.slice_rows < 1:
            yield f"gate.slice_rows is {self.slice_rows}; at least 1 is needed."
        yield from self._slices(features.columns)

    def _slices(self, kinds: Mapping[str, str]) -> Iterator[str]:
        for column in self.slices:
            kind = kinds.get(column)
            if kind is None:
                yield f"gate.slices has {column!r}, which is not a feature.{did_you_mean(column, kinds)}"
            elif kind != "categorical":
                yield f"gate.slices has {column!r}, which is {kind}; only categorical features have values to slice by."


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The columns that are published, besides key, event time and model version."""

    score: str = "score"
    decision: str = "decision"
    threshold: float = 0.5

    def problems(self) -> Iterator[str]:
        """A sentence for each thing that is wrong with the threshold; names are judged among all columns."""
        yield from share("predictions.threshold", self.threshold)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What staged predictions must be like to be published.

    `max_null_share` and `min_coverage` are shares of the day's feature rows; `max_psi` bounds the
    population stability index of the day's scores against the training holdout's, and is not
    judged on fewer than `psi_rows` rows.
    """

    max_null_share: float = 0.0
    min_coverage: float = 1.0
    max_psi: float | None = None
    psi_rows: int = 200

    def problems(self) -> Iterator[str]:
        """A sentence for each thing that is wrong."""
        yield from share("audit.max_null_share", self.max_null_share)
        yield from share("audit.min_coverage", self.min_coverage)
        if self.max_psi is not None and not self.max_psi > 0:
            yield f"audit.max_psi is {self.max_psi}; it must be more than 0 (0.25 is a common alarm), or None."
        if self.psi_rows < 1:
            yield f"audit.psi_rows is {self.psi_rows}; at least 1 is needed."


@dataclass(frozen=True, kw_only=True)
class Monitor:
    """When a published day's features or scores are said to drift, by their population stability index (PSI).

    A single day differs from the weeks a model learned from. So a day counts as `watch` or `alarm` by how far its PSI
    goes beyond the highest that any single day of the model's training window had; days of fewer than `rows` rows
    are not judged.
    """

    watch_psi: float = 0.1
    alarm_psi: float = 0.25
    rows: int = 100

    def problems(self) -> Iterator[str]:
        """A sentence for each thing that is wrong."""
        if not 0 < self.watch_psi <= self.alarm_psi:
            yield (
                f"monitor.watch_psi is {self.watch_psi} and monitor.alarm_psi is {self.alarm_psi}; both must be more "
                "than 0, and the alarm not below the watch (0.1 and 0.25 are common)."
            )
        if self.rows < 1:
            yield f"monitor.rows is {self.rows}; at least 1 is needed."
