"""What every driver offers to the reader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from tailrace.warehouse.adapter_types import Column
from tailrace.warehouse.relations import Mart

BATCH_ROWS = 50_000
"""At most so many rows are in one batch, where the driver lets one choose."""


class Session(Protocol):
    """An open connection. Its errors are the driver's own; the reader translates them."""

    def columns(self, mart: Mart) -> Sequence[Column]:
        """The columns of a mart, in their order, with the types in which they are read."""
        ...

    def quoted(self, name: str) -> str:
        """A column's name in SQL."""
        ...

    def rows(self, sql: str, columns: Sequence[Column]) -> Iterator[pa.RecordBatch]:
        """What a query returns, in batches, while few of them are in memory: one column for each of `columns`.

        The values are as the driver gives them; `adapter_types.converted` makes them what the columns say. Raises
        SchemaMismatch for a value that the driver cannot give.
        """
        ...


def quoted_by(mark: str, name: str) -> str:
    """A name between quotation marks; a mark inside it is doubled."""
    return f"{mark}{name.replace(mark, mark * 2)}{mark}"
