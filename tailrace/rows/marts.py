"""Reads the marts of a pipeline as the lake's tables have them: with `ds`, the day of the run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.contracts import Warehouse
from tailrace.errors import ContractBroken
from tailrace.spec import DAY, KNOWN_AT, PARTS, Mart, PipelineSpec, zone

MOMENT = pa.field(KNOWN_AT, pa.timestamp("us", "UTC"))
"""The column that `with_moment` adds."""


def read(warehouse: Warehouse, spec: PipelineSpec, part: str, day: dt.date) -> pa.RecordBatchReader:
    """The rows of `features` or `outcomes` that the run of a day takes, sorted by key.

    An event time that is a date becomes the first moment of that day in the pipeline's time zone. Raises what
    `Warehouse.read` raises, and ContractBroken if the mart has a column that the lake's table adds.
    """
    mart = spec.mart(part)
    named = {} if mart.day == DAY else {"day_column": mart.day}
    rows = warehouse.read(mart.table, mart.day_of(day), spec.features.key, **named)
    _refuse_doubles(spec, part, mart, rows.schema)
    if part == PARTS[0]:
        rows = _with_event_time(rows, spec)
    return rows if mart.day == DAY and not mart.days_back else _with_day(rows, day)


def as_read(columns: pa.Schema, spec: PipelineSpec, part: str) -> pa.Schema:
    """The columns of a mart in the types that `read` gives them."""
    at = columns.get_field_index(spec.features.event_time) if part == PARTS[0] else -1
    if at < 0 or not pa.types.is_date(columns.field(at).type):
        return columns
    return columns.set(at, columns.field(at).with_type(pa.timestamp("us", "UTC")))


def first_moments(days: pa.Array | pa.ChunkedArray, zone: ZoneInfo) -> pa.Array | pa.ChunkedArray:
    """The first moment of each day in the time zone: midnight, unless clocks skip it on that day."""
    local = days.cast(pa.timestamp("us"))
    found = pc.assume_timezone(local, zone.key, ambiguous="earliest", nonexistent="latest")
    return found.cast(pa.timestamp("us", "UTC"))


def _with_event_time(rows: pa.RecordBatchReader, spec: PipelineSpec) -> pa.RecordBatchReader:
    """The same batches, with a date that is the event time as the first moment of that day."""
    schema = as_read(rows.schema, spec, PARTS[0])
    if schema == rows.schema:
        return rows
    at = schema.get_field_index(spec.features.event_time)

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            columns = [*batch.columns]
            columns[at] = first_moments(columns[at], zone(spec))
            yield pa.record_batch(columns, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


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
