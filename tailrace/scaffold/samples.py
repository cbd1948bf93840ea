"""A bounded sample of a mart, for what is said of it before there is a spec."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.errors import BadInput, did_you_mean
from tailrace.warehouse.adapter_types import Column
from tailrace.warehouse.reader import MartReader

ROWS, MOST_ROWS = 100_000, 1_000_000
MOST_VALUES = 10_000_000
"""A wide table is read with fewer rows, so that no more values than these are in memory."""
FEWEST_ROWS = 5_000
SAMPLED_DAYS = 56
"""Of a longer history so many days are read, evenly spread, the newest one included."""
LONG_AGO = dt.date(1900, 1, 1)
LONGEST_GAP = 31
"""Days before a longer gap without rows are left out: they may be errors, or another time."""


@dataclass(frozen=True, kw_only=True)
class TableSample:
    """Rows of a mart, and what is known of all of it.

    `rows` are sorted by day, if there is one. `days` has the number of rows of each day of the mart, sampled or not;
    `ignored` those of days that are left out. `dayless` rows have no day, or one before 1900; in a large mart they are
    not counted. `unread` maps columns that cannot be read to the reason.
    """

    table: str
    columns: tuple[Column, ...]
    rows: pa.Table
    day: str | None = None
    days: Mapping[dt.date, int] = field(default_factory=dict)
    ignored: Mapping[dt.date, int] = field(default_factory=dict)
    dayless: int = 0
    unread: Mapping[str, str] = field(default_factory=dict)
    complete: bool = False

    @property
    def all_rows(self) -> int | None:
        """The rows of the days that are looked at; None if the table has no day."""
        return sum(self.days.values()) if self.day else None

    @property
    def rows_a_day(self) -> float:
        """The mean number of rows of a day that has any; 0 if none has."""
        return sum(self.days.values()) / len(self.days) if self.days else 0.0

    @property
    def words(self) -> str:
        """What was read, in a sentence."""
        read, every = self.rows.num_rows, self.all_rows
        if every is None:
            return f"{read:,} rows were read" + ("." if self.complete else "; the table may have more.")
        if self.complete:
            return f"All {read:,} rows of {len(self.days)} days were read."
        return f"A sample of {read:,} of {every:,} rows was read, evenly spread over {len(self.days)} days."

    @property
    def left_out(self) -> tuple[str, ...]:
        """Which rows of the mart are not looked at, and why: a sentence for each reason."""
        found = []
        if self.ignored:
            number, first, last = sum(self.ignored.values()), min(self.ignored), max(self.ignored)
            found.append(
                f"{self.table}: {number:,} rows of days from {first} to {last} are left out: those days lie in the "
                f"future, or before a gap of more than {LONGEST_GAP} days."
            )
        if self.dayless:
            found.append(
                f"{self.table}: {self.dayless:,} rows are left out: their {self.day} is missing, or before "
                f"{LONG_AGO.year}."
            )
        return tuple(found)


def day_column(columns: Sequence[Column], wanted: str, *, table: str) -> str | None:
    """The column that holds the day: the wanted one, else `ds`, else the only date; None if there is none.

    Raises BadInput if the wanted column does not exist, or is no date.
    """
    by_name = {column.name: column for column in columns}
    dates = [column.name for column in columns if column.kind is not None and pa.types.is_date(column.kind)]
    if wanted:
        if wanted not in by_name:
            raise BadInput(f"{table} has no column {wanted!r}.{did_you_mean(wanted, by_name)}")
        if wanted not in dates:
            listed = f" Its dates are {', '.join(dates)}." if dates else ""
            raise BadInput(
                f"{table}: column {wanted!r} is {by_name[wanted].declared}, and the day is a date. Cast it in the "
                f"mart.{listed}"
            )
        return wanted
    if "ds" in dates:
        return "ds"
    return dates[0] if len(dates) == 1 else None


def read(reader: MartReader, table: str, *, day: str | None, rows: int = ROWS, today: dt.date) -> TableSample:
    """A sample of at most `rows` rows. Raises what `MartReader` raises."""
    columns = reader.columns(table)
    readable = [column.name for column in columns if not column.problem]
    unread = {column.name: column.problem for column in columns if column.problem}
    if not readable:
        raise BadInput(f"{table} has no column that can be read: {'; '.join(unread.values()) or 'it has none'}.")
    most = bounded_rows(rows, len(readable))
    if day is None:
        found = reader.sample(table, most)
        return TableSample(table=table, columns=columns, rows=found, unread=unread, complete=found.num_rows < most)
    newest = reader.newest(table, day)
    counted = dict(reader.days(table, day, LONG_AGO, newest)) if newest else {}
    days = usual_days(counted, today)
    every = reader.sample(table, most) if sum(counted.values()) <= most else None
    if every is not None and every.num_rows < most:
        dayless = every.num_rows - sum(counted.values())
        found = every.filter(pc.is_in(every[day], pa.array(list(days), pa.date32()))).sort_by(day)
    else:
        dayless, found = 0, _of_days(reader, table, day, chosen=days, columns=readable, most=most)
    return TableSample(
        table=table,
        columns=columns,
        rows=found,
        day=day,
        days=days,
        ignored={each: number for each, number in counted.items() if each not in days},
        dayless=dayless,
        unread=unread,
        complete=found.num_rows == sum(days.values()),
    )


def _of_days(
    reader: MartReader,
    table: str,
    day: str,
    *,
    chosen: Mapping[dt.date, int],
    columns: Sequence[str],
    most: int,
) -> pa.Table:
    """A part of the rows of the chosen days, read day by day."""
    days = _chosen_days(chosen)
    quota = max(1, most // max(1, len(days)))
    batches = [
        batch
        for each in days
        for batch in thinned(reader.read(table, each, day_column=day, columns=columns), chosen[each], quota)
    ]
    return pa.Table.from_batches(batches, reader.schema(table, columns))


def bounded_rows(rows: int, columns: int) -> int:
    """How many rows of so many columns are read, where `rows` are wanted."""
    return max(1, min(rows, MOST_ROWS, max(FEWEST_ROWS, MOST_VALUES // max(1, columns))))


def usual_days(counted: Mapping[dt.date, int], today: dt.date) -> dict[dt.date, int]:
    """The days up to today, back to the first gap of more than LONGEST_GAP days."""
    found: dict[dt.date, int] = {}
    for day in sorted((day for day in counted if day <= today), reverse=True):
        if found and (min(found) - day).days > LONGEST_GAP:
            break
        found[day] = counted[day]
    return dict(sorted(found.items()))


def _chosen_days(days: Mapping[dt.date, int]) -> list[dt.date]:
    """At most SAMPLED_DAYS of the days, evenly spread, the last one included."""
    every = sorted(days)
    if len(every) <= SAMPLED_DAYS:
        return every
    last = len(every) - 1
    return [every[last - round(number * last / (SAMPLED_DAYS - 1))] for number in range(SAMPLED_DAYS)][::-1]


def thinned(batches: pa.RecordBatchReader, rows: int, quota: int) -> Iterator[pa.RecordBatch]:
    """Every so manieth row, so that about `quota` of `rows` are left."""
    step = max(1, -(-rows // quota))
    seen = 0
    for batch in batches:
        if step == 1:
            yield batch
            continue
        first = -seen % step
        seen += batch.num_rows
        if first < batch.num_rows:
            yield batch.take(pa.array(range(first, batch.num_rows, step), pa.int64()))
