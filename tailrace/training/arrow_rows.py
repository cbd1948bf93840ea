"""Labelled rows in this process's memory."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.engines.encoding import doubles_where_null
from tailrace.spec import LABEL


@dataclass(frozen=True)
class ArrowRows:
    """Labelled rows in this process's memory: the columns to learn from, and the labels as `LABEL`."""

    contents: pa.Table
    columns: tuple[str, ...]

    @property
    def rows(self) -> int:
        return int(self.contents.num_rows)

    def table(self) -> pa.Table:
        return self.contents.select(list(self.columns))

    def labels(self) -> pa.Array:
        return self.contents[LABEL].combine_chunks()

    def head(self, rows: int) -> pa.Table:
        nullable = [name for name in self.columns if self.contents[name].null_count]
        return doubles_where_null(self.table().slice(0, rows), nullable)

    @property
    def days(self) -> tuple[dt.date, dt.date]:
        first_and_last = pc.min_max(self.contents["ds"]).as_py()
        return first_and_last["min"], first_and_last["max"]
