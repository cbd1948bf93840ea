"""Calibration: probabilities that come true as often as they say, learned from rows that the model has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from tailrace.problems.base import Adjustment


@dataclass(frozen=True)
class Sigmoid:
    """A logistic curve over the log odds: probabilities are pulled apart or together, and shifted.

    Source: Platt, Probabilistic Outputs for Support Vector Machines (1999), with the log odds as the scores.
    """

    slope: float
    intercept: float

    @classmethod
    def learned(cls, labels: np.ndarray, predictions: np.ndarray) -> Sigmoid:
        """The curve with the greatest likelihood for Platt's targets (his section 2.2), which are never 0 or 1."""
        import numpy as np
        from sklearn.linear_model import LogisticRegression

        positives, odds = int(labels.sum()), _log_odds(predictions)
        middle, spread = odds.mean(), odds.std()
        target = np.where(labels, (positives + 1) / (positives + 2), 1 / (len(labels) - positives + 2))
        # A target between 0 and 1 is a row of both classes with these weights.
        truth, weights = np.repeat([True, False], len(labels)), np.concatenate([target, 1 - target])
        slope = 0.0
        if spread > 1e-9:
            curve = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=1000)
            curve.fit(np.tile((odds - middle) / spread, 2)[:, None], truth, sample_weight=weights)
            slope = float(curve.coef_[0, 0] / spread)
        if slope <= 0:
            # A falling curve would turn the ranking round; the best that does not is the mean for every row.
            return cls(0.0, float(_log_odds(target.mean())))
        return cls(slope, float(curve.intercept_[0] - slope * middle))

    def applied(self, predictions: np.ndarray) -> np.ndarray:
        import numpy as np

        margin = self.slope * _log_odds(predictions) + self.intercept
        small = np.exp(-np.abs(margin))  # never overflows
        return np.where(margin >= 0, 1.0, small) / (1.0 + small)

    def described(self) -> dict[str, Any]:
        return {"slope": self.slope, "intercept": self.intercept}


@dataclass(frozen=True)
class Isotonic:
    """A rising line through points: the step function that fits best, with straight lines between the steps.

    Source: Zadrozny and Elkan, Transforming Classifier Scores into Accurate Multiclass Probability Estimates (2002).
    """

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    @classmethod
    def learned(cls, labels: np.ndarray, predictions: np.ndarray) -> Isotonic:
        """As scikit-learn's IsotonicRegression fits it."""
        import numpy as np
        from sklearn.isotonic import IsotonicRegression

        curve = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
        curve.fit(np.asarray(predictions, np.float64), labels.astype(np.float64))
        return cls(tuple(curve.X_thresholds_.tolist()), tuple(curve.y_thresholds_.tolist()))

    def applied(self, predictions: np.ndarray) -> np.ndarray:
        import numpy as np

        return np.interp(predictions, self.scores, self.probabilities)

    def described(self) -> dict[str, Any]:
        return {"scores": list(self.scores), "probabilities": list(self.probabilities)}


CALIBRATIONS: Mapping[str, type[Sigmoid] | type[Isotonic]] = {"sigmoid": Sigmoid, "isotonic": Isotonic}
"""The calibrations by the names that a spec uses."""


def stored(name: str, description: Mapping[str, Any]) -> Adjustment:
    """The calibration of this name that `described` described."""
    if name == "sigmoid":
        return Sigmoid(**description)
    return Isotonic(tuple(description["scores"]), tuple(description["probabilities"]))


def _log_odds(probabilities: Any) -> Any:
    import numpy as np

    from tailrace.problems.probabilities import clipped

    inside = clipped(probabilities)
    return np.log(inside) - np.log1p(-inside)
