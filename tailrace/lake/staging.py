"""Staging a day of a Delta table: files that no reader sees until they are published."""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from tailrace.contracts import PartWriter, Staged
from tailrace.lake import foreign, manifests
from tailrace.lake import rows as accepted
from tailrace.lake.files import storage_errors
from tailrace.lake.log import History
from tailrace.lake.parquet import DataFile, DataWriter
from tailrace.lake.parts import FilePartWriter
from tailrace.lake.records import Record
from tailrace.lake.tables import Tables


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Where a staging's files are written, and in which form: `given` is the rows' schema, `schema` the files'.

    `begun` is the schema of the table when staging began, without the columns that these rows lack (`lacking`), and
    `version` its latest version; None if there was no table.
    """

    folder: str
    given: pa.Schema
    schema: pa.Schema
    begun: pa.Schema | None
    fence: int
    version: str | None = None
    lacking: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class DeltaTarget:
    """See `Target`."""

    tables: Tables
    table: str
    day: dt.date
    run_id: str
    may_lack: frozenset[str] = frozenset()

    @property
    def where(self) -> str:
        return f"{self.table} of {self.day}"

    @property
    def doing(self) -> str:
        return f"Staging {self.where}"

    def write(self, rows: pa.RecordBatchReader) -> Staged:
        layout = self._begin(rows.schema)
        store = self.tables.files(self.table)
        with DataWriter(store, layout.folder, layout.schema, doing=self.doing) as writer:
            for group in accepted.groups(rows, layout.schema, self.day, self.where, lacking=layout.lacking):
                writer.write(group)
            return self._finish(layout, writer.finish())

    def write_parts(self, schema: pa.Schema, write: Callable[[PartWriter], Iterable[tuple[DataFile, ...]]]) -> Staged:
        layout = self._begin(schema)
        place, store = self.tables.place(self.table), self.tables.files(self.table)
        writer = FilePartWriter(
            place=place,
            folder=layout.folder,
            schema=layout.schema,
            day=self.day,
            where=self.where,
            doing=self.doing,
            lacking=layout.lacking,
        )
        with self._cleared_on_failure(layout.folder):
            staged = self._finish(layout, tuple(file for part in write(writer) for file in part))
        with storage_errors(self.doing):
            counted = set(staged.files)
            store.delete(file.path for file in store.list(layout.folder) if file.path not in counted)
        return staged

    def write_files(self, schema: pa.Schema, write: Callable[[str], None]) -> Staged:
        layout = self._begin(schema)
        store = self.tables.files(self.table)
        with self._cleared_on_failure(layout.folder):
            write(f"{self.tables.uri(self.table)}/{layout.folder}")
            # Another writer's files are read with null in a column that they lack.
            written = accepted.without(layout.schema, layout.lacking)
            files = foreign.data_files(store, layout.folder, written, day=self.day, where=self.where, doing=self.doing)
            return self._finish(layout, files)

    def _begin(self, given: pa.Schema) -> _Layout:
        """Check the schema against the table, if there is one, and choose a folder. Raises SchemaMismatch."""
        given = accepted.with_day(accepted.lake_schema(given, self.where))
        fence, begun, version, schema, lacking = 0, None, None, given, frozenset[str]()
        if self.tables.exists(self.table):
            current = self.tables.to_write(self.table)
            fence, schema, version = current.publications(self.day), current.daily_schema(), str(current.number)
            lacking = self.may_lack & set(schema.names) - set(given.names)
            begun = accepted.without(schema, lacking)
            accepted.check_same(given, begun, self.where)
        with storage_errors(self.doing):
            self.tables.files(self.table, create=True)
        # No `=` below the day: readers that take such folders for partitions would miss their column in the table.
        folder = f"ds={self.day}/run-{manifests.safe_name(self.run_id)}-{uuid.uuid4().hex[:8]}"
        return _Layout(
            folder=folder, given=given, schema=schema, begun=begun, fence=fence, version=version, lacking=lacking
        )

    def _finish(self, layout: _Layout, files: tuple[DataFile, ...]) -> Staged:
        """Record the files as staged by the run, in place of what it had staged before."""
        if layout.begun is None or self.tables.head(self.table) != layout.version:
            schema = self.tables.create(self.table, layout.schema, [accepted.DAY_COLUMN])
            accepted.check_written(layout.given, layout.begun, schema, self.where)
        store = self.tables.files(self.table)
        staged = Staged(
            table=self.table,
            day=self.day,
            run_id=self.run_id,
            rows=sum(file.rows for file in files),
            fence=layout.fence,
            digest=manifests.content_digest(files),
            files=tuple(file.path for file in files),
        )
        with storage_errors(self.doing):
            earlier = manifests.load(store, manifests.path_of(self.day, self.run_id))
            manifests.Manifest(staged, files).save(store)
        if earlier is not None:
            delete_unpublished(self.tables, earlier.staged, self.doing)
        return staged

    @contextlib.contextmanager
    def _cleared_on_failure(self, folder: str) -> Iterator[None]:
        """Remove what was written into the folder if writing or recording it fails."""
        try:
            yield
        except BaseException:
            # A store that fails again here must not hide the first error.
            with contextlib.suppress(Exception):
                store = self.tables.files(self.table)
                store.delete(file.path for file in store.list(folder))
                if self.tables.local is not None:
                    shutil.rmtree(self.tables.local / self.table / folder, ignore_errors=True)
            raise


def delete_unpublished(tables: Tables, staged: Staged, doing: str) -> bool:
    """Delete the staged files unless this run published them; returns whether they could be deleted."""
    with storage_errors(doing):
        current = tables.to_write(staged.table)
        own = own_publication(current.history, staged, current.publications(staged.day))
        if own is not None and set(own.files) == set(staged.files):
            return False
        current.files.delete(staged.files)
    return True


def publication(history: History, day: dt.date, number: int) -> Record | None:
    """The day's publication of that number, counted from 1; None for 0 and for other writers' commits."""
    if number == 0:
        return None
    return history.find(lambda r: r.kind == "publish" and r.day == day and r.number == number)


def own_publication(history: History, staged: Staged, publications: int) -> Record | None:
    """What this run published from its staging, if it did. `publications` is how often the day was published."""
    if publications <= staged.fence:
        return None
    record = publication(history, staged.day, staged.fence + 1)
    own = record is not None and (record.run_id, record.digest) == (staged.run_id, staged.digest)
    return record if own else None
