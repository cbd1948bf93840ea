"""Figures for plotly.js. A colour such as '--accent' comes from the style sheet, so charts follow the theme."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from tailrace.champions.promotions import Promotion
from tailrace.pages.day import Histogram
from tailrace.pages.sources import number
from tailrace.problems.metrics import METRICS

Figure = dict[str, Any]

A_TICK_A_DAY = {"dtick": 86_400_000, "tickformat": "%b %-d<br>%Y"}


def performance(rows: Sequence[Mapping[str, Any]], metric: str, promotions: Sequence[Promotion]) -> Figure | None:
    """The metric by day; None while no outcome is known."""
    by_day = [{**row, metric: row["metrics"].get(metric)} for row in rows]
    line = _line(by_day, metric, "published predictions", color="--accent")
    title = f"{METRICS[metric].title} ({METRICS[metric].direction})"
    return _over_days([line], rows, promotions, title) if line["x"] else None


def drift(rows: Sequence[Mapping[str, Any]], promotions: Sequence[Promotion]) -> Figure | None:
    """How far predictions, and the feature that moved most, are from training; None if this was never measured."""
    measured = [
        _line(rows, "score_psi", "predictions", color="--accent"),
        _line(rows, "worst_feature_psi", "the feature that moved most", color="--second", detail="worst_feature"),
    ]
    drawn = [line for line in measured if line["x"]]
    if not drawn:
        return None
    marked = [_marks(rows, "watch", "--warned"), _marks(rows, "alarm", "--refused")]
    lines = [*drawn, *(marks for marks in marked if marks["x"])]
    return _over_days(lines, rows, promotions, "population stability index")


def histogram(scores: Histogram, day: dt.date, version: str) -> Figure:
    """The day's predictions compared with those on the training's holdout."""
    middles = [(low + high) / 2 for low, high in zip(scores.edges[:-1], scores.edges[1:], strict=True)]
    bars: Figure = {
        "type": "bar",
        "name": str(day),
        "x": middles,
        "y": list(scores.shares),
        "width": scores.edges[1] - scores.edges[0],
        "marker": {"color": "--accent-soft", "line": {"color": "--accent", "width": 1}},
        "hovertemplate": f"{'' if scores.names else 'about %{x:.2f}: '}%{{y:.1%}} of the rows<extra></extra>",
    }
    traces = [bars]
    if scores.training_edges:
        steps: Figure = {
            "type": "scatter",
            "mode": "lines",
            "name": f"training holdout of v{version}",
            "x": list(scores.training_edges),
            "y": [*scores.training_shares, scores.training_shares[-1]],
            "line": {"shape": "hv", "color": "--second", "width": 2},
            "hoverinfo": "skip",
        }
        traces.append(steps)
    ends = [scores.edges[0], scores.edges[-1]] if scores.edges else [0, 1]
    layout = {
        "xaxis": _classes(scores.names) if scores.names else {"title": {"text": scores.column}, "range": ends},
        "yaxis": {"title": {"text": "share of the rows"}, "tickformat": ".0%", "rangemode": "tozero"},
        "bargap": 0,
    }
    return {"data": traces, "layout": layout}


def _classes(names: Sequence[str]) -> Figure:
    """An axis of classes, each at its position."""
    return {"title": {"text": "predicted class"}, "tickvals": list(range(len(names))), "ticktext": list(names)}


def _line(rows: Sequence[Mapping[str, Any]], column: str, name: str, *, color: str, detail: str = "") -> Figure:
    known = [(row["ds"], value, row) for row in rows if (value := number(row.get(column))) is not None]
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(known) < 60 else "lines",
        "name": name,
        "x": [str(day) for day, _, _ in known],
        "y": [value for _, value, _ in known],
        "text": [f"v{row.get('model_version')}{f', {row[detail]}' if detail else ''}" for _, _, row in known],
        "line": {"color": color, "width": 2},
        "hovertemplate": "%{x|%Y-%m-%d}: %{y:.3f} (%{text})<extra>" + name + "</extra>",
    }


def _over_days(
    lines: Sequence[Figure], rows: Sequence[Mapping[str, Any]], promotions: Sequence[Promotion], title: str
) -> Figure:
    """Lines by day, with a mark at each day on which a version became champion."""
    first, last = rows[0]["ds"], rows[-1]["ds"]
    marked = {
        each.effective_from: each
        for each in promotions
        if each.decision != "rejected" and first <= each.effective_from <= last
    }
    layout = {
        # For a few days, Plotly would show the hours.
        "xaxis": {"type": "date", **(A_TICK_A_DAY if (last - first).days < 10 else {})},
        "yaxis": {"title": {"text": title}},
        "shapes": [
            {
                "type": "line",
                "x0": str(day),
                "x1": str(day),
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"color": "--muted", "width": 1, "dash": "dot"},
            }
            for day in marked
        ],
        "annotations": [
            {
                "x": str(day),
                "yref": "paper",
                "y": 1,
                "yanchor": "bottom",
                "showarrow": False,
                "text": f"v{each.version}",
                "hovertext": f"{each.decision.replace('_', ' ')} by {each.decided_by}",
            }
            for day, each in marked.items()
        ],
    }
    return {"data": list(lines), "layout": layout}


def _marks(rows: Sequence[Mapping[str, Any]], drift: str, color: str) -> Figure:
    """A mark on each day with this drift level, at the feature that moved most."""
    known = [row for row in rows if row.get("drift") == drift and number(row.get("worst_feature_psi")) is not None]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": drift,
        "x": [str(row["ds"]) for row in known],
        "y": [row["worst_feature_psi"] for row in known],
        "marker": {"color": color, "size": 10, "symbol": "diamond"},
        "hoverinfo": "skip",
    }
