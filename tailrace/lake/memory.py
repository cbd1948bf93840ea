"""The lake in memory: for tests and for trying a stage. It keeps every promise of the real one."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import pyarrow as pa

from tailrace.contracts import Commit, PartWriter, Pin, Staged, Vacuumed, between, last_of_each_day
from tailrace.errors import PinLost, PublishConflict, SchemaMismatch, UpstreamMissing
from tailrace.lake import foreign, manifests, parquet
from tailrace.lake import rows as accepted
from tailrace.lake.files import TableFiles
from tailrace.lake.memory_table import Contents, MemoryTable, digest
from tailrace.lake.parquet import RowGroups


@dataclass(frozen=True)
class _Part:
    """Carries its rows with it."""

    table: pa.Table

    @property
    def rows(self) -> int:
        return int(self.table.num_rows)

    def batches(self) -> Iterator[pa.RecordBatch]:
        return iter(self.table.to_batches())


@dataclass(frozen=True)
class _Scan:
    files: ClassVar[tuple[str, ...]] = ()
    native: ClassVar[None] = None
    table: pa.Table

    @property
    def schema(self) -> pa.Schema:
        return self.table.schema

    @property
    def rows(self) -> int:
        return int(self.table.num_rows)

    def reader(self) -> pa.RecordBatchReader:
        return self.table.to_reader()

    def parts(self, rows: int) -> tuple[_Part, ...]:
        starts = range(0, self.rows, rows)
        # A slice would be pickled with the whole table behind it.
        return tuple(
            _Part(self.table.slice(start, rows).take(pa.array(range(min(rows, self.rows - start))))) for start in starts
        )


@dataclass(frozen=True)
class _PartWriter:
    """Hands back the rows themselves."""

    def write(self, number: int, rows: pa.RecordBatchReader) -> pa.Table:
        return rows.read_all()


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """A staging that has begun: its rows get the schema and the fence that the table had then.

    The rows lack the columns that `lacking` names.
    """

    table: MemoryTable
    day: dt.date
    schema: pa.Schema
    fence: int
    lacking: frozenset[str]

    @property
    def where(self) -> str:
        return f"{self.table.name} of {self.day}"


@dataclass(frozen=True, kw_only=True)
class _Target:
    lake: MemoryLake
    table: str
    day: dt.date
    run_id: str
    may_lack: frozenset[str]

    def begin(self, schema: pa.Schema) -> _Begun:
        return self.lake.begin(self.table, self.day, schema, self.may_lack)

    def write(self, rows: pa.RecordBatchReader) -> Staged:
        return self.lake.finish(self.begin(rows.schema), self.run_id, rows)

    def write_parts(self, schema: pa.Schema, write: Callable[[PartWriter], Iterable[pa.Table]]) -> Staged:
        begun = self.begin(schema)
        parts = [schema.empty_table(), *write(_PartWriter())]
        return self.lake.finish(begun, self.run_id, pa.concat_tables(parts).to_reader())

    def write_files(self, schema: pa.Schema, write: Callable[[str], None]) -> Staged:
        begun = self.begin(schema)
        kept, where = begun.schema, begun.where
        with tempfile.TemporaryDirectory(prefix="tailrace-staging-") as folder:
            write(f"{folder}/rows")
            store = TableFiles(folder, None)
            written = accepted.without(kept, begun.lacking)
            files = foreign.data_files(store, "rows", written, day=self.day, where=where, doing=f"Staging {where}")
            pieces = [RowGroups(file.path, file.rows) for file in files]
            batches = parquet.batches(store, pieces, kept, f"Reading {where}")
            return self.lake.finish(begun, self.run_id, pa.RecordBatchReader.from_batches(kept, batches))


class MemoryLake:
    """Tables live as long as the object; nothing is shared between processes.

    `now` is the time that `vacuum` compares the age of rows with.
    """

    def __init__(self, *, now: Callable[[], dt.datetime] = manifests.now) -> None:
        self._now = now
        self._tables: dict[str, MemoryTable] = {}

    # ------------------------------------------------------------ reading

    def exists(self, table: str) -> bool:
        return table in self._tables

    def head(self, table: str) -> str | None:
        known = self._tables.get(table)
        return known.head if known else None

    def came_after(self, table: str, version: str, other: str) -> bool:
        known = self._table(table)
        return known.place_of(version) > known.place_of(other)

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
        return self.read_pin(self.pin(table, first=first, last=last, version=version), columns)

    def pin(
        self, table: str, *, first: dt.date | None = None, last: dt.date | None = None, version: str | None = None
    ) -> Pin:
        known = self._table(table)
        version = known.head if version is None else version
        names = known.names(version, first, last)
        rows = sum(known.blocks[name].num_rows for name in names)
        return Pin(
            table=table,
            version=version,
            first=first,
            last=last,
            rows=rows,
            files=len(names),
            digest=known.pin_digest(names),
        )

    def scan(self, pin: Pin, columns: Sequence[str] | None = None) -> _Scan:
        try:
            known = self._table(pin.table)
            names = known.names(pin.version, pin.first, pin.last)
        except UpstreamMissing as error:
            raise PinLost(f"{error} It was pinned: start again from a new pin.") from error
        if known.pin_digest(names) != pin.digest:
            raise PinLost(f"{pin.table} version {pin.version} does not hold what was pinned.")
        return _Scan(known.rows(names, columns, pin.version))

    def read_pin(self, pin: Pin, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        return self.scan(pin, columns).reader()

    def days(
        self, table: str, *, first: dt.date | None = None, last: dt.date | None = None
    ) -> Mapping[dt.date, Commit]:
        return between(last_of_each_day(self.commits(table)), first, last)

    def commits(self, table: str, day: dt.date | None = None, *, since: str | None = None) -> tuple[Commit, ...]:
        known = self._tables.get(table)
        if known is None:
            return ()
        later = known.versions.keys() if since is None else known.later_than(since)
        return tuple(c for c in known.commits if (day is None or c.day == day) and c.version in later)

    def sound(self, table: str, day: dt.date) -> bool:
        known = self._tables.get(table)
        return known is not None and known.is_sound(day)

    # ------------------------------------------------------------ publishing

    def target(self, table: str, day: dt.date, run_id: str, *, may_lack: Collection[str] = ()) -> _Target:
        return _Target(lake=self, table=table, day=day, run_id=run_id, may_lack=frozenset(may_lack))

    def stage(self, table: str, day: dt.date, run_id: str, rows: pa.RecordBatchReader) -> Staged:
        return self.target(table, day, run_id).write(rows)

    def begin(self, table: str, day: dt.date, given: pa.Schema, may_lack: Collection[str] = ()) -> _Begun:
        """Begin to stage a day of a table, which is made by `finish` if it is new. Raises SchemaMismatch."""
        where = f"{table} of {day}"
        schema = accepted.with_day(accepted.lake_schema(given, where))
        known = self._tables.get(table) or MemoryTable(name=table, schema=schema, daily=True)
        if not known.daily:
            raise SchemaMismatch(f"{table} is not partitioned by 'ds', so no day of it can be replaced.")
        lacking = frozenset(may_lack) & set(known.schema.names) - set(schema.names)
        accepted.check_same(schema, accepted.without(known.schema, lacking), where)
        return _Begun(table=known, day=day, schema=known.schema, fence=known.publications.get(day, 0), lacking=lacking)

    def finish(self, begun: _Begun, run_id: str, rows: pa.RecordBatchReader) -> Staged:
        """Stage the rows in place of what the run had staged before."""
        day, groups = begun.day, accepted.groups(rows, begun.schema, begun.day, begun.where, lacking=begun.lacking)
        written = pa.concat_tables([begun.schema.empty_table(), *groups])
        known = self._tables.setdefault(begun.table.name, begun.table)
        earlier = known.stagings.get((day, run_id))
        files = (known.store(f"ds={day}", written),) if written.num_rows else ()
        staged = Staged(
            table=known.name,
            day=day,
            run_id=run_id,
            rows=written.num_rows,
            fence=begun.fence,
            digest=digest(written),
            files=files,
        )
        known.stagings[day, run_id] = staged
        if earlier is not None:
            known.delete_unpublished(earlier)
        return staged

    def staged(self, table: str, day: dt.date, run_id: str) -> Staged:
        known = self._tables.get(table)
        if known is None or (day, run_id) not in known.stagings:
            raise manifests.gone(table, day, run_id)
        return known.stagings[day, run_id]

    def read_staged(self, staged: Staged) -> pa.RecordBatchReader:
        return self._require_staged(staged).rows(staged.files).to_reader()

    def annotate(self, staged: Staged, notes: Mapping[str, str]) -> Staged:
        known = self._require_staged(staged)
        found = known.stagings[staged.day, staged.run_id]
        annotated = replace(found, notes={**found.notes, **notes})
        known.stagings[staged.day, staged.run_id] = annotated
        return annotated

    def discard(self, staged: Staged) -> None:
        known = self._tables.get(staged.table)
        if known is None or not known.delete_unpublished(staged):
            return
        kept = known.stagings.get((staged.day, staged.run_id))
        if kept is not None and kept.files == staged.files:
            del known.stagings[staged.day, staged.run_id]

    def publish(self, staged: Staged, metadata: Mapping[str, str], *, anew: bool = False) -> Commit:
        known = self._tables.get(staged.table)
        if known is None:
            raise manifests.gone(staged.table, staged.day, staged.run_id)
        published = known.published(staged.day)
        if known.publications.get(staged.day, 0) != staged.fence:
            own = known.own_publication(staged)
            if own is None:
                who = published[0].metadata["run_id"]
                raise PublishConflict(
                    f"{staged.table} of {staged.day}: run {who!r} published the day after run "
                    f"{staged.run_id!r} had staged. Nothing was overwritten; run the day again to replace it."
                )
            return own
        same = published and published[0].metadata["digest"] == staged.digest and not anew
        if same and known.is_sound(staged.day):
            return replace(published[0], unchanged=True)
        self._require_staged(staged)
        known.publications[staged.day] = staged.fence + 1
        return known.commit(
            {**known.contents, staged.day: staged.files},
            day=staged.day,
            run_id=staged.run_id,
            rows=staged.rows,
            digest=staged.digest,
            metadata=metadata,
        )

    def append(self, table: str, rows: pa.Table, metadata: Mapping[str, str]) -> Commit:
        where = f"Appending to {table}"
        given = accepted.lake_schema(rows.schema, where)
        known = self._tables.get(table) or MemoryTable(name=table, schema=given, daily=False)
        if known.daily:
            raise SchemaMismatch(f"{where}: the table is replaced by day, so it cannot be appended to.")
        accepted.check_same(given, known.schema, where)
        kept = pa.Table.from_batches(
            [accepted.conform(batch, known.schema, None, where) for batch in rows.to_batches()], known.schema
        )
        self._tables.setdefault(table, known)
        block = known.store("append", kept)
        contents: Contents = {None: (*known.contents.get(None, ()), block)}
        return known.commit(contents, rows=kept.num_rows, digest=digest(kept), metadata=metadata)

    def add_columns(self, table: str, columns: pa.Schema, metadata: Mapping[str, str] | None = None) -> None:
        doing = f"Adding columns to {table}"
        kept, known = accepted.lake_schema(columns, doing), self._tables.get(table)
        if known is not None:
            known.add_columns(accepted.added(kept, known.schema, doing))

    # ------------------------------------------------------------ upkeep

    def optimize(self, table: str, *, dry_run: bool = False) -> int:
        """A day is one block already."""
        self._table(table)
        return 0

    def vacuum(
        self,
        table: str,
        keep: Iterable[Pin] = (),
        older_than: dt.timedelta = dt.timedelta(days=7),
        *,
        dry_run: bool = False,
    ) -> Vacuumed:
        """Deletes nothing until everything in the table is old enough."""
        known = self._table(table)
        if known.written_at > self._now() - max(older_than, manifests.YOUNGEST_DELETED):
            return Vacuumed()
        return known.vacuum({pin.version for pin in keep if pin.table == table}, dry_run=dry_run)

    def _table(self, table: str) -> MemoryTable:
        if table not in self._tables:
            raise UpstreamMissing(f"The lake has no table {table!r} yet. Run the stage that publishes it.")
        return self._tables[table]

    def _require_staged(self, staged: Staged) -> MemoryTable:
        known = self._tables.get(staged.table)
        kept = known.stagings.get((staged.day, staged.run_id)) if known else None
        if known is None or kept is None or (kept.files, kept.fence) != (staged.files, staged.fence):
            raise manifests.gone(staged.table, staged.day, staged.run_id)
        return known
