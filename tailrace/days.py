"""Days and their cutoffs.

A run for day D uses only what was known at D's cutoff: a time of D in the pipeline's time zone, 00:00 by default.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

from tailrace.errors import BadInput

_WRITTEN = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
FIRST, LAST = dt.date(1900, 1, 1), dt.date(2999, 12, 31)
"""The range of valid days. It leaves room to look back from the first day and ahead from the last."""


def cutoff(day: dt.date, timezone: ZoneInfo, at: dt.time = dt.time()) -> dt.datetime:
    """The cutoff of `day` in UTC: a run for `day` uses only what was known at this moment.

    `at` is the time of day in the time zone. A time that the clocks skip is taken by the offset before they changed.
    """
    return dt.datetime.combine(day, at, timezone).astimezone(dt.UTC)


def span(first: dt.date, last: dt.date) -> Iterator[dt.date]:
    """Every day from first to last, both included."""
    for offset in range((last - first).days + 1):
        yield first + dt.timedelta(days=offset)


def ranges(days: Sequence[dt.date], to: str = "..") -> str:
    """'2013-01-01, 2013-01-05..2013-01-07' for sorted days; `to` is the text between the ends of a range."""
    runs: list[list[dt.date]] = []
    for day in days:
        if runs and day - runs[-1][-1] == dt.timedelta(days=1):
            runs[-1].append(day)
        else:
            runs.append([day])
    return ", ".join(f"{run[0]}{to}{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def parse(text: str, name: str = "date") -> dt.date:
    """The day from a text in the form YYYY-MM-DD; no other form is accepted. Raises BadInput."""
    try:
        day = dt.date.fromisoformat(text) if _WRITTEN.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None or not FIRST <= day <= LAST:
        raise BadInput(
            f"{name} is {text!r}; write a day of the calendar as YYYY-MM-DD, such as 2013-03-01 "
            f"(from {FIRST} to {LAST})."
        )
    return day
