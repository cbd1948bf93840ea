"""What a source may declare of its tables: how far builds look back on them, and which may be absent on a day."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tailrace.contracts import Source
from tailrace.errors import did_you_mean
from tailrace.rows.nights import LOOK_BACK_DAYS


def look_back_days(source: Source) -> Mapping[str, int]:
    """For each table, how many days before its own day a build reads: the source's `look_back_days`."""
    own: int | Mapping[str, int] = getattr(source, "look_back_days", LOOK_BACK_DAYS)
    return own if isinstance(own, Mapping) else dict.fromkeys(source.tables, own)


def optional(source: Source) -> frozenset[str]:
    """The tables of which a day may be absent: the source's `optional`."""
    return frozenset(getattr(source, "optional", ()))


def problems(source: Source, name: str) -> list[str]:
    """A sentence for each table that is declared something of and that the source, called `name`, does not have."""
    since: Mapping[str, object] = getattr(source, "since", {})
    found = [
        f"{name}: {declared} names {table!r}, which is none of its tables.{did_you_mean(table, source.tables)}"
        for declared, tables in (("since", since), ("optional", optional(source)))
        for table in sorted(_unknown(source, tables))
    ]
    if wrong := {days for days in look_back_days(source).values() if not isinstance(days, int) or days < 0}:
        found.append(f"{name}: look_back_days is {sorted(map(repr, wrong))[0]}; it must be a whole number, 0 or more.")
    return found


def _unknown(source: Source, tables: Collection[str]) -> set[str]:
    return set(tables) - set(source.tables)
