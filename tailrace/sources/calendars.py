"""The calendar of each table: the first and the last day of which its source has an extract."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from tailrace.contracts import Source
from tailrace.errors import OutOfCalendar, UnknownName

Calendar = tuple[dt.date, dt.date]


def by_table(source: Source) -> Mapping[str, Calendar]:
    """The calendar of each table of a source: the source's own, unless its tables have different ones."""
    return getattr(source, "calendars", None) or dict.fromkeys(source.tables, source.calendar)


def tables_of(source: Source, day: dt.date) -> list[str]:
    """The tables of which there is an extract of the day; none if it is in no calendar."""
    return [table for table, (first, last) in by_table(source).items() if first <= day <= last]


def require(source: Source, table: str, day: dt.date) -> None:
    """Refuse a table that the source does not have, and a day that is not in the table's calendar.

    A source's `extract` calls it first. Raises UnknownName, OutOfCalendar.
    """
    known = by_table(source)
    if table not in known:
        raise UnknownName(f"table of the source {source.name}", table, known)
    first, last = known[table]
    if not first <= day <= last:
        raise OutOfCalendar(
            f"The source {source.name} has no {table} of {day}: its calendar runs from {first} to {last}. "
            "Choose a day in this range."
        )
