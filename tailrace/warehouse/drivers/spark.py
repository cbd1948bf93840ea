"""Spark: by the session method a DataFrame, whose rows come as Arrow; by a server (Thrift, ODBC) a DB-API cursor.

Spark's workers pack each batch of rows into one value in Arrow's stream format, and one partition after the other is
read. So memory stays flat and no value becomes a Python object. The workers need pyarrow.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.adapter_types import Column
from tailrace.warehouse.drivers.cursor import CursorSession


class SparkSession(CursorSession):
    """The rows of the DataFrame that dbt-spark's session cursor made."""

    def rows(self, sql: str, columns: Sequence[Column]) -> Generator[pa.RecordBatch]:
        cursor = self._handle.cursor()
        cursor.execute(sql)
        frame = cursor._cursor._df
        _with_this_python(frame)
        for row in frame.mapInArrow(_packing(), "batch binary").toLocalIterator(prefetchPartitions=True):
            yield from pa.ipc.open_stream(row.batch)


class ServerSession(CursorSession):
    """The adapter's wrapper has no `fetchmany`, but its cursor does."""

    def _cursor(self) -> Any:
        return _Polling(self._handle.cursor())


class _Polling:
    """Executes through the wrapper, which waits for the server, and fetches from the cursor that it made."""

    def __init__(self, wrapper: Any) -> None:
        self._wrapper = wrapper

    def execute(self, sql: str) -> None:
        self._wrapper.execute(sql)

    def fetchmany(self, rows: int) -> Any:
        return self._wrapper._cursor.fetchmany(rows)

    def close(self) -> None:
        self._wrapper._cursor.close()


@contextmanager
def connected(adapter: DbtAdapter) -> Iterator[CursorSession]:
    by_session = str(adapter.credentials.method) == "session"
    with adapter.connected() as handle:
        yield (SparkSession if by_session else ServerSession)(adapter, handle)


def _with_this_python(frame: Any) -> None:
    """Let Spark's workers on this machine be this Python: by default they are whichever `python3` the path has."""
    context = frame.sparkSession.sparkContext
    if context.master.startswith("local"):
        context.pythonExec = sys.executable


def _packing() -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that makes each batch one value. Spark sends it to its workers, which may not have Tailrace."""

    def packed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for batch in batches:
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as stream:
                stream.write_batch(batch)
            yield pa.record_batch([pa.array([sink.getvalue().to_pybytes()], pa.binary())], names=["batch"])

    return packed
