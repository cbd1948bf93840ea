"""Databricks: `fetchmany_arrow` of its SQL connector.

Written against databricks-sql-connector 4.4 and dbt-databricks 1.12; tested with a stand-in of the same methods.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager

import pyarrow as pa

from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.adapter_types import Column
from tailrace.warehouse.drivers.base import BATCH_ROWS
from tailrace.warehouse.drivers.cursor import CursorSession


class DatabricksSession(CursorSession):
    def rows(self, sql: str, columns: Sequence[Column]) -> Generator[pa.RecordBatch]:
        with closing(self._handle.execute(sql)) as wrapper:
            cursor = wrapper._cursor  # the adapter's wrapper has no methods for Arrow
            while (table := cursor.fetchmany_arrow(BATCH_ROWS)).num_rows:
                yield from table.to_batches()


@contextmanager
def connected(adapter: DbtAdapter) -> Iterator[DatabricksSession]:
    with adapter.connected() as handle:
        yield DatabricksSession(adapter, handle)
