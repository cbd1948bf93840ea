"""The source and the landing zone: where a project's rows come from, and where they wait for dbt."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class Source(Protocol):
    """An operational system that hands over one extract a night.

    It may declare more, each with a default:

    - `since`: the first day of a table, by table. No day before it is asked for. By default, a table's days count from
      the source's first day; and in the look-back, from the first day ever landed of the table.
    - `look_back_days`: how many days before its own day a build reads of the source's tables; by default 28. All of
      them, since the table began, must have been landed.
    - `optional`: the tables of which a day may be absent. `extract` raises UpstreamMissing for such a day; a table that
      is not optional stops the night with that error.
    """

    @property
    def name(self) -> str: ...

    @property
    def tables(self) -> Mapping[str, pa.Schema]:
        """The declared schema of each table's extract."""
        ...

    @property
    def calendar(self) -> tuple[dt.date | None, dt.date | None]:
        """First and last day there is an extract of; None where there is no such day.

        A source whose tables have different calendars also has `calendars`, a mapping of table to first and last day.
        """
        ...

    def extract(self, table: str, day: dt.date) -> pa.Table:
        """What became known in the 24 hours before the cutoff of `day`.

        Raises UnknownName, OutOfCalendar; `tailrace.sources.calendars.require` checks both. Raises UpstreamMissing if
        the day should be there and is not.
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

    def sweep(self, *, dry_run: bool = False) -> list[int]:
        """Remove what killed writers left unfinished a day ago or longer; the bytes of each file."""
        ...

    def remove(self, days: int, *, dry_run: bool = False) -> list[int]:
        """Delete extracts that are more than this many days older than the last one; the bytes of each file.

        Those that a build of the last day or the month before it needs stay.
        """
        ...
