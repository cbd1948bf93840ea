"""The lake's rows as DataFrames, and DataFrames as staged rows, with Spark's own readers and writers.

Spark receives each file and the expected columns, so it neither lists folders nor guesses types.
"""

# ruff: noqa: TID253 - a leaf: the engine imports it when it reads or writes.

from __future__ import annotations

import re
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

from tailrace.contracts import NativeTable, Scan, Staged, Target
from tailrace.engines.spark.columns import quoted
from tailrace.errors import BadInput


def read(session: SparkSession, scan: Scan, native_reader: str = "") -> DataFrame:
    """The rows of a scan, in its columns; rows in this process's memory are sent to Spark.

    A table that needs its format's own reader is read through `native_reader`. The only one is "delta", which
    needs the delta-spark jars. Raises BadInput if none is set.
    """
    if scan.native is not None:
        return _natively(session, scan.native, native_reader).select(*map(quoted, scan.schema.names))
    schema: Any = from_arrow_schema(scan.schema)
    if not scan.files:
        # As one chunk: from a table in several chunks, Spark 4.1 drops everything after an empty chunk.
        return session.createDataFrame(scan.reader().read_all().combine_chunks(), schema)
    return session.read.schema(schema).parquet(*[_literal(_url(file)) for file in scan.files])


def write(frame: DataFrame, target: Target) -> Staged:
    """Stage the frame's rows, one file for each partition that has rows; one of its columns is `ds`.

    Raises SchemaMismatch, StorageFull, LakeUnavailable, and Spark's errors.
    """
    schema = to_arrow_schema(frame.schema)
    writer = frame.write.mode("append").option("compression", "zstd")
    return target.write_files(schema, lambda folder: writer.parquet(_url(folder)))


def _natively(session: SparkSession, table: NativeTable, native_reader: str) -> DataFrame:
    if native_reader != "delta":
        raise BadInput(
            f"The table at {table.uri} needs Delta's own reader: its files alone would give wrong rows. Set "
            "TAILRACE_SPARK_NATIVE_READER=delta with TAILRACE_ENGINE=spark and give Spark the delta-spark jars."
        )
    frame = session.read.format("delta").option("versionAsOf", table.version).load(_url(table.uri))
    if table.first is not None:
        frame = frame.where(f"ds >= date'{table.first}'")
    if table.last is not None:
        frame = frame.where(f"ds <= date'{table.last}'")
    return frame


def _url(address: str) -> str:
    """A URL, because a path would mean the cluster's default file system. Hadoop wants it unencoded."""
    return address if "://" in address else f"file://{address}"


def _literal(address: str) -> str:
    """The address with pattern characters escaped: Spark treats what it reads as a pattern."""
    return re.sub(r"([\\{}\[\]*?])", r"\\\1", address)
