"""The quality of a model on its holdout, as numbers, and as a report that opens in any browser."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tailrace.contracts import Trial, not_trained
from tailrace.problems import metrics
from tailrace.problems.metrics import METRICS
from tailrace.reporting.templating import render

__all__ = [
    "METRICS",
    "Intervals",
    "ScoredHoldout",
    "SliceRow",
    "bootstrap_intervals",
    "measure",
    "slice_table",
    "write_report",
]

CALIBRATION_BINS = 10
REPORT = "evaluation.html"


@dataclass(frozen=True)
class ScoredHoldout:
    """One model's scores on the holdout; all arrays have one value per row.

    `labels` are booleans, `scores` probabilities (float64, 0..1), `slices` the columns to slice by.
    """

    name: str
    labels: np.ndarray
    scores: np.ndarray
    slices: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SliceRow:
    """A metric on the rows with one value of a column; None if these rows all have the same class."""

    column: str
    value: str
    rows: int
    positives: int
    metric: float | None


@dataclass(frozen=True)
class Intervals:
    """95 % intervals of a metric: for the first model, for the second, and for the first minus the second."""

    first: tuple[float, float]
    second: tuple[float, float] | None = None
    difference: tuple[float, float] | None = None


def measure(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """The gate's metrics, and accuracy at 0.5, calibration error, positive rate and number of rows.

    Scores need two classes for roc_auc and pr_auc, which are NaN otherwise.
    """
    return metrics.measure(labels, scores) | {
        "accuracy": float((labels == (scores >= 0.5)).mean()),
        "calibration_error": calibration_error(labels, scores),
        "positive_rate": float(labels.mean()),
        "rows": float(len(labels)),
    }


def calibration_error(labels: np.ndarray, scores: np.ndarray) -> float:
    """Expected calibration error: sum over bins of n_bin / n * |positive rate - mean score|.

    Ten bins of equal width. Source: Guo et al., On Calibration of Modern Neural Networks (ICML 2017),
    equation 3, with the probability of the positive class as the confidence.
    """
    surplus = np.bincount(_bins(scores), weights=labels.astype(float) - scores, minlength=CALIBRATION_BINS)
    return float(np.abs(surplus).sum() / len(scores))


def calibration_bins(labels: np.ndarray, scores: np.ndarray) -> list[tuple[float, float, int, float, float]]:
    """For each of ten bins of equal width that has rows: low, high, rows, mean score, positive rate."""
    bins = _bins(scores)
    rows, score_sums, positives = (
        np.bincount(bins, weights=weights, minlength=CALIBRATION_BINS)
        for weights in (None, scores, labels.astype(float))
    )
    return [
        (
            one / CALIBRATION_BINS,
            (one + 1) / CALIBRATION_BINS,
            int(rows[one]),
            float(score_sums[one] / rows[one]),
            float(positives[one] / rows[one]),
        )
        for one in np.flatnonzero(rows).tolist()
    ]


def _bins(scores: np.ndarray) -> np.ndarray:
    return np.minimum((scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)


def bootstrap_intervals(
    labels: np.ndarray, a: np.ndarray, b: np.ndarray | None, *, seed: int, rounds: int = 200
) -> dict[str, Intervals]:
    """95 % percentile intervals of each of METRICS over resamples of the rows; both models use the same resamples.

    Resamples with only one class are left out of the ranking metrics; (NaN, NaN) if none are left.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    from scipy.stats import DegenerateDataWarning, bootstrap

    rows = len(labels)
    first = [weighted(metric, labels, a) for metric in METRICS]
    second = [weighted(metric, labels, b) for metric in METRICS] if b is not None else []

    def statistics(chosen: np.ndarray) -> np.ndarray:
        weights = np.bincount(chosen, minlength=rows)
        ours, theirs = ([metric(weights) for metric in metrics] for metrics in (first, second))
        return np.array([*ours, *theirs, *(one - other for one, other in zip(ours, theirs, strict=False))])

    # One resample at a time: all together would need rounds times the holdout in memory.
    with warnings.catch_warnings():
        # scikit-learn warns about its own interval if a resample has one class; ours come from the distribution.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        made = bootstrap(
            (np.arange(rows),), statistics, vectorized=False, n_resamples=rounds, batch=1, method="percentile", rng=seed
        )
    bounds = [_percentiles(values) for values in made.bootstrap_distribution]
    parts = [bounds[start : start + len(METRICS)] for start in range(0, len(bounds), len(METRICS))]
    return {metric: Intervals(*found) for metric, *found in zip(METRICS, *parts, strict=True)}


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def weighted(metric: str, labels: np.ndarray, scores: np.ndarray) -> Callable[[np.ndarray], float]:
    """The metric as a function of the rows' weights; work that does not depend on them is done only once.

    Sorting is most of the cost of a ranking metric, and resampling does not change the order.
    """
    truth = labels.astype(float)
    if metric in ("log_loss", "brier"):
        clipped = np.clip(scores, 1e-7, 1 - 1e-7)
        if metric == "brier":
            losses = (clipped - truth) ** 2
        else:
            losses = -(truth * np.log(clipped) + (1 - truth) * np.log1p(-clipped))
        return lambda weights: float(np.average(losses, weights=weights))
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    area = {"roc_auc": _roc_area, "pr_auc": _average_precision}[metric]

    def ranked(weights: np.ndarray) -> float:
        sorted_weights = weights[order]
        true = np.cumsum(sorted_weights * truth[order])[ends]
        false = np.cumsum(sorted_weights * (1 - truth[order]))[ends]
        return area(true, false) if true[-1] and false[-1] else math.nan

    return ranked


def _roc_area(true: np.ndarray, false: np.ndarray) -> float:
    return float(np.trapezoid(np.append(0, true), np.append(0, false)) / (true[-1] * false[-1]))


def _average_precision(true: np.ndarray, false: np.ndarray) -> float:
    found = true + false
    precision = np.divide(true, found, out=np.zeros_like(true), where=found > 0)
    return float(np.sum(np.diff(true, prepend=0) * precision) / true[-1])


def slice_table(holdout: ScoredHoldout, metric: str, columns: Sequence[str]) -> list[SliceRow]:
    """The metric for each value of each column, values with the most rows first."""
    table = []
    for column in columns:
        values, inverse, counts = np.unique(holdout.slices[column], return_inverse=True, return_counts=True)
        for index in np.argsort(-counts, kind="stable"):
            chosen = inverse == index
            labels, scores = holdout.labels[chosen], holdout.scores[chosen]
            positives = int(labels.sum())
            value = metrics.measure(labels, scores)[metric] if 0 < positives < len(labels) else None
            table.append(
                SliceRow(column=column, value=str(values[index]), rows=len(labels), positives=positives, metric=value)
            )
    return table


def write_report(
    folder: Path,
    *,
    pipeline: str,
    facts: Mapping[str, str],
    metric: str,
    challenger: ScoredHoldout,
    champion: ScoredHoldout | None = None,
    baselines: Sequence[ScoredHoldout] = (),
    interval: tuple[float, float] | None = None,
    importance: Mapping[str, float] | None = None,
    trials: Sequence[Trial] = (),
    gate_lines: Sequence[tuple[bool, str]] = (),
    search_metric: str | None = None,
) -> Path:
    """Write `evaluation.html`, which needs no other file, and its pictures as PNG files into the same folder.

    `facts` (by label) are shown at the top, `metric` is the gate's, `interval` is that of challenger
    minus champion, `gate_lines` are the gate's checks and whether each passed, `search_metric` is the
    metric of the trials' values (the gate's metric by default).
    """
    from tailrace.reporting import pictures

    folder.mkdir(parents=True, exist_ok=True)
    holdouts = [challenger, *([champion] if champion else []), *baselines]
    slices = {
        holdout.name: slice_table(holdout, metric, list(challenger.slices))
        for holdout in (challenger, champion)
        if holdout is not None and set(challenger.slices) <= set(holdout.slices)
    }
    measured = {holdout.name: measure(holdout.labels, holdout.scores) for holdout in holdouts}
    drawn = pictures.draw_all(
        folder,
        holdouts=[(holdout.name, holdout.labels, holdout.scores) for holdout in holdouts],
        metric=metric,
        measured=measured,
        slices={name: [(f"{r.column} = {r.value}", r.metric, r.rows) for r in rows] for name, rows in slices.items()},
        champion=champion.name if champion else None,
        importance=importance or {},
        trials=trials,
        search_metric=search_metric or metric,
    )
    page = render(
        "evaluation.html.j2",
        pipeline=pipeline,
        facts=facts,
        metric=metric,
        greater_is_better=METRICS[metric],
        challenger=challenger.name,
        champion=champion.name if champion else None,
        interval=interval,
        measured=measured,
        slices=_side_by_side(slices, challenger.name, champion.name if champion else None),
        gate_lines=gate_lines,
        trials=trials,
        not_trained=not_trained(trials),
        pictures=drawn,
    )
    report = folder / REPORT
    report.write_text(page, encoding="utf-8")
    return report


def _side_by_side(
    slices: Mapping[str, list[SliceRow]], challenger: str, champion: str | None
) -> list[tuple[SliceRow, float | None]]:
    """Each slice of the challenger, with the champion's metric on the same rows."""
    theirs = {(row.column, row.value): row.metric for row in slices.get(champion or "", [])}
    return [(row, theirs.get((row.column, row.value))) for row in slices[challenger]]
