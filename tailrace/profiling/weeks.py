"""How a column's values change from week to week: the population stability index of each week against all weeks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tailrace.monitoring.references import Reference
from tailrace.profiling.columns import contents_of, numbers, plain

FEWEST_ROWS = 50
"""A week with fewer rows differs by chance alone."""
MOST_VALUES = 1_000
"""Of texts with more values the lengths are compared: most values appear in one week only."""
MOST_WEEKS = 53
"""Of a longer history the newest weeks are compared."""


class Week(NamedTuple):
    """The rows of a calendar week, by its Monday: `length` rows from row `start` on of the rows sorted by day."""

    monday: dt.date
    start: int
    length: int


class WeeklyDrift(NamedTuple):
    """The population stability index (PSI) of a column in each week, and the week in which it is highest."""

    psi: tuple[tuple[dt.date, float], ...]

    @property
    def highest(self) -> tuple[dt.date, float] | None:
        return max(self.psi, key=lambda each: each[1], default=None)


def weeks_of(days: pa.ChunkedArray) -> list[Week]:
    """The weeks of sorted days that have enough rows."""
    mondays = pc.floor_temporal(days.cast(pa.date32()), unit="week").cast(pa.date32()).to_numpy()
    found, starts, lengths = np.unique(mondays, return_index=True, return_counts=True)
    each = zip(found.tolist(), starts.tolist(), lengths.tolist(), strict=True)
    return [Week(*week) for week in each if week[2] >= FEWEST_ROWS][-MOST_WEEKS:]


def drift(column: pa.ChunkedArray, weeks: Sequence[Week]) -> WeeklyDrift | None:
    """The drift of a column whose rows are sorted by day; None with fewer than two weeks, or without values."""
    column = plain(column)
    kind = contents_of(column.type)
    if len(weeks) < 2 or kind in ("other", "day", "moment") or column.null_count == len(column):
        return None
    values = column if kind == "text" and pc.count_distinct(column).as_py() <= MOST_VALUES else numbers(column)
    values = values.combine_chunks()
    reference = Reference.of(pa.chunked_array([values]), pa.chunked_array([pa.repeat(pa.scalar(0), len(values))]))
    sliced = ((week.monday, pa.chunked_array([values.slice(week.start, week.length)])) for week in weeks)
    return WeeklyDrift(tuple((monday, float(reference.psi(rows))) for monday, rows in sliced))
