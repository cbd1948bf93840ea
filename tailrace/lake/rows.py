"""Which rows the lake accepts and how it keeps them: column types, the day, row groups."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.errors import SchemaMismatch, did_you_mean

DAY_COLUMN = "ds"
ROW_GROUP_ROWS = 262_144

ACCEPTED = (
    "booleans, signed integers, float32, float64, strings, binary, date32, decimals and timestamps with a time zone"
)


def lake_schema(schema: pa.Schema, where: str) -> pa.Schema:
    """The schema as the lake keeps it: plain strings, timestamps in microseconds UTC, all nullable.

    Raises SchemaMismatch naming every column whose type the lake does not keep.
    """
    fields, problems = [], []
    for field in schema:
        kept = _kept_type(field.type)
        if kept is None:
            problems.append(f"column {field.name!r} is {field.type}{_hint(field.type)}")
        elif field.name == DAY_COLUMN and kept != pa.date32():
            problems.append(f"column {DAY_COLUMN!r} is {field.type}: it must be date32, the day of the row")
        else:
            fields.append(pa.field(field.name, kept))
    problems += [
        f"column {name!r} appears twice" for name in sorted({n for n in schema.names if schema.names.count(n) > 1})
    ]
    if problems:
        raise SchemaMismatch(_sentences(f"{where}: the lake keeps {ACCEPTED}.", problems))
    return pa.schema(fields)


def with_day(schema: pa.Schema) -> pa.Schema:
    """The schema with the day column, appended if absent."""
    return schema if DAY_COLUMN in schema.names else schema.append(pa.field(DAY_COLUMN, pa.date32()))


def without(schema: pa.Schema, names: Collection[str]) -> pa.Schema:
    """The schema without the columns of these names."""
    return pa.schema([field for field in schema if field.name not in names])


def check_same(got: pa.Schema, table: pa.Schema, where: str) -> None:
    """Raises SchemaMismatch listing every missing, unexpected and changed column; order is free."""
    if problems := differences(got, table):
        raise SchemaMismatch(_sentences(f"{where}: the rows do not fit the table.", problems))


def check_written(got: pa.Schema, begun: pa.Schema | None, table: pa.Schema, where: str) -> None:
    """Like `check_same`, for rows whose writing began when the table had the schema `begun`, or did not exist.

    Columns that the table gained since may be missing: they are null in these rows.
    """
    gained = set(table.names) - set(begun.names) if begun is not None else set()
    check_same(got, pa.schema([field for field in table if field.name in got.names or field.name not in gained]), where)


def differences(got: pa.Schema, table: pa.Schema) -> list[str]:
    """A sentence for every missing, unexpected and changed column."""
    problems = [
        f"column {name!r} of the table is missing.{did_you_mean(name, set(got.names) - set(table.names))}"
        for name in table.names
        if name not in got.names
    ]
    for field in got:
        if field.name not in table.names:
            problems.append(f"column {field.name!r} is not in the table.{did_you_mean(field.name, table.names)}")
        elif field.type != table.field(field.name).type:
            problems.append(f"column {field.name!r} is {field.type}, in the table {table.field(field.name).type}")
    return problems


def added(columns: pa.Schema, table: pa.Schema, where: str) -> pa.Schema:
    """Those of the columns that the table does not have yet.

    Raises SchemaMismatch naming each column that the table has with another type, or with other upper and lower case.
    """
    new, problems, known = [], [], {name.lower(): name for name in table.names}
    for field in columns:
        if field.name in table.names:
            if field.type != table.field(field.name).type:
                problems.append(f"column {field.name!r} is {field.type}, in the table {table.field(field.name).type}")
        elif (same := known.setdefault(field.name.lower(), field.name)) != field.name:
            problems.append(f"column {field.name!r} differs from {same!r} in upper and lower case only")
        else:
            new.append(field)
    if problems:
        raise SchemaMismatch(
            _sentences(f"{where}: the table's own columns cannot change. Choose other names.", problems)
        )
    return pa.schema(new)


def completed(batch: pa.RecordBatch, schema: pa.Schema, day: dt.date | None = None) -> pa.RecordBatch:
    """The schema's columns of the batch, null where the batch was written before the table had the column.

    `day` is the day of a batch that does not say it.
    """
    there, known = set(batch.schema.names), {DAY_COLUMN: day}
    columns = [
        batch.column(field.name)
        if field.name in there
        else pa.repeat(pa.scalar(known.get(field.name), field.type), batch.num_rows)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def conform(
    batch: pa.RecordBatch, schema: pa.Schema, day: dt.date | None, where: str, *, lacking: Collection[str] = ()
) -> pa.RecordBatch:
    """The batch in the table's column order and types; `ds` is filled with `day` where it is absent.

    The columns that `lacking` names are null.

    Raises SchemaMismatch if a row is of another day, or a value does not survive the conversion.
    """
    columns = []
    for field in schema:
        if field.name == DAY_COLUMN and day is not None:
            columns.append(_day_column(batch, day, where))
            continue
        if field.name in lacking:
            columns.append(pa.nulls(batch.num_rows, field.type))
            continue
        try:
            columns.append(batch.column(field.name).cast(field.type))
        except pa.ArrowInvalid as error:
            raise SchemaMismatch(f"{where}: column {field.name!r} cannot be kept as {field.type}: {error}") from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def groups(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    day: dt.date | None,
    where: str,
    *,
    lacking: Collection[str] = (),
) -> Iterator[pa.Table]:
    """The batches as the table keeps them, cut into row groups. Raises SchemaMismatch as `conform` does."""
    return row_groups(conform(batch, schema, day, where, lacking=lacking) for batch in batches)


def row_groups(batches: Iterable[pa.RecordBatch], rows: int = ROW_GROUP_ROWS) -> Iterator[pa.Table]:
    """The rows in tables of exactly `rows` rows (the last may be shorter), each in one chunk.

    Equal rows give equal groups however the input was cut, so equal rows give equal file bytes.
    """
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while count + batch.num_rows >= rows:
            cut = rows - count
            yield _in_one_piece([*waiting, batch.slice(0, cut)])
            batch, waiting, count = batch.slice(cut), [], 0
        if batch.num_rows:
            waiting.append(batch)
            count += batch.num_rows
    if waiting:
        yield _in_one_piece(waiting)


def _in_one_piece(batches: Sequence[pa.RecordBatch]) -> pa.Table:
    """`combine_chunks` copies a single batch, too."""
    rows = pa.Table.from_batches(batches)
    return rows if len(batches) == 1 else rows.combine_chunks()


def _kept_type(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_dictionary(kind):
        return _kept_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind):
        return pa.binary()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC") if kind.tz else None
    plain = (
        pa.types.is_boolean,
        pa.types.is_signed_integer,
        pa.types.is_float32,
        pa.types.is_float64,
        pa.types.is_string,
        pa.types.is_binary,
        pa.types.is_date32,
        pa.types.is_decimal128,
    )
    return kind if any(check(kind) for check in plain) else None


def _hint(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        return ": give it a time zone"
    if pa.types.is_unsigned_integer(kind):
        return ": cast it to a signed integer"
    if pa.types.is_null(kind):
        return ": every value is missing, so say which type it has"
    return ""


def _day_column(batch: pa.RecordBatch, day: dt.date, where: str) -> pa.Array:
    wanted = pa.scalar(day, pa.date32())
    if DAY_COLUMN not in batch.schema.names:
        return pa.repeat(wanted, batch.num_rows)
    given = batch.column(DAY_COLUMN).cast(pa.date32())
    wrong = given.filter(pc.fill_null(pc.not_equal(given, wanted), True))
    if len(wrong):
        raise SchemaMismatch(
            f"{where}: {len(wrong)} of {len(given)} rows in a batch are not of that day, "
            f"the first has {DAY_COLUMN} = {wrong[0].as_py()}. Stage each day's rows under its own day."
        )
    return given


def _sentences(heading: str, problems: list[str]) -> str:
    return "\n".join([heading, *(f"  - {problem}" for problem in problems)])
