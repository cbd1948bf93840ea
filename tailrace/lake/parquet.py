"""Data files: equal rows give equal bytes, with checksums taken while writing; reading needs bounded memory."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tailrace.lake.files import Sink, TableFiles, Tap, content_errors, storage_errors
from tailrace.lake.rows import ROW_GROUP_ROWS, completed

FILE_BYTES = 128 << 20
"""Files of a day are hashed side by side before they are read: with one large file, the other cores would wait."""
DICTIONARY_BYTES = 128 << 10
"""A column whose distinct values do not fit is written without a dictionary: one with almost every value makes files
larger, and slower to write and to read."""
_TRIED_ROWS = 4096
_DIFFERENCES = "DELTA_BINARY_PACKED"
"""Integers as differences from the value before; docs/adr/0082 has what this saves."""
_LONGEST_STATISTIC = 64
_EPOCH = dt.datetime(1970, 1, 1)
_DAY_MILLISECONDS = 24 * 60 * 60 * 1000
_FIRST_DAY, _LAST_DAY = (dt.date.min - _EPOCH.date()).days, (dt.date.max - _EPOCH.date()).days
_BUFFER_BYTES = 1 << 20
_SMALL_BYTES = 1 << 20
"""A file up to this size is read in one request: reading by column costs a request for each column."""


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A finished data file; `path` is relative to the table, `stats` the Delta statistics as JSON."""

    path: str
    size: int
    rows: int
    sha256: str
    stats: str


@dataclass(frozen=True)
class RowGroups:
    """Some row groups of a file, all of them if `groups` is None; `path` is relative to the table.

    `day` is the day that the table's log has for the file, None in a table without days.
    """

    path: str
    rows: int
    groups: tuple[int, ...] | None = None
    day: dt.date | None = None


class _Open(NamedTuple):
    """A file that is being written: what hashes its bytes, what gathers them, and what makes them."""

    sink: Sink
    buffered: pa.BufferedOutputStream
    writer: pq.ParquetWriter


class DataWriter:
    """Writes row groups into numbered Parquet files of one folder; an exception removes them again.

    A thread encodes a row group while the caller makes the next one: two are in memory. A file is finished once it
    passes 128 MiB.
    """

    def __init__(self, files: TableFiles, folder: str, schema: pa.Schema, *, doing: str, prefix: str = "part") -> None:
        self._files, self._folder, self._schema, self._doing, self._prefix = files, folder, schema, doing, prefix
        self._paths: list[str] = []
        self._done: list[DataFile] = []
        self._open: _Open | None = None
        self._footers: list[pq.FileMetaData] = []
        self._without_nan: set[str] = set()
        self._pool = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def __enter__(self) -> DataWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        if error is not None:
            self._abandon()

    def write(self, rows: pa.Table) -> None:
        """Write one row group when the one before it is written. Raises what writing that one raises."""
        self._wait()
        self._writing = self._pool.submit(self._write, rows)

    def _wait(self) -> None:
        """Wait until the last row group is written. Raises StorageFull, LakeUnavailable."""
        if self._writing is not None:
            self._writing.result()

    def _write(self, rows: pa.Table) -> None:
        with storage_errors(self._doing):
            sink, buffered, writer = self._open or self._start(rows)
            writer.write_table(rows, row_group_size=max(rows.num_rows, 1))
            buffered.flush()
            self._without_nan -= _with_nan(rows, self._without_nan)
            if sink.size >= FILE_BYTES:
                self._close()

    def finish(self) -> tuple[DataFile, ...]:
        """Close the last file. Raises StorageFull, LakeUnavailable."""
        self._wait()
        with storage_errors(self._doing):
            self._close()
        return tuple(self._done)

    def _start(self, rows: pa.Table) -> _Open:
        path = f"{self._folder}/{self._prefix}-{len(self._paths):05d}.parquet"
        self._paths.append(path)
        sink = self._files.create(path)
        # Arrow writes every page by itself, and each write would wait for Python's lock.
        buffered = pa.BufferedOutputStream(pa.PythonFile(sink, mode="w"), _BUFFER_BYTES)
        repeating = [name for name in self._schema.names if _may_repeat(rows[name])]
        whole = [field.name for field in self._schema if _is_whole(field.type)]
        writer = pq.ParquetWriter(
            buffered,
            self._schema,
            compression={field.name: _codec(field.type) for field in self._schema},
            use_dictionary=repeating,
            dictionary_pagesize_limit=DICTIONARY_BYTES,
            column_encoding={name: _DIFFERENCES for name in whole if name not in repeating},
            metadata_collector=self._footers,
            write_page_checksum=True,
        )
        self._open = _Open(sink, buffered, writer)
        self._without_nan = {field.name for field in self._schema if pa.types.is_floating(field.type)}
        return self._open

    def _close(self) -> None:
        if self._open is None:
            return
        sink, buffered, writer = self._open
        writer.close()
        buffered.close()  # and the sink
        footer = self._footers[-1]
        stats = statistics(footer, self._without_nan)
        self._done.append(
            DataFile(path=self._paths[-1], size=sink.size, rows=footer.num_rows, sha256=sink.sha256(), stats=stats)
        )
        self._open = None

    def _abandon(self) -> None:
        """Remove what was written. A store that fails again here must not hide the first error."""
        with contextlib.suppress(Exception):
            if self._open is not None:
                writer, buffered = self._open.writer, self._open.buffered
                writer.is_open = False  # or it would try to write its footer when it is collected
                buffered.close()  # and the sink
        with contextlib.suppress(OSError):
            self._files.delete(self._paths)


def batches(
    files: TableFiles, pieces: Iterable[RowGroups], schema: pa.Schema, doing: str, *, hashed: bool = False
) -> Iterator[pa.RecordBatch]:
    """The pieces' rows in order, with the schema's columns: at most 262,144 rows a batch, one row group in memory.

    A column that a file does not have is null: the table gained it after the file was written. Only its day is known,
    from the log: other Delta tools leave it out of the files that they write. Pages are compared with their checksums,
    where the writer left some, unless the whole files were `hashed` already.
    Raises PinLost naming a file that is gone or corrupt, LakeUnavailable.
    """
    for piece in pieces:
        with _opened(files, piece.path, doing, verify=not hashed) as file:
            groups = range(file.num_row_groups) if piece.groups is None else piece.groups
            # One iterator over all groups would keep every byte it has read until its end.
            for group in groups:
                for batch in file.iter_batches(ROW_GROUP_ROWS, row_groups=[group], columns=schema.names):
                    # Some writers put more into a file's schema than the table's has: metadata, required columns.
                    yield completed(batch, schema, piece.day)


def row_groups_of(files: TableFiles, piece: RowGroups, doing: str) -> list[RowGroups]:
    """Each row group of a file as a piece of its own. Raises PinLost, LakeUnavailable."""
    with _opened(files, piece.path, doing) as file:
        rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    return [replace(piece, rows=count, groups=(group,)) for group, count in enumerate(rows)]


@contextlib.contextmanager
def _opened(files: TableFiles, path: str, doing: str, *, verify: bool = False) -> Iterator[pq.ParquetFile]:
    with (
        contextlib.closing(files.tap(path, doing)) as source,
        content_errors(path, doing),
        # Scoring reads ahead by batch; reading ahead by column as well would keep the row group in memory twice.
        pq.ParquetFile(_whole_if_small(source), pre_buffer=False, page_checksum_verification=verify) as file,
    ):
        yield file


def _may_repeat(column: pa.ChunkedArray) -> bool:
    """Whether a dictionary is worth a try: not for numbers and times whose first values nearly all differ."""
    first = column.slice(0, _TRIED_ROWS)
    is_number = pa.types.is_floating(column.type) or _is_whole(column.type)
    return not is_number or pc.count_distinct(first, mode="all").as_py() <= len(first) // 2


def _is_whole(kind: pa.DataType) -> bool:
    """Whether Parquet keeps these values as integers, which have differences."""
    return pa.types.is_integer(kind) or pa.types.is_timestamp(kind) or pa.types.is_date32(kind)


def _codec(kind: pa.DataType) -> str:
    """Floating-point numbers are most of what is written and read; docs/adr/0079 has what each codec costs."""
    return "lz4" if pa.types.is_floating(kind) else "zstd"


def _whole_if_small(source: Tap) -> Tap | pa.BufferReader:
    return pa.BufferReader(source.read_buffer()) if source.size() <= _SMALL_BYTES else source


def statistics(footer: pq.FileMetaData, without_nan: Collection[str] = ()) -> str:
    """Delta statistics of a file: rows, and the missing values, minimum and maximum of each column.

    Either all columns have a minimum and maximum or none has: delta-rs's pyarrow data set assumes that no value of a
    column without them fits any filter. `without_nan` names the columns known to have no NaN: Parquet leaves NaN out
    of minimum and maximum, Delta's readers count it as the largest value.
    """
    nulls: dict[str, int] = {}
    ranges: dict[str, list[tuple[Any, Any] | None]] = {}
    unknown: set[str] = set()
    types = footer.schema.to_arrow_schema().types
    for group in range(footer.num_row_groups):
        for index in range(footer.num_columns):
            column = footer.row_group(group).column(index)
            name, found = column.path_in_schema, column.statistics
            if found is None or not found.has_null_count:
                unknown.add(name)
                continue
            nulls[name] = nulls.get(name, 0) + found.null_count
            if found.has_min_max:
                exact = not pa.types.is_floating(types[index]) or name in without_nan
                ranges.setdefault(name, []).append(_bounds(found, types[index]) if exact else None)
            elif found.null_count < column.num_values:
                unknown.add(name)
    stated: dict[str, Any] = {"numRecords": footer.num_rows}
    known = {name: [bound for bound in bounds if bound is not None] for name, bounds in ranges.items()}
    if not unknown and known == ranges:
        stated["minValues"] = {name: min(low for low, _ in bounds) for name, bounds in known.items()}
        stated["maxValues"] = {name: max(high for _, high in bounds) for name, bounds in known.items()}
    stated["nullCount"] = {name: count for name, count in nulls.items() if name not in unknown}
    return json.dumps(stated)


def _bounds(found: pq.Statistics, kind: pa.DataType) -> tuple[Any, Any] | None:
    """The smallest and largest value as Delta's statistics write them; None if they cannot be written exactly.

    Times and days of four-digit years sort as text in the order of time.
    """
    if pa.types.is_timestamp(kind):
        return _times(found.min_raw, found.max_raw) if kind.unit == "us" else None
    if pa.types.is_date32(kind):
        return _days(found.min_raw, found.max_raw)
    low, high = found.min, found.max
    if isinstance(low, str):
        return (low, high) if max(len(low), len(high)) <= _LONGEST_STATISTIC else None
    return (low, high) if isinstance(low, int | float) and math.isfinite(low) and math.isfinite(high) else None


def _with_nan(rows: pa.Table, names: Iterable[str]) -> set[str]:
    return {name for name in names if pc.any(pc.is_nan(rows[name]), min_count=0).as_py()}


def _times(low: int, high: int) -> tuple[str, str] | None:
    """From microseconds since 1970 to Delta's milliseconds: the smallest is rounded down, the largest up."""
    low, high = low // 1000, -(-high // 1000)
    if not _FIRST_DAY * _DAY_MILLISECONDS <= low <= high < (_LAST_DAY + 1) * _DAY_MILLISECONDS:
        return None
    return _time(low), _time(high)


def _time(milliseconds: int) -> str:
    at = _EPOCH + dt.timedelta(milliseconds=milliseconds)
    return f"{at.isoformat(timespec='milliseconds')}Z"


def _days(low: int, high: int) -> tuple[str, str] | None:
    """From days since 1970."""
    if not _FIRST_DAY <= low <= high <= _LAST_DAY:
        return None
    return (_EPOCH + dt.timedelta(days=low)).date().isoformat(), (_EPOCH + dt.timedelta(days=high)).date().isoformat()
