"""Whether a day has moved from the training of its model, and whether it jumped or moved slowly.

Looked at are how the values of each feature and of the scores are distributed (the population stability index, PSI),
how many of a feature's values lie outside the range it had, how far its median moved since the day before, how many
rows have one and the same value, how many still have the most common one, how many have none, and how many rows there
are. The days to compare with are the single days of the training window, and the days that were published before. A day
that is further than the training and than those days has jumped: an alarm. A day that is further than the training only
has moved slowly: a retraining will learn it. docs/drift.md explains the limits.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.monitoring.references import Reference, median_of, nulls_of, range_of, repeats_of, share_of
from tailrace.problems.distributions import DEVIATIONS, MORE_REPEATS, SPREAD, allowed, beyond_chance
from tailrace.spec import Monitor

Drift = Literal["ok", "watch", "alarm"]

FEWEST_DAYS = 7
"""With fewer days before it, a day's number of rows and its step are not judged: they may all be of one kind, such as
weekends."""
ROWS_SHARE = 0.75
"""A day with a smaller share of the rows of the smallest day before it has lost some."""
MORE_NULLS = 0.4
"""A share of rows: with so many more nulls than on any day that is known, half of a feature may be lost."""
FEWER_COMMON = 0.1
"""A share of rows: so many fewer than a single day may have by those that are known have the most common value."""
WIDER = 1 / 3
"""So many times its width the range of a feature may be left on either side."""
OUTSIDE = 0.5
"""A share of the values: more of them outside the wider range are a change of range, such as another unit."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a column was like on one day, by one reference."""

    rows: int
    psi: float
    beyond_chance: float
    low: float | None = None
    high: float | None = None
    median: float | None = None
    repeats: float = 0.0
    nulls: float = 0.0
    common: float | None = None


@dataclass(frozen=True, kw_only=True)
class Moved:
    """How far a column moved, and what happened to it, as a sentence.

    `allowance` is the PSI that the day may have by the training. `changed` says what of its range, its nulls and
    the rows with one value is beyond the training. Both it and `jumped` are empty if no limit was broken.
    """

    psi: float
    allowance: float
    changed: str
    jumped: str

    @property
    def beyond_training(self) -> float:
        return self.psi - self.allowance


def look(reference: Reference, column: pa.ChunkedArray) -> Look:
    """Look at a day's rows of a column."""
    psi, bins = reference.psi(column), len(reference.shares)
    low, high = range_of(column)
    return Look(
        rows=len(column),
        psi=psi,
        beyond_chance=beyond_chance(psi, bins=bins, rows=len(column)),
        low=low,
        high=high,
        median=median_of(column),
        repeats=repeats_of(column),
        nulls=nulls_of(column),
        common=share_of(column, reference.common),
    )


def judge(
    name: str,
    reference: Reference,
    column: pa.ChunkedArray,
    *,
    day: dt.date,
    before: Mapping[dt.date, Look],
    monitor: Monitor,
    ranges: bool = True,
) -> Moved:
    """Compare a day's column with the training and with the days before it.

    `ranges`: also its range, its step, its nulls, and how many rows have one value.
    """
    today, looks, bins = look(reference, column), before.values(), len(reference.shares)
    usual = [reference.usual]
    most = allowed([*usual, *(each.beyond_chance for each in looks)], bins=bins, rows=today.rows)
    jumped = []
    if today.psi - most >= monitor.alarm_psi:
        jumped.append(f"its PSI is {today.psi:.2f}; {most:.2f} is the most that a single day may have")
    changed = []
    if ranges:
        changed = [
            *_out_of_range(reference, column, []),
            *_repeats(reference, today, []),
            *_rarer(reference, today, []),
            *_nulls(reference, today, []),
        ]
        jumped += _out_of_range(reference, column, looks) or _step(reference, today, day, before)
        jumped += [
            *_repeats(reference, today, looks),
            *_rarer(reference, today, looks),
            *_nulls(reference, today, looks),
        ]
    return Moved(
        psi=today.psi,
        allowance=allowed(usual, bins=bins, rows=today.rows),
        changed="; ".join(changed),
        jumped=f"{name} jumped: {'; '.join(jumped)}." if jumped else "",
    )


def _out_of_range(reference: Reference, column: pa.ChunkedArray, before: Collection[Look]) -> list[str]:
    known = column.drop_null()
    if (held := _range(reference, before)) is None or not len(known):
        return []
    low, high = held
    margin = WIDER * (high - low)
    outside = pc.or_(pc.less(known, low - margin), pc.greater(known, high + margin))
    share = (pc.sum(outside).as_py() or 0) / len(known)
    where = f"{_number(low)} to {_number(high)}, where it was {'before' if before else 'in the training'}"
    return [f"{share:.0%} of its values lie far outside {where}"] * (share > OUTSIDE)


def _range(reference: Reference, before: Collection[Look]) -> tuple[float, float] | None:
    """The range of the training and of the days before; None if that of the training is not known."""
    if reference.low is None or reference.high is None:
        return None
    low = min([reference.low, *(each.low for each in before if each.low is not None)])
    return low, max([reference.high, *(each.high for each in before if each.high is not None)])


def _step(reference: Reference, today: Look, day: dt.date, before: Mapping[dt.date, Look]) -> list[str]:
    """A sentence if the median left the range, and in a greater step than from any day before to the next.

    A feature that stood still on the days before has no usual step. Neither is there one for a longer pause than any
    between those days.
    """
    medians = {each: look.median for each, look in sorted(before.items()) if look.median is not None}
    held = _range(reference, before.values())
    if held is None or today.median is None or len(medians) <= FEWEST_DAYS:
        return []
    low, high = held
    last = max(medians)
    pause = max(later - earlier for earlier, later in pairwise(medians))
    furthest = max(abs(later - earlier) for earlier, later in pairwise(medians.values()))
    step = abs(today.median - medians[last])
    if low <= today.median <= high or day - last > pause or not 0 < SPREAD * furthest < step:
        return []
    return [
        f"its median is {_number(today.median)}, outside {_number(low)} to {_number(high)}, where it was before, and "
        f"moved by {_number(step)} since {last}; in the days before by {_number(furthest)} at most"
    ]


def _number(value: float) -> str:
    """With all digits of a whole number: it may be a date, and must be told from the next."""
    return f"{value:.0f}" if value == round(value, 0) and abs(value) < 1e15 else f"{value:g}"


def _on_no_day(before: Collection[Look]) -> str:
    return f"on no day {'before' if before else 'of the training'} was it"


def _repeats(reference: Reference, today: Look, before: Collection[Look]) -> list[str]:
    if reference.repeats is None:
        return []
    most = max([reference.repeats, *(each.repeats for each in before)])
    told = f"{today.repeats:.0%} of its rows have one and the same value; {_on_no_day(before)} more than {most:.0%}"
    return [told] * (today.repeats > most + MORE_REPEATS)


def _rarer(reference: Reference, today: Look, before: Collection[Look]) -> list[str]:
    """A sentence if far fewer rows have the most common value than on any single day.

    Where most rows have it, such as 0 for an amount that few pay, all bins of the PSI may have it as an edge, and say
    nothing of what is greater.
    """
    usual, least = reference.common_share, reference.common_least
    if usual is None or least is None or today.common is None:
        return []
    least = min([least, *(each.common for each in before if each.common is not None)])
    chance = DEVIATIONS * math.sqrt(usual * (1 - usual) / today.rows) if today.rows else 1.0
    if today.common >= usual - SPREAD * (usual - least) - chance - FEWER_COMMON:
        return []
    value = _number(reference.common or 0.0)
    when = "before" if before else "of the training"
    return [
        f"only {today.common:.0%} of its rows have {value}, the most common value; on every day {when} it was "
        f"{least:.0%} or more"
    ]


def _nulls(reference: Reference, today: Look, before: Collection[Look]) -> list[str]:
    if reference.nulls is None:
        return []
    most = max([reference.nulls, *(each.nulls for each in before)])
    told = f"{today.nulls:.0%} of its rows have no value; {_on_no_day(before)} more than {most:.0%}"
    return [told] * (today.nulls > most + MORE_NULLS)


def lost_rows(rows: int, before: Sequence[int]) -> str:
    """A sentence if the day has far fewer rows than any day before it."""
    if len(before) < FEWEST_DAYS or rows >= ROWS_SHARE * min(before):
        return ""
    return f"Only {rows:,} rows; each of the {len(before)} days before that have rows has {min(before):,} or more."


def light(moved: Mapping[str, Moved], monitor: Monitor, lost: str) -> Drift:
    """The day's light, from what became of its features and scores, and the sentence about its rows."""
    if lost or any(each.jumped for each in moved.values()):
        return "alarm"
    watched = any(bool(each.changed) or each.beyond_training >= monitor.watch_psi for each in moved.values())
    return "watch" if watched else "ok"


def since(reference: Reference, before: Mapping[dt.date, Look], monitor: Monitor) -> dt.date | None:
    """The first of the days up to yesterday on which the column was already beyond the training without a break."""
    first = None
    for day, each in sorted(before.items(), reverse=True):
        most = allowed([reference.usual], bins=len(reference.shares), rows=each.rows)
        if each.psi - most < monitor.watch_psi:
            break
        first = day
    return first
