"""Publishing to a Delta lake: a staged day replaces its partition, or rows are appended, in one transaction.

The application transaction `ds=<day>` counts the day's publications. Publishing requires the count that staging saw
(the fence), so two runs that began from the same state never both publish.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import pyarrow as pa
from deltalake import CommitProperties, Schema, Transaction

from tailrace.contracts import Commit, Staged
from tailrace.errors import PublishConflict, SchemaMismatch
from tailrace.lake import manifests, transactions
from tailrace.lake import rows as accepted
from tailrace.lake.files import storage_errors
from tailrace.lake.log import History
from tailrace.lake.manifests import Manifest
from tailrace.lake.parquet import DataFile, DataWriter, RowGroups
from tailrace.lake.parts import FileScan
from tailrace.lake.reading import DeltaReader
from tailrace.lake.records import Record
from tailrace.lake.rows import DAY_COLUMN
from tailrace.lake.staging import DeltaTarget, delete_unpublished, own_publication, publication
from tailrace.lake.table_version import application


class DeltaPublisher(DeltaReader):
    """See `LakePublisher`."""

    def target(self, table: str, day: dt.date, run_id: str, *, may_lack: Collection[str] = ()) -> DeltaTarget:
        return DeltaTarget(tables=self.tables, table=table, day=day, run_id=run_id, may_lack=frozenset(may_lack))

    def stage(self, table: str, day: dt.date, run_id: str, rows: pa.RecordBatchReader) -> Staged:
        return self.target(table, day, run_id).write(rows)

    def staged(self, table: str, day: dt.date, run_id: str) -> Staged:
        manifest = self._manifest(table, day, run_id) if self.exists(table) else None
        if manifest is None:
            raise manifests.gone(table, day, run_id)
        return manifest.staged

    def read_staged(self, staged: Staged) -> pa.RecordBatchReader:
        files = self._current_manifest(staged).files
        self._require_staged(files, staged)
        pieces = tuple(RowGroups(file.path, file.rows) for file in files)
        doing = f"Reading staged rows of {_where(staged)}"
        place, schema = self.tables.place(staged.table), self.schema(staged.table)
        return FileScan(place=place, pieces=pieces, schema=schema, doing=doing).reader()

    def annotate(self, staged: Staged, notes: Mapping[str, str]) -> Staged:
        manifest = self._current_manifest(staged)
        annotated = replace(manifest.staged, notes={**manifest.staged.notes, **notes})
        with storage_errors(f"Annotating {_where(staged)}"):
            replace(manifest, staged=annotated).save(self.tables.files(staged.table))
        return annotated

    def discard(self, staged: Staged) -> None:
        if not self.exists(staged.table):
            return
        doing = f"Discarding staged rows of {_where(staged)}"
        if not delete_unpublished(self.tables, staged, doing):
            return
        manifest = self._manifest(staged.table, staged.day, staged.run_id)
        if manifest is not None and manifest.staged.files == staged.files:
            with storage_errors(doing):
                self.tables.files(staged.table).delete([manifests.path_of(staged.day, staged.run_id)])

    def publish(self, staged: Staged, metadata: Mapping[str, str], *, anew: bool = False) -> Commit:
        with storage_errors(f"Publishing {_where(staged)}"):
            for attempt in transactions.attempts():
                with attempt:
                    return self._publish_once(staged, metadata, anew=anew)
        raise AssertionError("unreachable: the last attempt raises")

    def _publish_once(self, staged: Staged, metadata: Mapping[str, str], *, anew: bool) -> Commit:
        if not self.exists(staged.table):
            raise manifests.gone(staged.table, staged.day, staged.run_id)
        current = self.tables.to_write(staged.table)
        history, publications = current.history, current.publications(staged.day)
        if publications != staged.fence:
            own = own_publication(history, staged, publications)
            if own is not None:
                return own.commit(staged.table)
            raise _conflict(history, staged, publications)
        last = publication(history, staged.day, publications)
        same = None if anew or last is None or last.digest != staged.digest else last
        if same is not None and current.is_sound(staged.day, staged.rows):
            # The staging is kept, as after any publication, so that a retried stage finds it.
            return same.commit(staged.table, unchanged=True)
        files = self._current_manifest(staged).files
        self._require_staged(files, staged)
        record = _publish_record(staged, files, metadata)
        day = staged.day.isoformat()
        current.delta.create_write_transaction(
            transactions.adds(files, {DAY_COLUMN: day}),
            "overwrite",
            current.delta.schema(),
            [DAY_COLUMN],
            [(DAY_COLUMN, "=", day)],
            commit_properties=transactions.properties(record, Transaction(application(staged.day), record.number)),
        )
        return transactions.committed(current.files, staged.table, record, history.newest)

    def append(self, table: str, rows: pa.Table, metadata: Mapping[str, str]) -> Commit:
        doing = f"Appending to {table}"
        given = accepted.lake_schema(rows.schema, doing)
        begun = self.schema(table) if self.exists(table) else None
        schema = begun or given
        accepted.check_same(given, schema, doing)
        with storage_errors(doing):
            store = self.tables.files(table, create=True)
        record_id = uuid.uuid4().hex
        with DataWriter(store, f"append-{record_id[:8]}", schema, doing=doing) as writer:
            for group in accepted.groups(rows.to_reader(), schema, None, doing):
                writer.write(group)
            files = writer.finish()
            accepted.check_written(given, begun, self.tables.create(table, schema, []), doing)
            if self.tables.to_write(table).partition_columns:
                raise SchemaMismatch(f"{doing}: the table is replaced by day, so it cannot be appended to.")
        record = _append_record(record_id, files, metadata)
        # From here on a failure leaves the files: the commit may have been made all the same.
        with storage_errors(doing):
            for attempt in transactions.attempts():
                with attempt:
                    return self._append_once(table, record, files)
        raise AssertionError("unreachable: the last attempt raises")

    def _append_once(self, table: str, record: Record, files: Iterable[DataFile]) -> Commit:
        current = self.tables.to_write(table)
        before = current.number
        current.delta.create_write_transaction(
            transactions.adds(files, {}),
            "append",
            current.delta.schema(),
            [],
            commit_properties=transactions.properties(record),
        )
        return transactions.committed(current.files, table, record, before)

    def add_columns(self, table: str, columns: pa.Schema, metadata: Mapping[str, str] | None = None) -> None:
        doing = f"Adding columns to {table}"
        kept = accepted.lake_schema(columns, doing)
        with storage_errors(doing):
            for attempt in transactions.attempts():
                with attempt:
                    self._add_columns_once(table, kept, doing, metadata or {})

    def _add_columns_once(self, table: str, columns: pa.Schema, doing: str, metadata: Mapping[str, str]) -> None:
        if not self.exists(table) or not accepted.added(columns, self.tables.to_write(table).schema, doing).names:
            return
        # Adding columns moves the table that it is called on, so it is not the shared one.
        current = self.tables.open(table)
        new = accepted.added(columns, current.schema, doing)
        if new.names:
            # Without a record of the lake's own: it is no publication. Delta refuses it if the table changed meanwhile.
            noted = CommitProperties(custom_metadata=dict(metadata)) if metadata else None
            current.delta.alter.add_columns(list(Schema.from_arrow(new).fields), commit_properties=noted)

    def _manifest(self, table: str, day: dt.date, run_id: str) -> Manifest | None:
        with storage_errors(f"Looking for staged rows of {table} of {day}"):
            return manifests.load(self.tables.files(table), manifests.path_of(day, run_id))

    def _current_manifest(self, staged: Staged) -> Manifest:
        """Raises StagingGone if the rows were discarded, vacuumed or staged again."""
        manifest = self._manifest(staged.table, staged.day, staged.run_id) if self.exists(staged.table) else None
        if manifest is None or (manifest.staged.files, manifest.staged.fence) != (staged.files, staged.fence):
            raise manifests.gone(staged.table, staged.day, staged.run_id)
        return manifest

    def _require_staged(self, files: Iterable[DataFile], staged: Staged) -> None:
        """Raises StagingGone if a file is missing or has another size."""
        sizes = {file.path: file.size for file in files}
        with storage_errors(f"Looking for staged rows of {_where(staged)}"):
            found = self.tables.files(staged.table).sizes(sizes)
        if found != sizes:
            raise manifests.gone(staged.table, staged.day, staged.run_id)


def _where(staged: Staged) -> str:
    return f"{staged.table} of {staged.day}"


def _publish_record(staged: Staged, files: Iterable[DataFile], metadata: Mapping[str, str]) -> Record:
    return Record(
        kind="publish",
        id=uuid.uuid4().hex,
        files={file.path: file.sha256 for file in files},
        day=staged.day,
        run_id=staged.run_id,
        number=staged.fence + 1,
        rows=staged.rows,
        digest=staged.digest,
        metadata=metadata,
    )


def _append_record(record_id: str, files: tuple[DataFile, ...], metadata: Mapping[str, str]) -> Record:
    return Record(
        kind="append",
        id=record_id,
        files={file.path: file.sha256 for file in files},
        rows=sum(file.rows for file in files),
        digest=manifests.content_digest(files),
        metadata=metadata,
    )


def _conflict(history: History, staged: Staged, publications: int) -> PublishConflict:
    last = publication(history, staged.day, publications)
    who = f"run {last.run_id!r} at {last.recorded_at:%Y-%m-%d %H:%M:%S} UTC" if last else "another writer"
    return PublishConflict(
        f"{_where(staged)}: {who} published the day after run {staged.run_id!r} had staged. "
        "Nothing was overwritten; run the day again if its rows should replace those."
    )
