"""Snowflake: the connector's own Arrow batches; names in upper case are read in lower case.

Written against snowflake-connector-python 4.8 and dbt-snowflake 1.12; tested with a stand-in of the same methods.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager

import pyarrow as pa

from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.adapter_types import Column, reported
from tailrace.warehouse.drivers.cursor import CursorSession
from tailrace.warehouse.relations import MartRelation


class SnowflakeSession(CursorSession):
    def rows(self, sql: str, columns: Sequence[Column]) -> Generator[pa.RecordBatch]:
        self._handle.arrow_number_to_decimal_setter = True  # else decimals become floats
        with closing(self._handle.cursor()) as cursor:
            cursor.execute(sql)
            for table in cursor.fetch_arrow_batches():
                yield from table.to_batches()

    def _column(self, name: str, declared: str, mart: MartRelation) -> Column:
        """Snowflake stores a name that was not quoted in upper case, so such a name means the one in lower case."""
        return reported(name.lower() if name.isupper() else name, declared, self._adapter.type, source=name)


@contextmanager
def connected(adapter: DbtAdapter) -> Iterator[SnowflakeSession]:
    with adapter.connected() as handle:
        yield SnowflakeSession(adapter, handle)
