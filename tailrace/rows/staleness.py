"""Published days whose source rows have changed in the landing zone since.

A day's features look back at the days before it. If one of those is landed again with other rows, the features stay
as they were until they are built and taken again. Code that uses such features logs a warning.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping, Sequence

import pyarrow as pa

from tailrace import days
from tailrace.contracts import Commit, Lake, LakeReader, Services, Warehouse
from tailrace.errors import TailraceError
from tailrace.lineage import pins
from tailrace.spec import PipelineSpec

Stale = Mapping[dt.date, Sequence[dt.date]]
"""Published days, each with those of its source days whose rows have changed since, or came only then."""
_SCHEMA = pa.schema({"day": pa.date32(), "version": pa.string(), "number": pa.int64(), "source_days": pa.string()})


def note_unchanged(lake: Lake, spec: PipelineSpec, commit: Commit, sources: Mapping[str, str]) -> None:
    """Record the current sources of a day that did not change: its commit still names those of its first snapshot.

    `sources` is the result of `pins.source_note`.
    """
    noted = _notes(lake, spec)
    known = _made_from(commit, noted)
    if commit.day is None or not commit.unchanged or known == pins.source_days(sources):
        return
    row = {"day": commit.day, "version": commit.version, "number": len(noted), "source_days": sources[pins.SOURCE_DAYS]}
    lake.append(table(spec), pa.Table.from_pylist([row], _SCHEMA), {"pipeline": spec.name, "stage": "snapshot"})


def stale(lake: LakeReader, warehouse: Warehouse, spec: PipelineSpec, *, first: dt.date, last: dt.date) -> Stale:
    """The published days first..last whose features were made from rows that have changed, each with its source days.

    Raises LandingRefused, LakeUnavailable.
    """
    published = {day: commit for day, commit in lake.days(spec.features_table).items() if first <= day <= last}
    if not published:
        return {}
    noted = _notes(lake, spec)

    @functools.cache
    def landed(marts: tuple[str, ...]) -> dict[dt.date, str]:
        sources = warehouse.sources(max(published), min(published), marts=marts)
        return pins.source_days(pins.source_note(sources))

    def is_still(source: dt.date, digest: str) -> bool:
        """A source day that is not there any more counts as unchanged."""
        # Earlier releases recorded a digest of all landed tables, also of those that the marts are not made from.
        return any(landed(marts).get(source, digest) == digest for marts in (tables(spec), ()))

    def others(day: dt.date, made_from: Mapping[dt.date, str]) -> list[dt.date]:
        if not made_from:
            return []
        changed = [source for source, digest in made_from.items() if not is_still(source, digest)]
        # Those before the oldest may lie before what the day looks back on.
        came = [source for source in landed(tables(spec)) if min(made_from) < source <= day and source not in made_from]
        return sorted(changed + came)

    made_from = {day: _made_from(commit, noted) for day, commit in sorted(published.items())}
    return {day: found for day, sources in made_from.items() if (found := others(day, sources))}


def tables(spec: PipelineSpec) -> tuple[str, ...]:
    """The marts of a pipeline, as dbt names them."""
    return tuple(mart.table for mart in spec.marts)


def warning(services: Services, spec: PipelineSpec, first: dt.date, last: dt.date) -> str:
    """A sentence about the stale days of first..last, with the command that makes them again; empty if there are none.

    It never raises an error of ours: a warning must not stop the work that it is about.
    """
    try:
        found = stale(services.lake, services.warehouse, spec, first=first, last=last)
    except TailraceError as error:
        return (
            f"Could not check whether the features of {spec.name} were made from the rows that are landed now: {error}"
        )
    if not found:
        return ""
    made = sorted(found)
    sources = sorted({source for others in found.values() for source in others})
    to = f" --to {made[-1]}" if made[-1] > made[0] else ""
    return (
        f"{spec.features_table} of {days.ranges(made)} ({len(made)} days) were made from rows of "
        f"{days.ranges(sources)} that have changed since. Build and take them again, oldest first: "
        f"tailrace warehouse {spec.name} --date {made[0]}{to}."
    )


def warning_after(services: Services, spec: PipelineSpec, day: dt.date) -> str:
    """The warning about the days after a day that was built again."""
    return warning(services, spec, day + dt.timedelta(days=1), dt.date.max)


def _made_from(commit: Commit, noted: Sequence[Mapping[str, object]]) -> dict[dt.date, str]:
    """The source days of a commit when it was last made, each with its digest."""
    later = [row for row in noted if (row["day"], row["version"]) == (commit.day, commit.version)]
    if later:
        last = max(later, key=lambda row: int(str(row["number"])))
        return pins.source_days({pins.SOURCE_DAYS: str(last["source_days"])})
    return pins.source_days(commit.metadata)


def _notes(lake: LakeReader, spec: PipelineSpec) -> list[Mapping[str, object]]:
    return lake.read(table(spec)).read_all().to_pylist() if lake.exists(table(spec)) else []


def table(spec: PipelineSpec) -> str:
    """The lake table that stores the sources of unchanged days that were taken again."""
    return f"sources/{spec.name}"
