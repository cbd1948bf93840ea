"""Metrics of predicted probabilities."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np

METRICS = {"roc_auc": True, "pr_auc": True, "log_loss": False, "brier": False}
"""Metric name -> whether higher is better. A spec's gate and search use these names."""


def measure(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Every metric of scores (float, 0..1) against boolean labels of the same length.

    roc_auc and pr_auc (average precision) are NaN if all labels have the same class.
    """
    from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

    both = 0 < labels.sum() < len(labels)
    clipped = np.clip(scores, 1e-7, 1 - 1e-7)
    return {
        "roc_auc": float(roc_auc_score(labels, scores)) if both else float("nan"),
        "pr_auc": float(average_precision_score(labels, scores)) if both else float("nan"),
        "log_loss": float(log_loss(labels, clipped, labels=[False, True])),
        "brier": float(brier_score_loss(labels, clipped)),
    }


@dataclass(frozen=True)
class Distribution:
    """A distribution as the shares of its deciles: `edges` are ascending, and there is one more share than edges."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, scores: np.ndarray, bins: int = 10) -> Distribution:
        """The scores' quantile bins; equal quantiles become one edge."""
        edges = np.unique(np.quantile(scores, np.linspace(0, 1, bins + 1)[1:-1]))
        return cls(tuple(edges.tolist()), tuple(_shares(edges, scores).tolist()))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Distribution:
        fields = json.loads(text)
        return cls(tuple(fields["edges"]), tuple(fields["shares"]))


def population_stability_index(expected: Distribution, observed: np.ndarray) -> float:
    """How far scores moved: sum over bins of (o - e) * ln(o / e), with o and e the bins' shares.

    Source: Siddiqi, Credit Risk Scorecards (2006), chapter 10; values below 0.1 are commonly read as
    stable, above 0.25 as shifted. Empty bins count as half a row.
    """
    return index_of_shares(np.array(expected.shares), _shares(np.array(expected.edges), observed))


def index_of_shares(before: np.ndarray, after: np.ndarray) -> float:
    """The population stability index of the same bins' shares, none of them zero."""
    return float(np.sum((after - before) * np.log(after / before)))


def shares_of_counts(counts: np.ndarray) -> np.ndarray:
    """Shares of rows in bins; an empty bin counts as half a row."""
    return np.maximum(counts, 0.5) / counts.sum()


def _shares(edges: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return shares_of_counts(np.bincount(np.searchsorted(edges, scores, side="right"), minlength=len(edges) + 1))
