"""What reading a mart gives, from every database that dbt speaks to: the same rows, the same types, the same errors.

Each database is filled by a dbt project of its own, in schemas that are not the default.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from tailrace.errors import BadInput, UpstreamMissing
from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.reader import MartReader
from tests.postgres import HOST, postgres

__all__ = ["postgres"]

DAY, NEXT, LAST = dt.date(2026, 3, 1), dt.date(2026, 3, 2), dt.date(2026, 3, 4)
MOMENT = pa.timestamp("us", "UTC")
UTC = dt.UTC

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("ds", pa.date32()),
        ("amount", pa.decimal128(10, 2)),
        ("local_time", MOMENT),
        ("known_at", MOMENT),
        ("flag", pa.bool_()),
        ("name", pa.string()),
        ("ratio", pa.float64()),
        ("visits", pa.int32()),
        ("select", pa.string()),
        ("MixedCase", pa.string()),
    ]
)
COLUMNS = tuple(SCHEMA.names)
BIG = 2**53 + 1


def row(ds: dt.date, amount: str, local_time: str, known_at: str, *others: Any) -> dict[str, Any]:
    """Both times are given in UTC; the others are the id and the columns after the times."""
    times = [dt.datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (local_time, known_at)]
    return dict(zip(COLUMNS, (others[0], ds, Decimal(amount), *times, *others[1:]), strict=True))


ROWS = (
    row(DAY, "12.34", "2026-03-01 08:30:00.123456", "2026-03-01 05:00", BIG, True, "", 0.1, 1, "order", "A"),
    row(DAY, "-0.01", "1969-12-31 23:59:59", "2026-02-28 23:00", BIG + 1, False, "Zoë 😀", -1.5, 2, "Zebra", "a"),
    {**dict.fromkeys(COLUMNS), "id": -BIG, "ds": DAY},
    row(NEXT, "99999999.99", "2026-03-02 00:00", "2026-03-02 00:00", 7, True, "it's", 2.0, 3, "apple", "Ä"),
    row(LAST, "0.00", "2026-03-04 12:00", "2026-03-04 12:00", 8, False, "tab\t", 3.0, 4, "x", "y"),
)


@dataclass(frozen=True)
class Dialect:
    """How a database writes what the models need."""

    mark: str = '"'
    local_time: str = "timestamp"
    known_at: str = "timestamp with time zone"
    text: str = "text"
    double: str = "double precision"
    apostrophe: str = "''"

    def model(self) -> str:
        """A query that gives `ROWS`: every value is a cast text."""
        return "\nunion all\n".join(f"select {', '.join(map(self.cell, row.values(), SCHEMA))}" for row in ROWS)

    def cell(self, value: Any, column: pa.Field) -> str:
        name = f"{self.mark}{column.name}{self.mark}"
        return f"cast({self.literal(value, column.name)} as {self.type_of(column)}) as {name}"

    def literal(self, value: Any, column: str) -> str:
        if value is None:
            return "null"
        zone = "+00:00" if column == "known_at" else ""
        text = f"{value:%Y-%m-%d %H:%M:%S.%f}{zone}" if isinstance(value, dt.datetime) else str(value)
        return "'" + text.replace("'", self.apostrophe) + "'"

    def type_of(self, column: pa.Field) -> str:
        kinds = {
            pa.int64(): "bigint",
            pa.int32(): "integer",
            pa.date32(): "date",
            pa.decimal128(10, 2): "decimal(10, 2)",
            pa.bool_(): "boolean",
            pa.float64(): self.double,
            pa.string(): self.text,
        }
        return kinds.get(column.type) or {"local_time": self.local_time, "known_at": self.known_at}[column.name]


def project(folder: Path, target: Mapping[str, Any], dialect: Dialect) -> DbtAdapter:
    """A dbt project that fills a database, built: marts in the schemas `ml` and `ml_other`."""
    (folder / "models" / "other").mkdir(parents=True)
    made = {
        "name": "shop",
        "version": "1.0.0",
        "config-version": 2,
        "profile": "shop",
        "models": {"shop": {"+materialized": "table", "other": {"+schema": "other"}}},
    }
    (folder / "dbt_project.yml").write_text(yaml.safe_dump(made))
    (folder / "profiles.yml").write_text(yaml.safe_dump({"shop": {"target": "dev", "outputs": {"dev": dict(target)}}}))
    (folder / "models" / "customer_features.sql").write_text(dialect.model())
    renamed = "{{ config(alias='Customers Of Others') }}\nselect * from {{ ref('customer_features') }}"
    (folder / "models" / "other" / "renamed.sql").write_text(renamed)
    (folder / "models" / "inline.sql").write_text("{{ config(materialized='ephemeral') }}\nselect 1 as one")
    adapter = DbtAdapter(folder, work=folder / "work")
    outcome = adapter.invoke(["build"])
    assert outcome.success, outcome.exception or [node.message for node in outcome.result.results]
    return adapter


def on_duckdb(request: pytest.FixtureRequest, folder: Path) -> DbtAdapter:
    target = {"type": "duckdb", "path": "../shop.duckdb", "schema": "ml", "settings": {"TimeZone": "UTC"}}
    return project(folder / "project", target, Dialect())


def on_postgres(request: pytest.FixtureRequest, folder: Path) -> DbtAdapter:
    made = request.getfixturevalue("postgres").database("mart_reader")
    target = {"type": "postgres", "host": HOST, "port": made.port, "user": made.user, "password": made.password}
    return project(folder / "project", {**target, "dbname": made.name, "schema": "ml"}, Dialect())


@pytest.fixture(scope="module", params=[on_duckdb, on_postgres])
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DbtAdapter:
    made: DbtAdapter = request.param(request, tmp_path_factory.mktemp(request.param.__name__))
    return made


@pytest.fixture
def reader(adapter: DbtAdapter) -> MartReader:
    return MartReader(adapter)


def rows_of(day: dt.date, names: tuple[str, ...] = COLUMNS) -> list[dict[str, Any]]:
    return [{name: found[name] for name in names} for found in ROWS if found["ds"] == day]


def test_types_are_the_same_everywhere(reader: MartReader) -> None:
    assert reader.schema("customer_features") == SCHEMA


def test_rows_are_the_same_everywhere(reader: MartReader) -> None:
    read = reader.read("customer_features", DAY, order_by=["name"])
    assert read.schema == SCHEMA
    assert read.read_all().to_pylist() == rows_of(DAY)  # sorted by name: empty, 'Zoë', null


@pytest.mark.parametrize("column", ["select", "MixedCase", "id", "ratio", "local_time"])
def test_rows_are_sorted_by_bytes_and_nulls_come_last(reader: MartReader, column: str) -> None:
    values = reader.read("customer_features", DAY, order_by=[column]).read_all()[column].to_pylist()
    present = [value for value in values if value is not None]
    assert present == sorted(present, key=lambda value: value.encode() if isinstance(value, str) else value)
    assert values[len(present) :] == [None] * (len(values) - len(present))


def test_columns_come_in_the_order_asked_for(reader: MartReader) -> None:
    names = ("MixedCase", "id", "select")
    read = reader.read("customer_features", NEXT, columns=names)
    assert read.read_all().to_pylist() == rows_of(NEXT, names)


def test_a_day_without_rows_has_none(reader: MartReader) -> None:
    assert reader.read("customer_features", dt.date(2026, 3, 3), order_by=["id"]).read_all() == SCHEMA.empty_table()


def test_days_are_counted(reader: MartReader) -> None:
    assert reader.newest("customer_features") == LAST
    assert reader.days("customer_features", "ds", DAY, NEXT) == {DAY: 3, NEXT: 1}


def test_a_mart_is_named_as_dbt_names_it(reader: MartReader) -> None:
    for name in ("renamed", "ml_other.Customers Of Others", "Customers Of Others", "ml.customer_features"):
        assert reader.newest(name) == LAST


def test_what_cannot_be_read_is_told_at_once(reader: MartReader) -> None:
    with pytest.raises(BadInput) as told:
        reader.read("customer_features", DAY, columns=["id", "nam"], day_column="local_time", order_by=["vists"])
    assert "no column 'nam'. Did you mean 'name'?" in str(told.value)
    assert "no column 'vists'. Did you mean 'visits'?" in str(told.value)
    assert "'local_time'" in str(told.value) and "names the day: cast it to date" in str(told.value)


def test_a_mart_that_does_not_exist(reader: MartReader) -> None:
    with pytest.raises(UpstreamMissing, match="Did you mean 'customer_features'"):
        reader.schema("custmer_features")
    with pytest.raises(BadInput, match="ephemeral"):
        reader.schema("inline")
    with pytest.raises(BadInput, match="names no table"):
        reader.schema("a.b.c.d")
