"""Land the source's extract of each day, replacing what was landed before."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines import days
from pipelines.errors import BadInput, OutOfCalendar
from pipelines.interfaces import Services


@dataclass(frozen=True)
class Ingested:
    """Rows landed for the days first..last, by table."""

    first: dt.date
    last: dt.date
    rows: Mapping[str, int]


def run(services: Services, first: dt.date, last: dt.date) -> Ingested:
    """Raises OutOfCalendar before anything is landed, StorageFull."""
    source, landing = services.source, services.landing
    _check_calendar(services, first, last)
    rows = dict.fromkeys(source.tables, 0)
    for day in days.span(first, last):
        for table in source.tables:
            rows[table] += landing.write(table, day, source.extract(table, day))
    return Ingested(first, last, rows)


def _check_calendar(services: Services, first: dt.date, last: dt.date) -> None:
    """Of a range, no day is landed if one cannot be."""
    begins, ends = services.source.calendar
    if first > last:
        raise BadInput(f"The range goes from {first} to {last}; its first day must not be after its last.")
    if first < begins or last > ends:
        asked = str(first) if first == last else f"{first} to {last}"
        raise OutOfCalendar(
            f"{services.source.name} has no extract of {asked}; its calendar goes from {begins} to {ends}. "
            "Nothing was landed."
        )
