"""Digests of rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_ROWS = 1 << 16
"""Rows that are hashed at once. Digests depend on it."""
_PADDED_TO = 64
"""Bytes of which Arrow writes a multiple of each column of a slice, where more bytes follow."""


def rows_digest(rows: pa.Table, order: pa.Array | None = None) -> str:
    """SHA-256 of the rows, in the order of these row numbers if they are given.

    It does not depend on chunks or schema metadata. Two times as many rows as are hashed at once are copied for an
    order, not all of them.
    """
    schema = rows.schema.remove_metadata()
    digest = RowsDigest(schema)
    columns = [in_one_piece(column) for column in rows.columns]
    for block in _cut(columns) if order is None else _gathered(columns, order):
        digest.write(pa.record_batch(block, schema=schema))
    return digest.hexdigest()


def _cut(columns: Sequence[pa.Array]) -> Iterator[list[pa.Array]]:
    for start in range(0, len(columns[0]) if columns else 0, _ROWS):
        yield [column.slice(start, _ROWS) for column in columns]


def _gathered(columns: Sequence[pa.Array], order: pa.Array) -> Iterator[list[pa.Array]]:
    """The blocks of rows in another order; a thread gathers the next one while the caller works on the last one."""
    # The digest of a text column depends on what follows a block.
    whole = {n: column.take(order) for n, column in enumerate(columns) if not _has_fixed_width(column.type)}

    def gathered(start: int) -> list[pa.Array]:
        numbers = order.slice(start, _ROWS)
        return [
            whole[n].slice(start, _ROWS) if n in whole else column.take(numbers) for n, column in enumerate(columns)
        ]

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(gathered, 0)
        for start in range(0, len(order), _ROWS):
            block = following.result()
            following = pool.submit(gathered, start + _ROWS)
            yield block


def in_one_piece(column: pa.ChunkedArray) -> pa.Array:
    """Without a copy if it is one already, which `combine_chunks` makes."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


class RowsDigest:
    """The same digest as that of `rows_digest`, of rows that come in batches and need not be in memory at once.

    A database leaves any bytes where a number or a moment is missing, such as those of another query: here they are 0.
    About as many rows wait as are hashed at once. More do while a text column has too few bytes after the rows that
    are next: Arrow pads a slice of a text column to 64 bytes with those that follow.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._sink = _HashingSink()
        self._schema = schema.remove_metadata()
        self._texts = [n for n, field in enumerate(schema) if _is_text(field.type)]
        self._stream = pa.ipc.new_stream(pa.PythonFile(self._sink, mode="w"), self._schema)
        self._waiting: list[pa.RecordBatch] = []
        self.waiting = 0
        """How many rows wait."""

    def add(self, batch: pa.RecordBatch) -> None:
        """Hash these rows after those that came before."""
        columns = [_without_hidden_bytes(column) for column in batch.columns]
        self._waiting.append(pa.record_batch(columns, schema=self._schema))
        self.waiting += batch.num_rows
        if self.waiting > _ROWS:
            self._write_waiting(last=False)

    def write(self, slice_: pa.RecordBatch) -> None:
        """Hash rows that are already cut as the digest cuts them."""
        self._stream.write_batch(slice_)

    def hexdigest(self) -> str:
        """The digest of all rows; none can be added after it."""
        self._write_waiting(last=True)
        self._stream.close()
        return self._sink.hash.hexdigest()

    def _write_waiting(self, *, last: bool) -> None:
        rows = pa.Table.from_batches(self._waiting, self._schema).combine_chunks()
        done = 0
        while done < rows.num_rows and (last or self._followed(rows, done + _ROWS)):
            self.write(pa.record_batch([column.chunk(0).slice(done, _ROWS) for column in rows.columns], self._schema))
            done += _ROWS
        self._waiting = rows.slice(done).to_batches()
        self.waiting = max(rows.num_rows - done, 0)

    def _followed(self, rows: pa.Table, start: int) -> bool:
        """Whether enough follows the row `start`, which itself follows the slice, to know what the slice is padded by.

        The bytes of a few rows say it nearly always.
        """
        if start >= rows.num_rows:
            return False
        return all(_bytes_from(rows.column(number).chunk(0), start) >= _PADDED_TO for number in self._texts)


def _without_hidden_bytes(column: pa.Array) -> pa.Array:
    """The column with zeros where a value is missing, if its values have a fixed width."""
    if not column.null_count or not _has_fixed_width(column.type):
        return column
    valid = pc.is_valid(column)
    if pa.types.is_boolean(column.type):
        values = pc.fill_null(column, False).buffers()[1]
    else:
        width = column.type.bit_width // 8
        begin, end = column.offset * width, (column.offset + len(column)) * width
        copied = np.frombuffer(column.buffers()[1], np.uint8)[begin:end].reshape(-1, width).copy()
        copied[~valid.to_numpy(zero_copy_only=False)] = 0
        values = pa.py_buffer(copied)
    return pa.Array.from_buffers(column.type, len(column), [valid.buffers()[1], values], column.null_count)


def _bytes_from(texts: pa.Array, start: int) -> int:
    """How many bytes the values from `start` on have, those of the next rows counted first."""
    for rows in (2 * _PADDED_TO, len(texts) - start):
        found = pc.sum(pc.binary_length(texts.slice(start, rows))).as_py() or 0
        if found >= _PADDED_TO:
            break
    return int(found)


def _has_fixed_width(kind: pa.DataType) -> bool:
    return pa.types.is_primitive(kind) or pa.types.is_decimal(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_binary(kind)


class _HashingSink:
    """A file object that keeps only the hash of what is written to it."""

    closed = False

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass
