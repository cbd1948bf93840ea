"""Distributions of numbers, how far others have moved from them, and how far a single day may be.

The distance is the population stability index (PSI). One day differs from the weeks around it, and a day of few rows
differs more, by chance alone. So a day is judged by the furthest of the single days that are known, with half
as much again, and with what chance adds to so few rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

DAYS_BEFORE = 28
"""A day is compared with those of so many days before it that were published: four of each weekday."""
SPREAD = 1.5
"""A day may be further away than the furthest day that is known by half as much again: few days are known."""
DEVIATIONS = 3
"""How many standard deviations of chance a day of few rows is allowed."""
MORE_REPEATS = 0.3
"""A share of rows: so many more than on any day that is known may have the day's most common value."""


@dataclass(frozen=True)
class Distribution:
    """The shares of a column's values in bins: `edges` are ascending, and there is one more share than edges.

    `usual` is how far single days are from the others, beyond chance, and `repeats` the greatest share of rows with one
    value on a single day; both are None where they are not known, as in trainings of earlier releases.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    usual: float | None = None
    repeats: float | None = None

    @classmethod
    def of(
        cls, values: np.ndarray, *, edges: Sequence[float] = (), bins: int = 10, days: np.ndarray | None = None
    ) -> Distribution:
        """The values in bins between these edges; without edges, in quantile bins: equal quantiles are one edge.

        `days` has the day of each value; without them, single days are not known.
        """
        at = np.array(edges) if len(edges) else np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
        bare = cls(tuple(at.tolist()), tuple(shares_of_counts(counts_between(at, values)).tolist()))
        if days is None:
            return bare
        of_days = [values[days == day] for day in np.unique(days)]
        usual = furthest_day(np.array([counts_between(at, each) for each in of_days]))
        return cls(bare.edges, bare.shares, usual, max(repeats(each) for each in of_days))

    def with_days(self, values: np.ndarray, days: np.ndarray, *, fewest: int = 1) -> Distribution:
        """With more single days of the same model, such as those that it learned from.

        `days` has the day of each value; days of fewer than `fewest` rows are left out. These days are compared with
        one another, and not with this distribution: a model tells rows that it learned from further apart.
        """
        of_days = [counts for day in np.unique(days) if (counts := self.counts(values[days == day])).sum() >= fewest]
        further = furthest_day(np.array(of_days)) if of_days else 0.0
        return replace(self, usual=max(self.usual or 0.0, further))

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
        return json.dumps({name: value for name, value in asdict(self).items() if value is not None})

    @classmethod
    def from_json(cls, text: str) -> Distribution:
        fields = json.loads(text)
        return cls(tuple(fields["edges"]), tuple(fields["shares"]), fields.get("usual"), fields.get("repeats"))


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
