"""Digests of rows."""

from __future__ import annotations

import hashlib

import pyarrow as pa


def rows_digest(rows: pa.Table) -> str:
    """SHA-256 of the rows in their order; it does not depend on chunks or schema metadata."""
    digest = _HashingSink()
    plain = rows.replace_schema_metadata(None).combine_chunks()
    with pa.ipc.new_stream(pa.PythonFile(digest, mode="w"), plain.schema) as stream:
        stream.write_table(plain, max_chunksize=1 << 16)
    return digest.hash.hexdigest()


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
