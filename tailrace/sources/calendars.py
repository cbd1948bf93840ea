"""The calendar of each table: the first and the last day of which its source has an extract."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping

from tailrace.contracts import Source
from tailrace.errors import OutOfCalendar, UnknownName

Calendar = tuple[dt.date | None, dt.date | None]
"""The first and the last day; None where it is open."""
OPEN: Calendar = (None, None)


def by_table(source: Source) -> Mapping[str, Calendar]:
    """The calendar of each table of a source: the source's own, unless its tables have different ones.

    A table that the source names in `since` begins on that day.
    """
    of_all: Calendar = getattr(source, "calendar", OPEN)
    own: Mapping[str, Calendar] = getattr(source, "calendars", None) or dict.fromkeys(source.tables, of_all)
    since: Mapping[str, dt.date] = getattr(source, "since", {})
    return {table: (_later(first, since.get(table)), last) for table, (first, last) in own.items()}


def within(calendar: Calendar, first: dt.date, last: dt.date) -> tuple[dt.date, dt.date]:
    """Those of the days first..last that a calendar has, as their first and last; the last may be before the first."""
    begins, ends = calendar
    return max(first, begins or first), min(last, ends or last)


def covers(calendar: Calendar, day: dt.date) -> bool:
    """Whether the calendar has the day."""
    return within(calendar, day, day) == (day, day)


def joined(calendars: Iterable[Calendar]) -> Calendar:
    """The first and the last day that any of the calendars has."""
    first, last = zip(*calendars, strict=True)
    return _least(first), _greatest(last)


def words(calendar: Calendar) -> str:
    """For example 'from 2013-01-01 to 2014-01-02', 'from 2013-01-01 on', or 'over every day'."""
    first, last = calendar
    if first and last:
        return f"from {first} to {last}"
    if first:
        return f"from {first} on"
    return f"until {last}" if last else "over every day"


def tables_of(source: Source, day: dt.date) -> list[str]:
    """The tables of which there is an extract of the day; none if it is in no calendar."""
    return [table for table, calendar in by_table(source).items() if covers(calendar, day)]


def require(source: Source, table: str, day: dt.date) -> None:
    """Refuse a table that the source does not have, and a day that is not in the table's calendar.

    A source's `extract` calls it first. Raises UnknownName, OutOfCalendar.
    """
    known = by_table(source)
    if table not in known:
        raise UnknownName(f"table of the source {source.name}", table, known)
    if not covers(known[table], day):
        raise OutOfCalendar(
            f"The source {source.name} has no {table} of {day}: its calendar runs {words(known[table])}. "
            "Choose a day in this range."
        )


def _later(one: dt.date | None, other: dt.date | None) -> dt.date | None:
    return max(one, other) if one and other else one or other


def _least(days: Iterable[dt.date | None]) -> dt.date | None:
    """The first of the days; None if one is open."""
    given = list(days)
    return None if None in given else min(day for day in given if day)


def _greatest(days: Iterable[dt.date | None]) -> dt.date | None:
    """The last of the days; None if one is open."""
    given = list(days)
    return None if None in given else max(day for day in given if day)
