"""Redshift: a cursor on the server, because the connector's own reads a whole result into memory.

Written against redshift-connector 2.1 and dbt-redshift 1.11; tested with a stand-in of the same methods.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager

import pyarrow as pa

from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.adapter_types import Column
from tailrace.warehouse.drivers.cursor import CursorSession, batch_of

_FETCHED_ROWS = 1000
"""The most that a cluster of one node gives at once."""


class RedshiftSession(CursorSession):
    def rows(self, sql: str, columns: Sequence[Column]) -> Generator[pa.RecordBatch]:
        with closing(self._handle.cursor()) as cursor:
            cursor.execute("begin")  # a cursor lives as long as its transaction, here until the connection is closed
            cursor.execute(f"declare tailrace_rows cursor for {sql}")
            while True:
                cursor.execute(f"fetch forward {_FETCHED_ROWS} from tailrace_rows")
                if not (rows := cursor.fetchall()):
                    break
                yield batch_of(rows, columns)


@contextmanager
def connected(adapter: DbtAdapter) -> Iterator[RedshiftSession]:
    with adapter.connected() as handle:
        yield RedshiftSession(adapter, handle)
