"""The types that databases report -> the Arrow types in which marts are read, and why some cannot be read.

Types come as text ("NUMBER(38,0)", "timestamp with time zone") or, where a driver gives Arrow, as Arrow types. Both
lead to the same few: numbers, text, bytes, dates, and timestamps in UTC. docs/warehouses.md has the table for people.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

MOMENT = pa.timestamp("us", "UTC")
"""The type of every moment that is read."""
_MOST_DIGITS = 38
_FIRST_DAY, _LAST_DAY = ((day - dt.date(1970, 1, 1)).days for day in (dt.date.min, dt.date.max))
_DAY = 24 * 3600 * 1_000_000
"""Microseconds."""
_DOUBLE_DIGITS = 15
"""Every decimal number of so many digits comes back exact from a float64."""
_LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_INT64_DIGITS = 18
"""Every number of so many digits fits into an int64."""

_PART = "the lake has no type for it; cast it to text, or select its parts as columns"
_ADVICE: Mapping[str, str] = {
    "time": "the lake has no type for a time of day; cast it to text, or to its seconds as a number",
    "interval": "the lake has no type for intervals; cast it to its seconds as a number",
    "float16": "cast it to a float of 32 bits",
}

_TEXTS = (
    *("CHAR", "NCHAR", "VARCHAR", "NVARCHAR", "BPCHAR", "FIXEDSTRING", "TEXT", "TINYTEXT", "MEDIUMTEXT", "LONGTEXT"),
    *("NAME", "UUID", "JSON", "JSONB", "ENUM", "ENUM8", "ENUM16", "LOWCARDINALITY"),
)
_NAIVE = (
    *("TIMESTAMP", "TIMESTAMPNTZ", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"),
    *("DATETIME", "DATETIME2", "DATETIME64", "SMALLDATETIME"),
)
"""Timestamps without a zone."""

_NAMES: Mapping[str, pa.DataType] = {
    "BOOLEAN": pa.bool_(),
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "MEDIUMINT": pa.int32(),
    "INT": pa.int32(),
    "BIGINT": pa.int64(),
    "UTINYINT": pa.int16(),
    "USMALLINT": pa.int32(),
    "UINT": pa.int64(),
    "UBIGINT": pa.decimal128(20, 0),
    "INT128": pa.decimal128(38, 0),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "DATE": pa.date32(),
    **dict.fromkeys(_TEXTS, pa.string()),
    **dict.fromkeys(["BINARY", "VARBINARY", "BLOB", "TINYBLOB", "MEDIUMBLOB", "LONGBLOB"], pa.binary()),
    **dict.fromkeys(["TIMESTAMPTZ", "TIMESTAMPLTZ"], MOMENT),
    **dict.fromkeys(_NAIVE, MOMENT),
}
"""sqlglot's name of a type -> what it is read as, where no dialect differs."""
_DOUBLES, _INT64 = {"FLOAT": pa.float64()}, {"INT": pa.int64(), "SMALLINT": pa.int64(), "TINYINT": pa.int64()}
_OTHERWISE: Mapping[str, Mapping[str, pa.DataType]] = {
    "bigquery": _INT64 | _DOUBLES,
    "snowflake": _INT64 | _DOUBLES,
    "sqlite": _INT64 | _DOUBLES,
    "tsql": _DOUBLES | {"BIT": pa.bool_()},
}
"""Where a dialect means something else by a name."""
_DIGITS: Mapping[str, tuple[int, int]] = {
    "bigquery": (38, 9),
    "databricks": (10, 0),
    "duckdb": (18, 3),
    "mysql": (10, 0),
    "redshift": (18, 0),
    "snowflake": (38, 0),
    "spark": (10, 0),
    "trino": (38, 0),
    "tsql": (18, 0),
}
"""Digits, and those after the point, of a decimal type that is written without them."""
_DIALECTS: Mapping[str, str] = {"sqlserver": "tsql", "fabric": "tsql", "synapse": "tsql"}
"""dbt's name of an adapter -> sqlglot's name of its dialect, where they differ."""


@dataclass(frozen=True)
class Column:
    """A column of a mart: what the database calls it, the type that it reports, and the type in which it is read.

    `kind` is None if it cannot be read; `problem` says why. `naive` tells a timestamp without a zone. `select` and
    `sort` are the column in SQL; empty for its quoted name.
    """

    name: str
    declared: str
    kind: pa.DataType | None
    problem: str = field(default="", kw_only=True)
    key_problem: str = field(default="", kw_only=True)
    """Why rows cannot be sorted by it."""
    naive: bool = field(default=False, kw_only=True)
    source: str = field(default="", kw_only=True)
    """The name in the database, if the reader gives it another."""
    select: str = field(default="", kw_only=True)
    sort: str = field(default="", kw_only=True)


def reported(name: str, declared: str, adapter: str, *, source: str = "") -> Column:
    """The column whose type an adapter reports, or a dbt contract declares, as text in the adapter's dialect."""
    kind, naive, problem = _read_as(declared, _DIALECTS.get(adapter, adapter))
    return Column(name, declared, kind, problem=problem, naive=naive, source=source)


def in_arrow(name: str, kind: pa.DataType, declared: str = "") -> Column:
    """The column that a driver gives as Arrow; `declared` is the database's name of its type, for messages."""
    declared = declared or str(kind)
    if pa.types.is_timestamp(kind):
        return Column(name, declared, MOMENT, naive=kind.tz is None)
    for is_kind, read in _ARROW:
        if is_kind(kind):
            return Column(name, declared, read(kind))
    advice = next(
        (text for word, text in _ADVICE.items() if str(kind).startswith((word, f"month_day_nano_{word}"))), ""
    )
    return Column(name, declared, None, problem=advice or _PART)


def converted(array: pa.Array, column: Column, zone: str) -> pa.Array:
    """A driver's values as `column.kind`; timestamps without a zone are taken as local times of `zone`.

    Raises ValueError, which says what is wrong with a value, if one of them cannot be represented exactly.
    """
    kind = column.kind
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), kind)
    try:
        if pa.types.is_timestamp(kind):
            return _usual(_moments(array, column, zone))
        if pa.types.is_date32(kind):
            return _usual(_dates(array))
        if array.type == kind:
            return array
        if pa.types.is_boolean(kind):
            return _booleans(array)
        if pa.types.is_decimal(kind):
            return array.cast(kind)
        if _is_text(array.type) != pa.types.is_string(kind):
            raise ValueError(f"came as {array.type} and not as {kind}; cast it in the mart")
        return array.cast(kind)
    except pa.ArrowException as error:
        raise ValueError(f"has a value that {kind} cannot represent: {_brief(error)}") from error


def array_of(values: list[Any], column: Column) -> pa.Array:
    """The values of a DB-API cursor as Arrow, to be `converted`. Raises ValueError, which says what is wrong."""
    present = next((value for value in values if value is not None), None)
    try:
        if present is None:
            return pa.nulls(len(values), column.kind)
        if isinstance(present, dt.datetime):
            return _datetimes(values)
        if pa.types.is_decimal(column.kind):
            return pa.array([_digits(value, column.kind) for value in values], column.kind)
        if isinstance(present, memoryview | bytearray):
            values = [None if value is None else bytes(value) for value in values]
        if isinstance(present, UUID):
            values = [None if value is None else str(value) for value in values]
        return pa.array(values)
    except (pa.ArrowException, OverflowError, TypeError) as error:
        kinds = sorted({type(value).__name__ for value in values if value is not None})
        raise ValueError(f"has values of the types {', '.join(kinds)} that {column.kind} cannot represent") from error


def _digits(value: Any, kind: pa.DataType) -> Decimal | None:
    """A number as a decimal: SQLite stores decimals as float64, which is exact up to 15 digits."""
    if value is None or isinstance(value, Decimal):
        return value
    if isinstance(value, float) and kind.precision > _DOUBLE_DIGITS:
        raise ValueError(
            f"is stored as a float, which is exact for {_DOUBLE_DIGITS} digits; declare fewer, or a double"
        )
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        raise ValueError(f"has a value of the type {type(value).__name__}, which is no decimal")
    return Decimal(repr(value) if isinstance(value, float) else value)


@lru_cache(maxsize=4096)
def _read_as(declared: str, dialect: str) -> tuple[pa.DataType | None, bool, str]:
    """What a type is read as, whether it is a timestamp without zone, and the problem if it cannot be read."""
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        parsed = exp.DataType.build(declared, dialect=dialect if dialect in _dialects() else None)
    except (SqlglotError, ValueError):
        return None, False, "Tailrace does not know this type; cast it to a usual one in the mart"
    name = str(parsed.this.value).upper() if hasattr(parsed.this, "value") else ""
    if name in ("DECIMAL", "BIGDECIMAL", "MONEY", "SMALLMONEY") or name.startswith("DECIMAL"):
        return _decimal(parsed, name, dialect)
    kinds = {**_NAMES, **_OTHERWISE.get(dialect, {})}
    if kinds.get(name) is not None:
        return kinds[name], name in _NAIVE, ""
    return None, False, _advice(name.lower())


def _advice(kind: str) -> str:
    return next((advice for word, advice in _ADVICE.items() if kind.startswith(word)), _PART)


def _dialects() -> Mapping[str, Any]:
    from sqlglot.dialects.dialect import Dialect

    return Dialect.classes


def _decimal(parsed: Any, name: str, dialect: str) -> tuple[pa.DataType | None, bool, str]:
    if name.endswith("MONEY"):
        return None, False, "how it is read depends on the server; cast it to numeric(18,2)"
    given = [int(part.name) for part in parsed.expressions]
    digits = (given[0], given[1] if len(given) > 1 else 0) if given else _DIGITS.get(dialect)
    if name == "BIGDECIMAL" and not given:
        digits = (76, 38)
    if digits is None and dialect == "postgres":
        return pa.float64(), False, ""  # as PostgresWarehouse reads it; values that float64 rounds are refused
    if digits is None:
        return None, False, "its type has no number of digits; cast it to numeric(18,2) or similar, or to a double"
    if digits[0] > _MOST_DIGITS:
        return None, False, f"the lake stores at most {_MOST_DIGITS} digits; cast it to fewer, or to a double"
    if dialect == "snowflake" and digits[1] == 0 and (digits[0] <= _INT64_DIGITS or digits[0] == _MOST_DIGITS):
        return pa.int64(), False, ""  # every integer type of Snowflake is NUMBER(38,0)
    return pa.decimal128(*digits), False, ""


def _moments(array: pa.Array, column: Column, zone: str) -> pa.Array:
    if _is_text(array.type):
        return _moments_of_text(array, column, zone)
    if not pa.types.is_timestamp(array.type):
        raise ValueError(f"came as {array.type} and not as a timestamp; cast it to one")
    if array.type.tz is not None:
        return array.cast(MOMENT)
    if not column.naive:
        raise ValueError(f"is {column.declared}, but its values came without a zone; cast it to a timestamp in UTC")
    return _in_zone(array.cast(pa.timestamp("us")), zone)


def _in_zone(local: pa.Array, zone: str) -> pa.Array:
    if zone == "UTC":
        return local.cast(MOMENT)
    try:
        return pc.assume_timezone(local, zone, ambiguous="raise", nonexistent="raise").cast(MOMENT)
    except pa.ArrowInvalid as error:
        example = _LOCAL_TIME.search(str(error))
        raise ValueError(
            f"has no zone, and has local times that {zone} has twice or never, because clocks change"
            f'{f", such as {example[0]}" if example else ""}. If the times are UTC, set zone = "UTC" in tailrace.toml; '
            "each pipeline keeps its own zone. Otherwise store the times with a zone"
        ) from error


def _moments_of_text(array: pa.Array, column: Column, zone: str) -> pa.Array:
    """Times in ISO's format: SQLite stores them so."""
    times = [None if text is None else dt.datetime.fromisoformat(text) for text in array.to_pylist()]
    return _moments(_datetimes(times), column, zone)


def _datetimes(values: list[dt.datetime | None]) -> pa.Array:
    """Arrow's own conversion drops zones in silence, so they are checked here."""
    zoned = {value.tzinfo is not None for value in values if value is not None}
    if len(zoned) > 1:
        raise ValueError("has times with and without a zone; cast them all to one type")
    return pa.array(values, MOMENT if True in zoned else pa.timestamp("us"))


def _booleans(array: pa.Array) -> pa.Array:
    if not pa.types.is_integer(array.type):
        raise ValueError(f"came as {array.type} and not as a boolean, 0 or 1; cast it to boolean")
    others = pc.unique(array.filter(pc.invert(pc.is_in(array, pa.array([0, 1], array.type)))).drop_null())
    if len(others):
        raise ValueError(f"is a boolean, but has the value {others[0]}; only 0 and 1 are booleans")
    return array.cast(pa.bool_())


def _dates(array: pa.Array) -> pa.Array:
    if not (_is_text(array.type) or pa.types.is_temporal(array.type)):
        raise ValueError(f"came as {array.type} and not as a date; cast it to date")
    days = array.cast(pa.date32())
    if pa.types.is_timestamp(array.type) and pc.any(pc.not_equal(days.cast(array.type), array)).as_py():
        raise ValueError("is a date, but has values with a time of day; cast it to date")
    return days


def _usual(array: pa.Array) -> pa.Array:
    """The dates or moments themselves. DuckDB and Postgres give infinite ones as the largest integers."""
    days = pa.types.is_date32(array.type)
    first, last = (_FIRST_DAY, _LAST_DAY) if days else (_FIRST_DAY * _DAY, (_LAST_DAY + 1) * _DAY - 1)
    found = pc.min_max(array.cast(pa.int32() if days else pa.int64())).as_py()
    if found["min"] is not None and (found["min"] < first or found["max"] > last):
        raise ValueError("has infinite values, or values outside the years 1 to 9999; make them null")
    return array


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")


_Arrow = Callable[[pa.DataType], Any]
_SIGNED: Mapping[pa.DataType, pa.DataType] = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
}
_ARROW: tuple[tuple[_Arrow, _Arrow], ...] = (
    (pa.types.is_boolean, lambda kind: kind),
    (pa.types.is_signed_integer, lambda kind: kind),
    (pa.types.is_unsigned_integer, _SIGNED.__getitem__),
    (lambda kind: pa.types.is_float32(kind) or pa.types.is_float64(kind), lambda kind: kind),
    (lambda kind: pa.types.is_decimal128(kind) and kind.scale >= 0, lambda kind: kind),
    (lambda kind: pa.types.is_dictionary(kind) and _is_text(kind.value_type), lambda kind: pa.string()),
    (_is_text, lambda kind: pa.string()),
    (lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind), lambda kind: pa.binary()),
    (pa.types.is_date, lambda kind: pa.date32()),
)
"""Arrow types that can be read -> as which."""
