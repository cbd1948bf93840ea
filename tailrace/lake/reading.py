"""Reading published rows of a Delta lake, and what was published when."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
from deltalake import DeltaTable

from tailrace import days
from tailrace.contracts import Commit, NativeTable, Pin, between, last_of_each_day
from tailrace.errors import BadInput, PinLost, UpstreamMissing
from tailrace.lake import log
from tailrace.lake.files import storage_errors
from tailrace.lake.log import History
from tailrace.lake.parts import FileScan, NativeScan
from tailrace.lake.table_version import TableVersion, pin_digest
from tailrace.lake.tables import Tables

_SEARCHED = dt.timedelta(days=100)
"""The publications of more days than these are not looked for one by one."""


class DeltaReader:
    """See `LakeReader`."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._histories: dict[str, tuple[DeltaTable, tuple[Commit, ...]]] = {}
        """The publications of tables that are open, each with the opened table."""
        self._last_of_days: dict[str, tuple[DeltaTable, dict[dt.date, Commit | None]]] = {}
        """Those of single days that were asked for."""

    def exists(self, table: str) -> bool:
        return self.tables.exists(table)

    def head(self, table: str) -> str | None:
        return self.tables.head(table)

    def came_after(self, table: str, version: str, other: str) -> bool:
        return log.number_of(table, version) > log.number_of(table, other)

    def schema(self, table: str) -> pa.Schema:
        return self.tables.latest(table).schema

    def read(
        self,
        table: str,
        *,
        first: dt.date | None = None,
        last: dt.date | None = None,
        version: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.RecordBatchReader:
        opened = self.tables.latest(table) if version is None else self.tables.open(table, version)
        if opened.refusal:
            raise BadInput(opened.refusal)
        return opened.scan(opened.in_order(first, last), columns).reader()

    def pin(
        self, table: str, *, first: dt.date | None = None, last: dt.date | None = None, version: str | None = None
    ) -> Pin:
        opened = self.tables.latest(table) if version is None else self.tables.open(table, version, natively=True)
        active = opened.active(first, last)
        rows = sum(file.rows for file in active)
        return Pin(
            table=table,
            version=str(opened.number),
            first=first,
            last=last,
            rows=rows,
            files=len(active),
            digest=pin_digest(active),
        )

    def read_pin(self, pin: Pin, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        return self.scan(pin, columns).reader()

    def scan(self, pin: Pin, columns: Sequence[str] | None = None) -> FileScan | NativeScan:
        opened = self._pinned(pin)
        active = opened.in_order(pin.first, pin.last)
        if pin_digest(active) != pin.digest:
            raise PinLost(
                f"{pin.table} version {pin.version} does not list the files that were pinned: "
                "the table was replaced since. Restore it, or start again from a new pin."
            )
        latest = self.tables.latest(pin.table)
        _refuse_damage(pin, functools.partial(latest.incomplete, active))
        check = functools.cache(functools.partial(_refuse_damage, pin, functools.partial(latest.damage, active)))
        if opened.refusal:
            check()
            native = NativeTable(self.tables.uri(pin.table), pin.version, pin.first, pin.last)
            return NativeScan(native, opened.columns(columns), pin.rows, opened.refusal)
        return replace(opened.scan(active, columns), check=check, hashed=True)

    def _pinned(self, pin: Pin) -> TableVersion:
        try:
            latest = self.tables.latest(pin.table)
            # A table that stays open moves on to newer versions, so it is no pinned one.
            if str(latest.number) == pin.version and self.tables.are_opened_to_read:
                return latest
            return self.tables.open(pin.table, pin.version, natively=True)
        except UpstreamMissing as error:
            raise PinLost(f"{error} It was pinned: restore it from a copy, or start again from a new pin.") from error

    def days(
        self, table: str, *, first: dt.date | None = None, last: dt.date | None = None
    ) -> Mapping[dt.date, Commit]:
        if first is None or last is None or last - first > _SEARCHED:
            return between(last_of_each_day(self.commits(table)), first, last)
        try:
            opened = self.tables.latest(table)
        except UpstreamMissing:
            return {}
        known = self._histories.get(table)
        if known is not None and known[0] is opened.delta:
            return between(last_of_each_day(known[1]), first, last)
        with storage_errors(f"Reading the history of {table}"):
            found, span = self._looked_up(opened), list(days.span(first, last))
            if new := [day for day in span if day not in found]:
                records = opened.history.last_of(opened.published(new))
                found |= dict.fromkeys(new) | last_of_each_day(record.commit(table) for record in records)
            return {day: commit for day in span if (commit := found[day]) is not None}

    def commits(self, table: str, day: dt.date | None = None, *, since: str | None = None) -> tuple[Commit, ...]:
        try:
            opened = self.tables.latest(table)
        except UpstreamMissing:
            return ()
        history = opened.history
        after = -1 if since is None else log.number_of(table, since)
        if after > history.newest:
            raise UpstreamMissing(f"{table} has no version {since!r}; the latest is {history.newest}.")
        with storage_errors(f"Reading the history of {table}"):
            made = self._all(opened) if since is None else _publications(history, table, after)
            return tuple(commit for commit in made if day is None or commit.day == day)

    def _looked_up(self, opened: TableVersion) -> dict[dt.date, Commit | None]:
        """The last publications of days that were asked for, None where there is none; kept as long as the table is
        open, unless it moves."""
        if not self.tables.are_opened_to_read:
            return {}
        held = self._last_of_days.get(opened.table)
        if held is None or held[0] is not opened.delta:
            held = self._last_of_days[opened.table] = (opened.delta, {})
        return held[1]

    def _all(self, opened: TableVersion) -> Iterable[Commit]:
        """All publications of a table; of one that is kept open nothing is kept here, since it moves."""
        if not self.tables.are_opened_to_read:
            return _publications(opened.history, opened.table, -1)
        found = self._histories.get(opened.table)
        if found is None or found[0] is not opened.delta:
            # Most stages ask for several days, one by one.
            found = opened.delta, tuple(_publications(opened.history, opened.table, -1))
            self._histories[opened.table] = found
        return found[1]

    def sound(self, table: str, day: dt.date) -> bool:
        try:
            opened = self.tables.latest(table)
        except UpstreamMissing:
            return False
        published = self.days(table, first=day, last=day).get(day)
        with storage_errors(f"Checking the files of {table} of {day}"):
            return opened.is_sound(day, 0 if published is None else published.rows)


def _refuse_damage(pin: Pin, damage: Callable[[], list[str]]) -> None:
    """Raises PinLost for the damage that is found."""
    with storage_errors(f"Checking the pinned files of {pin.table}"):
        found = damage()
    if found:
        raise PinLost(
            f"{pin.table} version {pin.version}: the pinned bytes cannot be read again: {'; '.join(found)}. "
            "Restore the files from a copy, or start again from a new pin."
        )


def _publications(history: History, table: str, after: int) -> Iterator[Commit]:
    """What was published or appended after a version, newest first."""
    return (record.commit(table) for record in history.records(after) if record.kind != "optimize")
