"""A source with extracts passed to it: for tests, and for trying a pipeline before its source is connected."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping

import pyarrow as pa

from tailrace.sources import calendars


class MemorySource:
    """Extracts by table and day; a table without an extract for a day of the calendar is empty on that day.

    `may_be_empty` names the tables for which this is allowed.
    """

    name = "memory"

    def __init__(
        self,
        tables: Mapping[str, pa.Schema],
        extracts: Mapping[tuple[str, dt.date], pa.Table],
        calendar: tuple[dt.date, dt.date],
        may_be_empty: Collection[str] = (),
    ) -> None:
        self.tables, self.calendar = dict(tables), calendar
        self._may_be_empty = frozenset(may_be_empty)
        self._extracts = {key: rows.select(tables[key[0]].names).cast(tables[key[0]]) for key, rows in extracts.items()}

    def extract(self, table: str, day: dt.date) -> pa.Table:
        """The day's rows of a table. Raises OutOfCalendar, UnknownName."""
        calendars.require(self, table, day)
        return self._extracts.get((table, day), self.tables[table].empty_table())

    def may_be_empty(self, table: str, day: dt.date) -> bool:
        """The same answer for every day."""
        return table in self._may_be_empty
