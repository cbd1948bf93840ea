"""Several sources combined: each table is extracted by the source that has it, on the days that this source has."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping

import pyarrow as pa

from tailrace.contracts import Source
from tailrace.errors import SettingsError, UnknownName
from tailrace.sources import calendars, declared


class JoinedSource:
    """The tables of all sources, each for the days that its source has: the calendars may be years apart.

    Raises SettingsError if two of them have a table of the same name.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        """`sources` by their names in messages: their import paths."""
        owners: dict[str, list[str]] = defaultdict(list)
        for name, source in sources.items():
            for table in source.tables:
                owners[table].append(name)
        problems = [
            f"sources: {' and '.join(found)} have a table {table!r}; rename it in one of them."
            for table, found in owners.items()
            if len(found) > 1
        ]
        if problems:
            raise SettingsError("The sources do not fit together:", problems)
        self._owners = {table: sources[found[0]] for table, found in owners.items()}
        self.name = ", ".join(source.name for source in sources.values())
        self.tables = {table: source.tables[table] for table, source in self._owners.items()}
        self.calendars = {table: calendars.by_table(source)[table] for table, source in self._owners.items()}
        self.calendar = calendars.joined(self.calendars.values())
        self.look_back_days = {table: declared.look_back_days(source)[table] for table, source in self._owners.items()}
        self.optional = frozenset(table for source in sources.values() for table in declared.optional(source))

    def owner(self, table: str) -> Source:
        """The source that has the table. Raises KeyError."""
        return self._owners[table]

    def extract(self, table: str, day: dt.date) -> pa.Table:
        """The day's rows of a table. Raises OutOfCalendar, UnknownName, UpstreamMissing."""
        if table not in self._owners:
            raise UnknownName("table of the sources", table, self._owners)
        return self._owners[table].extract(table, day)

    def may_be_empty(self, table: str, day: dt.date) -> bool:
        """The answer of the table's own source; a source without this method has no such days."""
        source = self._owners[table]
        return hasattr(source, "may_be_empty") and source.may_be_empty(table, day)
