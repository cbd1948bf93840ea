"""One Delta table at one version: its schema, its data files and its history."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from collections.abc import Iterable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from tailrace.errors import BadInput, SchemaMismatch, UnknownName
from tailrace.lake import log
from tailrace.lake.files import TableFiles, storage_errors
from tailrace.lake.parquet import RowGroups
from tailrace.lake.parts import FileScan, Place
from tailrace.lake.rows import DAY_COLUMN, lake_schema

# Features that a reader of the file list gets wrong: deleted rows, columns of other names or narrower types.
_NATIVE = {"deletionVectors", "columnMapping", "typeWidening", "typeWidening-preview"}
_LISTED = ("path", "size_bytes", "modification_time", "num_records")
_PARTITION = f"partition.{DAY_COLUMN}"


@dataclass(frozen=True, kw_only=True)
class ActiveFile:
    """A data file of a table version. `deleted` is the SHA-256 of which rows are deleted; empty if none are."""

    path: str
    size: int
    rows: int
    day: dt.date | None
    modified: int
    deleted: str = ""


class TableVersion:
    """A table as it was after one commit. Files are described by path, relative to the table.

    `delta` must not move to another version while this is used.
    """

    def __init__(self, table: str, delta: DeltaTable, place: Place) -> None:
        self.table, self.delta, self.place = table, delta, place

    @property
    def number(self) -> int:
        return self.delta.version()

    @property
    def files(self) -> TableFiles:
        return self.place.files()

    @property
    def schema(self) -> pa.Schema:
        """As the lake keeps it. Raises SchemaMismatch."""
        return lake_schema(pa.schema(self.delta.schema().to_arrow()), "Reading the table's schema")

    @property
    def partition_columns(self) -> list[str]:
        return self.delta.metadata().partition_columns

    @property
    def history(self) -> log.History:
        return log.History(self.delta, self.files)

    @property
    def refusal(self) -> str:
        """Why the files of this version must not be read by themselves; empty if they may be."""
        needs = _NATIVE & set(self.delta.protocol().reader_features or ())
        if self.delta.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
            needs.add("columnMapping")
        if not needs:
            return ""
        return (
            f"Table {self.table!r} uses Delta's {' and '.join(sorted(needs))}, which a reader by file list would get "
            "wrong. Rewrite it without them, or score and train with TAILRACE_ENGINE=spark and "
            "TAILRACE_SPARK_NATIVE_READER=delta."
        )

    def daily_schema(self) -> pa.Schema:
        """The schema of a table that is replaced by day. Raises SchemaMismatch for any other table."""
        if self.partition_columns != [DAY_COLUMN]:
            raise SchemaMismatch(f"{self.table} is not partitioned by {DAY_COLUMN!r}, so no day of it can be replaced.")
        return self.schema

    def columns(self, names: Sequence[str] | None) -> pa.Schema:
        """The schema of these columns, all by default. Raises UnknownName."""
        schema = self.schema
        if names is None:
            return schema
        for name in names:
            if name not in schema.names:
                raise UnknownName(f"column of {self.table}", name, schema.names)
        return pa.schema([schema.field(name) for name in names])

    def publications(self, day: dt.date) -> int:
        """How often the day was published: its fence."""
        return self.delta.transaction_version(application(day)) or 0

    def published(self, days: Iterable[dt.date]) -> set[dt.date]:
        """Those of the days that may have been published: that have files, or a count of publications."""
        # A count costs more than a millisecond: the log is read for each.
        return {day for day in days if day in self._days_with_files or self.publications(day)}

    @cached_property
    def _listing(self) -> pa.Table:
        """Every data file, without the statistics of the columns. It is kept: some stages ask for many days."""
        actions = pa.table(self.delta.get_add_actions(flatten=True))
        return actions.select([*_LISTED, *([_PARTITION] if _PARTITION in actions.column_names else [])])

    @cached_property
    def _days_with_files(self) -> Set[dt.date]:
        listing = self._listing
        return set(pc.unique(listing[_PARTITION]).to_pylist()) if _PARTITION in listing.column_names else set()

    def active(self, first: dt.date | None = None, last: dt.date | None = None) -> list[ActiveFile]:
        """The data files of those days, by day, age and path. Raises BadInput for days of a table without days."""
        daily = DAY_COLUMN in self.partition_columns
        if not daily and (first is not None or last is not None):
            raise BadInput(f"{self.table} is not partitioned by {DAY_COLUMN!r}: read it without first and last.")
        listing = self._listing
        if first is not None:
            listing = listing.filter(pc.greater_equal(listing[_PARTITION], pa.scalar(first)))
        if last is not None:
            listing = listing.filter(pc.less_equal(listing[_PARTITION], pa.scalar(last)))
        deletions = _deletions(self.delta)
        found = [_active(file, *deletions.get(file["path"], (0, ""))) for file in listing.to_pylist()]
        return sorted(found, key=lambda file: (file.day or dt.date.min, file.modified, file.path))

    def in_order(self, first: dt.date | None = None, last: dt.date | None = None) -> list[ActiveFile]:
        """The data files of those days in the order in which their rows are read."""
        active = self.active(first, last)
        if len(active) < 2 or self.partition_columns:
            return active
        # A file's time depends on its writer's clock; the order of the commits does not.
        with storage_errors(f"Reading the history of {self.table}"):
            places = self.history.order({file.path for file in active})
        return sorted(active, key=lambda file: places.get(file.path, -1))

    def scan(self, active: Sequence[ActiveFile], columns: Sequence[str] | None) -> FileScan:
        """The rows of these files. Raises UnknownName."""
        pieces = tuple(RowGroups(file.path, file.rows, day=file.day) for file in active)
        schema = self.columns(columns)
        return FileScan(place=self.place, pieces=pieces, schema=schema, doing=f"Reading {self.table}")

    def incomplete(self, active: Sequence[ActiveFile]) -> list[str]:
        """A sentence for each file that is missing or cut short; their bytes are not read."""
        sizes = self.files.sizes(file.path for file in active)
        gone = [f"{file.path} is gone" for file in active if file.path not in sizes]
        return gone + [
            f"{file.path} has {sizes[file.path]} bytes, not {file.size}"
            for file in active
            if sizes.get(file.path, file.size) != file.size
        ]

    def damage(self, active: Sequence[ActiveFile]) -> list[str]:
        """A sentence for each file that is missing, cut short, or has other bytes than were published."""
        if said := self.incomplete(active):
            return said
        store, checksums = self.files, self.history.checksums({file.path for file in active})
        hashed = [path for path in (file.path for file in active) if path in checksums]
        # Hashing is all that happens now: the cores share it.
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            found = dict(zip(hashed, pool.map(store.sha256, hashed), strict=True))
        return [f"{path} holds other bytes than were published" for path in hashed if found[path] != checksums[path]]

    def is_sound(self, day: dt.date, rows: int) -> bool:
        """Whether the day has as many rows as were published, in files with the bytes that they had then.

        Another program may have deleted rows, or all of them.
        """
        active = self.active(day, day)
        return sum(file.rows for file in active) == rows and not self.damage(active)


def application(day: dt.date) -> str:
    """The name under which Delta's application transactions count the publications of a day."""
    return f"ds={day}"


def pin_digest(active: Iterable[ActiveFile]) -> str:
    """SHA-256 over the sorted paths and sizes, and which rows are deleted."""
    listed = sorted([file.path, file.size, *([file.deleted] if file.deleted else [])] for file in active)
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _active(file: dict, deleted_rows: int, deleted: str) -> ActiveFile:
    return ActiveFile(
        path=file["path"],
        size=file["size_bytes"],
        rows=max((file["num_records"] or 0) - deleted_rows, 0),
        day=file.get(_PARTITION),
        modified=int(file["modification_time"]),
        deleted=deleted,
    )


def _deletions(delta: DeltaTable) -> dict[str, tuple[int, str]]:
    """How many rows of a file are deleted, and the SHA-256 of which, by path. Most tables have none."""
    if "deletionVectors" not in (delta.protocol().reader_features or ()):
        return {}
    root, found = delta.table_uri.rstrip("/"), {}
    for batch in pa.RecordBatchReader.from_stream(delta.deletion_vectors()):
        for uri, kept in zip(batch["filepath"].to_pylist(), batch["selection_vector"], strict=True):
            mask = kept.values.cast(pa.int8())
            sha256 = hashlib.sha256(mask.to_numpy().tobytes()).hexdigest()
            found[uri.removeprefix(f"{root}/")] = (len(mask) - pc.sum(mask, min_count=0).as_py(), sha256)
    return found
