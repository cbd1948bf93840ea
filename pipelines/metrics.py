"""What predicted probabilities are judged by."""

from __future__ import annotations

import numpy as np

METRICS = {"roc_auc": True, "pr_auc": True, "log_loss": False, "brier": False}
"""Metric name -> whether more is better. A spec's gate and search take these names."""


def measure(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Every metric of scores (float, 0..1) against boolean labels of the same length.

    roc_auc and pr_auc (average precision) are NaN where the labels hold one class only.
    """
    from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

    labels = labels.astype(bool)
    both = 0 < labels.sum() < len(labels)
    clipped = np.clip(scores, 1e-7, 1 - 1e-7)
    return {
        "roc_auc": float(roc_auc_score(labels, scores)) if both else float("nan"),
        "pr_auc": float(average_precision_score(labels, scores)) if both else float("nan"),
        "log_loss": float(log_loss(labels, clipped, labels=[False, True])),
        "brier": float(brier_score_loss(labels, clipped)),
    }


def population_stability_index(expected: np.ndarray, observed: np.ndarray, bins: int = 10) -> float:
    """How far a distribution moved: sum over bins of (o - e) * ln(o / e), with o and e the bins' shares.

    Bins are the expected scores' deciles. Source: Siddiqi, Credit Risk Scorecards (2006), chapter 10;
    below 0.1 is commonly read as stable, above 0.25 as shifted. Empty bins count as half a row.
    """
    edges = np.unique(np.quantile(expected, np.linspace(0, 1, bins + 1)[1:-1]))
    count = len(edges) + 1
    shares = [
        np.maximum(np.bincount(np.searchsorted(edges, scores, side="right"), minlength=count), 0.5) / len(scores)
        for scores in (expected, observed)
    ]
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))
