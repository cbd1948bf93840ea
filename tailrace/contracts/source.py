"""The source and the landing zone: where a project's rows come from, and where they wait for dbt."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class Source(Protocol):
    """An operational system that hands over one extract a night."""

    @property
    def name(self) -> str: ...

    @property
    def tables(self) -> Mapping[str, pa.Schema]:
        """The declared schema of each table's extract."""
        ...

    @property
    def calendar(self) -> tuple[dt.date, dt.date]:
        """First and last day there is an extract of.

        A source whose tables have different calendars also has `calendars`, a mapping of table to first and last day.
        """
        ...

    def extract(self, table: str, day: dt.date) -> pa.Table:
        """What became known in the 24 hours before the cutoff of `day`.

        Raises UnknownName, OutOfCalendar; `tailrace.sources.calendars.require` checks both.
        """
        ...

    def may_be_empty(self, table: str, day: dt.date) -> bool:
        """Whether it is right if a table's extract of that day has no rows; an empty one is refused otherwise.

        A source without this method has no such days.
        """
        ...


class LandingZone(Protocol):
    """Where extracts lie until dbt reads them, a folder per table and day."""

    def declare(self) -> None:
        """Give each table that was never landed a file without rows, which dbt can read. Raises StorageFull."""
        ...

    def write(self, table: str, day: dt.date, rows: pa.Table) -> int:
        """Replace the day whole; rows written. Raises StorageFull, LandingRefused."""
        ...
