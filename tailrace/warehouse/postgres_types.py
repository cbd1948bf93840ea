"""The Arrow types in which Postgres's types are read: the same as DuckDB's, or a refusal.

docs/warehouse.md has the table of types for people; tests/unit/warehouse/test_postgres_types.py reads every type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.errors import SchemaMismatch, did_you_mean

_SAME: Mapping[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "text": pa.string(),
    "varchar": pa.string(),
    "name": pa.string(),
    "char": pa.string(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "timestamptz": pa.timestamp("us", "UTC"),
}
"""Types that are used as the driver returns them."""

_AS_TEXT = ("bpchar", "uuid", "json", "jsonb")
"""Types that the server converts to text: char(n) without its padding, the others as DuckDB returns them."""

_CASTS: Mapping[str, str] = {
    "money": "it would be read as a number of cents; cast it to numeric(18,2)",
    "oid": "numbers from 2147483648 on would become negative; cast it to bigint",
    "timestamp": "it has no time zone; give it one, as in timezone('UTC', {name})",
    "time": "the lake has no type for a time of day; cast it to text, or take extract(epoch from {name})::float8",
    "timetz": "the lake has no type for a time of day; cast it to text",
    "interval": "the lake has no type for intervals; take extract(epoch from {name})::float8, its seconds",
}
"""What to do about types whose values would be lost or changed. For any other type, cast to text."""

_MOST_DIGITS = 38
"""The limit of decimal128, in the lake and in DuckDB."""
_EXACT = 2**53
"""From this integer on, float64 cannot represent every integer."""
_FIRST_DAY = -2_451_545
"""4714 BC in days since 1970. Postgres has no earlier dates; infinite dates overflow in the driver to below it."""
_MICROSECONDS = 24 * 3600 * 1_000_000


def readable(columns: pa.Schema, where: str, keys: Sequence[str]) -> pa.Schema:
    """The columns with the types in which they are read, in Postgres's order.

    `columns` is the driver's description; `keys` must be exact. Raises SchemaMismatch, which names every column
    that cannot be read without loss, and the cast that helps.
    """
    problems = [
        f"There is no column {name!r}.{did_you_mean(name, columns.names)}" for name in keys if name not in columns.names
    ]
    for field in columns:
        if problem := problem_of(field, key=field.name in keys):
            problems.append(f"Column {field.name!r} has the type {type_name(field)}: {problem}.")
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise SchemaMismatch(f"{where} cannot be read:\n{listed}\nCorrect its dbt model, then build it again.")
    return pa.schema([pa.field(field.name, kind_of(field)) for field in columns])


def selected(columns: pa.Schema) -> str:
    """The columns in the form in which a query selects them."""
    return ", ".join(map(select_of, columns))


def select_of(field: pa.Field) -> str:
    """A column in the form in which a query selects it."""
    return f"{quoted(field.name)}::text as {quoted(field.name)}" if _is_written_as_text(field) else quoted(field.name)


def sorted_by(keys: Sequence[str], schema: pa.Schema) -> str:
    """The `order by` clause: nulls last, text by its bytes; empty without keys."""
    order = [f"{sort_of(schema.field(name))} nulls last" for name in keys]
    return f" order by {', '.join(order)}" if order else ""


def sort_of(field: pa.Field) -> str:
    """A column, given with the type in which it is read, in the form that sorts text by its bytes."""
    return quoted(field.name) + ('::text collate "C"' if pa.types.is_string(field.type) else "")


def converted(batch: pa.RecordBatch, schema: pa.Schema, where: str) -> pa.RecordBatch:
    """A batch from the driver, converted to the types of `readable`.

    Raises SchemaMismatch if a value cannot be represented in them.
    """
    arrays = []
    for field, array in zip(schema, batch.columns, strict=True):
        try:
            arrays.append(exact(array, field.type))
        except ValueError as error:
            problem = str(error).replace("{name}", quoted(field.name))
            raise SchemaMismatch(
                f"{where}: column {field.name!r} {problem}. Correct its dbt model, then build it again."
            ) from error
    return pa.record_batch(arrays, schema=schema)


def quoted(name: str) -> str:
    """A name quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def kind_of(field: pa.Field) -> pa.DataType | None:
    """The type in which a column is read; None if it cannot be read."""
    if type_name(field) == "numeric":
        digits = _digits(field)
        return pa.float64() if digits is None else pa.decimal128(*digits) if digits[0] <= _MOST_DIGITS else None
    return pa.string() if _is_written_as_text(field) else _SAME.get(type_name(field))


def problem_of(field: pa.Field, *, key: bool) -> str:
    """Why a column cannot be read and what helps; empty if it can be read."""
    name = type_name(field)
    if name == "numeric":
        if key and _digits(field) is None:
            return (
                "a key must be exact, but its type has no precision; cast it to bigint, or to numeric(18,2) or similar"
            )
        if kind_of(field) is None:
            return f"the lake stores at most {_MOST_DIGITS} digits; cast it to numeric with fewer digits, or to float8"
        return ""
    if name in _CASTS:
        return _CASTS[name].replace("{name}", quoted(field.name))
    return "" if kind_of(field) else "the lake has no type for it; cast it to text, or select its parts as columns"


def _is_written_as_text(field: pa.Field) -> bool:
    """True for the types listed above, for enums, and for other types that the driver reads as text."""
    name = type_name(field)
    return name in _AS_TEXT or (name not in _SAME and pa.types.is_string(field.type))


def _digits(field: pa.Field) -> tuple[int, int] | None:
    """Precision and scale of a numeric(p,s), if the scale is 0 or more; None if Postgres gives neither."""
    modifier = int((field.metadata or {}).get(b"POSTGRESQL:typmod", b"-1"))
    if modifier < 0:
        return None
    # Postgres's encoding: four bytes are added, and the scale is a signed number of 11 bits
    precision, scale = (modifier - 4) >> 16, (((modifier - 4) & 0x7FF) ^ 0x400) - 0x400
    return (precision - scale, 0) if scale < 0 else (max(precision, scale), scale)


def type_name(field: pa.Field) -> str:
    """Postgres's name of the type; the name of an array begins with an underscore."""
    return str((field.metadata or {}).get(b"POSTGRESQL:type", b"").decode()) or str(field.type)


def exact(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The driver's values converted to `kind`. Raises ValueError, which says what is wrong with one of them.

    In the message, {name} stands for the column's quoted name.
    """
    if pa.types.is_decimal(kind):
        return _decimals(array.storage, kind)
    if isinstance(array.type, pa.OpaqueType):
        return _doubles(array.storage)
    if pa.types.is_date32(kind) and _below(array.cast(pa.int32()), _FIRST_DAY):
        raise ValueError("has infinite dates; replace them, as in nullif({name}, 'infinity')")
    if pa.types.is_timestamp(kind) and _below(array.cast(pa.int64()), _FIRST_DAY * _MICROSECONDS):
        raise ValueError(
            "has times that are infinite or after the year 294246; replace them, as in nullif({name}, 'infinity')"
        )
    return array.cast(kind)


def _decimals(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid as error:
        raise ValueError(
            "contains NaN, which a decimal cannot represent; cast it to float8, or use nullif({name}, 'NaN')"
        ) from error


def _doubles(texts: pa.Array) -> pa.Array:
    values = texts.cast(pa.float64())
    if pc.any(pc.greater_equal(pc.abs(values), float(_EXACT))).as_py():
        raise ValueError(
            "has no precision in its type and has values of 2^53 or more, which float64 rounds; "
            "cast it to numeric(38,0), or to float8 if rounding does no harm"
        )
    return values


def _below(values: pa.Array, least: int) -> bool:
    return bool(pc.any(pc.less(values, least)).as_py())
