"""Every Postgres type is read as DuckDB reads it, or refused by column with the cast that helps."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tailrace.errors import SchemaMismatch
from tailrace.sources.landing import Landing
from tailrace.warehouse.duckdb import DuckDBWarehouse
from tailrace.warehouse.postgres import PostgresWarehouse
from tests.postgres import Database, Server, postgres

__all__ = ["postgres"]

DAY = dt.date(2013, 1, 1)
UTC = pa.timestamp("us", "UTC")
NOON = dt.datetime(2013, 1, 1, 12, tzinfo=dt.UTC)

Expected = tuple[str, pa.DataType, Any]
"""A value in SQL, the type in which it is read, and the value that is read, NaN as None."""

BOTH: list[Expected] = [
    ("true", pa.bool_(), True),
    ("7::smallint", pa.int16(), 7),
    ("7::integer", pa.int32(), 7),
    ("9007199254740993::bigint", pa.int64(), 9007199254740993),
    ("1.5::real", pa.float32(), 1.5),
    ("0.1::float8", pa.float64(), 0.1),
    ("'NaN'::float8", pa.float64(), None),
    ("742.00::numeric(18,2)", pa.decimal128(18, 2), Decimal("742.00")),
    ("(-0.001)::numeric(38,3)", pa.decimal128(38, 3), Decimal("-0.001")),
    ("123::numeric(5)", pa.decimal128(5, 0), Decimal(123)),
    ("avg(1)", pa.float64(), 1.0),
    ("avg(1::bigint)", pa.float64(), 1.0),
    ("count(*)", pa.int64(), 1),
    ("'é'::text", pa.string(), "é"),
    ("'a '::varchar(5)", pa.string(), "a "),
    ("'ab'::char(4)", pa.string(), "ab"),
    ("date '2013-01-01'", pa.date32(), DAY),
    ("timestamptz '2013-01-01 13:00+01'", UTC, NOON),
    ("'5ca1ab1e-0000-4000-8000-00000000000a'::uuid", pa.string(), "5ca1ab1e-0000-4000-8000-00000000000a"),
    ("'{\"a\": 1}'::json", pa.string(), '{"a": 1}'),
]
"""What both databases read alike."""

POSTGRES: list[Expected] = [
    ("1.5::numeric", pa.float64(), 1.5),
    ("round(2.345, 2)", pa.float64(), 2.35),
    ("sum(9007199254740991::bigint)", pa.float64(), 9007199254740991.0),
    ("extract(year from date '2013-01-01')", pa.float64(), 2013.0),
    ("1::numeric / 3", pa.float64(), 1 / 3),
    ("'NaN'::numeric", pa.float64(), None),
    ("1200::numeric(3,-2)", pa.decimal128(5, 0), Decimal(1200)),
    ("0.0012::numeric(2,4)", pa.decimal128(4, 4), Decimal("0.0012")),
    ("742.5::price", pa.decimal128(10, 2), Decimal("742.50")),
    ("sum(7)", pa.int64(), 7),
    ("7 / 2", pa.int32(), 3),
    ("'ab  '::bpchar", pa.string(), "ab"),
    ('\'{"b":1,"a":2}\'::jsonb', pa.string(), '{"a": 2, "b": 1}'),
    ("'happy'::mood", pa.string(), "happy"),
    ("'name'::name", pa.string(), "name"),
    ("'\\x00ff'::bytea", pa.binary(), b"\x00\xff"),
    ("'0044-03-15 BC'::date - date '0044-03-15 BC'", pa.int32(), 0),
]
"""What only Postgres has, or reads in its own way; docs/warehouse.md says so of each."""

REFUSED = [
    ("742.00::money", r"cents; cast it to numeric\(18,2\)"),
    ("1::oid", "cast it to bigint"),
    ("1.5::numeric(39,2)", "38 digits; cast it to numeric"),
    ("timestamp '2013-01-01'", r"no time zone; give it one, as in timezone\('UTC', NAME\)"),
    ("time '10:00'", r"extract\(epoch from NAME\)::float8"),
    ("timetz '10:00+01'", "cast it to text"),
    ("interval '1 day'", r"extract\(epoch from NAME\)::float8, its seconds"),
    ("array[1, 2]", "cast it to text, or select its parts"),
    ("array[1.5::numeric]", "cast it to text"),
    ("array['a']", "cast it to text"),
    ("(1, 'a')::pair", "cast it to text, or select its parts"),
    ("'127.0.0.1'::inet", "cast it to text"),
    ("int4range(1, 2)", "cast it to text"),
    ("B'1'", "cast it to text"),
    ("point(1, 2)", "cast it to text"),
    ("to_tsvector('a')", "cast it to text"),
]

LOST = [
    ("9007199254740993::numeric", r"2\^53 or more, which float64 rounds; cast it to numeric\(38,0\)"),
    ("1e400::numeric", r"2\^53 or more"),
    ("'NaN'::numeric(5,2)", r"contains NaN.*nullif\(\"x\", 'NaN'\)"),
    ("'infinity'::date", r"infinite dates.*nullif\(\"x\", 'infinity'\)"),
    ("'-infinity'::date", "infinite dates"),
    ("'infinity'::timestamptz", "infinite or after"),
    ("'294276-12-31'::timestamptz", "infinite or after"),
]

Reader = Callable[[str, list[str]], pa.Table]


@pytest.fixture(scope="module")
def database(postgres: Server) -> Database:
    made = postgres.database("types")
    postgres.execute(
        "create schema tailrace; create type mood as enum ('sad', 'happy'); create domain price as numeric(10,2);"
        " create type pair as (number int, name text); grant usage on schema tailrace to types",
        made.name,
    )
    return made


@pytest.fixture(scope="module")
def warehouse(database: Database, tmp_path_factory: pytest.TempPathFactory) -> PostgresWarehouse:
    folder = tmp_path_factory.mktemp("types")
    return PostgresWarehouse(
        database.url, password=database.password, project=folder, landing=Landing(str(folder), {}), work=folder
    )


@pytest.fixture(scope="module")
def read(postgres: Server, database: Database, warehouse: PostgresWarehouse) -> Reader:
    def of(select: str, keys: list[str]) -> pa.Table:
        postgres.execute(
            f"drop table if exists tailrace.t; create table tailrace.t as select date '{DAY}' as ds, {select};"
            " grant select on tailrace.t to types",
            database.name,
        )
        return warehouse.read("t", DAY, keys).read_all()

    return of


@pytest.fixture(scope="module")
def on_postgres(read: Reader) -> pa.Table:
    return read(columns([value for value, _, _ in [*BOTH, *POSTGRES]]), [])


@pytest.fixture(scope="module")
def on_duckdb(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    folder = tmp_path_factory.mktemp("duckdb")
    with duckdb.connect(folder / "w.duckdb") as connection:
        connection.execute(f"create table t as select date '{DAY}' as ds, {columns([value for value, _, _ in BOTH])}")
    return (
        DuckDBWarehouse(folder / "w.duckdb", project=folder, landing=Landing(str(folder), {}), work=folder)
        .read("t", DAY, [])
        .read_all()
    )


@pytest.fixture(scope="module")
def refusal(read: Reader) -> str:
    with pytest.raises(SchemaMismatch) as refused:
        read(columns([value for value, _ in REFUSED]), [])
    return str(refused.value)


def columns(values: list[str]) -> str:
    return ", ".join(f"{value} as x{number}" for number, value in enumerate(values))


def value_of(table: pa.Table, column: str) -> Any:
    """The value in a table of one row, NaN as None."""
    (value,) = table[column].to_pylist()
    return None if value != value else value


@pytest.mark.parametrize(("number", "expected"), list(enumerate([*BOTH, *POSTGRES])))
def test_a_type_is_read_as_the_documentation_says(on_postgres: pa.Table, number: int, expected: Expected) -> None:
    _, kind, value = expected
    assert (on_postgres.schema.field(f"x{number}").type, value_of(on_postgres, f"x{number}")) == (kind, value)


@pytest.mark.parametrize(("number", "expected"), list(enumerate(BOTH)))
def test_duckdb_reads_the_same(on_duckdb: pa.Table, number: int, expected: Expected) -> None:
    _, kind, value = expected
    assert (on_duckdb.schema.field(f"x{number}").type, value_of(on_duckdb, f"x{number}")) == (kind, value)


def test_every_type_has_nulls_and_an_empty_day(read: Reader, warehouse: PostgresWarehouse) -> None:
    casts = ["bool", "int8", "numeric(18,2)", "numeric", "char(3)", "uuid", "jsonb", "mood", "date", "timestamptz"]
    table = read(columns([f"null::{cast}" for cast in casts]), [])
    assert {tuple(table[name].to_pylist()) for name in table.schema.names[1:]} == {(None,)}
    empty = warehouse.read("t", DAY + dt.timedelta(days=1), []).read_all()
    assert (empty.num_rows, empty.schema) == (0, table.schema)


@pytest.mark.parametrize(("number", "expected"), list(enumerate(REFUSED)))
def test_a_type_that_would_lose_something_is_refused_by_column(
    refusal: str, number: int, expected: tuple[str, str]
) -> None:
    assert refusal.startswith("t of 2013-01-01 in the warehouse postgresql://types@")
    (said,) = [line for line in refusal.splitlines() if f"Column 'x{number}' has the type " in line]
    assert re.search(expected[1].replace("NAME", f'"x{number}"'), said)


@pytest.mark.parametrize(("value", "said"), LOST)
def test_a_value_that_would_be_changed_is_refused_by_column(read: Reader, value: str, said: str) -> None:
    with pytest.raises(SchemaMismatch, match=f"t of 2013-01-01 .*column 'x' {said}|column 'x' .*{said}"):
        read(f"{value} as x", [])


def test_all_columns_that_cannot_be_read_are_named_at_once(read: Reader) -> None:
    with pytest.raises(SchemaMismatch) as refused:
        read("1::money as price, interval '1 day' as wait, 1.5::numeric as id, 7 as fine", ["id", "fien"])
    said = str(refused.value)
    assert all(f"Column '{name}'" in said for name in ("price", "wait", "id"))
    assert "There is no column 'fien'. Did you mean 'fine'?" in said
    assert "Column 'fine'" not in said


@pytest.mark.parametrize("kind", ["char(3)", "uuid", "mood", "text", "jsonb", "json", "numeric(9,3)"])
def test_rows_are_sorted_by_what_is_read(read: Reader, kind: str) -> None:
    texts = {
        "uuid": ["5ca1ab1e-0000-4000-8000-00000000000b", "5ca1ab1e-0000-4000-8000-00000000000a"],
        "mood": ["sad", "happy"],
        "jsonb": ["[1]", '"a"'],
        "json": ["[1]", '"a"'],
        "numeric(9,3)": ["10", "9.5"],
    }.get(kind, ["a", "B"])
    found = read(f"x from (select unnest(array['{texts[0]}', '{texts[1]}', null])::{kind} as x) as given", ["x"])
    read_values = found["x"].to_pylist()
    assert read_values == [*sorted(value for value in read_values if value is not None), None]
