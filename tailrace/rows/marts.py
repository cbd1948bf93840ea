"""Reads the marts of a pipeline as the lake's tables have them: with `ds`, the day of the run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pyarrow as pa

from tailrace.contracts import Warehouse
from tailrace.errors import ContractBroken
from tailrace.spec import DAY, KNOWN_AT, Mart, PipelineSpec

MOMENT = pa.field(KNOWN_AT, pa.timestamp("us", "UTC"))
"""The column that `with_moment` adds."""


def read(warehouse: Warehouse, spec: PipelineSpec, part: str, day: dt.date) -> pa.RecordBatchReader:
    """The rows of `features` or `outcomes` that the run of a day takes, sorted by key.

    Raises what `Warehouse.read` raises, and ContractBroken if the mart has a column that the lake's table adds.
    """
    mart = spec.mart(part)
    named = {} if mart.day == DAY else {"day_column": mart.day}
    rows = warehouse.read(mart.table, mart.day_of(day), spec.features.key, **named)
    _refuse_doubles(spec, part, mart, rows.schema)
    return rows if mart.day == DAY and not mart.days_back else _with_day(rows, day)


def with_moment(batch: pa.RecordBatch, moment: dt.datetime) -> pa.RecordBatch:
    """The rows with the moment in the column `known_at`, in place of the one that they have."""
    kept = [name for name in batch.schema.names if name != KNOWN_AT]
    moments = pa.repeat(pa.scalar(moment, MOMENT.type), batch.num_rows)
    schema = pa.schema([*(batch.schema.field(name) for name in kept), MOMENT])
    return pa.record_batch([*(batch.column(name) for name in kept), moments], schema=schema)


def _with_day(rows: pa.RecordBatchReader, day: dt.date) -> pa.RecordBatchReader:
    """The same batches with `ds` = day, in place of a column of that name."""
    kept = [field for field in rows.schema if field.name != DAY]
    schema = pa.schema([*kept, pa.field(DAY, pa.date32())])

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            days = pa.repeat(pa.scalar(day, pa.date32()), batch.num_rows)
            yield pa.record_batch([*(batch.column(field.name) for field in kept), days], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _refuse_doubles(spec: PipelineSpec, part: str, mart: Mart, columns: pa.Schema) -> None:
    """Raise ContractBroken if the mart has a column of its own that the spec says it does not have."""
    field = "features" if part == "features" else "outcome"
    problems = []
    if mart.day != DAY and DAY in columns.names:
        problems.append(
            f"it has a column {DAY!r}, which the lake's table needs for the day, and {field}.day is {mart.day!r}"
        )
    if mart.known_at is None and KNOWN_AT in columns.names:
        problems.append(
            f"it has a column {KNOWN_AT!r}, and {field}.known_at is None, which says that it has none: if the column "
            f'says when a row became known, set {field}.known_at="{KNOWN_AT}"'
        )
    if problems:
        raise ContractBroken(
            f"{spec.name}: {mart.table} cannot be read: {'; '.join(problems)}. Correct the spec, or name the mart's "
            "column differently."
        )
