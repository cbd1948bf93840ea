"""What moved on a monitored day: the predictions and each feature, by how far they go beyond what a day may.

A day's population stability index (PSI) says little by itself: single days differ from the weeks that a model learned
from. So each has an allowance, which the monitor records with the day, and what counts is the excess over it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tailrace.spec import Monitor

PREDICTIONS = ""
"""The name that stands for the predictions among the features."""
WORDS = {PREDICTIONS: "the predictions"}


@dataclass(frozen=True, kw_only=True)
class DriftMeasure:
    """How far the predictions or a feature moved since training, as PSI.

    `allowance` is the PSI that the day may have; None if an earlier release of Tailrace measured the day.
    """

    name: str
    psi: float
    allowance: float | None = None

    @property
    def excess(self) -> float | None:
        return None if self.allowance is None else self.psi - self.allowance

    @property
    def title(self) -> str:
        """The feature's name; 'the predictions' for those."""
        return WORDS.get(self.name, self.name)

    def __str__(self) -> str:
        allowed = "" if self.allowance is None else f", {self.allowance:.2f} allowed"
        return f"{self.title} (PSI {self.psi:.2f}{allowed})"


def of_row(row: Mapping[str, Any]) -> tuple[DriftMeasure, ...]:
    """Everything that was measured on a day of the performance table, furthest beyond its allowance first."""
    psi = {PREDICTIONS: row.get("score_psi"), **_object(row.get("feature_psi"))}
    allowed = {PREDICTIONS: row.get("score_allowance"), **_object(row.get("feature_allowance"))}
    found = [
        DriftMeasure(name=name, psi=value, allowance=_finite(allowed.get(name)))
        for name, each in psi.items()
        if (value := _finite(each)) is not None
    ]
    return tuple(sorted(found, key=lambda each: (_order(each), each.psi), reverse=True))


def culprits(row: Mapping[str, Any], monitor: Monitor) -> tuple[DriftMeasure, ...]:
    """What made a day `watch` or `alarm`: what jumped, else what is furthest beyond its allowance, if that is enough.

    Of a day without allowances it is what may have: nothing that moved by less than the limit goes beyond it.
    """
    limit = {"watch": monitor.watch_psi, "alarm": monitor.alarm_psi}.get(str(row.get("drift")))
    found, jumped = of_row(row), _names(row.get("jumped"))
    if limit is None or not found:
        return ()
    if row.get("drift") == "alarm" and jumped is not None:
        return tuple(each for each in found if each.name in jumped)
    if found[0].excess is not None:
        return found[:1] if found[0].excess >= limit else ()
    candidates = {PREDICTIONS, str(row.get("worst_feature"))}
    return tuple(each for each in found if each.name in candidates and each.psi >= limit)


def by_day(rows: Sequence[Mapping[str, Any]], most: int) -> list[tuple[str, list[DriftMeasure | None]]]:
    """The predictions and the features that went furthest beyond their allowances, at most `most` of them, each with
    what was measured on every one of these days; None where nothing was."""
    days = [{each.name: each for each in of_row(row) if each.excess is not None} for row in rows]
    furthest: dict[str, float] = {}
    for found in days:
        for name, each in found.items():
            furthest[name] = max(furthest.get(name, -math.inf), _order(each))
    named = sorted(furthest, key=lambda name: furthest[name], reverse=True)[:most]
    return [(WORDS.get(name, name), [found.get(name) for found in days]) for name in named]


def _order(moved: DriftMeasure) -> float:
    return -math.inf if moved.excess is None else moved.excess


def _object(found: Any) -> dict[str, Any]:
    """A JSON object, as text or as it is; empty for anything else, such as a damaged row."""
    try:
        return dict(json.loads(found) if isinstance(found, str) else found or {})
    except (ValueError, TypeError):
        return {}


def _names(found: Any) -> list[str] | None:
    """A JSON list; None for a row of an earlier release, or a damaged one."""
    try:
        return list(json.loads(found)) if isinstance(found, str) else None
    except (ValueError, TypeError):
        return None


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
