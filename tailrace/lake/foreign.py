"""Files of other writers, such as Spark's: they are checked before they count as staged.

Delta checks none of this: it silently drops unknown columns, takes float32 for double, and relabels rows of another
day.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from tailrace.errors import SchemaMismatch
from tailrace.lake import rows as accepted
from tailrace.lake.files import StoredFile, TableFiles, reason, storage_errors
from tailrace.lake.parquet import DataFile, statistics

_AT_ONCE = 8


def data_files(
    store: TableFiles, folder: str, schema: pa.Schema, *, day: dt.date, where: str, doing: str
) -> tuple[DataFile, ...]:
    """The files with rows that a writer left in the folder, by name; everything else in it is deleted.

    `schema` is the table's. Raises SchemaMismatch with every problem of every file, StorageFull, LakeUnavailable.
    """
    with storage_errors(doing):
        listed = sorted(store.list(folder), key=lambda file: file.path)
        content = [file for file in listed if file.size and not _is_marker(file.path)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            footers = list(pool.map(partial(_footer, store, where), content))
        problems = [
            f"  - {PurePosixPath(file.path).name}: {problem}"
            for file, footer in zip(content, footers, strict=True)
            for problem in _problems(footer, schema, day)
        ]
        if problems:
            raise SchemaMismatch("\n".join([f"{where}: the files written do not fit the table.", *problems]))
        full = [(file, footer) for file, footer in zip(content, footers, strict=True) if footer.num_rows]
        kept = {file.path for file, _ in full}
        store.delete(file.path for file in listed if file.path not in kept)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            sums = list(pool.map(store.sha256, (file.path for file, _ in full)))
    return tuple(
        DataFile(path=file.path, size=file.size, rows=footer.num_rows, sha256=sha256, stats=statistics(footer))
        for (file, footer), sha256 in zip(full, sums, strict=True)
    )


def _is_marker(path: str) -> bool:
    """Whether Hadoop's writers leave such a file next to the data: `_SUCCESS`, `.part-0.crc`."""
    return PurePosixPath(path).name.startswith(("_", "."))


def _footer(store: TableFiles, where: str, file: StoredFile) -> pq.FileMetaData:
    with contextlib.closing(store.tap(file.path, f"Checking {where}")) as source:
        try:
            return pq.read_metadata(source)
        except pa.ArrowException as error:
            raise SchemaMismatch(f"{where}: {file.path} is no Parquet file ({reason(error)}).") from error


def _problems(footer: pq.FileMetaData, schema: pa.Schema, day: dt.date) -> Iterator[str]:
    if different := accepted.differences(footer.schema.to_arrow_schema(), schema):
        yield from different
        return
    days, without = set(), 0
    for column in _day_columns(footer):
        found = column.statistics
        known = found is not None and found.has_null_count
        if not known or not (found.has_min_max or found.null_count == column.num_values):
            yield "a row group has no statistics of column 'ds', so its day cannot be told; write them"
            return
        without += found.null_count
        if found.has_min_max:
            days |= {found.min, found.max}
    if without:
        yield f"{without} rows have no day in column 'ds'"
    if others := sorted(days - {day}):
        yield f"column 'ds' has rows of {', '.join(map(str, others))}; stage each day's rows under its own day"


def _day_columns(footer: pq.FileMetaData) -> Iterator[pq.ColumnChunkMetaData]:
    index = footer.schema.to_arrow_schema().names.index(accepted.DAY_COLUMN)
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        if group.num_rows:
            yield group.column(index)
