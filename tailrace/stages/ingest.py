"""Land the sources' extracts of each day, replacing what was landed before.

On a day, the tables are landed whose source has that day. A source that fails does not keep the others from being
landed.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from tailrace import days
from tailrace.contracts import Services, Source
from tailrace.errors import (
    BadInput,
    ExtractsMissing,
    ExtractsRefused,
    ExtractsUnavailable,
    LandingRefused,
    OutOfCalendar,
    TailraceError,
    Unavailable,
    UpstreamMissing,
)
from tailrace.sources import calendars, declared


@dataclass(frozen=True)
class Ingested:
    """Rows landed for the days first..last, by table; a table whose source has none of the days is left out.

    `absent`: the days of optional tables that the source did not have.
    """

    first: dt.date
    last: dt.date
    rows: Mapping[str, int]
    absent: Mapping[str, Sequence[dt.date]] = field(default_factory=dict)


def run(services: Services, first: dt.date, last: dt.date) -> Ingested:
    """Raises OutOfCalendar before anything is landed, and StorageFull.

    LandingRefused and UpstreamMissing, or what else a source raises, before anything of the source's day is landed. If
    other sources are landed all the same: ExtractsMissing, ExtractsUnavailable or ExtractsRefused at the end, with the
    tables.
    """
    source, landing = services.source, services.landing
    _check_calendar(services, first, last)
    landing.declare()
    rows: dict[str, int] = {}
    absent: dict[str, list[dt.date]] = {}
    failed: dict[str, TailraceError] = {}
    for day in days.span(first, last):
        for tables in _by_source(source, day):
            if failed.keys() & tables:
                # what is landed of a source has no gap that a later day would hide
                continue
            try:
                extracts = _extracts(source, tables, day, absent)
                _refuse_empty(source, day, extracts, first)
            except (Unavailable, LandingRefused) as error:
                failed |= dict.fromkeys(tables, error)
                continue
            for table, extract in extracts.items():
                rows[table] = rows.get(table, 0) + landing.write(table, day, extract)
    if failed:
        raise _failed(failed, rows)
    return Ingested(first, last, rows, absent)


def _by_source(source: Source, day: dt.date) -> list[list[str]]:
    """The tables of the day, those of one source together: all of them are landed, or none."""
    found: dict[int, list[str]] = {}
    for table in calendars.tables_of(source, day):
        found.setdefault(id(_owner(source, table)), []).append(table)
    return list(found.values())


def _owner(source: Source, table: str) -> Source:
    """Which of several sources has the table."""
    owner: Callable[[str], Source] = getattr(source, "owner", lambda table: source)
    return owner(table)


def _extracts(
    source: Source, tables: Sequence[str], day: dt.date, absent: dict[str, list[dt.date]]
) -> dict[str, pa.Table]:
    """The day's rows of each table; a day of an optional table that is not there goes to `absent`."""
    found = {}
    for table in tables:
        if (extract := _extract(source, table, day)) is not None:
            found[table] = extract
        else:
            absent.setdefault(table, []).append(day)
    return found


def _failed(failed: Mapping[str, TailraceError], landed: Mapping[str, int]) -> TailraceError:
    """The error of the sources that failed, where nothing else is landed; else one that says what is."""
    errors = list({id(error): error for error in failed.values()}.values())
    others = sorted(landed.keys() - failed.keys())
    if not others:
        return errors[0] if len(errors) == 1 else type(errors[0])("\n".join(map(str, errors)))
    said = "\n".join(
        [*map(str, errors), f"Landed: {', '.join(others)}. Only pipelines that read the others are stopped."]
    )
    waiting = [error for error in errors if isinstance(error, Unavailable)]
    made: ExtractsMissing | ExtractsUnavailable | ExtractsRefused
    if not waiting:
        made = ExtractsRefused(said)
    elif all(isinstance(error, UpstreamMissing) for error in waiting):
        made = ExtractsMissing(said)
    else:
        # It may answer in a minute: that is not worth the wait for a source that delivers late.
        made = ExtractsUnavailable(said)
    made.tables = {table: " ".join(str(error).split()) for table, error in failed.items()}
    return made


def _extract(source: Source, table: str, day: dt.date) -> pa.Table | None:
    """The day's rows of a table; None if it is optional and the day is absent. Raises UpstreamMissing."""
    try:
        return source.extract(table, day)
    except UpstreamMissing:
        if table in declared.optional(source):
            return None
        raise


def _refuse_empty(source: Source, day: dt.date, extracts: Mapping[str, pa.Table], first: dt.date) -> None:
    """An extract that failed at its source looks like a day on which nothing happened.

    `extracts` are tables of one source.
    """
    may_be_empty = getattr(source, "may_be_empty", lambda table, day: False)
    empty = [table for table, rows in extracts.items() if rows.num_rows == 0 and not may_be_empty(table, day)]
    if empty:
        landed = f" {first} to {day - dt.timedelta(days=1)} are landed." if day > first else ""
        raise LandingRefused(
            f"The source {_owner(source, empty[0]).name} gave no rows of {', '.join(empty)} for {day}, so nothing of "
            f"this source was landed for {day}: what was landed before stays.{landed} See whether the source has the "
            "day, then ingest it again. If a table may have days without rows, say so with `may_be_empty`, in the "
            "source's class or in its table in tailrace.toml."
        )


def _check_calendar(services: Services, first: dt.date, last: dt.date) -> None:
    """Of a range, no day is landed if one cannot be."""
    source = services.source
    if first > last:
        raise BadInput(f"The range goes from {first} to {last}; its first day must not be after its last.")
    absent = [day for day in days.span(first, last) if not calendars.tables_of(source, day)]
    if absent:
        raise OutOfCalendar(
            f"{source.name} has no extract of {days.ranges(absent, ' to ')}; {_calendars(source)}. Nothing was landed."
        )


def _calendars(source: Source) -> str:
    """The calendar of the source, or of each of its tables if they differ."""
    tables = defaultdict(list)
    for table, calendar in calendars.by_table(source).items():
        tables[calendar].append(table)
    if len(tables) == 1:
        return f"its calendar goes {calendars.words(next(iter(tables)))}"
    listed = sorted((sorted(names), calendars.words(calendar)) for calendar, names in tables.items())
    return "it has " + " and ".join(f"{', '.join(names)} {words}" for names, words in listed)
