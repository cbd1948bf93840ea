"""The calendar of each table: the first and the last day of which its source has an extract."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from tailrace.contracts import Source

Calendar = tuple[dt.date, dt.date]


def by_table(source: Source) -> Mapping[str, Calendar]:
    """The calendar of each table of a source: the source's own, unless its tables have different ones."""
    return getattr(source, "calendars", None) or dict.fromkeys(source.tables, source.calendar)


def tables_of(source: Source, day: dt.date) -> list[str]:
    """The tables of which there is an extract of the day; none if it is in no calendar."""
    return [table for table, (first, last) in by_table(source).items() if first <= day <= last]
