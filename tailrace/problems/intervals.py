"""Intervals around predicted numbers, from the residuals of rows that the model was not fitted on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

TINY = 1e-6
"""The least scale of a residual, where all predictions are 0."""

LEAST_SHARE = 0.01
"""Predictions below this share of their mean have the scale of a prediction of this share."""

ROUNDING = 8 * 2.0**-52
"""How far, relative to the numbers, an end is moved outwards: a label equal to it must not be outside by rounding."""


@dataclass(frozen=True, kw_only=True)
class Conformal:
    """The two quantiles of the residuals, which make the ends of an interval around every prediction.

    Without `least`, a residual is (label - prediction). With it, it is the Pearson residual
    (label - prediction) / sqrt(max(prediction, least)), so that intervals grow with the predicted count.
    """

    low: float
    high: float
    least: float | None = None

    def applied(self, predictions: np.ndarray) -> np.ndarray:
        """Shape (rows, 3): the prediction, the low and the high end; the interval always contains the prediction."""
        import numpy as np

        scale = _scale(predictions, self.least)
        low, high = predictions + self.low * scale, predictions + self.high * scale
        slack = ROUNDING * (np.abs(predictions) + np.maximum(np.abs(low), np.abs(high)))
        ends = np.minimum(predictions, low - slack), np.maximum(predictions, high + slack)
        return np.column_stack([predictions, *ends])

    def described(self) -> dict[str, Any]:
        """In a form for JSON."""
        return asdict(self)


def rows_needed(quantiles: Sequence[float]) -> int:
    """The fewest residuals that have both quantiles: with n of them, n + 1 places are equally likely for the next."""
    low, high = quantiles
    return math.ceil(round(max(1 / low, 1 / (1 - high)), 9)) - 1


def conformal(
    quantiles: Sequence[float], labels: np.ndarray, predictions: np.ndarray, *, grows_with_count: bool
) -> Conformal:
    """The ends that new labels keep to, from labels and predictions of rows that the model was not fitted on.

    If the rows and a new one are exchangeable, its label is below the high end with at least the upper quantile's
    probability, and below the low end with at most the lower one's. For this the quantiles are taken of n + 1 places.
    Sources: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World (2005), chapter 2; Lei, G'Sell, Rinaldo,
    Tibshirani and Wasserman, Distribution-Free Predictive Inference for Regression (2018), JASA 113(523), section 2.2;
    each end by itself: Romano, Patterson and Candes, Conformalized Quantile Regression (2019), theorem 2.
    """
    import numpy as np

    least = max(TINY, LEAST_SHARE * float(predictions.mean())) if grows_with_count else None
    residuals = np.sort((labels - predictions) / _scale(predictions, least))
    count = len(residuals)
    # Rounded, because 0.9 * (9 + 1) is a little more than 9.
    below = math.floor(round(quantiles[0] * (count + 1), 9))
    above = math.ceil(round(quantiles[1] * (count + 1), 9))
    return Conformal(low=float(residuals[below - 1]), high=float(residuals[above - 1]), least=least)


def _scale(predictions: np.ndarray, least: float | None) -> np.ndarray | float:
    import numpy as np

    return 1.0 if least is None else np.sqrt(np.maximum(predictions, least))
