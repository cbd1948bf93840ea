"""Distributions of numbers, how far others have moved from them, and how far a single day may be.

The distance is the population stability index (PSI). One day differs from the weeks around it, and a day of few rows
differs more, by chance alone. So a day is judged by the furthest of the single days that are known, with half
as much again, and with what chance adds to so few rows.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np

_Rows = TypeVar("_Rows", bound=Sized)

DAYS_BEFORE = 28
"""A day is compared with those of so many days before it that were published: four of each weekday."""
SPREAD = 1.5
"""A day may be further away than the furthest day that is known by half as much again: few days are known."""
DEVIATIONS = 3
"""How many standard deviations of chance a day of few rows is allowed."""
MORE_REPEATS = 0.3
"""A share of rows: so many more than on any day that is known may have the day's most common value."""


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """The shares of a column's values in bins: `edges` are ascending, and there is one more share than edges.

    `usual` is how far single days are from the others, beyond chance, and `repeats` the greatest share of rows with one
    value on a single day; both are None where they are not known, as in trainings of earlier releases. `classes` are
    what 0, 1, 2 ... stand for where the values are classes; empty also in trainings of earlier releases.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    usual: float | None = None
    repeats: float | None = None
    classes: tuple[Any, ...] = ()

    @classmethod
    def of(
        cls,
        values: np.ndarray,
        *,
        edges: Sequence[float] = (),
        bins: int = 10,
        days: np.ndarray | None = None,
        fewest: int = 1,
        classes: Sequence[Any] = (),
    ) -> Distribution:
        """The finite values in bins between these edges; without edges, in bins between their quantiles.

        `days` has the day of each value; without them, single days are not known. Of days with fewer than `fewest`
        values nothing is learned about single days, unless all days are so small.
        """
        finite = np.isfinite(values)
        values, days = values[finite], None if days is None else days[finite]
        at = np.array(edges) if len(edges) else quantile_edges(values, bins)
        shares = shares_of_counts(counts_between(at, values))
        bare = cls(edges=tuple(at.tolist()), shares=tuple(shares.tolist()), classes=tuple(classes))
        if days is None:
            return bare
        of_days = of_enough_rows([values[days == day] for day in np.unique(days)], fewest)
        usual = furthest_day(np.array([counts_between(at, each) for each in of_days]))
        return replace(bare, usual=usual, repeats=max(repeats(each) for each in of_days))

    def with_days(self, values: np.ndarray, days: np.ndarray, *, fewest: int = 1) -> Distribution:
        """With more single days of the same model, such as those that it learned from.

        `days` has the day of each value; days of fewer than `fewest` rows are left out. These days are compared with
        one another, and not with this distribution: a model tells rows that it learned from further apart.
        """
        of_days = [counts for day in np.unique(days) if (counts := self.counts(values[days == day])).sum() >= fewest]
        further = furthest_day(np.array(of_days)) if of_days else 0.0
        return replace(self, usual=max(self.usual or 0.0, further))

    def in_order_of(self, classes: Sequence[Any]) -> Distribution:
        """Where the values are classes: with them in another order, such as that of a spec that was edited since."""
        return replace(self, shares=in_order(self.shares, self.classes, classes), classes=tuple(classes))

    def without_thin_bins(self) -> Distribution:
        """With the bins of a single value joined to the next, for a picture, in which they have no width."""
        edges, shares = list(self.edges[:1]), list(self.shares[:2])
        for edge, share in zip(self.edges[1:], self.shares[2:], strict=True):
            if edge == np.nextafter(edges[-1], np.inf):
                shares[-1] += share
            else:
                edges.append(edge)
                shares.append(share)
        return replace(self, edges=tuple(edges), shares=tuple(shares))

    def index(self, values: np.ndarray) -> float:
        """The population stability index of values against this distribution."""
        return index_of_shares(np.array(self.shares), shares_of_counts(self.counts(values)))

    def counts(self, values: np.ndarray) -> np.ndarray:
        """The number of values in each bin."""
        return counts_between(np.array(self.edges), values)

    def beyond_chance(self, counts: np.ndarray) -> float:
        """How far a day with these counts in the bins is from this distribution, beyond chance."""
        index = index_of_shares(np.array(self.shares), shares_of_counts(counts))
        return beyond_chance(index, bins=len(self.shares), rows=int(counts.sum()))

    def to_json(self) -> str:
        return json.dumps({name: value for name, value in asdict(self).items() if value is not None and value != ()})

    @classmethod
    def from_json(cls, text: str) -> Distribution:
        return cls.from_fields(json.loads(text))

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Distribution:
        """From `to_json`; fields that an earlier release did not store are not known."""
        of_bins = {name: tuple(fields.get(name, ())) for name in ("edges", "shares", "classes")}
        return cls(**of_bins, usual=fields.get("usual"), repeats=fields.get("repeats"))


def population_stability_index(expected: Distribution, observed: np.ndarray) -> float:
    """How far values moved: sum over bins of (o - e) * ln(o / e), with o and e the bins' shares.

    Source: Siddiqi, Credit Risk Scorecards (2006), chapter 10; values below 0.1 are commonly read as
    stable, above 0.25 as shifted. Empty bins count as half a row.
    """
    return expected.index(observed)


def index_of_shares(before: np.ndarray, after: np.ndarray) -> float:
    """The population stability index of the same bins' shares, none of them zero."""
    return float(np.sum((after - before) * np.log(after / before)))


def shares_of_counts(counts: np.ndarray) -> np.ndarray:
    """Shares of rows in bins; an empty bin counts as half a row."""
    return np.maximum(counts, 0.5) / counts.sum()


def quantile_edges(values: np.ndarray, bins: int = 10) -> np.ndarray:
    """Edges between which there are about as many values each.

    A value that so many rows have that several quantiles are equal, such as 0 for a rare amount, has a bin of its own.
    Without it, that value and all greater ones could be in one bin.
    """
    quantiles = np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1])
    found, times = np.unique(quantiles, return_counts=True)
    return np.unique(np.append(found, np.nextafter(found[times > 1], np.inf)))


def equal_edges(values: np.ndarray, bins: int, ends: tuple[float, float] | None = None) -> np.ndarray:
    """The edges of `bins` bins of the same width between these ends; without ends, between the finite values' own.

    There are fewer bins where float64 has too few numbers between the ends, as between two large ones.
    """
    low, high = ends or _ends(values[np.isfinite(values)])
    # The difference of two numbers of float64 may be too large for it; that of their quarters is not.
    scale = 1.0 if math.isfinite(high - low) else 4.0
    return np.unique(np.linspace(low / scale, high / scale, bins + 1) * scale)


def _ends(values: np.ndarray) -> tuple[float, float]:
    """The least and the greatest value; around a single one half a unit, or the next numbers if that is less."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if low < high:
        return low, high
    largest = sys.float_info.max
    below, above = min(low - 0.5, math.nextafter(low, -math.inf)), max(low + 0.5, math.nextafter(low, math.inf))
    return max(below, -largest), min(above, largest)


def in_order(shares: tuple[float, ...], classes: Sequence[Any], wanted: Sequence[Any]) -> tuple[float, ...]:
    """Shares of classes in the order of `wanted`; as they are if those are other classes, or the order is not known."""
    if not classes or set(classes) != set(wanted):
        return shares
    return tuple(shares[classes.index(each)] for each in wanted)


def of_enough_rows(of_days: Sequence[_Rows], fewest: int) -> list[_Rows]:
    """The days with so many rows: a day of one row says nothing of what single days are like. All, if none has them."""
    return [each for each in of_days if len(each) >= fewest] or list(of_days)


def counts_between(edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The number of values in each bin between the edges."""
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)


def repeats(values: np.ndarray) -> float:
    """The share of rows with the most common value; 0 without rows."""
    return float(np.unique(values, return_counts=True)[1].max() / len(values)) if len(values) else 0.0


def beyond_chance(index: float, *, bins: int, rows: int) -> float:
    """How much of a day's index is more than chance gives to so many rows on average; never negative.

    The index of a day that is a random sample of the same distribution, times its rows, is nearly chi-squared with one
    degree of freedom less than there are bins. Source: Yurdakul, Statistical Properties of Population Stability Index
    (2018), section 3.
    """
    return max(0.0, index - (bins - 1) / rows) if rows else 0.0


def allowed(usual: Iterable[float], *, bins: int, rows: int) -> float:
    """The greatest index that a day of so many rows may have, if single days are `usual` beyond chance."""
    freedom = bins - 1
    return SPREAD * max(usual, default=0.0) + (freedom + DEVIATIONS * math.sqrt(2 * freedom)) / max(rows, 1)


def furthest_day(counts: np.ndarray) -> float:
    """How far the furthest single day is from the others together, beyond chance; a row of counts in bins per day.

    0 if there are no two days with rows.
    """
    counts = counts[counts.sum(axis=1) > 0]
    if len(counts) < 2:
        return 0.0
    every = counts.sum(axis=0)
    found = [
        beyond_chance(
            index_of_shares(shares_of_counts(every - day), shares_of_counts(day)), bins=len(day), rows=int(day.sum())
        )
        for day in counts
    ]
    return max(found)
