"""The quality of a model on its holdout, as numbers, and as a report that opens in any browser."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tailrace.contracts import Trial, not_trained
from tailrace.problems import Problem
from tailrace.problems.metrics import METRICS
from tailrace.reporting.templating import render

REPORT = "evaluation.html"


@dataclass(frozen=True, kw_only=True)
class ScoredHoldout:
    """One model's predictions for the holdout, in `scores`; all arrays have one entry per row.

    `labels` are encoded, `slices` are the columns to slice by.
    """

    name: str
    problem: Problem
    labels: np.ndarray
    scores: np.ndarray
    slices: Mapping[str, np.ndarray] = field(default_factory=dict)
    threshold: float = 0.5
    """The probability from which a published decision is true."""


@dataclass(frozen=True, kw_only=True)
class SliceRow:
    """A metric on the rows with one value of a column; None if it is not defined for them.

    `labels` says what their labels are like.
    """

    column: str
    value: str
    rows: int
    labels: str
    metric: float | None


@dataclass(frozen=True)
class Intervals:
    """95 % intervals of a metric: for the first model, for the second, and for the first minus the second."""

    first: tuple[float, float]
    second: tuple[float, float] | None = None
    difference: tuple[float, float] | None = None


def bootstrap_intervals(
    problem: Problem,
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray | None,
    *,
    seed: int,
    rounds: int = 200,
) -> dict[str, Intervals]:
    """95 % percentile intervals of each metric over resamples of the rows; both models' predictions use the same ones.

    Resamples for which a metric is not defined are left out of it; (NaN, NaN) if none are left, and for fewer than two
    rows: all resamples of one row are the same, which says nothing about chance.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    rows = len(labels)
    names = [metric.name for metric in problem.measured]
    weighted = functools.partial(problem.weighted, labels=labels)
    of_first = [weighted(name, predictions=first) for name in names]
    of_second = [weighted(name, predictions=second) for name in names] if second is not None else []

    def statistics(chosen: np.ndarray) -> np.ndarray:
        weights = np.bincount(chosen, minlength=rows)
        ours, theirs = ([metric(weights) for metric in metrics] for metrics in (of_first, of_second))
        return np.array([*ours, *theirs, *(one - other for one, other in zip(ours, theirs, strict=False))])

    if rows < 2:
        bounds = [(math.nan, math.nan)] * (len(of_first) + 2 * len(of_second))
    else:
        bounds = [_percentiles(values) for values in _resampled(rows, statistics, rounds=rounds, seed=seed)]
    parts = [bounds[start : start + len(names)] for start in range(0, len(bounds), len(names))]
    return {name: Intervals(*found) for name, *found in zip(names, *parts, strict=True)}


def _resampled(rows: int, statistics: Callable[[np.ndarray], np.ndarray], *, rounds: int, seed: int) -> np.ndarray:
    """The statistics of each resample of the rows' numbers; shape (statistics, rounds)."""
    from scipy.stats import DegenerateDataWarning, bootstrap

    # One resample at a time: all together would need rounds times the holdout in memory.
    with warnings.catch_warnings():
        # scikit-learn warns about its own interval if a resample has one class; ours come from the distribution.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        made = bootstrap(
            (np.arange(rows),), statistics, vectorized=False, n_resamples=rounds, batch=1, method="percentile", rng=seed
        )
    distribution: np.ndarray = made.bootstrap_distribution
    return distribution


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def known_interval(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """The interval; None if there is none, or if it is not defined."""
    return None if interval is None or np.isnan(interval).any() else interval


def slice_table(holdout: ScoredHoldout, metric: str, columns: Sequence[str]) -> list[SliceRow]:
    """The metric for each value of each column, values with the most rows first."""
    problem, table = holdout.problem, []
    for column in columns:
        values, inverse, counts = np.unique(holdout.slices[column], return_inverse=True, return_counts=True)
        for index in np.argsort(-counts, kind="stable"):
            chosen = inverse == index
            labels, scores = holdout.labels[chosen], holdout.scores[chosen]
            value = problem.value(metric, labels, scores)
            table.append(
                SliceRow(
                    column=column,
                    value=str(values[index]),
                    rows=len(labels),
                    labels=problem.slice_words(labels),
                    metric=None if math.isnan(value) else value,
                )
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
    measured = {each.name: each.problem.figures(each.labels, each.scores, each.threshold) for each in holdouts}
    drawn = pictures.draw_all(
        folder,
        problem=challenger.problem,
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
        direction=METRICS[metric].direction,
        slice_heading=challenger.problem.slice_heading,
        challenger=challenger.name,
        champion=champion.name if champion else None,
        interval=known_interval(interval),
        no_interval=_no_interval(metric, len(challenger.labels)) if interval and not known_interval(interval) else "",
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


def _no_interval(metric: str, rows: int) -> str:
    """Why the difference of the two models has no interval, as a sentence."""
    why = "the holdout has fewer than two rows" if rows < 2 else f"{metric} is not defined for both on its labels"
    return f"The difference in {metric} has no 95 % interval, because {why}."


def _side_by_side(
    slices: Mapping[str, list[SliceRow]], challenger: str, champion: str | None
) -> list[tuple[SliceRow, float | None]]:
    """Each slice of the challenger, with the champion's metric on the same rows."""
    theirs = {(row.column, row.value): row.metric for row in slices.get(champion or "", [])}
    return [(row, theirs.get((row.column, row.value))) for row in slices[challenger]]
