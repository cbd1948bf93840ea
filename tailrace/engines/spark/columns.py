"""Columns by their exact names, and rows in the order of the lake's sorted tables."""

# ruff: noqa: TID253 - a leaf: the engine imports it when it trains.

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

Batches = Iterable[pa.RecordBatch]
InWorkers = Callable[[Batches], Batches]


def quoted(name: str) -> str:
    """The name quoted for SQL: unquoted, `a.b` means the field b of a column a."""
    return f"`{name.replace('`', '``')}`"


def column(name: str) -> Column:
    return F.col(quoted(name))


def named(names: Iterable[str]) -> list[Column]:
    return [column(name) for name in names]


def ascending(names: Iterable[str]) -> list[Column]:
    """Sort keys with nulls last, as in Arrow; Spark's default is nulls first."""
    return [column(name).asc_nulls_last() for name in names]


def places(names: Iterable[str]) -> list[str]:
    """A plain name for each column, from its position: for code that does not quote names."""
    return [f"x{position}" for position, _ in enumerate(names)]


def in_workers(frame: DataFrame, names: Sequence[str], work: InWorkers, schema: StructType | str) -> DataFrame:
    """`frame.mapInArrow` on these columns.

    They get plain names on the way, because PySpark reads `a.b` as a field of a column a.
    """
    plain = [frame[quoted(name)].alias(place) for name, place in zip(names, places(names), strict=True)]

    def under_their_names(batches: Batches) -> Batches:
        return work(batch.rename_columns(names) for batch in batches)

    return frame.select(*plain).mapInArrow(under_their_names, schema)
