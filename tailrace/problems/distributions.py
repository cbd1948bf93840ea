"""Distributions of numbers, and how far others have moved from them: the population stability index."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Distribution:
    """The shares of a column's values in bins: `edges` are ascending, and there is one more share than edges."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, values: np.ndarray, *, edges: Sequence[float] = (), bins: int = 10) -> Distribution:
        """The values in bins between these edges; without edges, in quantile bins: equal quantiles are one edge."""
        at = np.array(edges) if len(edges) else np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
        return cls(tuple(at.tolist()), tuple(_shares(at, values).tolist()))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Distribution:
        fields = json.loads(text)
        return cls(tuple(fields["edges"]), tuple(fields["shares"]))


def population_stability_index(expected: Distribution, observed: np.ndarray) -> float:
    """How far values moved: sum over bins of (o - e) * ln(o / e), with o and e the bins' shares.

    Source: Siddiqi, Credit Risk Scorecards (2006), chapter 10; values below 0.1 are commonly read as
    stable, above 0.25 as shifted. Empty bins count as half a row.
    """
    return index_of_shares(np.array(expected.shares), _shares(np.array(expected.edges), observed))


def index_of_shares(before: np.ndarray, after: np.ndarray) -> float:
    """The population stability index of the same bins' shares, none of them zero."""
    return float(np.sum((after - before) * np.log(after / before)))


def shares_of_counts(counts: np.ndarray) -> np.ndarray:
    """Shares of rows in bins; an empty bin counts as half a row."""
    return np.maximum(counts, 0.5) / counts.sum()


def _shares(edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    return shares_of_counts(np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1))
