"""Labelled rows that stay in Spark."""

# ruff: noqa: TID253 - a leaf: the engine imports it when it trains.

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from tailrace.contracts import LabelledRows
from tailrace.engines.encoding import doubles_where_null
from tailrace.engines.spark.columns import ascending, column, named
from tailrace.spec import LABEL

PARTITION_ROWS = 100_000
"""Rows per partition. It depends on the rows only: if it depended on the cluster's size, models would differ."""

TIME = "__time"
FIRST_OF_LAST = "__first_of_last"


@dataclass(frozen=True, kw_only=True)
class FrameRows:
    """Labelled rows of a DataFrame: the feature columns, the labels as `LABEL`, and the columns that order them.

    `order` is the event time (a timestamp) and the key, which together identify a row.
    """

    frame: DataFrame
    columns: tuple[str, ...]
    order: tuple[str, ...]
    rows: int
    days: tuple[dt.date, dt.date]

    def table(self) -> pa.Table:
        """The feature columns, collected: for candidates that learn on one machine."""
        return self._collected.select(list(self.columns))

    def labels(self) -> pa.Array:
        return self._collected[LABEL].combine_chunks()

    def head(self, rows: int) -> pa.Table:
        known = self.frame.agg(*[F.count(column(name)) for name in self.columns]).collect()[0]
        nullable = [name for name, count in zip(self.columns, known, strict=True) if count < self.rows]
        first = self._sorted.select(*named(self.columns)).limit(rows).toArrow()
        return doubles_where_null(first, nullable)

    @cached_property
    def _collected(self) -> pa.Table:
        return self._sorted.select(*named(self.columns), LABEL).toArrow()

    @property
    def _sorted(self) -> DataFrame:
        return self.frame.orderBy(*ascending(self.order))

    def partitioned(self, partitions: int | None = None) -> FrameRows:
        """The same rows, partitioned by their order only, so that fitting on them again gives the same model."""
        count = partitions or max(1, -(-self.rows // PARTITION_ROWS))
        laid_out = self.frame.repartition(count, *named(self.order)).sortWithinPartitions(*ascending(self.order))
        return self._with(laid_out, self.rows)

    def split(self, share: float) -> tuple[FrameRows, FrameRows]:
        """The first and the last rows in their order; the last are the given share of all.

        The same rows as a slice of the sorted table.
        """
        boundary = int(self.rows * (1 - share))
        earlier = _place(self.order) < F.col(FIRST_OF_LAST)
        marked = self.frame.crossJoin(F.broadcast(self._row(boundary)))
        first, last = (marked.where(part).drop(FIRST_OF_LAST) for part in (earlier, ~earlier))
        return self._with(first, boundary), self._with(last, self.rows - boundary)

    def _row(self, number: int) -> DataFrame:
        """One row, together with another row's place (from 0) in the order.

        Its values never become Python objects: those shift times by this process's time zone and lose types.
        """
        # One hour at a time: sorting all rows would need the cluster's disks.
        hour = F.date_trunc("hour", column(self.order[0]).cast("timestamp"))
        hours = self.frame.groupBy(F.unix_micros(hour).alias("hour")).count()
        before, found = 0, None
        for row in hours.orderBy(F.col("hour").asc_nulls_last()).collect():
            found = row["hour"]
            if before + row["count"] > number:
                break
            before += row["count"]
        names = [f"at{position}" for position in range(len(self.order))]
        of_hour = self.frame.where(F.unix_micros(hour).eqNullSafe(F.lit(found).cast("bigint")))
        renamed = of_hour.select(*[column(name).alias(at) for name, at in zip(self.order, names, strict=True)])
        at = renamed.orderBy(*ascending(names)).offset(number - before).limit(1)
        here = self.frame.sparkSession.createDataFrame(at.toArrow(), at.schema)
        return here.select(_place(names).alias(FIRST_OF_LAST))

    def _with(self, frame: DataFrame, rows: int) -> FrameRows:
        return FrameRows(frame=frame, columns=self.columns, order=self.order, rows=rows, days=self.days)


def _place(order: Sequence[str]) -> Column:
    """A row's place in the order, for comparison with others: nulls are last."""
    parts = [part for name in order for part in (column(name).isNull(), column(name))]
    return F.struct(*[part.alias(f"part{position}") for position, part in enumerate(parts)])


def framed(session: SparkSession, rows: LabelledRows) -> FrameRows:
    """Labelled rows as a DataFrame; rows in this process's memory are sent to Spark."""
    if isinstance(rows, FrameRows):
        return rows
    return handed_over(session, rows.table(), rows.labels())


def handed_over(session: SparkSession, features: pa.Table, labels: pa.Array) -> FrameRows:
    """Rows of this process as a DataFrame, in the order they have here."""
    table = features.append_column(LABEL, labels)
    micros = pa.array(range(table.num_rows), pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    # As one chunk: from a table in several chunks, Spark 4.1 drops everything after an empty chunk.
    frame = session.createDataFrame(table.append_column(TIME, micros).combine_chunks())
    unknown = dt.date.min
    return FrameRows(
        frame=frame, columns=tuple(table.column_names[:-1]), order=(TIME,), rows=table.num_rows, days=(unknown, unknown)
    )
