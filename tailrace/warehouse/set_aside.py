"""Rows that are read to their end at once, so that their source is free again, and used later in batches."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa

IN_MEMORY = 128 << 20
"""Bytes of rows that stay in memory; the rows after them wait in a file."""


def set_aside(schema: pa.Schema, batches: Iterable[pa.RecordBatch], folder: Path) -> pa.RecordBatchReader:
    """All rows, read now. Those that do not fit in memory are in a file of `folder` that no other process sees.

    The file is gone when the reader is. Raises OSError if there is no room for it.
    """
    kept: deque[pa.RecordBatch] = deque()
    size, batches = 0, iter(batches)
    for batch in batches:
        kept.append(batch)
        size += batch.get_total_buffer_size()
        if size >= IN_MEMORY:
            folder.mkdir(parents=True, exist_ok=True)
            return pa.RecordBatchReader.from_batches(schema, _all(kept, _written(schema, batches, folder)))
    return pa.RecordBatchReader.from_batches(schema, _all(kept, None))


def _written(schema: pa.Schema, batches: Iterable[pa.RecordBatch], folder: Path) -> IO[bytes]:
    file = tempfile.TemporaryFile(dir=folder, prefix="rows-")  # noqa: SIM115 - closed when its rows were read
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(pa.PythonFile(file, mode="w"), schema, options=options) as stream:
        for batch in batches:
            stream.write_batch(batch)
    file.seek(0)
    return file


def _all(kept: deque[pa.RecordBatch], file: IO[bytes] | None) -> Iterator[pa.RecordBatch]:
    while kept:
        yield kept.popleft()
    if file is not None:
        with file:
            yield from pa.ipc.open_stream(pa.PythonFile(file, mode="r"))
