"""Labelled rows that stay in Spark."""

# ruff: noqa: TID253 - a leaf: the engine imports it when it trains.

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.engines.encoding import doubles_where_null
from pipelines.interfaces import LabelledRows
from pipelines.spec import LABEL

PARTITION_ROWS = 100_000
"""Rows to a partition. Of the rows alone: with the cluster's size it would change the models."""

TIME = "__time"


@dataclass(frozen=True)
class FrameRows:
    """Labelled rows of a DataFrame: the feature columns, the labels as `LABEL`, and the columns of their order.

    `order` is the event time (a timestamp) and the key, which together name one row.
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
        known = self.frame.agg(*[F.count(F.col(f"`{name}`")) for name in self.columns]).collect()[0]
        nullable = [name for name, count in zip(self.columns, known, strict=True) if count < self.rows]
        first = self.frame.orderBy(*self.order).select(*self.columns).limit(rows).toArrow()
        return doubles_where_null(first, nullable)

    @cached_property
    def _collected(self) -> pa.Table:
        return self.frame.orderBy(*self.order).select(*self.columns, LABEL).toArrow()

    def partitioned(self, partitions: int | None = None) -> FrameRows:
        """The same rows, laid out by their order alone, so that fitting on them again gives the same model."""
        count = partitions or max(1, -(-self.rows // PARTITION_ROWS))
        return self._with(self.frame.repartition(count, *self.order).sortWithinPartitions(*self.order), self.rows)

    def split(self, share: float) -> tuple[FrameRows, FrameRows]:
        """The first and the last rows in their order; the last are the given share of all.

        The very rows that a slice of the sorted table would give.
        """
        boundary = int(self.rows * (1 - share))
        time, *key = self.order
        # Whole numbers: times would be shifted by this process's time zone on their way through Python.
        hour = F.unix_micros(F.date_trunc("hour", F.col(time)))
        before = 0
        for row in self.frame.groupBy(hour.alias("hour")).count().orderBy("hour").collect():
            if before + row["count"] > boundary:
                break
            before += row["count"]
        order = [F.unix_micros(time).alias(TIME), *(F.col(name) for name in key)]
        of_hour = self.frame.where(hour == row["hour"]).select(*order)
        at = of_hour.orderBy(TIME, *key).offset(boundary - before).limit(1).collect()[0]
        earlier = F.coalesce(F.struct(*order) < F.struct(*[F.lit(value) for value in at]), F.lit(False))
        return (
            self._with(self.frame.where(earlier), boundary),
            self._with(self.frame.where(~earlier), self.rows - boundary),
        )

    def _with(self, frame: DataFrame, rows: int) -> FrameRows:
        return FrameRows(frame, self.columns, self.order, rows, self.days)


def framed(session: SparkSession, rows: LabelledRows) -> FrameRows:
    """Labelled rows as a DataFrame; those that this process holds are handed over."""
    if isinstance(rows, FrameRows):
        return rows
    table = rows.table().append_column(LABEL, rows.labels())
    micros = pa.array(range(table.num_rows), pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    # In one chunk: of a table in chunks Spark 4.1 drops all that follow an empty one.
    frame = session.createDataFrame(table.append_column(TIME, micros).combine_chunks())
    unknown = dt.date.min
    return FrameRows(frame, tuple(table.column_names[:-1]), (TIME,), table.num_rows, (unknown, unknown))
