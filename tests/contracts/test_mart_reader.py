"""What reading a mart gives, from every database that dbt speaks to: the same rows, the same types, the same errors.

Each database is filled by a dbt project of its own, in schemas that are not the default.
"""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import yaml

from tailrace.errors import (
    BadInput,
    BuildFailed,
    NotInstalled,
    SchemaMismatch,
    SettingsError,
    Unavailable,
    UpstreamMissing,
    WarehouseBusy,
)
from tailrace.warehouse import relations
from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.adapter_types import converted
from tailrace.warehouse.drivers import cursor
from tailrace.warehouse.reader import MartReader
from tests.contracts.stand_ins import (
    Answers,
    BigQueryClient,
    DatabricksHandle,
    RedshiftConnection,
    SnowflakeConnection,
    StandIn,
    TrinoWrapper,
    sqlite_of,
)
from tests.jvm import end_jvm
from tests.postgres import HOST, Server, postgres

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
    renamed: str = "Customers Of Others"

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
    renamed = f"{{{{ config(alias='{dialect.renamed}') }}}}\nselect * from {{{{ ref('customer_features') }}}}"
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


def on_spark(request: pytest.FixtureRequest, folder: Path) -> DbtAdapter:
    metastore = f"jdbc:derby:;databaseName={folder / 'metastore'};create=true"
    settings = {
        "spark.sql.warehouse.dir": str(folder / "tables"),
        "spark.hadoop.javax.jdo.option.ConnectionURL": metastore,
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.session.timeZone": "America/Los_Angeles",
        "spark.ui.enabled": "false",
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={folder}",
    }
    # The folder of tables, and the options of Java, are those of the first session of a JVM.
    end_jvm()
    request.addfinalizer(end_jvm)
    target = {"type": "spark", "method": "session", "host": "NA", "schema": "ml", "server_side_parameters": settings}
    return project(folder / "project", target, SPARK)


SPARK = Dialect(
    mark="`", local_time="timestamp_ntz", known_at="timestamp", text="string", double="double", apostrophe="\\'",
    renamed="customers_of_others",
)  # fmt: skip


def stand_in(kind: str, *, make: Callable[..., Any], dialect: str = "", mark: str = '"', **types: str) -> Any:
    """A stand-in for a service; `types` are the names of the types that its adapter reports."""
    declared = dict(zip(COLUMNS, [types[name] for name in KINDS], strict=True))

    def made(request: pytest.FixtureRequest, folder: Path) -> DbtAdapter:
        naive = [row["local_time"] and row["local_time"].replace(tzinfo=None) for row in ROWS]
        rows = pa.Table.from_pylist([*ROWS], SCHEMA)
        rows = rows.set_column(COLUMNS.index("local_time"), "local_time", pa.array(naive, pa.timestamp("us")))
        named = {name.upper() if kind == "snowflake" and name.islower() else name: of for name, of in declared.items()}
        answers = rows if kind == "sqlite" else Answers(rows, dialect or kind)
        handle = make(answers, declared) if kind in ("bigquery", "sqlite") else make(answers)
        stood = StandIn(folder, kind, handle=handle, types=named, mark=mark)
        if kind == "sqlite":
            stood = StandIn(folder, kind, handle=handle, types=dict.fromkeys(COLUMNS, "UNKNOWN"))
            stood.manifest.nodes["model.shop.customer_features"] = model_of(declared)
        return stood

    return pytest.param(made, id=f"like_{kind}")


def model_of(types: Mapping[str, str]) -> Any:
    """The node of a model with a contract."""
    columns = {name: SimpleNamespace(name=name, data_type=declared) for name, declared in types.items()}
    return SimpleNamespace(
        **dict.fromkeys(["name", "alias", "identifier"], "customer_features"), database=None, schema="main",
        resource_type="model", unique_id="model.shop.customer_features", catalog_name=None, columns=columns,
        quoting_dict=dict.fromkeys(["database", "schema", "identifier"], False),
        config=SimpleNamespace(materialized="table"),
    )  # fmt: skip


KINDS = ("bigint", "date", "decimal", "local", "zoned", "boolean", "text", "double", "integer", "text", "text")
SERVICES = (
    stand_in("sqlite", make=sqlite_of, bigint="bigint", date="date", decimal="numeric(10,2)", local="timestamp",
             zoned="timestamptz", boolean="boolean", text="text", double="real", integer="integer"),
    stand_in("snowflake", make=SnowflakeConnection, bigint="NUMBER(38,0)", date="DATE", decimal="NUMBER(10,2)",
             local="TIMESTAMP_NTZ(9)", zoned="TIMESTAMP_TZ(9)", boolean="BOOLEAN", text="VARCHAR(16777216)",
             double="FLOAT", integer="NUMBER(38,0)"),
    stand_in("bigquery", make=BigQueryClient, mark="`", bigint="INTEGER", date="DATE", decimal="NUMERIC(10,2)",
             local="DATETIME", zoned="TIMESTAMP", boolean="BOOLEAN", text="STRING", double="FLOAT", integer="INTEGER"),
    stand_in("databricks", make=DatabricksHandle, mark="`", bigint="bigint", date="date", decimal="decimal(10,2)",
             local="timestamp_ntz", zoned="timestamp", boolean="boolean", text="string", double="double",
             integer="int"),
    stand_in("redshift", make=RedshiftConnection, bigint="bigint", date="date", decimal="numeric(10,2)",
             local="timestamp without time zone", zoned="timestamp with time zone", boolean="boolean",
             text="character varying(256)", double="double precision", integer="integer"),
    stand_in("trino", make=TrinoWrapper, bigint="bigint", date="date", decimal="decimal(10,2)", local="timestamp(6)",
             zoned="timestamp(6) with time zone", boolean="boolean", text="varchar", double="double",
             integer="integer"),
)  # fmt: skip


REAL = (on_duckdb, on_postgres, pytest.param(on_spark, marks=pytest.mark.spark))
ONE_INTEGER = ("bigquery", "snowflake", "sqlite")
"""Databases that have one type for all integers."""

_made: dict[Any, DbtAdapter] = {}


def made_by(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DbtAdapter:
    """A database, made once for all tests."""
    make = request.param
    if make not in _made:
        _made[make] = make(request, tmp_path_factory.mktemp(make.__name__))
    return _made[make]


adapter = pytest.fixture(scope="module", params=[*REAL, *SERVICES], name="adapter")(made_by)
"""Every database, those that are stood in for too."""
built = pytest.fixture(scope="module", params=REAL, name="built")(made_by)
"""Databases that a dbt project filled here."""


@pytest.fixture
def reader(adapter: DbtAdapter) -> MartReader:
    return MartReader(adapter)


@pytest.fixture
def built_reader(built: DbtAdapter) -> MartReader:
    return MartReader(built)


@pytest.fixture
def schema(adapter: DbtAdapter) -> pa.Schema:
    position = SCHEMA.get_field_index("visits")
    return SCHEMA.set(position, pa.field("visits", pa.int64())) if adapter.type in ONE_INTEGER else SCHEMA


def rows_of(day: dt.date, names: tuple[str, ...] = COLUMNS) -> list[dict[str, Any]]:
    return [{name: found[name] for name in names} for found in ROWS if found["ds"] == day]


def test_types_are_the_same_everywhere(reader: MartReader, schema: pa.Schema) -> None:
    assert reader.schema("customer_features") == schema


def test_rows_are_the_same_everywhere(reader: MartReader, schema: pa.Schema) -> None:
    read = reader.read("customer_features", DAY, order_by=["name"])
    assert read.schema == schema
    assert read.read_all().to_pylist() == rows_of(DAY)  # sorted by name: empty, 'Zoë', null


@pytest.mark.parametrize("column", ["select", "MixedCase", "id", "ratio", "local_time", "amount"])
def test_rows_are_sorted_by_bytes_and_nulls_come_last(reader: MartReader, column: str) -> None:
    values = reader.read("customer_features", DAY, order_by=[column]).read_all()[column].to_pylist()
    present = [value for value in values if value is not None]
    assert present == sorted(present, key=lambda value: value.encode() if isinstance(value, str) else value)
    assert values[len(present) :] == [None] * (len(values) - len(present))


def test_columns_come_in_the_order_asked_for(reader: MartReader) -> None:
    names = ("MixedCase", "id", "select")
    read = reader.read("customer_features", NEXT, columns=names)
    assert read.read_all().to_pylist() == rows_of(NEXT, names)


def test_a_day_without_rows_has_none(reader: MartReader, schema: pa.Schema) -> None:
    read = reader.read("customer_features", dt.date(2026, 3, 3), order_by=["id"]).read_all()
    assert (read.num_rows, read.schema) == (0, schema)


def test_days_are_counted(reader: MartReader) -> None:
    assert reader.newest("customer_features") == LAST
    assert reader.days("customer_features", "ds", DAY, NEXT) == {DAY: 3, NEXT: 1}


def test_a_sample_is_the_same_each_time(reader: MartReader, schema: pa.Schema) -> None:
    newest = reader.sample("customer_features", 2, day_column="ds")
    assert newest.schema == schema
    assert set(newest["ds"].to_pylist()) == {NEXT, LAST}
    some = reader.sample("customer_features", 3)
    assert (some.num_rows, some) == (3, reader.sample("customer_features", 3))
    assert sorted(reader.sample("customer_features", 99)["id"].to_pylist()) == sorted(row["id"] for row in ROWS)


def test_times_without_a_zone_are_local_times_of_the_zone_that_is_given(adapter: DbtAdapter) -> None:
    in_rome = MartReader(adapter, zone="Europe/Rome").read("customer_features", LAST).read_all().to_pylist()
    (row,) = rows_of(LAST)
    assert in_rome == [{**row, "local_time": row["local_time"] - dt.timedelta(hours=1)}]


def test_what_cannot_be_read_is_told_at_once(reader: MartReader) -> None:
    with pytest.raises(BadInput) as told:
        reader.read("customer_features", DAY, columns=["id", "nam"], day_column="local_time", order_by=["vists"])
    assert "no column 'nam'. Did you mean 'name'?" in str(told.value)
    assert "no column 'vists'. Did you mean 'visits'?" in str(told.value)
    assert "'local_time'" in str(told.value) and "names the day: cast it to date" in str(told.value)


def test_a_mart_that_does_not_exist(reader: MartReader) -> None:
    with pytest.raises(UpstreamMissing, match=r"has no table .*custmer_features.* no model .*, then try again\.$"):
        reader.schema("custmer_features")
    with pytest.raises(BadInput, match="names no table"):
        reader.schema("a.b.c.d")


# ---------------------------------------------------------------- databases that a dbt project filled


def test_a_mart_is_named_as_dbt_names_it(built: DbtAdapter, built_reader: MartReader) -> None:
    alias = SPARK.renamed if built.type == "spark" else Dialect.renamed
    for name in ("renamed", alias, f"ml_other.{alias}", "ml.customer_features"):
        assert built_reader.newest(name) == LAST


def test_the_nearest_model_is_named(built_reader: MartReader) -> None:
    with pytest.raises(UpstreamMissing, match=r"Did you mean 'customer_features'"):
        built_reader.schema("custmer_features")
    with pytest.raises(UpstreamMissing, match=r"Did you mean 'ml.customer_features'"):
        built_reader.newest("ml.custmer_features")


def test_a_reader_that_is_given_up_leaves_nothing_open(built: DbtAdapter, built_reader: MartReader) -> None:
    for start in (lambda rows: None, lambda rows: rows.read_next_batch()):
        rows = built_reader.read("customer_features", DAY, order_by=["id"])
        start(rows)
        rows.close()
        del rows
    outcome = built.invoke(["run", "--select", "renamed"])
    assert outcome.success, outcome.exception or [node.message for node in outcome.result.results]
    assert built_reader.newest("renamed") == LAST


def test_the_cursor_of_any_adapter_reads_after_another_dbt_command(in_postgres: DbtAdapter) -> None:
    """The way of databases without a driver of their own, on a real one: dbt-postgres and psycopg2."""
    mart = relations.find("customer_features", in_postgres.manifest, in_postgres.adapter)
    assert in_postgres.invoke(["run", "--select", "renamed"]).success
    with cursor.connected(in_postgres) as session:
        columns = session.columns(mart)
        assert [(column.name, column.kind) for column in columns] == [(field.name, field.type) for field in SCHEMA]
        (batch,) = session.rows(f"select * from {mart.sql} order by id", columns)  # noqa: S608
    read = [converted(array, column, "UTC") for array, column in zip(batch.columns, columns, strict=True)]
    assert pa.record_batch(read, schema=SCHEMA).to_pylist() == sorted(ROWS, key=lambda row: row["id"])


def test_an_attached_database_is_read_too(built: DbtAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if built.type != "duckdb":
        pytest.skip("only DuckDB attaches databases")
    from dbt.adapters.duckdb.credentials import Attachment

    with duckdb.connect(tmp_path / "other.duckdb") as other:
        other.execute("create schema far; create table far.away as select date '2026-03-04' as ds from range(300000)")
    monkeypatch.setattr(built.credentials, "attach", [Attachment(path=str(tmp_path / "other.duckdb"), alias="abroad")])
    assert MartReader(built).newest("abroad.far.away") == LAST
    rows = MartReader(built).read("abroad.far.away", LAST)
    assert rows.read_next_batch().num_rows < 200_000
    rows.close()
    assert MartReader(built).newest("abroad.far.away") == LAST, "a reader that is left open makes the next one wait"


def test_an_ephemeral_model_has_no_table(built_reader: MartReader) -> None:
    with pytest.raises(BadInput, match="ephemeral"):
        built_reader.schema("inline")


# ---------------------------------------------------------------- what goes wrong


@pytest.fixture(scope="module")
def in_postgres(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DbtAdapter:
    if on_postgres not in _made:
        _made[on_postgres] = on_postgres(request, tmp_path_factory.mktemp("postgres"))
    return _made[on_postgres]


def only_in_postgres(server: Server, table: str, query: str) -> None:
    """A table that dbt does not know."""
    server.execute(f"create table ml.{table} as select {query}", "mart_reader")
    server.execute(f"grant select on ml.{table} to mart_reader", "mart_reader")


def test_a_profile_or_target_that_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").write_text("{name: shop, version: 1.0.0, config-version: 2, profile: shpo}")
    (tmp_path / "profiles.yml").write_text("shop: {target: dev, outputs: {dev: {type: duckdb}, prod: {type: duckdb}}}")
    with pytest.raises(SettingsError, match=r"no profile named 'shpo' in .*profiles.yml. Did you mean 'shop'\?"):
        MartReader(DbtAdapter(tmp_path, work=tmp_path / "work")).schema("customer_features")
    (tmp_path / "dbt_project.yml").write_text("{name: shop, version: 1.0.0, config-version: 2, profile: shop}")
    with pytest.raises(SettingsError, match=r"no target of the profile 'shop' named 'pord' .*Did you mean 'prod'\?"):
        MartReader(DbtAdapter(tmp_path, work=tmp_path / "work", target="pord")).schema("customer_features")
    with pytest.raises(SettingsError, match=r"There is no profiles.yml in"):
        MartReader(DbtAdapter(tmp_path, work=tmp_path / "work", profiles=tmp_path / "work")).schema("x")
    with pytest.raises(SettingsError, match=r"There is no dbt_project.yml in .*\[dbt\] project"):
        MartReader(DbtAdapter(tmp_path / "work", work=tmp_path / "work")).schema("x")


@pytest.mark.parametrize("written", ["123456789", "{{ env_var('THE_PASSWORD') | as_number }}"])
def test_a_profile_that_dbt_rejects_shows_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setenv("THE_PASSWORD", "123456789")
    (tmp_path / "dbt_project.yml").write_text("{name: shop, version: 1.0.0, config-version: 2, profile: shop}")
    target = f'{{type: postgres, host: h, user: u, port: 5432, dbname: d, schema: ml, password: "{written}"}}'
    target = target.replace('"123456789"', "123456789")
    (tmp_path / "profiles.yml").write_text(f"shop: {{target: dev, outputs: {{dev: {target}}}}}")
    with pytest.raises(SettingsError, match=r"profiles.yml: .* \*\*\* is not of type 'string'") as told:
        MartReader(DbtAdapter(tmp_path, work=tmp_path / "work")).schema("customer_features")
    assert "123456789" not in str(told.value)


def test_profiles_that_are_not_yaml_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").write_text("{name: shop, version: 1.0.0, config-version: 2, profile: shop}")
    (tmp_path / "profiles.yml").write_text("shop:\n  outputs: {dev: {password: open-sesame, type: duckdb}\n")
    with pytest.raises(SettingsError, match=r"profiles.yml is not YAML: see line 3, column 1") as told:
        MartReader(DbtAdapter(tmp_path, work=tmp_path / "work")).schema("customer_features")
    assert "open-sesame" not in str(told.value)


@pytest.mark.parametrize(
    ("kind", "install"),
    [("spark", "'tailrace[spark]'"), ("snowflake", "'tailrace[snowflake]'"), ("oracle", "dbt-oracle")],
)
def test_an_adapter_that_is_not_installed(tmp_path: Path, hide: Callable[..., None], kind: str, install: str) -> None:
    hide(f"dbt.adapters.{kind}")
    (tmp_path / "dbt_project.yml").write_text("{name: shop, version: 1.0.0, config-version: 2, profile: shop}")
    (tmp_path / "profiles.yml").write_text(f"shop: {{target: dev, outputs: {{dev: {{type: {kind}, schema: ml}}}}}}")
    with pytest.raises(NotInstalled, match=f"adapter '{kind}', which is not installed.*{re.escape(install)}"):
        MartReader(DbtAdapter(tmp_path, work=tmp_path / "work")).schema("customer_features")


def test_a_project_that_does_not_parse(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "broken.sql").write_text("select {{ ref('nowhere' }}")
    (tmp_path / "dbt_project.yml").write_text("{name: shop, version: 1.0.0, config-version: 2, profile: shop}")
    (tmp_path / "profiles.yml").write_text("shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb}}}")
    with pytest.raises(BuildFailed, match=r"dbt cannot read the project .*broken"):
        MartReader(DbtAdapter(tmp_path, work=tmp_path / "work")).schema("broken")


def test_a_project_for_another_version_of_dbt(tmp_path: Path) -> None:
    project = "{name: shop, version: 1.0.0, config-version: 2, profile: shop, require-dbt-version: '>=9.0.0'}"
    (tmp_path / "dbt_project.yml").write_text(project)
    (tmp_path / "profiles.yml").write_text("shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb}}}")
    sentence = r"dbt cannot read the project .*not supported with the 'shop' package.*'>=9.0.0'.* Install a version of "
    with pytest.raises(BuildFailed, match=sentence) as refused:
        MartReader(DbtAdapter(tmp_path, work=tmp_path / "work")).schema("customer_features")
    assert "--no-version-check" not in str(refused.value)


def test_a_file_that_is_not_there_or_is_written(
    built: DbtAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if built.type != "duckdb":
        pytest.skip("only DuckDB is a file")
    monkeypatch.setattr(built.credentials, "path", "none.duckdb")
    with pytest.raises(UpstreamMissing, match=r"There is no DuckDB file at .*none.duckdb yet"):
        MartReader(built).schema("customer_features")
    monkeypatch.setattr(built.credentials, "path", str(tmp_path / "other.duckdb"))
    writer = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", writer, str(tmp_path / "other.duckdb")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"open\n"
        with pytest.raises(WarehouseBusy, match="in use by another process"):
            MartReader(built).schema("customer_features")
        process.communicate(b"")


def test_a_wrong_password_and_no_password_is_ever_shown(
    in_postgres: DbtAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = in_postgres.credentials.password
    assert in_postgres.cleaned(f"password={secret}\n  in a message.") == "password=*** in a message"
    assert in_postgres.cleaned('"mart_reader"."ml"') == '"mart_reader"."ml"', "dbt's other name of database is dbname"
    logs = "".join(file.read_text() for file in in_postgres.project.rglob("*.log*"))
    assert "customer_features" in logs and secret not in logs
    monkeypatch.setattr(in_postgres.credentials, "password", "not-this-one")
    with pytest.raises(SettingsError, match="rejects this installation") as told:
        MartReader(in_postgres).schema("customer_features")
    assert "not-this-one" not in str(told.value) and secret not in str(told.value)


def test_a_role_without_rights(in_postgres: DbtAdapter, postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    postgres.execute("create role reader_only login password 'reader-only'")
    monkeypatch.setattr(in_postgres.credentials, "user", "reader_only")
    monkeypatch.setattr(in_postgres.credentials, "password", "reader-only")
    with pytest.raises(SettingsError, match=r"(?s)permission denied for schema ml.*select on .*customer_features"):
        MartReader(in_postgres).schema("customer_features")


def test_a_server_that_does_not_answer(in_postgres: DbtAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_postgres.credentials, "port", 1)
    with pytest.raises(Unavailable, match="did not answer, or stopped answering, while reading the columns"):
        MartReader(in_postgres).schema("customer_features")


def test_a_server_that_stops_while_rows_are_read(in_postgres: DbtAdapter, postgres: Server) -> None:
    only_in_postgres(postgres, "many", "date '2026-03-01' as ds, repeat('x', 900) as x from generate_series(1, 99999)")
    rows = MartReader(in_postgres).read("ml.many", DAY)
    rows.read_next_batch()
    postgres.stop("immediate")
    try:
        with pytest.raises(Unavailable, match=r"stopped answering, while reading ml.many of 2026-03-01"):
            rows.read_all()
    finally:
        postgres.start()


def test_a_mart_that_vanishes_between_check_and_read(in_postgres: DbtAdapter, postgres: Server) -> None:
    only_in_postgres(postgres, "passing", "date '2026-03-01' as ds")
    reader = MartReader(in_postgres)
    assert reader.schema("ml.passing").names == ["ds"]
    postgres.execute("drop table ml.passing", "mart_reader")
    with pytest.raises(UpstreamMissing, match=r'has no table "mart_reader"."ml"."passing".*, then try again\.$'):
        reader.read("ml.passing", DAY)


def test_columns_that_cannot_be_read_are_told_with_their_types(in_postgres: DbtAdapter, postgres: Server) -> None:
    only_in_postgres(
        postgres, "odd", "date '2026-03-01' as ds, array[1] as listed, interval '1 day' as span, 1.5 as free"
    )
    reader = MartReader(in_postgres)
    with pytest.raises(BadInput) as told:
        reader.schema("ml.odd")
    assert "Column 'listed' has the type _int4: the lake has no type for it" in str(told.value)
    assert "Column 'span' has the type interval" in str(told.value)
    with pytest.raises(BadInput, match="'free' sorts rows, but a key must be exact"):
        reader.read("ml.odd", DAY, columns=["ds"], order_by=["free"])
    assert reader.read("ml.odd", DAY, columns=["free"]).read_all().to_pylist() == [{"free": 1.5}]
    assert reader.sample("ml.odd", 5).column_names == ["ds", "free"]


def test_local_times_that_a_zone_has_twice_are_refused(in_postgres: DbtAdapter, postgres: Server) -> None:
    only_in_postgres(postgres, "twice", "date '2026-10-25' as ds, timestamp '2026-10-25 02:30' as at")
    with pytest.raises(SchemaMismatch) as told:
        MartReader(in_postgres, zone="Europe/Rome").read("ml.twice", dt.date(2026, 10, 25))
    assert "column 'at' (timestamp without time zone) has no zone" in str(told.value)
    assert "that Europe/Rome has twice or never, because clocks change, such as 2026-10-25 02:30:00." in str(told.value)
    assert 'If the times are UTC, set zone = "UTC" in tailrace.toml' in str(told.value)
