"""The charts of an exploration, drawn with matplotlib as the evaluation report's are."""

# ruff: noqa: TID253 - a leaf that `page` imports when it draws
from __future__ import annotations

import datetime as dt
import itertools
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from tailrace.problems import Problem
from tailrace.problems.distributions import equal_edges
from tailrace.profiling.columns import ColumnProfile, in_short, numbers, plain
from tailrace.profiling.exploration import Exploration
from tailrace.reporting.pictures import COLORS, DRAWABLE, Picture, drawn

MOST_COLUMNS = 24
"""Only so many columns get charts: those that say most about the label, or drift most."""
MOST_BARS, MOST_POINTS = 12, 60
BINS = 30
GREY, SOFT = "#9ca3af", 0.2
LETTERS = 18
DRAWN_YEARS = (np.datetime64("1900-01-01"), np.datetime64("2200-01-01"))
"""Moments beyond are drawn at these ends."""


class Chart(NamedTuple):
    """A chart for a column, or for the whole table."""

    title: str
    alt: str
    height: float
    draw: Callable[[Axes], None]


def of_table(found: Exploration) -> list[Picture]:
    """The charts of the table: rows by day, and if there is a label, what is associated with it."""
    charts = []
    if found.days:
        charts.append(Chart("Rows by day", f"The number of rows of each day of {found.table}.", 2.4, _days(found)))
    if found.label and found.label.associations:
        best = [each for each in found.ranked if found.strength(each.name) > 0][:20]
        if best:
            title = f"What alone predicts {in_short(found.label.name)}"
            alt = f"The {found.label.metric} of the columns that predict the label best, each alone."
            charts.append(Chart(title, alt, 1.1 + 0.24 * len(best), _strongest(found, [each.name for each in best])))
    if drifting := [
        each.name for each in sorted(found.columns, key=lambda c: -found.worst(c.name)) if found.worst(each.name)
    ][:8]:
        charts.append(
            Chart(
                "Drift by week",
                "The stability index of each week, for what drifts most.",
                2.8,
                _drifts(found, drifting),
            )
        )
    return [_picture(chart) for chart in charts]


def of_column(found: Exploration, column: ColumnProfile) -> list[Picture]:
    """The charts of a column: its values, their course over the days, and the label by value."""
    if column.kind == "other" or not column.known:
        return []
    rows = plain(found.rows[column.name])
    name = in_short(column.name)
    charts = [Chart("Values", f"The distribution of {name}.", 2.3, _values(column, rows))]
    if found.day and found.day != column.name and len(found.days) > 1:
        days = found.rows[found.day]
        charts.append(Chart("By day", f"{name} by day.", 2.3, _by_day(column, rows, days)))
    label = found.label
    if label is not None and label.name != column.name and label.associations:
        encoded = label.problem.encoded(plain(found.rows[label.name]))
        title = f"{in_short(label.name)} by value"
        charts.append(Chart(title, f"{title} of {name}.", 2.3, _label(column, rows, encoded, label.problem)))
    return [_picture(chart) for chart in charts]


def _picture(chart: Chart) -> Picture:
    with warnings.catch_warnings():
        # A letter that matplotlib's font lacks is drawn as a box, and whoever reads the page sees it in the table.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        return drawn(chart.title, chart.alt, chart.draw, chart.height)


def _short(text: str) -> str:
    printable = "".join(letter if letter.isprintable() else "?" for letter in text)
    cut = printable if len(printable) <= LETTERS else printable[: LETTERS - 1] + "…"
    return cut.replace("$", r"\$")


def _dated(axes: Axes) -> None:
    locator = AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _days(found: Exploration) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        axes.bar(_moments(found.days), list(found.days.values()), color=COLORS[0], width=1.0)
        axes.set(ylabel="Rows")
        _dated(axes)

    return draw


def _strongest(found: Exploration, names: Sequence[str]) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        label = found.label
        values = [label.associations[name].value if label else 0.0 for name in names][::-1]
        places = range(len(names))
        bars = axes.barh(places, values, color=COLORS[0])
        axes.bar_label(bars, fmt="%.3f", fontsize=7, padding=2)
        axes.set_yticks(places, [_short(name) for name in names][::-1], fontsize=8)
        axes.set(xlabel=label.metric if label else "")
        axes.margins(x=0.12)

    return draw


def _drifts(found: Exploration, names: Sequence[str]) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for number, name in enumerate(names):
            mondays, values = zip(*found.drifts[name].psi, strict=True)
            axes.plot(
                _moments(mondays),
                values,
                marker=".",
                color=COLORS[number % len(COLORS)],
                label=_short(name),
                linewidth=1,
            )
        for limit in (0.1, 0.25):
            axes.axhline(limit, color=GREY, linewidth=0.8, linestyle="--")
        axes.set(ylabel="PSI")
        axes.legend(fontsize=7, loc="best", framealpha=0.7, edgecolor="none", ncols=2)
        _dated(axes)

    return draw


def _values(column: ColumnProfile, rows: pa.ChunkedArray) -> Callable[[Axes], None]:
    groups = column.kind == "text" and column.distinct <= len(rows) / 2
    few = column.distinct <= MOST_BARS and column.kind not in ("day", "moment")
    if groups or few:
        return _bars(column, rows)
    return lambda axes: _histogram(axes, column, rows)


def _bars(column: ColumnProfile, rows: pa.ChunkedArray) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        values, counts = _most_frequent(rows)
        others = column.known - sum(counts)
        labels = [_short(in_short(value)) for value in values]
        extra = [(f"{column.distinct - len(values):,} others", others)] if others else []
        extra += [("missing", column.missing)] if column.missing else []
        labels += [name for name, _ in extra]
        shares = [count / column.rows for count in (*counts, *(count for _, count in extra))]
        colors = [COLORS[0]] * len(values) + [GREY] * len(extra)
        axes.barh(range(len(labels)), shares, color=colors)
        axes.set_yticks(range(len(labels)), labels, fontsize=7)
        axes.invert_yaxis()
        axes.set(xlabel="Share of rows")

    return draw


def _histogram(axes: Axes, column: ColumnProfile, rows: pa.ChunkedArray) -> None:
    values = _finite(numbers(rows))
    if column.kind in ("day", "moment"):
        axes.hist(_seconds(values).astype(dt.datetime), bins=BINS, color=COLORS[0])
        _dated(axes)
        return
    low, high = np.quantile(values, [0.005, 0.995]) if len(values) else (0.0, 1.0)
    inside = values[(values >= low) & (values <= high)] if high > low else values
    edges, shares = equal_edges(inside, BINS), np.full(len(inside), 1 / max(1, column.rows))
    axes.hist(inside, bins=edges.tolist(), color=COLORS[0], weights=shares)
    axes.set(xlabel="Letters" if column.kind == "text" else "", ylabel="Share of rows")


def _by_day(column: ColumnProfile, rows: pa.ChunkedArray, days: pa.ChunkedArray) -> Callable[[Axes], None]:
    few = column.kind == "text" and column.distinct <= len(rows) / 2
    return lambda axes: _shares_by_day(axes, rows, days) if few else _quantiles_by_day(axes, column, rows, days)


def _periods(days: pa.ChunkedArray) -> list[tuple[dt.date, int, int]]:
    """At most MOST_POINTS periods of sorted days: the first day, the first row and the row behind the last one."""
    found, starts = np.unique(days.cast(pa.date32()).to_numpy(), return_index=True)
    step = -(-len(found) // MOST_POINTS)
    begins = list(range(0, len(found), step))
    ends = [*(int(starts[at]) for at in begins[1:]), len(days)]
    return [(found[at].item(), int(starts[at]), end) for at, end in zip(begins, ends, strict=True)]


def _quantiles_by_day(axes: Axes, column: ColumnProfile, rows: pa.ChunkedArray, days: pa.ChunkedArray) -> None:
    values = numbers(rows).to_numpy()
    periods = _periods(days)
    parts = [_finite_array(values[start:end]) for _, start, end in periods]
    kept = [(day, part) for (day, _, _), part in zip(periods, parts, strict=True) if len(part)]
    if not kept:
        return
    x = _moments(day for day, _ in kept)
    if column.kind == "flag":
        axes.plot(x, [part.mean() for _, part in kept], color=COLORS[0])
        axes.set(ylabel="Share true", ylim=(0, 1))
    else:
        low, middle, high = np.array([np.quantile(part, [0.1, 0.5, 0.9]) for _, part in kept]).T
        if column.kind in ("day", "moment"):
            low, middle, high = (_seconds(each) for each in (low, middle, high))
        axes.fill_between(x, low, high, color=COLORS[0], alpha=SOFT, linewidth=0)
        axes.plot(x, middle, color=COLORS[0])
        axes.set(ylabel="Median, 10 to 90 %")
    _missing_line(axes, column, rows, periods)
    _dated(axes)


def _missing_line(
    axes: Axes, column: ColumnProfile, rows: pa.ChunkedArray, periods: Sequence[tuple[dt.date, int, int]]
) -> None:
    """The share of missing values, on an axis of its own, if there are any."""
    if not column.missing:
        return
    missing = pc.is_null(rows).to_numpy()
    right = axes.twinx()
    right.plot(
        _moments(day for day, _, _ in periods),
        [missing[a:b].mean() for _, a, b in periods],
        color=COLORS[1],
        linewidth=1,
    )
    right.set(ylim=(0, 1))
    right.set_ylabel("Share missing", color=COLORS[1])
    right.tick_params(labelsize=8)
    right.spines[["top"]].set_visible(False)


def _shares_by_day(axes: Axes, rows: pa.ChunkedArray, days: pa.ChunkedArray) -> None:
    values, _ = _most_frequent(rows, 5)
    codes = pc.index_in(rows, pa.array(values, rows.type)).to_numpy()
    periods = _periods(days)
    x = _moments(day for day, _, _ in periods)
    for number, value in enumerate(values):
        shares = [float((codes[start:end] == number).mean()) for _, start, end in periods]
        axes.plot(x, shares, color=COLORS[number % len(COLORS)], label=_short(in_short(value)), linewidth=1)
    axes.set(ylabel="Share of rows", ylim=(0, None))
    axes.legend(fontsize=6, loc="best", framealpha=0.7, edgecolor="none")
    _dated(axes)


def _label(
    column: ColumnProfile, rows: pa.ChunkedArray, encoded: pa.ChunkedArray, problem: Problem
) -> Callable[[Axes], None]:
    known = pc.is_valid(encoded)
    rows, labels = rows.filter(known), encoded.drop_null().to_numpy()

    def draw(axes: Axes) -> None:
        groups = list(_groups(column, rows))
        names = [name for name, _ in groups]
        kinds = problem.label_values
        if kinds is not None and len(kinds) > 2:
            left = np.zeros(len(groups))
            for number, value in enumerate(kinds):
                shares = np.array([float((labels[mask] == value).mean()) for _, mask in groups])
                color = COLORS[number % len(COLORS)]
                axes.barh(range(len(groups)), shares, left=left, color=color, label=_short(problem.label_words(value)))
                left += shares
            axes.legend(fontsize=6, loc="best", framealpha=0.7, edgecolor="none")
        else:
            axes.barh(range(len(groups)), [float(labels[mask].mean()) for _, mask in groups], color=COLORS[3])
        axes.set_yticks(range(len(groups)), [_short(name) for name in names], fontsize=7)
        axes.invert_yaxis()
        axes.set(xlabel="Share" if kinds is not None else "Mean")

    return draw


def _groups(column: ColumnProfile, rows: pa.ChunkedArray) -> list[tuple[str, np.ndarray]]:
    """The rows by value, or by tenths of the values; the rows without a value last."""
    missing = pc.is_null(rows).to_numpy()
    found = []
    if column.kind == "text" or (column.distinct <= MOST_BARS and column.kind not in ("day", "moment")):
        for value in _most_frequent(rows)[0]:
            found.append((in_short(value), pc.fill_null(pc.equal(rows, pa.scalar(value, rows.type)), False).to_numpy()))
    else:
        values = numbers(rows).to_numpy()
        edges = np.unique(np.nanquantile(np.where(np.isfinite(values), values, np.nan), np.linspace(0, 1, 9)))
        for low, high in itertools.pairwise(edges):
            mask = (values >= low) & ((values < high) | ((high == edges[-1]) & (values <= high)))
            text = f"{low:.4g} to {high:.4g}"
            if column.kind in ("day", "moment"):
                text = str(_seconds(low))[:10]
            found.append((text, mask))
    found += [("missing", missing)] if missing.any() else []
    return [(name, mask) for name, mask in found if mask.any()]


def _most_frequent(rows: pa.ChunkedArray, most: int = MOST_BARS) -> tuple[list[object], list[int]]:
    counted = rows.drop_null().value_counts()
    table = pa.table({"value": counted.field("values"), "rows": counted.field("counts")})
    best = table.sort_by([("rows", "descending")]).slice(0, most)
    return best["value"].to_pylist(), best["rows"].to_pylist()


def _moments(days: Iterable[dt.date]) -> np.ndarray:
    """Days as matplotlib draws them."""
    return np.clip(np.array(list(days), dtype="datetime64[D]"), *DRAWN_YEARS)


def _seconds(values: np.ndarray) -> np.ndarray:
    """Seconds since 1970 as moments that matplotlib can draw."""
    low, high = (float(end.astype("datetime64[s]").astype(int)) for end in DRAWN_YEARS)
    return np.clip(values, low, high).astype("datetime64[s]")


def _finite(values: pa.ChunkedArray) -> np.ndarray:
    return _finite_array(values.to_numpy())


def _finite_array(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.clip(values[np.isfinite(values)], -DRAWABLE, DRAWABLE)
    return found
