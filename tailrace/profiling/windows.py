"""From which days to learn, when outcomes are known, and what a model must beat: proposed from days and rows."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.errors import BadInput
from tailrace.problems import Problem
from tailrace.problems.metrics import METRICS
from tailrace.profiling.columns import plain
from tailrace.spec import Gate, Window

MOST_DAYS, FEWEST_DAYS = 365, 3
MOST_ROWS = 1_000_000
"""So many rows are plenty to learn from; a longer window would only be older."""
HOLDOUT_ROWS = 500
WEEK = 7
FEWEST_ROWS = 40


class Lag(NamedTuple):
    """How many days after a day its outcomes are known, most of them, and how many days more the last ones take."""

    days: int
    late_days: int
    why: str


class Span(NamedTuple):
    """The days of a mart that have rows."""

    first: dt.date
    last: dt.date
    rows: Mapping[dt.date, int]

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def a_day(self) -> float:
        """The median of the rows of a day that has rows."""
        ordered = sorted(self.rows.values())
        return float(ordered[len(ordered) // 2])


def span_of(table: str, rows: Mapping[dt.date, int], left_out: Sequence[str] = ()) -> Span:
    """The days of a mart. Raises BadInput if there are too few; `left_out` says which rows do not count."""
    if not rows and left_out:
        raise BadInput(f"{' '.join(left_out)} No row is left; name another day with --day, or correct it in the mart.")
    if not rows:
        raise BadInput(f"{table} has no rows; a pipeline is proposed from rows. Build or load it first.")
    found = Span(min(rows), max(rows), rows)
    if found.days < FEWEST_DAYS:
        raise BadInput(
            f"{table} has rows of {len(rows)} day{'' if len(rows) == 1 else 's'} only ({found.first} to {found.last}); "
            f"at least {FEWEST_DAYS} are needed: to learn from, to compare models on, and for outcomes to be known."
        )
    return found


def window_of(table: str, span: Span, lag_days: int) -> Window:
    """A window inside the days whose outcomes are known on the newest one. Raises BadInput if there are too few."""
    usable = span.days - lag_days
    if usable < FEWEST_DAYS - 1:
        raise BadInput(
            f"{table} has {span.days} days, and outcomes are known {lag_days} days later: {max(0, usable)} days are "
            f"left to learn from, and {FEWEST_DAYS - 1} are needed. Wait for more days, or say --lag-days."
        )
    if sum(span.rows.values()) < FEWEST_ROWS:
        raise BadInput(f"{table} has {sum(span.rows.values())} rows; fewer than {FEWEST_ROWS} teach nothing.")
    enough = max(4 * WEEK, math.ceil(MOST_ROWS / max(1.0, span.a_day)))
    days = _weeks(min(usable, enough, MOST_DAYS))
    needed = math.ceil(HOLDOUT_ROWS / max(1.0, span.a_day))
    holdout = max(1, min(days // 4 or 1, max(needed, WEEK)))
    return Window(days=days, holdout_days=_weeks(holdout))


def _weeks(days: int) -> int:
    """Full weeks, of two weeks or more: every weekday counts the same."""
    return days - days % WEEK if days >= 2 * WEEK else days


def gate_of(problem: Problem) -> Gate:
    """A gate that a model which has learned nothing does not pass: it must beat the problem's first baseline.

    It compares with the metric that the search minimises where the problem's own has a chance value only.
    """
    metric = problem.gate_metric if METRICS[problem.gate_metric].chance is not None else problem.search_metric
    return Gate(metric=metric, beat=problem.baselines[0])


def lag_between(table: str, about: pa.ChunkedArray, known: pa.ChunkedArray) -> Lag:
    """The lag between the days that outcomes are about and the days by whose cutoff they were known."""
    # What became known in the course of a day is known at the next day's cutoff.
    more = 0 if pa.types.is_date(known.type) else 1
    late = pc.add(pc.days_between(about.cast(pa.date32()), known.cast(pa.date32())), more).drop_null()
    if not len(late):
        raise BadInput(f"No outcome of {table} has the key of a row that was read; is the key the same in both tables?")
    most, last = (math.ceil(value) for value in pc.quantile(late, [0.95, 1.0]).to_pylist())
    days = max(1, most)
    why = f"in {table}, 95 % of the outcomes are known {most} days later, the last one {last} days"
    return Lag(days, max(WEEK, min(last, MOST_DAYS) - days), why)


def lag_from_labels(days: pa.ChunkedArray, labels: pa.ChunkedArray, last: dt.date) -> Lag:
    """The lag that the newest days show: their labels are missing while those of older days are known."""
    known = pa.table({"day": days.cast(pa.date32()), "known": pc.is_valid(plain(labels)).cast(pa.float64())})
    shares = known.group_by("day").aggregate([("known", "mean")]).sort_by("day")
    by_day = dict(zip(shares["day"].to_pylist(), shares["known_mean"].to_pylist(), strict=True))
    usual = float(pc.quantile(shares["known_mean"], 0.5)[0].as_py())
    full = [day for day, share in by_day.items() if share >= 0.5 * usual and share > 0]
    lag = max(1, (last - max(full)).days) if full else 1
    if lag == 1:
        return Lag(1, WEEK, "nothing says otherwise, correct it if they take longer")
    return Lag(lag, WEEK, f"the labels of the newest {lag} days are missing")
