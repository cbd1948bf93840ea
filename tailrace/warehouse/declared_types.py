"""The types that a dbt project declares, as Arrow types, as far as its database means one thing by them.

Precision is left out: what matters here is whether a column can hold a key, a time, a label or a feature.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pyarrow as pa

_PLAIN = re.compile(r"\s*([a-z0-9_ ]+?)\s*(?:\([^)]*\))?\s*((?:with|without) (?:local )?time zone)?\s*")
_ZONED = pa.timestamp("us", "UTC")
_NAIVE = pa.timestamp("us")
_MEANINGS: Mapping[pa.DataType, str] = {
    pa.bool_(): "boolean bool",
    pa.int32(): "integer int int4 smallint int2 tinyint mediumint byteint int32 int16 int8_t serial",
    pa.int64(): "bigint int8 long int64 bigserial hugeint",
    pa.float64(): "float8 double float float4 real float64 float32",
    pa.decimal128(38, 9): "numeric decimal number dec bignumeric",
    pa.string(): "text varchar string char character bpchar nvarchar nchar clob",
    pa.date32(): "date",
    pa.binary(): "bytea blob binary varbinary bytes",
    _ZONED: "timestamptz timestamp_tz timestamp_ltz datetimeoffset timestampltz",
    _NAIVE: "timestamp datetime timestamp_ntz timestampntz datetime2 smalldatetime timestamp_s timestamp_ms",
}
_KNOWN = {name: type_ for type_, names in _MEANINGS.items() for name in names.split()}
_LONGER = {"double precision": pa.float64(), "character varying": pa.string()}
_MOMENTS = ("bigquery", "spark", "databricks")
"""Databases whose plain `timestamp` is a moment, with a zone."""
_LOOSE = ("sqlite",)
"""Databases that hold any value in a column of any type."""


def arrow_type(declared: str, dialect: str) -> pa.DataType | None:
    """The Arrow type of a declared one; None if it is not known for certain what it means.

    Timestamps without a zone are `timestamp[us]`, those with one `timestamp[us, UTC]`.
    """
    found = _PLAIN.fullmatch(declared.lower())
    if found is None or dialect in _LOOSE:
        return None
    name, zone = found[1], found[2] or ""
    if zone:
        return (_NAIVE if zone.startswith("without") else _ZONED) if name == "timestamp" else None
    if name == "timestamp" and dialect in _MOMENTS:
        return _ZONED
    if name in ("number", "numeric", "decimal") and dialect == "snowflake":
        return None  # whole numbers are numbers without digits after the point there
    return _LONGER.get(name) or _KNOWN.get(name)
