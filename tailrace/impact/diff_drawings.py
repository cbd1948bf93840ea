"""The charts of a diff, drawn with matplotlib as the evaluation report's are."""

# ruff: noqa: TID253 - a leaf that `diff_page` imports when it draws
from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes

from tailrace.impact.pipeline_diff import PipelineDiff
from tailrace.problems.distributions import equal_edges
from tailrace.reporting.pictures import COLORS, DRAWABLE, Picture, drawn

_BINS = 40


def of_pipeline(found: PipelineDiff) -> list[Picture]:
    """For each column that moved: its values before and after, and how far each row moved."""
    pictures = []
    for name, rows in found.drawn.items():
        before, after = (_numbers(rows[side]) for side in ("before", "after"))
        if not len(before) or not len(after):
            continue
        title = name.removeprefix("prediction ")
        pictures.append(
            drawn(
                f"{title}, before and after",
                f"Histograms of {title} before and after the edit, of the rows that differ.",
                partial(_histograms, before=before, after=after),
                2.8,
            )
        )
        pictures.append(
            drawn(
                f"{title}, row by row",
                f"{title} of each row that differs: before to the right, after upwards.",
                _rows(rows),
                3.2,
            )
        )
    return pictures


def _histograms(axes: Axes, *, before: np.ndarray, after: np.ndarray) -> None:
    together = np.concatenate([before, after])
    edges = equal_edges(np.quantile(together, [0.005, 0.995]), _BINS)
    for values, color, label in ((before, COLORS[0], "before"), (after, COLORS[1], "after")):
        axes.hist(np.clip(values, edges[0], edges[-1]), bins=edges.tolist(), color=color, alpha=0.55, label=label)
    axes.set_ylabel("rows")
    axes.legend(frameon=False)


def _rows(rows: pa.Table) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        before, after = (_as_floats(rows[side]) for side in ("before", "after"))
        both = np.isfinite(before) & np.isfinite(after)
        before, after = (np.clip(each, -DRAWABLE, DRAWABLE) for each in (before, after))
        axes.scatter(before[both], after[both], s=4, alpha=0.35, color=COLORS[0], linewidths=0)
        if both.any():
            ends = [min(before[both].min(), after[both].min()), max(before[both].max(), after[both].max())]
            axes.plot(ends, ends, color="#9ca3af", linewidth=0.8)
        axes.set_xlabel("before")
        axes.set_ylabel("after")

    return draw


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    values = _as_floats(column.drop_null())
    return np.clip(values[np.isfinite(values)], -DRAWABLE, DRAWABLE)


def _as_floats(column: pa.ChunkedArray) -> np.ndarray:
    # Not `safe`: a whole number beyond 2^53 is drawn rounded.
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=float)
