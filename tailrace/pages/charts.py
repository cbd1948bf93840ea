"""Figures for plotly.js. A colour such as '--accent' comes from the style sheet, so charts follow the theme."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Mapping, Sequence
from typing import Any

from tailrace.champions.promotions import Promotion
from tailrace.monitoring import drift_rows
from tailrace.pages.day import Histogram
from tailrace.pages.sources import number
from tailrace.problems.metrics import METRICS
from tailrace.spec import Gate, Monitor

Figure = dict[str, Any]

A_TICK_A_DAY = {"dtick": 86_400_000, "tickformat": "%b %-d<br>%Y"}


def performance(
    rows: Sequence[Mapping[str, Any]], metric: str, promotions: Sequence[Promotion], gate: Gate | None = None
) -> Figure | None:
    """The metric by day, with the limit that the gate has for it; None while no outcome is known."""
    by_day = [{**row, metric: row["metrics"].get(metric), "known": _outcomes(row)} for row in rows]
    line = _line(by_day, metric, "published predictions", color="--accent", detail="known")
    title = f"{METRICS[metric].title}<br>({METRICS[metric].direction})"
    if not line["x"]:
        return None
    figure = _over_days([line], rows, promotions, title)
    for name, limit in (("floor", gate.floor), ("ceiling", gate.ceiling)) if gate else ():
        if limit is not None:
            _add_limit(figure, f"{name} {limit:g}", limit, "--refused")
    return figure


def drift(
    rows: Sequence[Mapping[str, Any]], promotions: Sequence[Promotion], monitor: Monitor | None = None
) -> Figure | None:
    """How far predictions, and the feature that moved most, go beyond their allowances, with the limits of `monitor`.

    None if no day was measured with its allowances.
    """
    measured = [excess for row in rows if (excess := _excess(row, monitor or Monitor()))]
    lines = [
        _line(measured, "predictions", "predictions", color="--accent", detail="predictions_words"),
        _line(measured, "feature", "the feature that moved most", color="--second", detail="feature_words"),
    ]
    drawn = [line for line in lines if line["x"]]
    if not drawn:
        return None
    marked = [_marks(measured, "watch", "--warned"), _marks(measured, "alarm", "--refused")]
    figure = _over_days(
        [*drawn, *(marks for marks in marked if marks["x"])], rows, promotions, "PSI beyond what a day may have"
    )
    if monitor is not None:
        _add_limit(figure, f"watch from {monitor.watch_psi:g}", monitor.watch_psi, "--warned")
        _add_limit(figure, f"alarm from {monitor.alarm_psi:g}", monitor.alarm_psi, "--refused")
    return figure


def _plain(text: str) -> str:
    """A text from data or people, so that Plotly shows its letters: it reads tags and entities in every text."""
    return html.escape(text, quote=False)


def _outcomes(row: Mapping[str, Any]) -> str:
    """Of how many outcomes a day's metrics were measured."""
    count = row.get("known_outcomes")
    return "" if count is None else f"{count:,} outcome{'' if count == 1 else 's'}"


def _add_limit(figure: Figure, text: str, limit: float, color: str) -> None:
    """Draw a horizontal line, with its text at its right end."""
    line = {"color": color, "width": 1, "dash": "dash"}
    shape = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": limit, "y1": limit, "line": line}
    at_its_end = {"xref": "paper", "x": 1, "xanchor": "right", "y": limit, "yanchor": "bottom", "showarrow": False}
    figure["layout"]["shapes"].append(shape)
    figure["layout"]["annotations"].append({**at_its_end, "text": text, "font": {"size": 10, "color": color}})


def _excess(row: Mapping[str, Any], monitor: Monitor) -> dict[str, Any] | None:
    """A day's excess of the predictions, of the feature furthest beyond, and of what made its drift level."""
    found = [each for each in drift_rows.of_row(row) if each.excess is not None]
    if not found:
        return None
    of_score = next((each for each in found if each.name == drift_rows.PREDICTIONS), None)
    of_feature = next((each for each in found if each.name != drift_rows.PREDICTIONS), None)
    return {
        **row,
        "predictions": of_score.excess if of_score else None,
        "predictions_words": _plain(str(of_score or "")),
        "feature": of_feature.excess if of_feature else None,
        "feature_words": _plain(str(of_feature or "")),
        "furthest": next((each.excess for each in drift_rows.culprits(row, monitor)), found[0].excess),
    }


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
        "xaxis": _classes(scores.names) if scores.names else {"title": {"text": _plain(scores.column)}, "range": ends},
        "yaxis": {"title": {"text": "share of the rows"}, "tickformat": ".0%", "rangemode": "tozero"},
        "bargap": 0,
    }
    return {"data": traces, "layout": layout}


def _classes(names: Sequence[str]) -> Figure:
    """An axis of classes, each at its position."""
    return {
        "title": {"text": "predicted class"},
        "tickvals": list(range(len(names))),
        "ticktext": [_plain(name) for name in names],
    }


def _line(rows: Sequence[Mapping[str, Any]], column: str, name: str, *, color: str, detail: str = "") -> Figure:
    known = [(row["ds"], value, row) for row in rows if (value := number(row.get(column))) is not None]
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(known) < 60 else "lines",
        "name": name,
        "x": [str(day) for day, _, _ in known],
        "y": [value for _, value, _ in known],
        "text": [
            f"v{row.get('model_version')}{f', {row[detail]}' if detail and row[detail] else ''}" for _, _, row in known
        ],
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
                "hovertext": _plain(f"{each.decision.replace('_', ' ')} by {each.decided_by}"),
            }
            for day, each in marked.items()
        ],
    }
    return {"data": list(lines), "layout": layout}


def _marks(rows: Sequence[Mapping[str, Any]], drift: str, color: str) -> Figure:
    """A mark on each day with this drift level, at what goes furthest beyond its allowance."""
    known = [row for row in rows if row.get("drift") == drift]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": drift,
        "x": [str(row["ds"]) for row in known],
        "y": [row["furthest"] for row in known],
        "marker": {"color": color, "size": 10, "symbol": "diamond"},
        "hoverinfo": "skip",
    }
