"""All rows of a scan with each column in one piece, while few batches lie in memory beside it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pyarrow as pa

from tailrace.contracts import Part, Scan
from tailrace.errors import BadInput
from tailrace.lineage.digests import in_one_piece

_PART_VALUES = 1 << 20
"""Values of a part that a thread reads: 8 MiB of numbers."""
_THREADS = 2
_UNSIGNED = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
"""Bits of a value -> what NumPy moves it as."""
_MOVED_ROWS = 1 << 16
"""Rows of a column that Arrow takes at once: what it needs for them stays in the processor's cache."""


def read(scan: Scan) -> pa.Table:
    """All rows of the scan, in order. Raises PinLost, LakeUnavailable, BadInput."""
    columns = [_Column(field, scan.rows) for field in scan.schema]
    parts = scan.parts(max(_PART_VALUES // max(len(columns), 1), 1))
    starts = itertools.accumulate((part.rows for part in parts), initial=0)
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(partial(_put, columns), parts, starts))  # raises what reading a part raises
    # What decoding took would otherwise stay beside the rows until the end.
    pa.default_memory_pool().release_unused()
    return pa.table([column.array() for column in columns], schema=scan.schema)


def _put(columns: Sequence[_Column], part: Part, start: int) -> None:
    """Fill in the rows of a part, the first of which is row `start` of all.

    Raises BadInput if it has other rows than were stated, whose places would be those of other parts.
    """
    row, end = start, start + part.rows
    for batch in part.batches():
        if row + batch.num_rows <= end:
            for column, values in zip(columns, batch.columns, strict=True):
                column.put(row, values)
        row += batch.num_rows
    if row != end:
        raise BadInput(
            f"A pinned file has {row - start:,} rows where its table's log says {part.rows:,}: another program wrote "
            "one of them. Publish its day again."
        )


def moved(rows: pa.Table, numbers: pa.Array) -> pa.Table:
    """The rows of these numbers, in their order. It takes over the memory of `rows`, which must not be used again.

    `rows` is what `read` returned. New memory for all rows would cost more than the move.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        columns = pool.map(partial(_moved, numbers, threading.local()), rows.columns)
    return pa.table(list(columns), schema=rows.schema)


def _moved(numbers: pa.Array, spare: threading.local, column: pa.ChunkedArray) -> pa.Array:
    """The column in new order, in the memory of the column that the thread moved before it."""
    whole = in_one_piece(column)
    kept = _memory_of(whole)
    if kept is None:
        return whole.take(numbers)
    free = spare.__dict__.pop(kept.dtype.name, None)
    moved = np.empty(len(kept), kept.dtype) if free is None else free
    for start in range(0, len(numbers), _MOVED_ROWS):
        some = whole.take(numbers.slice(start, _MOVED_ROWS))
        moved[start : start + len(some)] = np.frombuffer(some.buffers()[1], kept.dtype)[: len(some)]
    spare.__dict__[kept.dtype.name] = kept
    return pa.Array.from_buffers(whole.type, len(numbers), [None, pa.py_buffer(moved)])


def _memory_of(column: pa.Array) -> np.ndarray | None:
    """The memory of a column without missing values that `read` filled; None for other columns."""
    width = column.type.bit_width if pa.types.is_primitive(column.type) else 0
    plain = width in _UNSIGNED and len(column) and not column.null_count and not column.offset
    return np.frombuffer(column.buffers()[1], _UNSIGNED[width]) if plain else None


class _Column:
    """A column that is filled piece by piece.

    Values of a fixed number of bytes are copied to their place at once: putting pieces together at the end would touch
    twice as much memory, which costs more than the copy.
    """

    def __init__(self, field: pa.Field, rows: int) -> None:
        self._type, self._rows = field.type, rows
        width = field.type.bit_width if pa.types.is_primitive(field.type) else 0
        self._bytes = width // 8 if width % 8 == 0 else 0
        self._values = np.empty(rows * self._bytes, np.uint8)
        self._missing: list[tuple[int, np.ndarray]] = []
        self._pieces: dict[int, pa.Array] = {}

    def put(self, start: int, values: pa.Array) -> None:
        """Fill in the values from row `start` on; several threads may do so for different rows."""
        if not len(values):
            return
        if not self._bytes:
            self._pieces[start] = values
            return
        end, first = start + len(values), values.offset * self._bytes
        given = np.frombuffer(values.buffers()[1], np.uint8)[first : first + len(values) * self._bytes]
        self._values[start * self._bytes : end * self._bytes] = given
        if values.null_count:
            self._missing.append((start, values.is_null().to_numpy(zero_copy_only=False)))

    def array(self) -> pa.Array:
        """All rows, each of which was put."""
        if not self._bytes:
            pieces = [self._pieces[start] for start in sorted(self._pieces)]
            return pa.concat_arrays(pieces) if pieces else pa.array([], self._type)
        return pa.Array.from_buffers(self._type, self._rows, [self._validity(), pa.py_buffer(self._values)])

    def _validity(self) -> pa.Buffer | None:
        if not self._missing:
            return None
        valid = np.ones(self._rows, np.bool_)
        for start, missing in self._missing:
            valid[start : start + len(missing)] = ~missing
        return pa.py_buffer(np.packbits(valid, bitorder="little"))
