"""The one list of metrics: their names, directions and bounds. The problem kinds compute their values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

FLOAT_DIGITS = 1e15
"""From here on, a float does not have all the digits before its point."""


def written(value: float, digits: int = 4) -> str:
    """A metric's value with so many digits after the point; with so many significant ones where those would be zeros,
    as for an error in amounts of millionths, or where the value has more digits than a float knows."""
    fixed = value == 0 or not math.isfinite(value) or 10.0**-digits <= abs(value) < FLOAT_DIGITS
    # plus 0.0, so that a negative zero has no sign
    return f"{value + 0.0:.{digits}{'f' if fixed else 'g'}}"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A measure of predictions against labels.

    `greater_is_better` is None for a metric that only describes, such as a mean error: nothing is chosen by it.
    `bounds` are the lowest and the highest possible value. `chance` is the value of a model that has learned nothing,
    if it is the same for all data. `xgboost` is XGBoost's name for the metric, or for the nearest one that it has.
    """

    name: str
    title: str
    greater_is_better: bool | None
    bounds: tuple[float, float] = (0.0, math.inf)
    chance: float | None = None
    xgboost: str = ""

    @property
    def direction(self) -> str:
        """What is good, in words; empty for a metric that only describes."""
        if self.greater_is_better is None:
            return ""
        return "higher is better" if self.greater_is_better else "lower is better"

    def reaches(self, value: float, limit: float) -> bool:
        """Whether a value is at least as good as the limit; False for NaN."""
        return value >= limit if self.greater_is_better else value <= limit

    def gain(self, value: float, other: float) -> float:
        """By how much a value is better than another one."""
        return value - other if self.greater_is_better else other - value


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="roc_auc",
            title="area under the ROC curve",
            greater_is_better=True,
            bounds=(0, 1),
            chance=0.5,
            xgboost="auc",
        ),
        Metric(name="pr_auc", title="average precision", greater_is_better=True, bounds=(0, 1), xgboost="aucpr"),
        Metric(name="log_loss", title="log loss", greater_is_better=False, xgboost="logloss"),
        Metric(name="brier", title="Brier score", greater_is_better=False, bounds=(0, 1), xgboost="rmse"),
        Metric(name="accuracy", title="accuracy", greater_is_better=True, bounds=(0, 1), xgboost="merror"),
        Metric(name="macro_f1", title="macro F1", greater_is_better=True, bounds=(0, 1), xgboost="mlogloss"),
        Metric(
            name="roc_auc_ovr",
            title="area under the ROC curve, each class against the rest",
            greater_is_better=True,
            bounds=(0, 1),
            chance=0.5,
            xgboost="auc",
        ),
        Metric(name="mae", title="mean absolute error", greater_is_better=False, xgboost="mae"),
        Metric(name="rmse", title="root mean squared error", greater_is_better=False, xgboost="rmse"),
        Metric(
            name="r2",
            title="share of the variance explained (R²)",
            greater_is_better=True,
            bounds=(-math.inf, 1),
            chance=0.0,
            xgboost="rmse",
        ),
        Metric(
            name="poisson_deviance",
            title="mean Poisson deviance",
            greater_is_better=False,
            xgboost="poisson-nloglik",
        ),
        Metric(name="pinball", title="mean pinball loss", greater_is_better=False, xgboost="mae"),
        Metric(name="bias", title="mean error", greater_is_better=None, bounds=(-math.inf, math.inf)),
        Metric(name="coverage", title="share of labels inside the interval", greater_is_better=None, bounds=(0, 1)),
    )
}
"""Every metric by its name. A spec's gate and search, the reports and the pages use these names."""
