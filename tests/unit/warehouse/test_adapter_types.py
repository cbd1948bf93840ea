"""What databases call their types -> what they are read as, and values that a type cannot represent."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from tailrace.warehouse.adapter_types import MOMENT, Column, array_of, converted, in_arrow, reported


@pytest.mark.parametrize(
    ("adapter", "declared", "kind"),
    [
        ("snowflake", "NUMBER(38,0)", pa.int64()),
        ("snowflake", "NUMBER(12,0)", pa.int64()),
        ("snowflake", "NUMBER(20,0)", pa.decimal128(20, 0)),
        ("snowflake", "FLOAT", pa.float64()),
        ("bigquery", "NUMERIC", pa.decimal128(38, 9)),
        ("bigquery", "FLOAT64", pa.float64()),
        ("postgres", "numeric", pa.float64()),
        ("postgres", "jsonb", pa.string()),
        ("redshift", "character varying(256)", pa.string()),
        ("databricks", "decimal", pa.decimal128(10, 0)),
        ("sqlserver", "float", pa.float64()),
        ("sqlserver", "bit", pa.bool_()),
        ("sqlite", "integer", pa.int64()),
        ("clickhouse", "Nullable(String)", pa.string()),
        ("duckdb", "UBIGINT", pa.decimal128(20, 0)),
        ("an_adapter_of_tomorrow", "integer", pa.int32()),
    ],
)
def test_names_of_types_mean_what_their_database_means(adapter: str, declared: str, kind: pa.DataType) -> None:
    assert (reported("x", declared, adapter).kind, reported("x", declared, adapter).problem) == (kind, "")


@pytest.mark.parametrize(
    ("adapter", "declared", "naive"),
    [
        ("bigquery", "TIMESTAMP", False),
        ("bigquery", "DATETIME", True),
        ("spark", "timestamp", False),
        ("spark", "timestamp_ntz", True),
        ("snowflake", "TIMESTAMP_NTZ(9)", True),
        ("snowflake", "TIMESTAMP_LTZ(9)", False),
        ("mysql", "datetime", True),
        ("trino", "timestamp(3) with time zone", False),
        ("sqlserver", "datetimeoffset", False),
    ],
)
def test_a_timestamp_has_a_zone_or_not_as_its_database_means_it(adapter: str, declared: str, naive: bool) -> None:
    found = reported("x", declared, adapter)
    assert (found.kind, found.naive) == (MOMENT, naive)


@pytest.mark.parametrize(
    ("adapter", "declared", "says"),
    [
        ("bigquery", "BIGNUMERIC", "at most 38 digits"),
        ("bigquery", "ARRAY<INT64>", "select its parts"),
        ("postgres", "money", "cast it to numeric"),
        ("postgres", "bit", "no type for it"),
        ("sqlite", "numeric", "no number of digits"),
        ("snowflake", "VARIANT", "no type for it"),
        ("trino", "time(3)", "time of day"),
        ("duckdb", "INTERVAL", "its seconds"),
        ("duckdb", "not a type (", "does not know this type"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(adapter: str, declared: str, says: str) -> None:
    found = reported("x", declared, adapter)
    assert found.kind is None and says in found.problem


def test_arrow_types_that_the_lake_lacks_become_the_next_larger() -> None:
    kinds = [(pa.uint8(), pa.int16()), (pa.uint64(), pa.decimal128(20, 0)), (pa.large_string(), pa.string())]
    kinds += [(pa.dictionary(pa.int8(), pa.string()), pa.string()), (pa.date64(), pa.date32())]
    assert [in_arrow("x", given).kind for given, _ in kinds] == [read for _, read in kinds]
    largest = converted(pa.array([2**64 - 1], pa.uint64()), in_arrow("x", pa.uint64()), "UTC")
    assert largest.to_pylist() == [Decimal(2**64 - 1)]


TWICE, NEVER = dt.datetime(2026, 10, 25, 2, 30), dt.datetime(2026, 3, 29, 2, 30)


@pytest.mark.parametrize(
    ("values", "declared", "says"),
    [
        (pa.array([2**63 - 1], pa.timestamp("us")), "TIMESTAMP", "infinite"),
        (pa.array([2**31 - 1], pa.int32()).cast(pa.date32()), "DATE", "infinite"),
        (pa.array([1], pa.timestamp("ns")), "TIMESTAMP_NTZ", "would lose data"),
        (pa.array([TWICE]), "TIMESTAMP", "twice or never"),
        (pa.array([NEVER]), "TIMESTAMP", "twice or never"),
        (pa.array([TWICE]), "TIMESTAMPTZ", "came without a zone"),
        (pa.array([2]), "BOOLEAN", "has the value 2"),
        (pa.array([0.5]), "BOOLEAN", "not as a boolean"),
        (pa.array(["1"]), "BIGINT", "came as string"),
        (pa.array([1]), "VARCHAR", "came as int64"),
        (pa.array([2**53 + 1]), "DOUBLE", "cannot represent"),
        (pa.array([1.5]), "BIGINT", "cannot represent"),
        (pa.array([Decimal("1.005")]), "DECIMAL(10,2)", "cannot represent"),
        (pa.array([Decimal(10) ** 30]), "BIGINT", "cannot represent"),
        (pa.array([dt.datetime(2026, 1, 1, 12)]), "DATE", "time of day"),
        (pa.array([20260101]), "DATE", "not as a date"),
    ],
)
def test_no_value_is_changed(values: pa.Array, declared: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        converted(values, reported("x", declared, "duckdb"), "Europe/Rome")


@pytest.mark.parametrize(
    ("values", "declared", "read"),
    [
        ([0, 1, None], "boolean", [False, True, None]),
        ([12.34, 0, None], "decimal(10,2)", [Decimal("12.34"), Decimal("0.00"), None]),
        ([None, None], "date", [None, None]),
        (["2026-03-01"], "date", [dt.date(2026, 3, 1)]),
        (["2026-03-01 10:00:00+02:00"], "timestamptz", [dt.datetime(2026, 3, 1, 8, tzinfo=dt.UTC)]),
        ([bytearray(b"a"), memoryview(b"b")], "blob", [b"a", b"b"]),
    ],
)
def test_values_of_cursors(values: list[Any], declared: str, read: list[Any]) -> None:
    column = reported("x", declared, "sqlite")
    assert converted(array_of(values, column), column, "UTC").to_pylist() == read


@pytest.mark.parametrize(
    ("values", "declared", "says"),
    [
        ([0.1], "decimal(18,2)", "stored as a float"),
        ([1, "x"], "bigint", "values of the types int, str"),
        ([dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)], "timestamp", "with and without a zone"),
        ([True], "decimal(10,2)", "no decimal"),
    ],
)
def test_values_of_cursors_that_do_not_fit(values: list[Any], declared: str, says: str) -> None:
    column: Column = reported("x", declared, "sqlite")
    with pytest.raises(ValueError, match=says):
        converted(array_of(values, column), column, "UTC")
