"""The lake in memory: for tests and for trying a stage, with the same promises as the real one."""

from __future__ import annotations

import datetime as dt
import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pyarrow as pa

from tailrace.contracts import Commit, PartWriter, Pin, Staged
from tailrace.errors import BadInput, PinLost, PublishConflict, SchemaMismatch, UnknownName, UpstreamMissing
from tailrace.lake import foreign, parquet, staging
from tailrace.lake import rows as accepted
from tailrace.lake.files import TableFiles
from tailrace.lake.log import commit_metadata, last_of_each_day
from tailrace.lake.parquet import RowGroups


@dataclass
class _Table:
    """`versions` holds, per version, each day's rows by name; `fences` the publications per day."""

    schema: pa.Schema
    daily: bool
    versions: list[dict[dt.date | None, tuple[str, ...]] | None] = field(default_factory=lambda: [{}])
    blocks: dict[str, pa.Table] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    fences: dict[dt.date, int] = field(default_factory=dict)
    stagings: dict[tuple[dt.date, str], Staged] = field(default_factory=dict)
    written_at: dt.datetime = field(default_factory=staging.now)

    def commit(
        self, name: str, day: dt.date | None, contents: dict[dt.date | None, tuple[str, ...]], rows: int
    ) -> Commit:
        self.versions.append(contents)
        made = Commit(name, day, str(len(self.versions) - 1), staging.now(), rows)
        self.written_at = made.recorded_at
        self.commits.insert(0, made)
        return made


@dataclass(frozen=True)
class _Part:
    """Rows that travel themselves: what a lake in memory gives."""

    held: pa.Table

    @property
    def rows(self) -> int:
        return int(self.held.num_rows)

    def batches(self) -> Iterator[pa.RecordBatch]:
        return iter(self.held.to_batches())


@dataclass(frozen=True)
class _Scan:
    """The rows of a table in memory."""

    files: ClassVar[tuple[str, ...]] = ()
    native: ClassVar[None] = None
    held: pa.Table

    @property
    def schema(self) -> pa.Schema:
        return self.held.schema

    @property
    def rows(self) -> int:
        return int(self.held.num_rows)

    def reader(self) -> pa.RecordBatchReader:
        return self.held.to_reader()

    def parts(self, rows: int) -> tuple[_Part, ...]:
        starts = range(0, self.rows, rows)
        # A slice would be pickled with the whole table behind it.
        return tuple(
            _Part(self.held.slice(start, rows).take(pa.array(range(min(rows, self.rows - start))))) for start in starts
        )


@dataclass(frozen=True)
class _PartWriter:
    """Answers with the rows themselves."""

    def write(self, number: int, rows: pa.RecordBatchReader) -> pa.Table:
        return rows.read_all()


@dataclass(frozen=True)
class _Target:
    lake: MemoryLake
    table: str
    day: dt.date
    run_id: str

    def write(self, rows: pa.RecordBatchReader) -> Staged:
        return self.lake.stage(self.table, self.day, self.run_id, rows)

    def write_parts(self, schema: pa.Schema, write: Callable[[PartWriter], Iterable[pa.Table]]) -> Staged:
        parts = [schema.empty_table(), *write(_PartWriter())]
        return self.write(pa.concat_tables(parts).to_reader())

    def write_files(self, schema: pa.Schema, write: Callable[[str], None]) -> Staged:
        where = f"{self.table} of {self.day}"
        kept = self.lake.accepted(self.table, schema, where)
        with tempfile.TemporaryDirectory(prefix="tailrace-staging-") as folder:
            write(f"{folder}/rows")
            store = TableFiles(folder, None)
            files = foreign.data_files(store, "rows", kept, self.day, where, f"Staging {where}")
            pieces = [RowGroups(file.path, file.rows) for file in files]
            batches = parquet.batches(store, pieces, kept, f"Reading {where}")
            return self.write(pa.RecordBatchReader.from_batches(kept, batches))


class MemoryLake:
    """Tables live as long as the object; nothing is shared between processes.

    `now` is what `vacuum` tells the age of rows by.
    """

    def __init__(self, *, now: Callable[[], dt.datetime] = staging.now) -> None:
        self._now = now
        self._tables: dict[str, _Table] = {}
        self._names = 0

    def target(self, table: str, day: dt.date, run_id: str) -> _Target:
        return _Target(self, table, day, run_id)

    def stage(self, table: str, day: dt.date, run_id: str, rows: pa.RecordBatchReader) -> Staged:
        where = f"{table} of {day}"
        schema = self.accepted(table, rows.schema, where)
        known = self._tables.get(table) or _Table(schema, daily=True)
        fence = known.fences.get(day, 0)
        groups = accepted.row_groups(accepted.conform(batch, known.schema, day, where) for batch in rows)
        written = pa.concat_tables([known.schema.empty_table(), *groups])
        self._tables.setdefault(table, known)
        earlier = known.stagings.get((day, run_id))
        files = (self._store(known, f"ds={day}", written),) if written.num_rows else ()
        staged = Staged(table, day, run_id, written.num_rows, fence, _digest(written), files)
        known.stagings[day, run_id] = staged
        if earlier is not None:
            self._drop_unpublished(known, earlier)
        return staged

    def accepted(self, table: str, given: pa.Schema, where: str) -> pa.Schema:
        """The schema that rows of a day are kept in. Raises SchemaMismatch if they do not fit."""
        schema = accepted.with_day(accepted.lake_schema(given, where))
        known = self._tables.get(table) or _Table(schema, daily=True)
        if not known.daily:
            raise SchemaMismatch(f"{table} is not partitioned by 'ds', so no day of it can be replaced.")
        accepted.check_same(schema, known.schema, where)
        return known.schema

    def staged(self, table: str, day: dt.date, run_id: str) -> Staged:
        known = self._tables.get(table)
        if known is None or (day, run_id) not in known.stagings:
            raise staging.gone(table, day, run_id)
        return known.stagings[day, run_id]

    def read_staged(self, staged: Staged) -> pa.RecordBatchReader:
        known = self._require_staged(staged)
        return _rows(known, staged.files, None, staged.table).to_reader()

    def annotate(self, staged: Staged, notes: Mapping[str, str]) -> Staged:
        known = self._require_staged(staged)
        found = known.stagings[staged.day, staged.run_id]
        annotated = replace(found, notes={**found.notes, **notes})
        known.stagings[staged.day, staged.run_id] = annotated
        return annotated

    def discard(self, staged: Staged) -> None:
        known = self._tables.get(staged.table)
        if known is None or not self._drop_unpublished(known, staged):
            return
        kept = known.stagings.get((staged.day, staged.run_id))
        if kept is not None and kept.files == staged.files:
            del known.stagings[staged.day, staged.run_id]

    def publish(self, staged: Staged, metadata: Mapping[str, str]) -> Commit:
        if not self.exists(staged.table):
            raise staging.gone(staged.table, staged.day, staged.run_id)
        known = self._table(staged.table)
        published = self.commits(staged.table, staged.day)
        if known.fences.get(staged.day, 0) != staged.fence:
            own = _own(published, staged)
            if own is None:
                who = published[0].metadata["run_id"]
                raise PublishConflict(
                    f"{staged.table} of {staged.day}: run {who!r} published the day after run "
                    f"{staged.run_id!r} had staged. Nothing was overwritten; run the day again to replace it."
                )
            return own
        if published and published[0].metadata["digest"] == staged.digest and self.sound(staged.table, staged.day):
            return replace(published[0], unchanged=True)
        self._require_staged(staged)
        contents = {**(known.versions[-1] or {}), staged.day: staged.files}
        made = known.commit(staged.table, staged.day, contents, staged.rows)
        known.fences[staged.day] = staged.fence + 1
        full = commit_metadata(metadata, staged.day, staged.run_id, staged.rows, staged.digest)
        known.commits[0] = replace(made, metadata=full)
        return known.commits[0]

    def append(self, table: str, rows: pa.Table, metadata: Mapping[str, str]) -> Commit:
        where = f"Appending to {table}"
        given = accepted.lake_schema(rows.schema, where)
        known = self._tables.get(table) or _Table(given, daily=False)
        if known.daily:
            raise SchemaMismatch(f"{where}: the table is replaced by day, so it cannot be appended to.")
        accepted.check_same(given, known.schema, where)
        kept = pa.Table.from_batches(
            [accepted.conform(batch, known.schema, None, where) for batch in rows.to_batches()], known.schema
        )
        self._tables.setdefault(table, known)
        block = self._store(known, "append", kept)
        contents: dict[dt.date | None, tuple[str, ...]] = {None: (*(known.versions[-1] or {}).get(None, ()), block)}
        made = known.commit(table, None, contents, kept.num_rows)
        full = commit_metadata(metadata, None, "", kept.num_rows, _digest(kept))
        known.commits[0] = replace(made, metadata=full)
        return known.commits[0]

    def exists(self, table: str) -> bool:
        return table in self._tables

    def schema(self, table: str) -> pa.Schema:
        return self._table(table).schema

    def read(
        self,
        table: str,
        *,
        first: dt.date | None = None,
        last: dt.date | None = None,
        version: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.RecordBatchReader:
        pin = self.pin(table, first=first, last=last, version=version)
        return self.read_pin(pin, columns)

    def pin(
        self, table: str, *, first: dt.date | None = None, last: dt.date | None = None, version: str | None = None
    ) -> Pin:
        known = self._table(table)
        if version is None:
            version = str(len(known.versions) - 1)
        names = _blocks(known, table, version, first, last)
        rows = sum(known.blocks[name].num_rows for name in names)
        return Pin(table, version, first, last, rows, len(names), _pin_digest(known, names))

    def scan(self, pin: Pin, columns: Sequence[str] | None = None) -> _Scan:
        try:
            known = self._table(pin.table)
            names = _blocks(known, pin.table, pin.version, pin.first, pin.last)
        except UpstreamMissing as error:
            raise PinLost(f"{error} It was pinned: start again from a new pin.") from error
        if _pin_digest(known, names) != pin.digest:
            raise PinLost(f"{pin.table} version {pin.version} does not hold what was pinned.")
        return _Scan(_rows(known, names, columns, pin.table))

    def read_pin(self, pin: Pin, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        return self.scan(pin, columns).reader()

    def days(self, table: str) -> Mapping[dt.date, Commit]:
        return last_of_each_day(self.commits(table))

    def commits(self, table: str, day: dt.date | None = None, *, since: str | None = None) -> tuple[Commit, ...]:
        known, after = self._tables.get(table), -1 if since is None else int(since)
        commits = known.commits if known else ()
        return tuple(c for c in commits if (day is None or c.day == day) and int(c.version) > after)

    def sound(self, table: str, day: dt.date) -> bool:
        known = self._tables.get(table)
        return known is not None and known.blocks.keys() >= set((known.versions[-1] or {}).get(day, ()))

    def optimize(self, table: str) -> int:
        """A day is one block already."""
        self._table(table)
        return 0

    def vacuum(self, table: str, keep: Iterable[Pin] = (), older_than: dt.timedelta = dt.timedelta(days=7)) -> int:
        """Nothing goes until everything in the table is old enough."""
        known = self._table(table)
        if known.written_at > self._now() - max(older_than, staging.YOUNGEST_DELETED):
            return 0
        kept = {int(pin.version) for pin in keep if pin.table == table} | {len(known.versions) - 1}
        known.versions = [contents if number in kept else None for number, contents in enumerate(known.versions)]
        known.stagings.clear()
        needed = {name for contents in known.versions if contents for names in contents.values() for name in names}
        dead = known.blocks.keys() - needed
        for name in dead:
            del known.blocks[name]
        return len(dead)

    def _table(self, table: str) -> _Table:
        if table not in self._tables:
            raise UpstreamMissing(f"The lake has no table {table!r} yet. Run the stage that publishes it.")
        return self._tables[table]

    def _store(self, known: _Table, prefix: str, rows: pa.Table) -> str:
        self._names += 1
        name = f"{prefix}/{self._names:08d}"
        known.blocks[name] = rows
        known.written_at = staging.now()
        return name

    def _require_staged(self, staged: Staged) -> _Table:
        known = self._tables.get(staged.table)
        kept = known.stagings.get((staged.day, staged.run_id)) if known else None
        if known is None or kept is None or (kept.files, kept.fence) != (staged.files, staged.fence):
            raise staging.gone(staged.table, staged.day, staged.run_id)
        return known

    def _drop_unpublished(self, known: _Table, staged: Staged) -> bool:
        if _own(self.commits(staged.table, staged.day), staged) and known.fences[staged.day] > staged.fence:
            return False
        for name in staged.files:
            known.blocks.pop(name, None)
        return True


def _own(published: Sequence[Commit], staged: Staged) -> Commit | None:
    """The publication that followed the state this run staged from, if it is this run's own."""
    if len(published) <= staged.fence:
        return None
    next_one = published[len(published) - 1 - staged.fence]
    own = (next_one.metadata["run_id"], next_one.metadata["digest"]) == (staged.run_id, staged.digest)
    return next_one if own else None


def _blocks(known: _Table, table: str, version: str, first: dt.date | None, last: dt.date | None) -> list[str]:
    if not known.daily and (first is not None or last is not None):
        raise BadInput(f"{table} is not partitioned by 'ds': read it without first and last.")
    latest = len(known.versions) - 1
    if not version.isdecimal() or int(version) > latest:
        raise UpstreamMissing(f"{table} has no version {version!r}; the latest is {latest}.")
    contents = known.versions[int(version)]
    if contents is None:
        raise PinLost(f"{table} version {version} was vacuumed. Start again from a newer one.")
    wanted = [day for day in contents if day is None or (first or day) <= day <= (last or day)]
    names = [name for day in sorted(wanted, key=lambda d: d or dt.date.min) for name in contents[day]]
    if lost := [name for name in names if name not in known.blocks]:
        raise PinLost(f"Reading {table}: {', '.join(lost)} is gone. Run its day again.")
    return names


def _rows(known: _Table, names: Iterable[str], columns: Sequence[str] | None, table: str) -> pa.Table:
    chosen = list(columns) if columns is not None else known.schema.names
    for name in chosen:
        if name not in known.schema.names:
            raise UnknownName(f"column of {table}", name, known.schema.names)
    tables = [known.schema.empty_table(), *(known.blocks[name] for name in names)]
    return pa.concat_tables(tables).select(chosen)


def _digest(rows: pa.Table) -> str:
    """SHA-256 of the rows as an Arrow stream; equal rows arrive here in equal chunks."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def _pin_digest(known: _Table, names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(f"{n} {_digest(known.blocks[n])}" for n in sorted(names)).encode()).hexdigest()
