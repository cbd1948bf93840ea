"""BigQuery: its client's Arrow stream; types from the table's schema, with the digits of decimals.

Written against google-cloud-bigquery 3.47 and dbt-bigquery 1.12; tested with a stand-in of the same methods.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.adapter_types import Column, reported
from tailrace.warehouse.drivers.cursor import CursorSession
from tailrace.warehouse.relations import MartRelation


class BigQuerySession(CursorSession):
    """The handle is a `google.cloud.bigquery.Client`, which has no cursor."""

    def columns(self, mart: MartRelation) -> Sequence[Column]:
        relation = mart.relation
        table = self._handle.get_table(f"{relation.database}.{relation.schema}.{relation.identifier}")
        return [reported(field.name, _declared(field), self._adapter.type) for field in table.schema]

    def rows(self, sql: str, columns: Sequence[Column]) -> Generator[pa.RecordBatch]:
        # a sorted result comes in one stream, in its order
        yield from self._handle.query(sql).result().to_arrow_iterable(max_queue_size=1, max_stream_count=1)


@contextmanager
def connected(adapter: DbtAdapter) -> Iterator[BigQuerySession]:
    with adapter.connected() as handle:
        yield BigQuerySession(adapter, handle)


def _declared(field: Any) -> str:
    """The type of a SchemaField as SQL writes it."""
    digits = f"({field.precision}, {field.scale or 0})" if field.precision else ""
    declared = f"{field.field_type}{digits}"
    return f"ARRAY<{declared}>" if field.mode == "REPEATED" else declared
