"""Metrics of probabilities: as functions of the rows' weights, from counts by score, and their calibration."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tailrace.problems.base import Bin

SMALLEST = 1e-7
"""Probabilities are kept this far from 0 and 1 where their logarithm is taken."""

BUCKETS = 1_000_000
"""The number of score bins for ranking metrics that are computed from counts."""

CALIBRATION_BINS = 10


def clipped(probabilities: np.ndarray) -> np.ndarray:
    return np.clip(probabilities, SMALLEST, 1 - SMALLEST)


def averaged(losses: np.ndarray) -> Callable[[np.ndarray], float]:
    """The weighted mean of one number per row."""
    return lambda weights: float(np.average(losses, weights=weights))


def roc_area(labels: np.ndarray, scores: np.ndarray) -> Callable[[np.ndarray], float]:
    """The area under the ROC curve as a function of the weights; NaN if they leave one class."""
    return _ranked(labels, scores, _area)


def average_precision(labels: np.ndarray, scores: np.ndarray) -> Callable[[np.ndarray], float]:
    """Average precision as a function of the weights; NaN if they leave one class."""
    return _ranked(labels, scores, _precision)


def _ranked(
    labels: np.ndarray, scores: np.ndarray, area: Callable[[np.ndarray, np.ndarray], float]
) -> Callable[[np.ndarray], float]:
    # Sorting is most of the cost of a ranking metric, and weights do not change the order.
    truth = labels.astype(float)
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)

    def ranked(weights: np.ndarray) -> float:
        sorted_weights = weights[order]
        true = np.cumsum(sorted_weights * truth[order])[ends]
        false = np.cumsum(sorted_weights * (1 - truth[order]))[ends]
        return area(true, false) if true[-1] and false[-1] else math.nan

    return ranked


def _area(true: np.ndarray, false: np.ndarray) -> float:
    return float(np.trapezoid(np.append(0, true), np.append(0, false)) / (true[-1] * false[-1]))


def _precision(true: np.ndarray, false: np.ndarray) -> float:
    found = true + false
    precision = np.divide(true, found, out=np.zeros_like(true), where=found > 0)
    return float(np.sum(np.diff(true, prepend=0) * precision) / true[-1])


def buckets(scores: np.ndarray) -> np.ndarray:
    """The bin of each score in 0..1."""
    return np.rint(scores * BUCKETS).astype(np.int64)


def ranking_of_counts(bucket: np.ndarray, positive: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
    """The area under the ROC curve and average precision, from each bin's positives and rows; NaN for one class."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    negative = rows - positive
    if not (positive.sum() and negative.sum()):
        return math.nan, math.nan
    labels = np.repeat([True, False], len(bucket))
    ranked, weights = np.tile(bucket, 2), np.concatenate([positive, negative])
    return (
        float(roc_auc_score(labels, ranked, sample_weight=weights)),
        float(average_precision_score(labels, ranked, sample_weight=weights)),
    )


def calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error: sum over bins of n_bin / n * |observed share - mean probability|.

    Ten bins of equal width. Source: Guo et al., On Calibration of Modern Neural Networks (ICML 2017),
    equation 3, with these probabilities as the confidence.
    """
    surplus = np.bincount(
        _bins(probabilities), weights=labels.astype(float) - probabilities, minlength=CALIBRATION_BINS
    )
    return float(np.abs(surplus).sum() / len(probabilities))


def probability_bins(labels: np.ndarray, probabilities: np.ndarray) -> list[Bin]:
    """Ten bins of equal width, those that have rows: the mean probability against the share of true labels."""
    bins = _bins(probabilities)
    rows, sums, positives = (
        np.bincount(bins, weights=weights, minlength=CALIBRATION_BINS)
        for weights in (None, probabilities, labels.astype(float))
    )
    return [
        Bin(
            one / CALIBRATION_BINS,
            (one + 1) / CALIBRATION_BINS,
            int(rows[one]),
            float(sums[one] / rows[one]),
            float(positives[one] / rows[one]),
        )
        for one in np.flatnonzero(rows).tolist()
    ]


def _bins(probabilities: np.ndarray) -> np.ndarray:
    return np.minimum((probabilities * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)


def f1_of_classes(right: np.ndarray, predicted: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """2 * right / (predicted + positive) of each class, from its counts; 0 for a class that never appears."""
    total = predicted + positive
    return np.divide(2 * right, total, out=np.zeros(len(total)), where=total > 0)
