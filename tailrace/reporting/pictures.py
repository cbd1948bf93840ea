"""The pictures of the evaluation report, drawn without matplotlib's global state.

Each drawing function fills one `Axes`; `draw_all` decides which pictures are useful.
"""

# ruff: noqa: TID253 - a leaf that `write_report` imports when it draws
from __future__ import annotations

import base64
import functools
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from tailrace.contracts import Trial
from tailrace.problems import Problem
from tailrace.problems.distributions import equal_edges
from tailrace.problems.metrics import METRICS
from tailrace.problems.probabilities import f1_of_classes
from tailrace.reporting import templating

ScoredRows = tuple[str, np.ndarray, np.ndarray]

COLORS = ("#2563eb", "#d97706", "#6b7280", "#059669", "#9333ea", "#dc2626")
TOP_FEATURES = 20
TOP_SLICES = 24
CURVE_POINTS = 500
NAME_LENGTH = 34
DPI = 110
DRAWABLE = 1e300
"""Larger numbers are drawn here: matplotlib subtracts the ends of an axis, and the difference must be finite."""


@dataclass(frozen=True)
class Picture:
    """A finished picture: its file, a description in words, and its bytes for embedding in a page."""

    title: str
    file: str
    alt: str
    data: str


def draw_all(
    folder: Path,
    *,
    problem: Problem,
    holdouts: Sequence[ScoredRows],
    metric: str,
    measured: Mapping[str, Mapping[str, float]],
    slices: Mapping[str, Sequence[tuple[str, float | None, int]]],
    champion: str | None,
    importance: Mapping[str, float],
    trials: Sequence[Trial],
    search_metric: str,
) -> list[Picture]:
    """Draw every picture that has data; the first of `holdouts` is the challenger."""
    challenger = holdouts[0]
    drawn = []

    def add(title: str, file: str, alt: str, draw: Callable[[Axes], None], *, height: float = 3.6) -> None:
        drawn.append(_save(folder, title=title, file=file, alt=alt, draw=draw, height=height))

    for name in problem.pictures:
        own = OWN[name]
        if own.when(challenger[1]):
            add(own.title, own.file, own.alt, functools.partial(own.draw, problem=problem, holdouts=holdouts))
    if champion:
        add(
            "Champion against challenger",
            "champion_challenger.png",
            f"Metrics of {challenger[0]} and {champion} side by side.",
            lambda axes: comparison(axes, [challenger[0], champion], measured),
            height=max(2.6, 0.9 + 0.45 * len(_compared(measured[challenger[0]]))),
        )
    if importance:
        shown = min(len(importance), TOP_FEATURES)
        add(
            "Importance",
            "importance.png",
            f"The {shown} features with the largest share in the model's decisions.",
            lambda axes: bars_of_importance(axes, importance),
            height=_height(shown),
        )
    rows = slices[challenger[0]]
    if any(value is not None for _, value, _ in rows):
        shown = min(len(rows), TOP_SLICES)
        add(
            f"{metric} per slice",
            "slices.png",
            f"{metric} for each of the {shown} largest slices of the holdout.",
            lambda axes: dots_of_slices(axes, slices, metric),
            height=_height(shown),
        )
    if any(trial.value is not None for trial in trials):
        add(
            "Search history",
            "search.png",
            f"{search_metric} of each of the {len(trials)} trials, by candidate.",
            lambda axes: search_history(axes, trials, search_metric),
        )
    return drawn


def roc(axes: Axes, problem: Problem, holdouts: Sequence[ScoredRows]) -> None:
    for (name, labels, scores), color in zip(holdouts, _colors(len(holdouts)), strict=True):
        false, true, _ = roc_curve(labels, scores)
        axes.plot(*_thinned(false, true), color=color, label=_short(name))
    axes.plot([0, 1], [0, 1], color="#9ca3af", linewidth=0.8, linestyle="--")
    axes.set(xlabel="False positive rate", ylabel="True positive rate", xlim=(0, 1), ylim=(0, 1.01))
    _legend(axes)


def precision_recall(axes: Axes, problem: Problem, holdouts: Sequence[ScoredRows]) -> None:
    for (name, labels, scores), color in zip(holdouts, _colors(len(holdouts)), strict=True):
        precision, recall, _ = precision_recall_curve(labels, scores)
        axes.plot(*_thinned(recall, precision), color=color, label=_short(name), drawstyle="steps-post")
    axes.axhline(holdouts[0][1].mean(), color="#9ca3af", linewidth=0.8, linestyle="--")
    axes.set(xlabel="Recall", ylabel="Precision", xlim=(0, 1), ylim=(0, 1.01))
    _legend(axes)


def calibration(axes: Axes, problem: Problem, holdouts: Sequence[ScoredRows]) -> None:
    for (name, labels, predictions), color in zip(holdouts, _colors(len(holdouts)), strict=True):
        bins = problem.calibration_bins(labels, predictions)
        axes.plot(
            [each.predicted for each in bins],
            [each.observed for each in bins],
            color=color,
            marker="o",
            markersize=3.5,
            label=_short(name),
        )
    axes.plot([0, 1], [0, 1], color="#9ca3af", linewidth=0.8, linestyle="--")
    axes.set(xlabel="Predicted probability", ylabel="Observed share", xlim=(0, 1), ylim=(0, 1.01))
    histogram = axes.twinx()
    scores = problem.scores(holdouts[0][2])
    shares = np.ones(len(scores)) / len(scores)
    histogram.hist(scores, bins=20, range=(0, 1), weights=shares, color=COLORS[0], alpha=0.15)
    histogram.set(ylabel="Share of rows (bars)", ylim=(0, 1))
    histogram.spines[["top"]].set_visible(False)
    _legend(axes)


def confusion(axes: Axes, problem: Problem, holdouts: Sequence[ScoredRows]) -> None:
    _, labels, predictions = holdouts[0]
    names = [problem.label_words(label) for label in problem.label_values or ()]
    counts = np.zeros((len(names), len(names)))
    np.add.at(counts, (labels, predictions.argmax(axis=1)), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*shares.shape):
        dark = shares[row, column] > 0.5
        text = f"{shares[row, column]:.0%}"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axes.set_xticks(range(len(names)), [_short(name) for name in names], fontsize=8)
    axes.set_yticks(range(len(names)), [_short(name) for name in names], fontsize=8)
    axes.set(xlabel="Predicted class", ylabel="Class")


def per_class(axes: Axes, problem: Problem, holdouts: Sequence[ScoredRows]) -> None:
    codes = problem.label_values or ()
    places, width = np.arange(len(codes)), 0.8 / len(holdouts)
    for index, ((name, labels, predictions), color) in enumerate(zip(holdouts, _colors(len(holdouts)), strict=True)):
        best = predictions.argmax(axis=1)
        counts = ([(which == code).sum() for code in codes] for which in (best, labels))
        right = np.array([((labels == code) & (best == code)).sum() for code in codes])
        f1 = f1_of_classes(right, *(np.array(each) for each in counts))
        bars = axes.bar(places + (index - (len(holdouts) - 1) / 2) * width, f1, width, color=color, label=_short(name))
        axes.bar_label(bars, fmt="%.2f", fontsize=7, padding=2)
    axes.set_xticks(places, [_short(problem.label_words(code)) for code in codes], fontsize=8)
    axes.set(ylabel="F1", ylim=(0, 1.25))
    _legend(axes, "upper right")


def observed(axes: Axes, problem: Problem, holdouts: Sequence[ScoredRows]) -> None:
    for (name, labels, predictions), color in zip(holdouts, _colors(len(holdouts)), strict=True):
        bins = problem.calibration_bins(labels, predictions)
        predicted, seen = [each.predicted for each in bins], [each.observed for each in bins]
        axes.plot(predicted, seen, color=color, marker="o", markersize=3.5, label=_short(name))
    low, high = axes.get_xlim()
    axes.plot([low, high], [low, high], color="#9ca3af", linewidth=0.8, linestyle="--")
    axes.set(xlabel="Mean prediction", ylabel="Mean label")
    _legend(axes)


def coverage(axes: Axes, problem: Problem, holdouts: Sequence[ScoredRows]) -> None:
    asked = problem.figures(*holdouts[0][1:])["coverage_asked"]
    for (name, labels, predictions), color in zip(holdouts, _colors(len(holdouts)), strict=True):
        if bins := problem.coverage_bins(labels, predictions):
            predicted, inside = [each.predicted for each in bins], [each.observed for each in bins]
            axes.plot(predicted, inside, color=color, marker="o", markersize=3.5, label=_short(name))
    axes.axhline(asked, color="#9ca3af", linewidth=0.8, linestyle="--")
    axes.set(xlabel="Mean prediction", ylabel="Share of labels inside", ylim=(0, 1.02))
    _legend(axes)


def residuals(axes: Axes, problem: Problem, holdouts: Sequence[ScoredRows]) -> None:
    errors = [_errors(problem.scores(predictions), labels) for _, labels, predictions in holdouts]
    # The same bins for all models, or their heights could not be compared.
    edges = equal_edges(np.concatenate(errors), 40)
    for (name, _, _), of_model, color in zip(holdouts, errors, _colors(len(holdouts)), strict=True):
        axes.hist(of_model, bins=edges.tolist(), color=color, histtype="step", label=_short(name))
    axes.axvline(0, color="#9ca3af", linewidth=0.8, linestyle="--")
    axes.set(xlabel="Prediction minus label", ylabel="Rows")
    _legend(axes)


def _errors(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.clip(scores - labels, -DRAWABLE, DRAWABLE)


def comparison(axes: Axes, names: Sequence[str], measured: Mapping[str, Mapping[str, float]]) -> None:
    """A bar for each metric of each model, as a share of the metric's larger value: their scales differ."""
    metrics = _compared(measured[names[0]])[::-1]
    values = np.array([[measured[name][metric] for metric in metrics] for name in names], float)
    sizes = np.abs(np.nan_to_num(values)).max(axis=0)
    places, width = np.arange(len(metrics)), 0.8 / len(names)
    for index, (name, color) in enumerate(zip(names, COLORS, strict=False)):
        shares = np.nan_to_num(values[index]) / np.where(sizes > 0, sizes, 1)
        bars = axes.barh(places - (index - (len(names) - 1) / 2) * width, shares, width, color=color)
        bars.set_label(_short(name))
        axes.bar_label(bars, [templating.number(value, 3) for value in values[index]], fontsize=7, padding=2)
    axes.axvline(0, color="#9ca3af", linewidth=0.8)
    axes.set_yticks(places, [_direction(metric) for metric in metrics], fontsize=8)
    axes.set_xticks([])
    axes.margins(x=0.15)
    _legend_below(axes)


def _compared(measured: Mapping[str, float]) -> list[str]:
    return [name for name in measured if name in METRICS]


def bars_of_importance(axes: Axes, importance: Mapping[str, float]) -> None:
    top = sorted(importance.items(), key=lambda item: -item[1])[:TOP_FEATURES][::-1]
    bars = axes.barh([_short(name) for name, _ in top], [share for _, share in top], color=COLORS[0])
    axes.bar_label(bars, fmt=lambda share: f"{share:.1%}", fontsize=7, padding=2)
    axes.set(xlabel="Share of importance")
    axes.margins(x=0.12)


def dots_of_slices(axes: Axes, slices: Mapping[str, Sequence[tuple[str, float | None, int]]], metric: str) -> None:
    first = next(iter(slices.values()))
    largest = {label for label, _, _ in sorted(first, key=lambda row: -row[2])[:TOP_SLICES]}
    shown = [(label, rows) for label, _, rows in first if label in largest][::-1]
    position = {label: index for index, (label, _) in enumerate(shown)}
    for (name, table), color in zip(slices.items(), COLORS, strict=False):
        known = [(value, position[label]) for label, value, _ in table if value is not None and label in position]
        axes.plot(
            [v for v, _ in known],
            [p for _, p in known],
            "o",
            color=color,
            markersize=5,
            alpha=0.8,
            label=_short(name),
        )
    axes.set_yticks(range(len(shown)), [f"{_short(label)} ({rows:,})" for label, rows in shown], fontsize=8)
    axes.set(xlabel=_direction(metric).replace("\n", " "), ylim=(-0.8, len(shown) - 0.2))
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.6)
    _legend_below(axes)


def search_history(axes: Axes, trials: Sequence[Trial], metric: str) -> None:
    candidates = sorted({trial.candidate for trial in trials})
    for candidate, color in zip(candidates, _colors(len(candidates)), strict=True):
        for state, marker in (("complete", "o"), ("pruned", "x")):
            chosen = [t for t in trials if t.candidate == candidate and t.state == state and t.value is not None]
            if chosen:
                axes.plot(
                    [trial.number for trial in chosen],
                    [trial.value for trial in chosen if trial.value is not None],
                    marker,
                    color=color,
                    markersize=5,
                    label=_short(candidate if state == "complete" else f"{candidate}, pruned"),
                )
    axes.set(xlabel="Trial", ylabel=_direction(metric).replace("\n", " "))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend_below(axes)


def _save(folder: Path, *, title: str, file: str, alt: str, draw: Callable[[Axes], None], height: float) -> Picture:
    picture, content = _drawn(title, alt, draw, height)
    (folder / file).write_bytes(content)
    return replace(picture, file=file)


def drawn(title: str, alt: str, draw: Callable[[Axes], None], height: float = 3.6) -> Picture:
    """A picture that is only embedded in a page, and has no file; `height` is in inches."""
    return _drawn(title, alt, draw, height)[0]


def _drawn(title: str, alt: str, draw: Callable[[Axes], None], height: float) -> tuple[Picture, bytes]:
    figure = Figure(figsize=(5.6, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    draw(axes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    content = buffer.getvalue()
    return Picture(title, "", alt, base64.b64encode(content).decode()), content


def _legend(axes: Axes, where: Literal["best", "upper right"] = "best") -> None:
    axes.legend(fontsize=8, loc=where, framealpha=0.7, edgecolor="none")


def _legend_below(axes: Axes) -> None:
    # The figure's legend, for which its layout makes room; the axes' own would cover the label of a low picture.
    if figure := axes.get_figure():
        figure.legend(*axes.get_legend_handles_labels(), fontsize=8, loc="outside lower center", frameon=False, ncols=2)


def _direction(metric: str) -> str:
    direction = METRICS[metric].direction
    return f"{metric}\n({direction})" if direction else metric


def _height(lines: int) -> float:
    return max(2.6, 1.1 + 0.24 * lines)


def _colors(count: int) -> list[str]:
    return (list(COLORS) * math.ceil(count / len(COLORS)))[:count]


def _short(name: str) -> str:
    """The name, shortened, and escaped so that matplotlib does not read it as mathematics."""
    cut = name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1] + "…"
    return cut.replace("$", r"\$")


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most CURVE_POINTS of a curve's points, including both ends: more could not be seen."""
    if len(x) <= CURVE_POINTS:
        return x, y
    kept = np.linspace(0, len(x) - 1, CURVE_POINTS).astype(int)
    return x[kept], y[kept]


def _both_classes(labels: np.ndarray) -> bool:
    return 0 < int(labels.sum()) < len(labels)


def _always(labels: np.ndarray) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class OwnPicture:
    """A picture that only some problem kinds have; it is drawn `when` the holdout's labels allow it."""

    title: str
    file: str
    alt: str
    draw: Callable[..., None]
    when: Callable[[np.ndarray], bool] = _always


OWN: Mapping[str, OwnPicture] = {
    "roc": OwnPicture(
        title="ROC",
        file="roc.png",
        alt="True positive rate against false positive rate for each model.",
        draw=roc,
        when=_both_classes,
    ),
    "precision_recall": OwnPicture(
        title="Precision and recall",
        file="precision_recall.png",
        alt="Precision against recall for each model.",
        draw=precision_recall,
        when=_both_classes,
    ),
    "calibration": OwnPicture(
        title="Calibration",
        file="calibration.png",
        alt="What was observed against the predicted probability, with a histogram of the scores.",
        draw=calibration,
    ),
    "confusion": OwnPicture(
        title="Confusion",
        file="confusion.png",
        alt="For the rows of each class, the share that the challenger predicts as each class.",
        draw=confusion,
    ),
    "per_class": OwnPicture(
        title="F1 of each class", file="per_class.png", alt="The F1 of each class for each model.", draw=per_class
    ),
    "observed": OwnPicture(
        title="Predicted and observed",
        file="observed.png",
        alt="The mean label against the mean prediction, in ten bins of the prediction.",
        draw=observed,
    ),
    "coverage": OwnPicture(
        title="Coverage of the intervals",
        file="coverage.png",
        alt="The share of labels inside their intervals by the mean prediction, and the share that was asked for.",
        draw=coverage,
    ),
    "residuals": OwnPicture(
        title="Errors", file="residuals.png", alt="How many rows have which error, for each model.", draw=residuals
    ),
}
"""By the names in `Problem.pictures`."""
