"""Digests of rows."""

from __future__ import annotations

import hashlib

import pyarrow as pa

_ROWS = 1 << 16
"""Rows that are hashed at once. Digests depend on it."""


def rows_digest(rows: pa.Table, order: pa.Array | None = None) -> str:
    """SHA-256 of the rows, in the order of these numbers if given; it does not depend on chunks or schema metadata.

    Numbers and moments are put in order some rows at a time, and no copy of all rows is made. Texts and bytes are not:
    Arrow writes a slice of a text column with all bytes that follow it, and recorded digests are those of such slices.
    """
    digest = _HashingSink()
    plain = rows.replace_schema_metadata(None).combine_chunks()
    if order is not None:
        for number, field in enumerate(plain.schema):
            if not _has_fixed_width(field.type):
                plain = plain.set_column(number, field, plain.column(number).take(order).combine_chunks())
    with pa.ipc.new_stream(pa.PythonFile(digest, mode="w"), plain.schema) as stream:
        for start in range(0, plain.num_rows, _ROWS):
            columns = [_slice(column, start, order) for column in plain.columns]
            stream.write_batch(pa.record_batch(columns, schema=plain.schema))
    return digest.hash.hexdigest()


def _slice(column: pa.ChunkedArray, start: int, order: pa.Array | None) -> pa.Array:
    whole = column.chunk(0)
    if order is None or not _has_fixed_width(column.type):
        return whole.slice(start, _ROWS)
    return whole.take(order.slice(start, _ROWS))


def _has_fixed_width(kind: pa.DataType) -> bool:
    return pa.types.is_primitive(kind) or pa.types.is_decimal(kind)


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
