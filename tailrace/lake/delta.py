"""The lake on Delta tables through delta-rs, on local disk or any object store: no JVM, no service.

A day is published in one transaction that replaces its partition. The application transaction
`ds=<day>` counts the day's publications; whoever publishes must find the count it saw when it
staged (the fence), so two runs never both publish what they began from the same state.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import itertools
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from tailrace.contracts import Commit, NativeTable, PartWriter, Pin, Staged
from tailrace.errors import (
    BadInput,
    LakeUnavailable,
    PinLost,
    PublishConflict,
    SchemaMismatch,
    UnknownName,
    UpstreamMissing,
)
from tailrace.lake import foreign, log, parquet, rows, staging
from tailrace.lake.files import StoredFile, TableFiles, local_folder, storage_errors
from tailrace.lake.log import Record
from tailrace.lake.parquet import DataFile, DataWriter, RowGroups
from tailrace.lake.parts import FilePartWriter, FileScan, NativeScan, Place
from tailrace.lake.staging import YOUNGEST_DELETED
from tailrace.settings import Settings

# Pins live as long as the log does, so Delta must not clean up by itself.
_CONFIGURATION = {
    # Opening a table reads the last checkpoint and every commit since: few, however many nights there were.
    "delta.checkpointInterval": "10",
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 3650 days",
}
# What a reader by file list gets wrong: rows that were deleted, columns of other names or narrower types.
_NATIVE = {"deletionVectors", "columnMapping", "typeWidening", "typeWidening-preview"}
_LISTED = ("path", "size_bytes", "modification_time", "num_records")
_SMALL_FILE_BYTES = 64 << 20
_COMMIT_SECONDS = 60


@dataclass(frozen=True)
class _Active:
    """A data file of one table version; `deleted` is the SHA-256 of which of its rows count no more, if any."""

    path: str
    size: int
    rows: int
    day: dt.date | None
    modified: int
    deleted: str = ""


@dataclass(frozen=True)
class _Begun:
    """A staging whose files are being written: `given` is the rows' schema, `schema` the table's."""

    table: str
    day: dt.date
    run_id: str
    given: pa.Schema
    schema: pa.Schema
    fence: int
    place: Place
    folder: str

    @property
    def where(self) -> str:
        return _where(self.table, self.day)

    @property
    def doing(self) -> str:
        return f"Staging {self.where}"

    def writer(self) -> FilePartWriter:
        return FilePartWriter(self.place, self.folder, self.schema, self.day, self.where, self.doing)


@dataclass(frozen=True)
class _Target:
    """A day that a run is about to stage."""

    lake: DeltaLake
    table: str
    day: dt.date
    run_id: str

    def write(self, rows: pa.RecordBatchReader) -> Staged:
        return self.lake.stage(self.table, self.day, self.run_id, rows)

    def write_parts(self, schema: pa.Schema, write: Callable[[PartWriter], Iterable[tuple[DataFile, ...]]]) -> Staged:
        return self.lake.stage_parts(self.table, self.day, self.run_id, schema, write)

    def write_files(self, schema: pa.Schema, write: Callable[[str], None]) -> Staged:
        return self.lake.stage_files(self.table, self.day, self.run_id, schema, write)


class DeltaLake:
    """Tables under a root: a folder, `file://` or an object-store URL such as `s3://bucket/lake`.

    `storage_options` are delta-rs's own (credentials, endpoint, region, timeouts); with `native_reader`
    the engine can read tables whose features need one; `now` is what `vacuum` tells the age of files by.
    With `keep_open`, for processes that look at many tables again and again and write none, a table is opened once,
    and after that only what was committed since is read.
    """

    def __init__(
        self,
        root: str,
        storage_options: Mapping[str, str] | None = None,
        *,
        native_reader: bool = False,
        keep_open: bool = False,
        now: Callable[[], dt.datetime] = staging.now,
    ) -> None:
        folder = local_folder(root)
        self._root = str(folder) if folder else root.rstrip("/")
        self._local = folder
        self._options = dict(storage_options) if storage_options else None
        self._native_reader = native_reader
        self._opened: dict[str, DeltaTable] | None = {} if keep_open else None
        self._now = now

    @classmethod
    def from_settings(cls, settings: Settings, *, keep_open: bool) -> DeltaLake:
        """The configured lake; `native_reader` where the engine is Spark and the settings give it one."""
        native = settings.engine == "spark" and settings.spark.native_reader != ""
        return cls(settings.lake, settings.storage_options, native_reader=native, keep_open=keep_open)

    # ------------------------------------------------------------ staging

    def target(self, table: str, day: dt.date, run_id: str) -> _Target:
        return _Target(self, table, day, run_id)

    def stage(self, table: str, day: dt.date, run_id: str, rows: pa.RecordBatchReader) -> Staged:
        begun = self._begin(table, day, run_id, rows.schema)
        with DataWriter(begun.place.files(), begun.folder, begun.schema, begun.doing) as writer:
            for group in _groups(rows, begun.schema, day, begun.where):
                writer.write(group)
            return self._seal(begun, writer.finish())

    def stage_parts(
        self,
        table: str,
        day: dt.date,
        run_id: str,
        schema: pa.Schema,
        write: Callable[[PartWriter], Iterable[tuple[DataFile, ...]]],
    ) -> Staged:
        """What `Target.write_parts` does."""
        begun = self._begin(table, day, run_id, schema)
        with self._cleared_on_failure(begun):
            files = tuple(file for part in write(begun.writer()) for file in part)
            staged = self._seal(begun, files)
        counted, store = set(staged.files), begun.place.files()
        with storage_errors(begun.doing):
            store.delete(file.path for file in store.list(begun.folder) if file.path not in counted)
        return staged

    def stage_files(
        self, table: str, day: dt.date, run_id: str, schema: pa.Schema, write: Callable[[str], None]
    ) -> Staged:
        """What `Target.write_files` does."""
        begun = self._begin(table, day, run_id, schema)
        with self._cleared_on_failure(begun):
            write(f"{begun.place.uri}/{begun.folder}")
            store = begun.place.files()
            return self._seal(
                begun, foreign.data_files(store, begun.folder, begun.schema, day, begun.where, begun.doing)
            )

    @contextlib.contextmanager
    def _cleared_on_failure(self, begun: _Begun) -> Iterator[None]:
        """Remove what was written into the staging's folder if that or sealing it fails."""
        try:
            yield
        except BaseException:
            # A store that fails again here must not hide the first error.
            with contextlib.suppress(Exception):
                store = begun.place.files()
                store.delete(file.path for file in store.list(begun.folder))
                if self._local is not None:
                    shutil.rmtree(self._local / begun.table / begun.folder, ignore_errors=True)
            raise

    def _begin(self, table: str, day: dt.date, run_id: str, given: pa.Schema) -> _Begun:
        where = _where(table, day)
        given = _day_schema(given, where)
        fence, schema = 0, given
        if self.exists(table):
            current = self._load(table)
            fence = current.transaction_version(_app(day)) or 0
            schema = _daily_schema(current, table)
            _check(given, schema, where)
        with storage_errors(f"Staging {where}"):
            self._store(table, create=True)
        # No `=` below the day: readers that take such folders for partitions would miss their column in the table.
        folder = f"ds={day}/run-{staging.safe_name(run_id)}-{uuid.uuid4().hex[:8]}"
        return _Begun(table, day, run_id, given, schema, fence, self._place(table), folder)

    def _seal(self, begun: _Begun, files: tuple[DataFile, ...]) -> Staged:
        """The finished files become what the run staged, in place of what it had staged before."""
        _check(begun.given, self._ensure(begun.table, begun.schema, [_DAY]), begun.where)
        store = begun.place.files()
        staged = Staged(
            table=begun.table,
            day=begun.day,
            run_id=begun.run_id,
            rows=sum(file.rows for file in files),
            fence=begun.fence,
            digest=staging.content_digest(files),
            files=tuple(file.path for file in files),
        )
        with storage_errors(begun.doing):
            earlier = staging.load(store, staging.manifest_path(begun.day, begun.run_id))
            staging.Manifest(staged, files).save(store)
        if earlier is not None:
            self._remove_unpublished(store, earlier.staged, begun.doing)
        return staged

    def staged(self, table: str, day: dt.date, run_id: str) -> Staged:
        manifest = self._manifest(table, day, run_id) if self.exists(table) else None
        if manifest is None:
            raise staging.gone(table, day, run_id)
        return manifest.staged

    def read_staged(self, staged: Staged) -> pa.RecordBatchReader:
        where = _where(staged.table, staged.day)
        files = self._current_manifest(staged).files
        place = self._place(staged.table)
        self._require_staged(place.files(), files, staged)
        pieces = tuple(RowGroups(file.path, file.rows) for file in files)
        return FileScan(place, pieces, self.schema(staged.table), f"Reading staged rows of {where}").reader()

    def annotate(self, staged: Staged, notes: Mapping[str, str]) -> Staged:
        manifest = self._current_manifest(staged)
        annotated = replace(manifest.staged, notes={**manifest.staged.notes, **notes})
        with storage_errors(f"Annotating {_where(staged.table, staged.day)}"):
            replace(manifest, staged=annotated).save(self._store(staged.table))
        return annotated

    def discard(self, staged: Staged) -> None:
        if not self.exists(staged.table):
            return
        doing = f"Discarding staged rows of {_where(staged.table, staged.day)}"
        store = self._store(staged.table)
        if not self._remove_unpublished(store, staged, doing):
            return
        manifest = self._manifest(staged.table, staged.day, staged.run_id)
        if manifest is not None and manifest.staged.files == staged.files:
            with storage_errors(doing):
                store.delete([staging.manifest_path(staged.day, staged.run_id)])

    # ------------------------------------------------------------ publishing

    def publish(self, staged: Staged, metadata: Mapping[str, str]) -> Commit:
        doing = f"Publishing {_where(staged.table, staged.day)}"
        with storage_errors(doing):
            for attempt in _commit_attempts():
                with attempt:
                    return self._publish_once(staged, metadata)
        raise AssertionError("unreachable: the last attempt raises")

    def _publish_once(self, staged: Staged, metadata: Mapping[str, str]) -> Commit:
        if not self.exists(staged.table):
            raise staging.gone(staged.table, staged.day, staged.run_id)
        current = self._load(staged.table)
        history, app = self._history(staged.table, current), _app(staged.day)
        fence = current.transaction_version(app) or 0
        if fence != staged.fence:
            own = _own_publication(history, staged, fence)
            if own is not None:
                return own.commit(staged.table)
            raise _conflict(history, staged, fence)
        last = _publication(history, staged.day, fence)
        if last is not None and last.digest == staged.digest and self._is_sound(staged.table, current, staged.day):
            # The staging stays as it does after any publication: a stage that is retried finds it.
            return last.commit(staged.table, unchanged=True)
        files = self._current_manifest(staged).files
        store = self._store(staged.table)
        self._require_staged(store, files, staged)
        record = Record(
            kind="publish",
            id=uuid.uuid4().hex,
            files={file.path: file.sha256 for file in files},
            day=staged.day,
            run_id=staged.run_id,
            number=fence + 1,
            rows=staged.rows,
            digest=staged.digest,
            metadata=metadata,
        )
        current.create_write_transaction(
            _adds(files, {_DAY: staged.day.isoformat()}),
            "overwrite",
            current.schema(),
            [_DAY],
            [(_DAY, "=", staged.day.isoformat())],
            commit_properties=_properties(record, Transaction(app, fence + 1)),
        )
        return _committed(store, staged.table, record, history.newest)

    def append(self, table: str, rows: pa.Table, metadata: Mapping[str, str]) -> Commit:
        doing = f"Appending to {table}"
        given = lake_schema(rows.schema, doing)
        schema = self.schema(table) if self.exists(table) else given
        _check(given, schema, doing)
        with storage_errors(doing):
            store = self._store(table, create=True)
        record_id = uuid.uuid4().hex
        with DataWriter(store, f"append-{record_id[:8]}", schema, doing) as writer:
            for group in _groups(rows.to_reader(), schema, None, doing):
                writer.write(group)
            files = writer.finish()
            _check(given, self._ensure(table, schema, []), doing)
            current = self._load(table)
            if current.metadata().partition_columns:
                raise SchemaMismatch(f"{doing}: the table is replaced by day, so it cannot be appended to.")
        record = Record(
            kind="append",
            id=record_id,
            files={file.path: file.sha256 for file in files},
            rows=rows.num_rows,
            digest=staging.content_digest(files),
            metadata=metadata,
        )
        before = current.version()
        # From here on a failure leaves the files: the commit may have been made all the same.
        with storage_errors(doing):
            current.create_write_transaction(
                _adds(files, {}), "append", current.schema(), [], commit_properties=_properties(record)
            )
            return _committed(store, table, record, before)

    # ------------------------------------------------------------ reading

    def exists(self, table: str) -> bool:
        if self._local is not None and not (self._local / table / "_delta_log").is_dir():
            return False
        with storage_errors(f"Looking for {table}"):
            return DeltaTable.is_deltatable(self._uri(table), self._options)

    def schema(self, table: str) -> pa.Schema:
        return _arrow_schema(self._load(table, natively=True))

    def read(
        self,
        table: str,
        *,
        first: dt.date | None = None,
        last: dt.date | None = None,
        version: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.RecordBatchReader:
        current = self._load(table, version)
        return self._scan(table, current, self._in_order(current, table, first, last), columns).reader()

    def pin(
        self, table: str, *, first: dt.date | None = None, last: dt.date | None = None, version: str | None = None
    ) -> Pin:
        current = self._load(table, version, natively=True)
        active = _active(current, table, first, last)
        rows = sum(file.rows for file in active)
        return Pin(table, str(current.version()), first, last, rows, len(active), _pin_digest(active))

    def read_pin(self, pin: Pin, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        return self.scan(pin, columns).reader()

    def scan(self, pin: Pin, columns: Sequence[str] | None = None) -> FileScan | NativeScan:
        try:
            current = self._load(pin.table, pin.version, natively=True)
        except UpstreamMissing as error:
            raise PinLost(f"{error} It was pinned: restore it from a copy, or start again from a new pin.") from error
        active = self._in_order(current, pin.table, pin.first, pin.last)
        if _pin_digest(active) != pin.digest:
            raise PinLost(
                f"{pin.table} version {pin.version} does not list the files that were pinned: "
                "the table was replaced since. Restore it, or start again from a new pin."
            )
        with storage_errors(f"Checking the pinned files of {pin.table}"):
            latest = self._load(pin.table, natively=True)
            damage = self._damage(pin.table, latest, active)
        if damage:
            raise PinLost(
                f"{pin.table} version {pin.version}: the pinned bytes cannot be read again: {'; '.join(damage)}. "
                "Restore the files from a copy, or start again from a new pin."
            )
        if refusal := _refusal(current, pin.table):
            native = NativeTable(self._uri(pin.table), pin.version, pin.first, pin.last)
            return NativeScan(native, _columns(current, pin.table, columns), pin.rows, refusal)
        return self._scan(pin.table, current, active, columns)

    def days(self, table: str) -> Mapping[dt.date, Commit]:
        return log.last_of_each_day(self.commits(table))

    def commits(self, table: str, day: dt.date | None = None, *, since: str | None = None) -> tuple[Commit, ...]:
        try:
            current = self._load(table, natively=True)
        except UpstreamMissing:
            return ()
        with storage_errors(f"Reading the history of {table}"):
            return tuple(
                record.commit(table)
                for record in self._history(table, current).records(-1 if since is None else int(since))
                if record.kind != "optimize" and (day is None or record.day == day)
            )

    def sound(self, table: str, day: dt.date) -> bool:
        try:
            current = self._load(table, natively=True)
        except UpstreamMissing:
            return False
        with storage_errors(f"Checking the files of {_where(table, day)}"):
            return self._is_sound(table, current, day)

    # ------------------------------------------------------------ upkeep

    def optimize(self, table: str) -> int:
        current = self._load(table)
        files, half = self._in_order(current, table, None, None), _half_stated(current)
        return sum(self._compact(table, group[0].day, group) for group in _to_rewrite(files, half))

    def _compact(self, table: str, day: dt.date | None, replaced: list[_Active]) -> int:
        """Rewrite files of a day as one; 0 if the day was published meanwhile."""
        doing = f"Optimizing {_where(table, day) if day else table}"
        current, store = self._load(table), self._store(table)
        schema = _arrow_schema(current)
        paths = {file.path for file in replaced}
        if not paths <= {file.path for file in _active(current, table, None, None)}:
            return 0
        values = {_DAY: day.isoformat()} if day else {}
        record_id = uuid.uuid4().hex
        folder = f"{'ds=' + values[_DAY] + '/' if day else ''}compact-{record_id[:8]}"
        with DataWriter(store, folder, schema, doing) as writer:
            for group in rows.row_groups(
                parquet.batches(store, [RowGroups(f.path, f.rows) for f in replaced], schema, doing)
            ):
                writer.write(group)
            files = writer.finish()
        removed_at = _milliseconds()
        removes = [RemoveAction(file.path, False, removed_at, file.size, dict(values)) for file in replaced]
        place = 0 if day else max(self._history(table, current).order(paths).values(), default=0)
        record = Record("optimize", record_id, {file.path: file.sha256 for file in files}, day, number=place)
        # The fence's own number again: it does not move, but a publication of the day made
        # meanwhile conflicts with it. Without it both commits pass and the rows are doubled.
        fences = [Transaction(_app(day), current.transaction_version(_app(day)) or 0)] if day else []
        with storage_errors(doing):
            try:
                current.create_write_transaction(
                    [*_adds(files, values, data_change=False), *removes],
                    "append",
                    current.schema(),
                    list(values),
                    commit_properties=_properties(record, *fences),
                )
            except CommitFailedError:
                store.delete(file.path for file in files)
                return 0
        return len(replaced)

    def vacuum(self, table: str, keep: Iterable[Pin] = (), older_than: dt.timedelta = dt.timedelta(days=7)) -> int:
        before = self._now() - max(older_than, YOUNGEST_DELETED)
        with storage_errors(f"Vacuuming {table}"):
            store = self._store(table)
            listed = [file.path for file in self._data_files(store) if file.modified <= before]
            # What is needed is asked after the listing: a day published in between must keep its files.
            needed = self._needed(table, keep, before)
            manifests = store.list(staging.FOLDER)
            fresh = [file.path for file in manifests if file.modified > before]
            needed |= self._freshly_staged(store, fresh)
            store.delete(file.path for file in manifests if file.modified <= before)
            dead = [path for path in listed if path not in needed]
            return store.delete(dead) + self._remove_torn(table, before)

    # ------------------------------------------------------------ parts

    def _uri(self, table: str) -> str:
        return f"{self._root}/{table}"

    def _place(self, table: str) -> Place:
        return Place(self._uri(table), self._options)

    def _store(self, table: str, *, create: bool = False) -> TableFiles:
        if create and self._local is not None:
            (self._local / table).mkdir(parents=True, exist_ok=True)
        return self._place(table).files()

    def _load(self, table: str, version: str | None = None, *, natively: bool = False) -> DeltaTable:
        """Raises UpstreamMissing for a table or version that is not there, BadInput for one it cannot read.

        `natively` says that a table will do which only a native reader can read, where there is one.
        """
        with storage_errors(f"Opening {table}"):
            try:
                loaded = self._open(table, latest=version is None)
                if version is not None:
                    _go_to(loaded, table, version)
            except TableNotFoundError as error:
                raise UpstreamMissing(
                    f"The lake has no table {table!r} yet. Run the stage that publishes it."
                ) from error
        if not (natively and self._native_reader) and (refusal := _refusal(loaded, table)):
            raise BadInput(refusal)
        return loaded

    def _open(self, table: str, *, latest: bool) -> DeltaTable:
        """The table, to be taken to another version by the caller unless `latest`, which may be shared."""
        if self._opened is None or not latest:
            return DeltaTable(self._uri(table), storage_options=self._options)
        held = self._opened.get(table)
        if held is not None:
            # A table that was replaced by a shorter one cannot be brought up to date.
            with contextlib.suppress(DeltaError):
                held.update_incremental()
                return held
        self._opened[table] = DeltaTable(self._uri(table), storage_options=self._options)
        return self._opened[table]

    def _ensure(self, table: str, schema: pa.Schema, partition_by: list[str]) -> pa.Schema:
        """Create the table if it is new; the schema it has, which another creator may have fixed first."""
        if not self.exists(table):
            with storage_errors(f"Creating {table}"):
                try:
                    DeltaTable.create(
                        self._uri(table),
                        Schema.from_arrow(schema),
                        mode="ignore",
                        partition_by=partition_by,
                        configuration=_CONFIGURATION,
                        storage_options=self._options,
                    )
                except CommitFailedError:
                    if not self.exists(table):
                        raise
        return self.schema(table)

    def _history(self, table: str, current: DeltaTable) -> log.History:
        return log.History(current, self._store(table))

    def _in_order(self, current: DeltaTable, table: str, first: dt.date | None, last: dt.date | None) -> list[_Active]:
        """The version's files of those days, in the order in which their rows are read."""
        active = _active(current, table, first, last)
        if len(active) < 2 or current.metadata().partition_columns:
            return active
        # When a file was made is a matter of its writer's clock; which commit came first is not.
        with storage_errors(f"Reading the history of {table}"):
            places = self._history(table, current).order({file.path for file in active})
        return sorted(active, key=lambda file: places.get(file.path, -1))

    def _manifest(self, table: str, day: dt.date, run_id: str) -> staging.Manifest | None:
        with storage_errors(f"Looking for staged rows of {_where(table, day)}"):
            return staging.load(self._store(table), staging.manifest_path(day, run_id))

    def _current_manifest(self, staged: Staged) -> staging.Manifest:
        """Raises StagingGone if the rows were discarded, vacuumed or staged again."""
        manifest = self._manifest(staged.table, staged.day, staged.run_id) if self.exists(staged.table) else None
        if manifest is None or (manifest.staged.files, manifest.staged.fence) != (staged.files, staged.fence):
            raise staging.gone(staged.table, staged.day, staged.run_id)
        return manifest

    def _require_staged(self, store: TableFiles, files: Iterable[DataFile], staged: Staged) -> None:
        sizes = {file.path: file.size for file in files}
        with storage_errors(f"Looking for staged rows of {_where(staged.table, staged.day)}"):
            there = store.sizes(sizes)
        if there != sizes:
            raise staging.gone(staged.table, staged.day, staged.run_id)

    def _remove_unpublished(self, store: TableFiles, staged: Staged, doing: str) -> bool:
        """Delete the staged files unless this run published them; whether they were its to delete."""
        with storage_errors(doing):
            current = self._load(staged.table)
            fence = current.transaction_version(_app(staged.day)) or 0
            own = _own_publication(self._history(staged.table, current), staged, fence)
            if own is not None and set(own.files) == set(staged.files):
                return False
            store.delete(staged.files)
        return True

    def _data_files(self, store: TableFiles) -> list[StoredFile]:
        hidden = ("_delta_log/", f"{staging.FOLDER}/")
        return [file for file in store.list() if not file.path.startswith(hidden)]

    def _needed(self, table: str, keep: Iterable[Pin], before: dt.datetime) -> set[str]:
        """Files of the latest version, of those that were the latest since then, and of kept pins."""
        versions = self._history(table, self._load(table)).since(before)
        versions |= {int(pin.version) for pin in keep if pin.table == table}
        return {
            file.path for version in versions for file in _active(self._load(table, str(version)), table, None, None)
        }

    def _freshly_staged(self, store: TableFiles, manifests: Iterable[str]) -> set[str]:
        found = (staging.load(store, path) for path in manifests)
        return {path for manifest in found if manifest for path in manifest.staged.files}

    def _remove_torn(self, table: str, before: dt.datetime) -> int:
        """Delete what killed writers left half written on local disk: `<name>#<n>`, which the store never lists.

        Folders that are empty go too, which the store does not list either.
        """
        if self._local is None:
            return 0
        root, torn = self._local / table, 0
        for path in root.rglob("*#*"):
            if _is_older(path, before) and path.is_file():
                path.unlink(missing_ok=True)
                torn += 1
        for folder in sorted((Path(name) for name, _, _ in os.walk(root)), reverse=True):
            if folder != root and _is_older(folder, before):
                with contextlib.suppress(OSError):  # it is not empty
                    folder.rmdir()
        return torn

    def _is_sound(self, table: str, current: DeltaTable, day: dt.date) -> bool:
        return not self._damage(table, current, _active(current, table, day, day))

    def _damage(self, table: str, latest: DeltaTable, active: Sequence[_Active]) -> list[str]:
        """What is wrong with files of the table: gone, cut short, or not the bytes that were published."""
        store = self._store(table)
        checksums = self._history(table, latest).checksums({file.path for file in active})
        there = store.sizes(file.path for file in active)
        problems = []
        for file in active:
            if file.path not in there:
                problems.append(f"{file.path} is gone")
            elif there[file.path] != file.size:
                problems.append(f"{file.path} has {there[file.path]} bytes, not {file.size}")
            elif file.path in checksums and store.sha256(file.path) != checksums[file.path]:
                problems.append(f"{file.path} holds other bytes than were published")
        return problems

    def _scan(
        self, table: str, current: DeltaTable, active: Sequence[_Active], columns: Sequence[str] | None
    ) -> FileScan:
        pieces = tuple(RowGroups(file.path, file.rows) for file in active)
        return FileScan(self._place(table), pieces, _columns(current, table, columns), f"Reading {table}")


_DAY = rows.DAY_COLUMN
lake_schema = rows.lake_schema
_check = rows.check_same


def _app(day: dt.date) -> str:
    return f"ds={day}"


def _where(table: str, day: dt.date) -> str:
    return f"{table} of {day}"


def _day_schema(schema: pa.Schema, where: str) -> pa.Schema:
    return rows.with_day(lake_schema(schema, where))


def _arrow_schema(table: DeltaTable) -> pa.Schema:
    return lake_schema(pa.schema(table.schema().to_arrow()), "Reading the table's schema")


def _daily_schema(current: DeltaTable, table: str) -> pa.Schema:
    if current.metadata().partition_columns != [_DAY]:
        raise SchemaMismatch(f"{table} is not partitioned by {_DAY!r}, so no day of it can be replaced.")
    return _arrow_schema(current)


def _columns(current: DeltaTable, table: str, columns: Sequence[str] | None) -> pa.Schema:
    """The schema of these columns, all by default. Raises UnknownName."""
    schema = _arrow_schema(current)
    if columns is None:
        return schema
    for name in columns:
        if name not in schema.names:
            raise UnknownName(f"column of {table}", name, schema.names)
    return pa.schema([schema.field(name) for name in columns])


def _groups(reader: pa.RecordBatchReader, schema: pa.Schema, day: dt.date | None, where: str) -> Iterator[pa.Table]:
    return rows.row_groups(rows.conform(batch, schema, day, where) for batch in reader)


def _commit_attempts() -> Retrying:
    """Another partition's commit in between is no conflict of ours: reload and try again."""
    return Retrying(
        retry=retry_if_exception_type(CommitFailedError),
        wait=wait_random_exponential(multiplier=0.02, max=1),
        stop=stop_after_delay(_COMMIT_SECONDS),
        reraise=True,
    )


def _properties(record: Record, *fences: Transaction) -> CommitProperties:
    return CommitProperties(custom_metadata={"userMetadata": record.to_json()}, app_transactions=list(fences))


def _adds(files: Iterable[DataFile], values: Mapping[str, str], *, data_change: bool = True) -> list[AddAction]:
    now = _milliseconds()
    return [AddAction(file.path, file.size, values, now, data_change, file.stats) for file in files]


def _milliseconds() -> int:
    return int(time.time() * 1000)


def _publication(history: log.History, day: dt.date, number: int) -> Record | None:
    """The day's publication of that number, counted from 1; None for 0 and for other writers' commits."""
    if number == 0:
        return None
    return history.find(lambda r: r.kind == "publish" and r.day == day and r.number == number)


def _own_publication(history: log.History, staged: Staged, fence: int) -> Record | None:
    """What this run published of what it staged, if it did; `fence` is the number of the day's publications."""
    if fence <= staged.fence:
        return None
    record = _publication(history, staged.day, staged.fence + 1)
    own = record is not None and (record.run_id, record.digest) == (staged.run_id, staged.digest)
    return record if own else None


def _committed(store: TableFiles, table: str, record: Record, before: int) -> Commit:
    """The commit just made to the table at version `before` or later, with the version and time that its file has."""
    found = log.made(store, record, before)
    if found is None:
        raise LakeUnavailable(f"{table}: the commit just made is not in the history yet. Run this stage again.")
    return found.commit(table)


def _conflict(history: log.History, staged: Staged, fence: int) -> PublishConflict:
    last = _publication(history, staged.day, fence)
    who = f"run {last.run_id!r} at {last.recorded_at:%Y-%m-%d %H:%M:%S} UTC" if last else "another writer"
    return PublishConflict(
        f"{_where(staged.table, staged.day)}: {who} published the day after run {staged.run_id!r} had staged. "
        "Nothing was overwritten; run the day again if its rows should replace those."
    )


def _is_older(path: Path, than: dt.datetime) -> bool:
    try:
        return path.stat().st_mtime <= than.timestamp()
    except FileNotFoundError:
        return False


def _refusal(loaded: DeltaTable, table: str) -> str:
    """Why the files of this version must not be read by themselves; empty if they may."""
    needs = _NATIVE & set(loaded.protocol().reader_features or ())
    if loaded.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
        needs.add("columnMapping")
    if not needs:
        return ""
    return (
        f"Table {table!r} uses Delta's {' and '.join(sorted(needs))}, which a reader by file list would get wrong. "
        "Rewrite it without them, or score and train with TAILRACE_ENGINE=spark and TAILRACE_SPARK_NATIVE_READER=delta."
    )


def _go_to(loaded: DeltaTable, table: str, version: str) -> None:
    latest = loaded.version()
    if not version.isdecimal() or int(version) > latest:
        raise UpstreamMissing(f"{table} has no version {version!r}; the latest is {latest}.")
    try:
        loaded.load_as_version(int(version))
    except TableNotFoundError as error:
        raise UpstreamMissing(f"{table} has no version {version!r} any more: its log was cleaned up.") from error


def _active(current: DeltaTable, table: str, first: dt.date | None, last: dt.date | None) -> list[_Active]:
    """The version's files of those days, in the order their rows are read."""
    daily = _DAY in current.metadata().partition_columns
    if not daily and (first is not None or last is not None):
        raise BadInput(f"{table} is not partitioned by {_DAY!r}: read it without first and last.")
    partition = f"partition.{_DAY}"
    actions = pa.table(current.get_add_actions(flatten=True))
    if first is not None:
        actions = actions.filter(pc.field(partition) >= first)
    if last is not None:
        actions = actions.filter(pc.field(partition) <= last)
    # Not the statistics of every column, which a list of Python values makes slow.
    actions = actions.select([*_LISTED, *([partition] if daily else [])])
    found, deletions = [], _deletions(current)
    for action in actions.to_pylist():
        day, path, modified = action.get(partition), action["path"], int(action["modification_time"])
        count, deleted = deletions.get(path, (0, ""))
        left = max((action["num_records"] or 0) - count, 0)
        found.append(_Active(path, action["size_bytes"], left, day, modified, deleted))
    return sorted(found, key=lambda file: (file.day or dt.date.min, file.modified, file.path))


def _deletions(current: DeltaTable) -> dict[str, tuple[int, str]]:
    """How many rows of a file count no more, and the SHA-256 of which, by path; most tables have none."""
    if "deletionVectors" not in (current.protocol().reader_features or ()):
        return {}
    root, found = current.table_uri.rstrip("/"), {}
    for batch in pa.RecordBatchReader.from_stream(current.deletion_vectors()):
        for uri, kept in zip(batch["filepath"].to_pylist(), batch["selection_vector"], strict=True):
            mask = kept.values.cast(pa.int8())
            sha256 = hashlib.sha256(mask.to_numpy().tobytes()).hexdigest()
            found[uri.removeprefix(f"{root}/")] = (len(mask) - pc.sum(mask, min_count=0).as_py(), sha256)
    return found


def _pin_digest(active: Iterable[_Active]) -> str:
    listed = sorted([file.path, file.size, *([file.deleted] if file.deleted else [])] for file in active)
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _half_stated(current: DeltaTable) -> set[str]:
    """Files whose statistics bound some columns and not others, in which a reader may find nothing."""
    actions = pa.table(current.get_add_actions(flatten=True))
    stated, missing = set(), set()
    for name in (name for name in actions.column_names if name.startswith("min.")):
        has_bound = pc.is_valid(actions[name])
        nulls = pc.fill_null(actions[f"null_count.{name.removeprefix('min.')}"], 0)
        has_values = pc.greater(pc.fill_null(actions["num_records"], 0), nulls)
        stated.update(actions["path"].filter(has_bound).to_pylist())
        missing.update(actions["path"].filter(pc.and_(pc.invert(has_bound), has_values)).to_pylist())
    return stated & missing


def _to_rewrite(files: Iterable[_Active], half_stated: Collection[str]) -> Iterator[list[_Active]]:
    """Files that are to become one: small neighbours, and all of a day that other readers cannot find."""
    for _, of_day in itertools.groupby(files, key=lambda file: file.day):
        group = list(of_day)
        if any(_is_misplaced(file.path) or file.path in half_stated for file in group):
            yield group
            continue
        for is_small, neighbours in itertools.groupby(group, key=lambda file: file.size < _SMALL_FILE_BYTES):
            if is_small and len(joined := list(neighbours)) > 1:
                yield joined


def _is_misplaced(path: str) -> bool:
    """Whether a folder of the path looks like a partition that the table does not have; earlier releases wrote such."""
    return any("=" in folder and not folder.startswith(f"{_DAY}=") for folder in path.split("/")[:-1])
