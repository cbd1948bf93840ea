"""The landing zone: nightly extracts as they were delivered, one Parquet file per table and day.

    <root>/<table>/ds=YYYY-MM-DD/part-0.parquet

The root is a folder or any URL that fsspec supports.
"""

from __future__ import annotations

import copy
import datetime as dt
import errno
import hashlib
import os
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from tailrace.days import ranges, span
from tailrace.errors import (
    LakeUnavailable,
    LandingRefused,
    SettingsError,
    StorageFull,
    TailraceError,
    UnknownName,
    UpstreamMissing,
)
from tailrace.lineage.digests import rows_digest
from tailrace.rows.nights import LOOK_BACK_DAYS
from tailrace.sources.calendars import OPEN, Calendar, within

LANDED_AT = pa.field("_landed_at", pa.timestamp("us", tz="UTC"))
"""The time at which a row was landed, for checks of freshness; no model uses it."""
DAY = pa.field("ds", pa.date32())
"""The partition column: it is in the folder's name, not in the file."""
_DIGEST = b"tailrace.rows_sha256"
"""The key of the rows' digest in a file's footer."""
_NO_DAY = dt.date.min
"""The partition of the files that `declare` writes; it counts as no day."""
_FOOTERS_AT_ONCE = 8
_REBUILT_DAYS = 31
"""How far back a person may still build days again, whatever is deleted."""
_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What Arrow raises for a damaged file; the last if the name of a column is damaged."""
_LOOKED_FOR = 100
"""So many days are looked for one by one on a disk; more are listed."""
_NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Landing:
    """Landed extracts of the tables in `schemas`, which gives the columns of each table.

    `calendars` gives the first and last day that a table's source has; a table without one has every day.
    `look_back_days` says for each table how many days before its own day a build reads. Of the tables in `optional`, a
    day may be absent.
    """

    def __init__(
        self,
        root: str,
        schemas: Mapping[str, pa.Schema],
        clock: Callable[[], dt.datetime] = _utc_now,
        *,
        calendars: Mapping[str, Calendar] | None = None,
        look_back_days: Mapping[str, int] | None = None,
        optional: Collection[str] = (),
    ) -> None:
        self.root = root.rstrip("/")
        self.schemas = schemas
        self._calendars = calendars or {}
        self._look_back_days = dict.fromkeys(schemas, LOOK_BACK_DAYS) | dict(look_back_days or {})
        self._required = tuple(table for table in sorted(schemas) if table not in optional)
        self._clock = clock
        self._files, self._path = fsspec.core.url_to_fs(self.root)
        self._digests: dict[tuple[str, dt.date], tuple[str, str]] = {}
        """A cache of file contents with the file's mark: ranges of days look back on most files repeatedly."""

    @property
    def location(self) -> str:
        """The root for other readers: an absolute path, or the URL."""
        return self._path if "file" in self._files.protocol else self.root

    def write(self, table: str, day: dt.date, rows: pa.Table) -> int:
        """Land a day of a table, replacing what was landed for it; returns the number of rows.

        Raises LandingRefused if the rows do not have the declared columns, UnknownName, StorageFull.
        """
        declared = self._declared(table)
        problems = _differences(declared, rows.schema)
        if problems:
            raise LandingRefused(_listed(f"The extract of {table} for {day} was not landed:", problems))
        landed_at = pa.repeat(pa.scalar(self._clock(), LANDED_AT.type), rows.num_rows)
        rows = rows.select(declared.names).cast(declared)
        digest = rows_digest(rows)
        rows = rows.append_column(LANDED_AT, landed_at).replace_schema_metadata({_DIGEST: digest})
        file = self._file(table, day)
        partial = f"{file}.{uuid.uuid4().hex}.partial"
        try:
            self._files.makedirs(self._files._parent(file), exist_ok=True)
            with self._files.open(partial, "wb") as sink:
                pq.write_table(rows, sink, compression="zstd", write_page_checksum=True)
            self._files.mv(partial, file)
        except BaseException as error:
            if self._files.exists(partial):
                self._files.rm(partial)
            if isinstance(error, OSError):
                raise self._unwritten(table, day, error) from error
            raise
        return rows.num_rows

    def until(self, day: dt.date, folder: Path) -> Landing:
        """What was landed for the days up to that one, in an empty folder: as it looked when that day was the last.

        Files of this machine are linked, others are copied. Raises LakeUnavailable.
        """
        for table in self.schemas:
            for landed, info in self._found(table).items():
                if landed > day:
                    continue
                file = folder / table / f"ds={landed}" / "part-0.parquet"
                file.parent.mkdir(parents=True, exist_ok=True)
                with self._reading(f"{table} of {landed}"):
                    try:
                        os.link(info["name"], file)
                    except OSError:  # other storage, or another file system
                        self._files.get_file(info["name"], str(file))
        past = copy.copy(self)
        past.root = str(folder)
        past._files, past._path = fsspec.core.url_to_fs(past.root)
        past._digests = {}
        past.declare()
        return past

    def declare(self) -> None:
        """Give each table that was never landed a file without rows, of no day: DuckDB reads no table without files.

        Raises StorageFull, SettingsError, LakeUnavailable.
        """
        for table, schema in self.schemas.items():
            with self._reading(f"the folder of {table}"):
                known = self._files.exists(f"{self._path}/{table}")
            if not known:
                self.write(table, _NO_DAY, schema.empty_table())

    def _unwritten(self, table: str, day: dt.date, error: OSError) -> TailraceError:
        """The error for a failure of the storage while a day is written."""
        stays = f"{table} of {day} was not landed, and what was landed before is unchanged."
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StorageFull(f"The landing zone {self.root} is full: {stays} Free space, then ingest the day again.")
        message = " ".join(str(error).split())
        if error.errno in _NO_RIGHT:
            return SettingsError(
                f"The landing zone {self.root} cannot be written by this user: {stays}",
                [f"The storage says: {message}.", "Give the user that runs Tailrace the right to write there."],
            )
        return LakeUnavailable(
            f"The storage of the landing zone {self.root} failed: {stays} It says: {message}. "
            "Check that it can be reached and written, then ingest the day again."
        )

    def sweep(self, older_than: dt.timedelta = dt.timedelta(days=1), *, dry_run: bool = False) -> list[int]:
        """Remove partial files of writers that were killed; returns the bytes of each. Raises LakeUnavailable."""
        before, removed = dt.datetime.now(dt.UTC) - older_than, []
        for table in self.schemas:
            with self._reading(f"the unfinished files of {table}"):
                for partial in self._files.glob(f"{self._path}/{table}/ds=*/part-0.parquet.*.partial"):
                    if self._files.modified(partial) < before:
                        removed.append(self._files.size(partial))
                        if not dry_run:
                            self._files.rm(partial)
        return removed

    def remove(self, days: int, *, dry_run: bool = False) -> list[int]:
        """Delete the extracts of days further back than this from the last landed day; returns the bytes of each.

        Days of the future do not count: one that was mistyped would make all others old. The days that a build of the
        last day or the month before it looks back on stay, however few are to be kept. Raises LakeUnavailable.
        """
        # In the zone that is furthest ahead it may be tomorrow.
        today = self._clock().date() + dt.timedelta(days=1)
        landed = [day for table in self.schemas for day in self.days(table) if day <= today]
        if not landed:
            return []
        last, removed = max(landed), []
        for table in self.schemas:
            first = last - dt.timedelta(days=max(days, self._look_back_days[table] + _REBUILT_DAYS))
            with self._reading(f"the old days of {table}"):
                for day, about in self._found(table).items():
                    if day < first:
                        removed.append(int(about["size"] or 0))
                        if not dry_run:
                            self._files.rm(self._files._parent(self._file(table, day)), recursive=True)
        return removed

    def days(self, table: str) -> tuple[dt.date, ...]:
        """The landed days of a table, in order. Raises UnknownName, LakeUnavailable."""
        self._declared(table)
        return tuple(sorted(self._files_by_day(table)))

    def last(self) -> dt.date | None:
        """The last day landed of any table; None before anything was landed. Raises LakeUnavailable."""
        return max((day for table in self.schemas for day in self.days(table)), default=None)

    def gaps(self, first: dt.date, last: dt.date) -> tuple[dt.date, ...]:
        """Which of the days first..last lack a table's file that its source has.

        The days of a table count from its first landed one: a new table does not ask for days before it.
        Raises LakeUnavailable.
        """
        return tuple(sorted(set().union(*(self._gaps(table, first, last) for table in self._required))))

    def lacking(self, first: dt.date, last: dt.date) -> Mapping[str, tuple[dt.date, ...]]:
        """The days that a build of first..last needs and that were not landed, by table.

        Tables without gaps are left out. Raises LakeUnavailable.
        """
        found = {table: self._looked_back(table, first) | self._absent(table, first, last) for table in self._required}
        return {table: tuple(sorted(days)) for table, days in found.items() if days}

    def gaps_before(self, day: dt.date) -> tuple[dt.date, ...]:
        """Which of the days that a build of `day` looks back on are gaps, each table for the days of its own look-back.

        Raises LakeUnavailable.
        """
        return tuple(sorted(set().union(*(self._looked_back(table, day) for table in self._required))))

    def _looked_back(self, table: str, day: dt.date) -> set[dt.date]:
        """The gaps among the days that a build of `day` looks back on."""
        return self._gaps(table, day - dt.timedelta(days=self._look_back_days[table]), day - dt.timedelta(days=1))

    def _absent(self, table: str, first: dt.date, last: dt.date) -> set[dt.date]:
        """Those of the days first..last that the table's source has and that were not landed."""
        return self._due(table, first, last).difference(self._files_by_day(table, first, last))

    def _gaps(self, table: str, first: dt.date, last: dt.date) -> set[dt.date]:
        if self._due(table, first, last) <= set(self._files_by_day(table, first, last)):
            return set()
        landed = set(self.days(table))
        return self._due(table, max(first, min(landed)), last) - landed if landed else set()

    @property
    def look_back_days(self) -> int:
        """The longest look-back of a table."""
        return max(self._look_back_days.values(), default=LOOK_BACK_DAYS)

    def _due(self, table: str, first: dt.date, last: dt.date) -> set[dt.date]:
        """Those of the days first..last that the table's source has."""
        return set(span(*within(self._calendars.get(table, OPEN), first, last)))

    def marks(self, first: dt.date, last: dt.date) -> Mapping[tuple[str, dt.date], str]:
        """For each landed table and day, a mark that changes when it is landed again.

        Raises LakeUnavailable.
        """
        return {(table, day): mark for table in self.schemas for day, mark in self._marks(table, first, last).items()}

    def _marks(self, table: str, first: dt.date, last: dt.date) -> Mapping[dt.date, str]:
        return {
            day: hashlib.sha256(repr(sorted(about.items())).encode()).hexdigest()
            for day, about in self._found(table, first, last).items()
        }

    def _found(
        self, table: str, first: dt.date = dt.date.min, last: dt.date = dt.date.max
    ) -> Mapping[dt.date, Mapping[str, Any]]:
        """The storage's information about the files of the landed days first..last."""
        with self._reading(f"the days of {table}"):
            files = self._files_by_day(table, first, last)
            return {day: about or self._files.info(file) for day, (file, about) in files.items()}

    def _files_by_day(
        self, table: str, first: dt.date = dt.date.min, last: dt.date = dt.date.max
    ) -> Mapping[dt.date, tuple[str, Mapping[str, Any]]]:
        """The file of each of the landed days first..last, with what the listing says about it, if it says anything.

        Folders not named after a day are ignored.
        """
        folder = f"{self._path}/{table}"
        with self._reading(f"the days of {table}"):
            if "file" in self._files.protocol:
                found: Mapping[str, Mapping[str, Any]] = {path: {} for path in _on_disk(Path(folder), first, last)}
            else:
                # listed first to get its errors: a glob silently finds nothing in a folder without read rights
                names = self._files.ls(folder, detail=False) if self._files.exists(folder) else []
                found = self._files.glob(f"{folder}/ds=*/part-0.parquet", detail=True) if names else {}
        of_days = ((_day_of(name), (name, about)) for name, about in found.items())
        return {day: of_day for day, of_day in of_days if day is not None and first <= day <= last}

    def digests(self, first: dt.date, last: dt.date) -> Mapping[tuple[str, dt.date], str]:
        """SHA-256 of the landed rows of each table and day; landing the same rows again does not change it.

        If another program wrote the file, it is the digest of the file's bytes. Raises LandingRefused naming a damaged
        file, UpstreamMissing if a file is removed during the call, LakeUnavailable.
        """
        marks = self.marks(first, last)
        unread = [key for key, mark in marks.items() if self._digests.get(key, ("", ""))[0] != mark]
        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
            for key, digest in zip(unread, pool.map(lambda key: self._digest(*key), unread), strict=True):
                self._digests[key] = (marks[key], digest)
        return {key: self._digests[key][1] for key in marks}

    def empty(self, first: dt.date, last: dt.date) -> Mapping[dt.date, tuple[str, ...]]:
        """The tables that have no rows of a day, by day; days without such tables are left out.

        They were landed without rows, or their source does not have the day, or they are optional and not landed.
        Raises LandingRefused naming a damaged file, UpstreamMissing, LakeUnavailable.
        """
        landed = sorted((day, table) for table, day in self.marks(first, last))
        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
            rows = list(pool.map(lambda key: self._rows(key[1], key[0]), landed))
        there = {(day, table) for day, table in landed}
        empty = {
            day: {table for table in self.schemas if not self._has(table, day, there)} for day in span(first, last)
        }
        for (day, table), count in zip(landed, rows, strict=True):
            if count == 0:
                empty[day].add(table)
        return {day: tuple(sorted(tables)) for day, tables in empty.items() if tables}

    def _has(self, table: str, day: dt.date, landed: Collection[tuple[dt.date, str]]) -> bool:
        """Whether the day of a table should have a file, or has one although it may be absent."""
        return bool(self._due(table, day, day)) and (table in self._required or (day, table) in landed)

    def _tables_of(self, day: dt.date) -> list[str]:
        """The tables whose source has the day, in order."""
        return [table for table in sorted(self.schemas) if self._due(table, day, day)]

    def _rows(self, table: str, day: dt.date) -> int:
        with self._reading(f"{table} of {day}"), self._files.open(self._file(table, day), "rb") as file:
            return int(self._footer(table, day, file).num_rows)

    def _footer(self, table: str, day: dt.date, file: Any) -> pq.FileMetaData:
        try:
            return pq.read_metadata(file)
        except _DAMAGE as error:
            # Arrow raises an OSError for some kinds of damage; only the storage's errors have a number
            if getattr(error, "errno", None) is not None:
                raise
            raise LandingRefused(
                f"The landing zone {self.root} has a file of {table} of {day} that is not a readable Parquet "
                f"file ({' '.join(str(error).split())}). Land the day again from a sound extract."
            ) from error

    def _digest(self, table: str, day: dt.date) -> str:
        with self._reading(f"{table} of {day}"), self._files.open(self._file(table, day), "rb") as file:
            noted = self._footer(table, day, file).metadata or {}
            if _DIGEST in noted:
                return noted[_DIGEST].decode("ascii", "replace")
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()

    def columns(self, table: str) -> pa.Schema:
        """The columns of a landed table as `read` returns them. Raises UnknownName."""
        return self._declared(table).append(LANDED_AT).append(DAY)

    def read(self, table: str, day: dt.date) -> pa.Table:
        """The rows landed for a day, with `ds`.

        Raises UpstreamMissing, LandingRefused if the file is damaged or has other columns, LakeUnavailable.
        """
        rows, problems = self._content(table, day)
        if rows is None or problems:
            heading = f"The landing zone {self.root} has a file of {table} of {day} that cannot be built from:"
            raise LandingRefused(_listed(heading, problems))
        return rows.append_column(DAY, pa.repeat(pa.scalar(day, DAY.type), rows.num_rows))

    def check(self, first: dt.date, last: dt.date, without: Collection[str] = ()) -> None:
        """Check that every table has an undamaged file for each of the days first..last that its source has.

        An optional table need not have the file. The tables `without` are not checked. Every file is read once, so that
        any damage is found here and not in the middle of a build. Raises UpstreamMissing naming every absent table and
        day, LandingRefused naming every unreadable file and every column that is missing, unexpected or of another
        type, and LakeUnavailable if the storage fails, which tells nothing about the files.
        """
        self._check_presence(first, last, without)
        problems = [
            f"{table} of {day}: {problem}"
            for table in sorted(self.schemas)
            if table not in without
            for day in sorted(self._to_check(table, first, last))
            for problem in self._content(table, day)[1]
        ]
        if problems:
            heading = f"The landing zone {self.root} has files that cannot be built from:"
            remedy = (
                "Land those days again, from extracts that are undamaged and have the columns that the source declares."
            )
            raise LandingRefused(f"{_listed(heading, problems)}\n{remedy}")

    def _check_presence(self, first: dt.date, last: dt.date, without: Collection[str]) -> None:
        nobodys = [day for day in span(first, last) if self.schemas and not self._tables_of(day)]
        if nobodys:
            raise UpstreamMissing(
                f"No source has an extract of {ranges(nobodys, ' to ')}, so there is nothing to build from. Name days "
                "that the calendar of a source has."
            )
        absent = {table: sorted(self._absent(table, first, last)) for table in self._required if table not in without}
        problems = [f"{table}: {ranges(days)}" for table, days in absent.items() if days]
        if problems:
            days = sorted(set().union(*absent.values()))
            heading = f"The landing zone {self.root} lacks files:"
            raise UpstreamMissing(f"{_listed(heading, problems)}\nRun ingest for {ranges(days)}.{self._began(absent)}")

    def _began(self, absent: Mapping[str, Sequence[dt.date]]) -> str:
        """A sentence about tables that lack only days before their first landed one: they may be new."""
        new = [table for table, days in absent.items() if days and days[-1] < min(self.days(table), default=days[0])]
        return f" If {', '.join(new)} began later, the source declares it: since = {{table: first day}}." if new else ""

    def _to_check(self, table: str, first: dt.date, last: dt.date) -> set[dt.date]:
        due = self._due(table, first, last)
        return due if table in self._required else due.intersection(self._files_by_day(table, first, last))

    def _content(self, table: str, day: dt.date) -> tuple[pa.Table | None, list[str]]:
        """The rows of one landed file, and the problems found in it."""
        with self._reading(f"{table} of {day}"):
            content = self._files.cat_file(self._file(table, day))
        try:
            rows = pq.read_table(pa.BufferReader(content), page_checksum_verification=True, partitioning=None)
            return rows, _differences(self._declared(table).append(LANDED_AT), rows.schema)
        # Arrow raises an OSError for a wrong checksum; the bytes are in memory, so it is no storage error
        except _DAMAGE as error:
            return None, [f"not a readable Parquet file ({' '.join(str(error).split())})"]

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """Translate the storage's errors during reading."""
        try:
            yield
        except FileNotFoundError as error:
            raise UpstreamMissing(
                f"The landing zone {self.root} no longer has {what}: it was just removed. Run ingest for it again."
            ) from error
        except OSError as error:
            raise LakeUnavailable(
                f"The storage of the landing zone {self.root} failed while {what} was read "
                f"({' '.join(str(error).split())}). Check that it can be reached and read, then try again."
            ) from error

    def _file(self, table: str, day: dt.date) -> str:
        return f"{self._path}/{table}/ds={day.isoformat()}/part-0.parquet"

    def _declared(self, table: str) -> pa.Schema:
        if table not in self.schemas:
            raise UnknownName("landing table", table, self.schemas)
        return self.schemas[table]


def _on_disk(folder: Path, first: dt.date, last: dt.date) -> Iterator[str]:
    """The files of a table's days first..last on this machine's disk. Raises OSError."""
    if not folder.is_dir():
        return
    if (last - first).days < _LOOKED_FOR:
        # After a few years a folder has so many days that listing it takes longer than looking for some of them.
        names = [f"ds={day.isoformat()}" for day in span(first, last)]
    else:
        names = [entry.name for entry in folder.iterdir() if entry.name.startswith("ds=")]
    for name in names:
        file = folder / name / "part-0.parquet"
        if (day := _day_of(str(file))) is not None and first <= day <= last and file.is_file():
            yield str(file)


def _day_of(file: str) -> dt.date | None:
    """The day of a landed file; None if its folder is not named after a day of the calendar."""
    folder = file.split("/")[-2].removeprefix("ds=")
    try:
        day = dt.date.fromisoformat(folder)
    except ValueError:
        return None
    # 20130101 and 2013-W01-2 are valid days too, but landed days are not written like that
    return day if day.isoformat() == folder and day != _NO_DAY else None


def _differences(declared: pa.Schema, found: pa.Schema) -> list[str]:
    """A sentence for each column that is missing, unexpected or of another type."""
    missing = [f"column {name} is missing" for name in declared.names if name not in found.names]
    unexpected = [f"column {name} is unexpected" for name in found.names if name not in declared.names]
    changed = [
        f"column {field.name} is {found.field(field.name).type} and should be {field.type}"
        for field in declared
        if field.name in found.names and found.field(field.name).type != field.type
    ]
    return missing + unexpected + changed


def _listed(heading: str, problems: list[str]) -> str:
    return "\n".join([heading, *(f"  - {problem}" for problem in problems)])
