"""Arrow tables as samples of marts: what `tailrace.scaffold.samples.read` gives."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from tailrace.scaffold.samples import TableSample
from tailrace.warehouse.adapter_types import in_arrow


def sampled(rows: pa.Table, day: str | None, table: str = "ml.orders") -> TableSample:
    """The sample of a mart that has just these rows; columns that no mart gives are left out."""
    columns = tuple(in_arrow(field.name, field.type) for field in rows.schema)
    unread = {column.name: column.problem for column in columns if column.problem}
    read = rows.drop_columns(list(unread)) if unread else rows
    read = read.cast(pa.schema([(column.name, column.kind) for column in columns if not column.problem]))
    days = dict(sorted(Counter(rows[day].drop_null().to_pylist()).items())) if day else {}
    if day:
        read = read.sort_by(day)
    return TableSample(table=table, columns=columns, rows=read, day=day, days=days, unread=unread, complete=True)
