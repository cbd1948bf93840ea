"""What every driver offers to the reader."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence

import pyarrow as pa

from tailrace.warehouse.adapter_types import Column
from tailrace.warehouse.relations import MartRelation

BATCH_ROWS = 50_000
"""At most so many rows are in one batch, where the driver lets one choose."""


class BadValue(Exception):
    """A value that a column cannot represent; the message says what is wrong, without the column's name."""

    def __init__(self, column: Column, problem: str) -> None:
        super().__init__(problem)
        self.column = column


class Session(ABC):
    """An open connection. Its errors are the driver's own; the reader translates them."""

    mark = '"'
    """The quotation mark of names in SQL."""

    @abstractmethod
    def columns(self, mart: MartRelation) -> Sequence[Column]:
        """The columns of a mart, in their order, with the types in which they are read; none if there is no mart."""

    @abstractmethod
    def rows(self, sql: str, columns: Sequence[Column]) -> Generator[pa.RecordBatch]:
        """What a query returns, in batches, while few of them are in memory: one column for each of `columns`.

        The values may be as the driver gives them: `adapter_types.converted` makes them what the columns say. Raises
        BadValue.
        """

    def native(self, array: pa.Array, column: Column) -> pa.Array:
        """Values of this driver that `adapter_types.converted` does not know, as such that it knows.

        Raises ValueError, which says what is wrong with a value.
        """
        return array

    def quoted(self, name: str) -> str:
        """A column's name in SQL."""
        return f"{self.mark}{name.replace(self.mark, self.mark * 2)}{self.mark}"

    def date(self, day: dt.date) -> str:
        """A day in SQL."""
        return f"date '{day}'"

    def nulls_last(self, sort: str) -> str:
        """A column in `order by`."""
        return f"{sort} nulls last"
