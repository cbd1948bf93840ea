"""Columns that a mart gains, on a real dbt project in DuckDB and in Postgres, and in the lake."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from tailrace.contracts import EvolvingWarehouse
from tailrace.errors import BadInput, BuildFailed, LakeUnavailable, ProblemList, SchemaMismatch, WarehouseBusy
from tailrace.lake.delta import DeltaLake
from tailrace.lake.memory import MemoryLake
from tailrace.operations import evolve
from tailrace.sources.landing import Landing
from tailrace.spec import Features, PipelineSpec
from tailrace.warehouse.duckdb import DuckDBWarehouse
from tailrace.warehouse.memory import MemoryWarehouse
from tailrace.warehouse.postgres import PostgresWarehouse
from tests.postgres import Server, postgres
from tests.stages.conftest import FIRST, Loop, installation, memory

__all__ = ["postgres"]

DAY = dt.date(2013, 1, 1)
NEXT = DAY + dt.timedelta(days=1)
NOW = dt.datetime(2013, 1, 3, tzinfo=dt.UTC)
PROFILE = """
tiny:
  target: "{{ env_var('DBT_TARGET') }}"
  outputs:
    duckdb: {type: duckdb, path: "{{ env_var('TAILRACE_WAREHOUSE', 'x') }}"}
    postgres:
      type: postgres
      host: "{{ env_var('PGHOST', '') }}"
      port: "{{ env_var('PGPORT', '5432') | int }}"
      user: "{{ env_var('PGUSER', '') }}"
      password: "{{ env_var('TAILRACE_WAREHOUSE_PASSWORD', '') }}"
      dbname: "{{ env_var('PGDATABASE', '') }}"
      schema: tailrace
"""
COLUMNS = {"ds": "date", "customer": "text", "event_time": "timestamptz", "known_at": "timestamptz", "age": "float8"}
VALUES = {
    "ds": "date '{{ env_var(\"BUILD_FIRST_DAY\") }}'",
    "customer": "'a'",
    "event_time": "timestamptz '2013-01-01 00:00:00+00'",
    "known_at": "timestamptz '2013-01-01 00:00:00+00'",
    "age": "30::float8",
    "visits": "3::integer",
}


class Site:
    """A pipeline whose features are a mart of dbt's, with what holds it."""

    def __init__(self, folder: Path, spec: PipelineSpec) -> None:
        self.project = folder / "dbt"
        (self.project / "models").mkdir(parents=True)
        (self.project / "dbt_project.yml").write_text(
            "{name: tiny, profile: tiny, flags: {send_anonymous_usage_stats: false}}"
        )
        (self.project / "profiles.yml").write_text(PROFILE)
        self.write(COLUMNS)
        self.spec = spec
        self.lake: Any = DeltaLake(str(folder / "lake"))
        self.warehouse: DuckDBWarehouse | PostgresWarehouse = DuckDBWarehouse(
            folder / "w.duckdb",
            project=self.project,
            landing=Landing(str(folder / "landing"), {}),
            work=folder / "work",
        )

    def write(self, columns: dict[str, str]) -> None:
        """The model and its contract."""
        said = "".join(f"      - {{name: {name}, data_type: {type_}}}\n" for name, type_ in columns.items())
        (self.project / "models" / "churn_features.yml").write_text(
            f"models:\n  - name: churn_features\n    config: {{contract: {{enforced: true}}}}\n    columns:\n{said}"
        )
        config = "config(materialized='incremental', on_schema_change='fail', full_refresh=false)"
        selected = ", ".join(f"({VALUES[name]})::{type_ or 'integer'} as {name}" for name, type_ in columns.items())
        (self.project / "models" / "churn_features.sql").write_text(f"{{{{ {config} }}}} select {selected}")

    def take(self, day: dt.date) -> None:
        self.warehouse.build(day, day)
        rows = self.warehouse.read("churn_features", day, ["customer"])
        staged = self.lake.stage(self.spec.features_table, day, f"r-{day}", rows)
        self.lake.publish(staged, {})

    def plan(self) -> list[tuple[str, str, str]]:
        return [(each.where, each.column, each.type) for each in evolve.plan(self, self.spec).columns]

    def evolve(self) -> None:
        evolve.run(self, self.spec, decided_by="me", reason="more to learn from", now=NOW)


@pytest.fixture
def site(tmp_path: Path, spec: PipelineSpec) -> Iterator[Site]:
    made = Site(tmp_path, replace(spec, features=Features(("customer",), "event_time", {"age": "numeric"})))
    made.take(DAY)
    yield made


def test_a_new_column_is_shown_then_added_to_warehouse_and_lake(site: Site, tmp_path: Path, monkeypatch) -> None:
    assert site.plan() == []
    site.write({**COLUMNS, "visits": "integer"})
    with pytest.raises(BuildFailed, match="schema"):
        site.warehouse.build(NEXT, NEXT)
    wanted = [("warehouse", "visits", "integer"), ("lake", "visits", "int32")]
    assert site.plan() == wanted
    assert site.plan() == wanted, "it was only shown"

    # Killed between warehouse and lake: the next run completes it.
    with monkeypatch.context() as patched:
        patched.setattr(site.lake, "add_columns", broken)
        with pytest.raises(LakeUnavailable):
            site.evolve()
    assert site.plan() == wanted[1:]
    site.evolve()
    assert site.plan() == []
    version = site.lake.head(site.spec.features_table)
    site.evolve()
    assert site.lake.head(site.spec.features_table) == version, "a second time changes nothing"

    site.take(NEXT)
    kept = site.lake.read(site.spec.features_table).read_all().sort_by("ds")
    assert kept["visits"].to_pylist() == [None, 3]
    assert site.warehouse.read("churn_features", DAY, []).read_all()["visits"].to_pylist() == [None]
    history = DeltaTable(str(tmp_path / "lake" / "features" / "churn")).history()
    (noted,) = [each for each in history if each.get("stage") == "evolve"]
    assert (noted["by"], noted["reason"], noted["columns"]) == ("me", "more to learn from", "visits")

    # What cannot be done is refused before anything is changed, all of it at once.
    gone = {name: type_ for name, type_ in COLUMNS.items() if name != "known_at"}
    site.write({**gone, "age": "text", "visits": "integer"})
    with pytest.raises(ProblemList) as raised:
        site.evolve()
    first, second = raised.value.problems
    assert first.startswith("churn: churn_features has the column 'known_at' (timestamp[us, tz=UTC]), which the mart")
    assert "let the model select null as known_at" in first
    assert "churn_features has the column 'age' as double, and the mart gives string now" in second
    assert "give the new one another name, such as age_2" in second
    site.write({**COLUMNS, "visits": "no_such_type"})
    with pytest.raises(BadInput, match="DuckDB does not know a type"):
        site.evolve()


@pytest.mark.services
def test_a_new_column_in_postgres_reaches_the_lake(postgres: Server, spec: PipelineSpec, tmp_path: Path) -> None:
    site = Site(tmp_path, replace(spec, features=Features(("customer",), "event_time", {"age": "numeric"})))
    database = postgres.database("evolve_and_build")
    on_postgres = PostgresWarehouse(
        database.url,
        password=database.password,
        project=site.project,
        landing=Landing(str(tmp_path / "landing"), {}),
        work=tmp_path / "work",
    )
    site.warehouse = on_postgres
    site.take(DAY)
    site.write({**COLUMNS, "visits": "integer"})
    with pytest.raises(BuildFailed, match="schema"):
        on_postgres.build(NEXT, NEXT)
    assert site.plan() == [("warehouse", "visits", "integer"), ("lake", "visits", "int32")]
    site.evolve()
    assert site.plan() == []
    site.take(NEXT)
    assert site.lake.read(site.spec.features_table).read_all().sort_by("ds")["visits"].to_pylist() == [None, 3]
    assert on_postgres.read("churn_features", DAY, []).read_all()["visits"].to_pylist() == [None]


def broken(*_: object, **__: object) -> None:
    raise LakeUnavailable("the lake's storage does not answer")


def test_the_warehouse_gains_nothing_while_it_is_built(site: Site) -> None:
    site.write({**COLUMNS, "visits": "integer"})
    with site.warehouse._building(), pytest.raises(WarehouseBusy):
        site.evolve()


def test_a_mart_that_others_build_evolves_in_the_lake_only(spec: PipelineSpec) -> None:
    rows = pa.table({"customer": ["a"], "ds": pa.array([DAY]), "age": [1.0]})
    services: Any = SimpleNamespace(lake=MemoryLake(), warehouse=MemoryWarehouse({"churn_features": rows}))
    services.lake.publish(services.lake.stage("features/churn", DAY, "r", rows.to_reader()), {})
    wider = rows.append_column("visits", pa.array([3]))
    services.warehouse = MemoryWarehouse({"churn_features": wider})
    with pytest.raises(SchemaMismatch, match="'visits' is not in the table"):
        services.lake.stage("features/churn", DAY, "r2", wider.to_reader())
    found = evolve.run(services, spec, decided_by="me", reason="", now=NOW)
    assert [(each.where, each.column) for each in found.columns] == [("lake", "visits")]
    services.lake.publish(services.lake.stage("features/churn", DAY, "r2", wider.to_reader()), {})
    assert evolve.plan(services, spec).columns == ()
    services.warehouse = MemoryWarehouse({"churn_features": rows.drop_columns(["age"])})
    with pytest.raises(ProblemList, match=r"features/churn has the column 'age' \(double\), which the mart no"):
        evolve.plan(services, spec)


def test_a_day_that_the_lake_refuses_names_the_command(tmp_path: Path, spec: PipelineSpec) -> None:
    loop = Loop(installation(memory, tmp_path, spec), spec)
    loop.take(FIRST, FIRST)
    features = loop.services.tables["churn_features"]
    wider = features.append_column("calls", pa.array([1] * features.num_rows))
    loop.services.rebuild(churn_features=wider)
    second = FIRST + dt.timedelta(days=1)
    with pytest.raises(SchemaMismatch, match=r"'calls' is not in the table(?s:.*)tailrace evolve churn\."):
        loop.take(second, second)
    evolve.run(loop.services, spec, decided_by="me", reason="", now=NOW)
    loop.take(second, second)


def test_a_mart_and_a_lake_that_do_not_exist_yet_need_nothing(spec: PipelineSpec) -> None:
    services: Any = SimpleNamespace(
        lake=MemoryLake(), warehouse=MemoryWarehouse({"churn_features": pa.table({"a": [1]})})
    )
    found = evolve.plan(services, spec)
    assert found.columns == ()
    assert [note.split(" so ")[0].split(":")[0] for note in found.notes] == [
        "features/churn does not exist yet",
        "churn_outcomes was never built,",
    ]


@pytest.fixture(scope="module")
def on_postgres(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> PostgresWarehouse:
    made = postgres.database("evolve")
    return PostgresWarehouse(
        made.url,
        password=made.password,
        project=tmp_path_factory.mktemp("project"),
        landing=Landing(str(tmp_path_factory.mktemp("landing")), {}),
        work=tmp_path_factory.mktemp("work"),
    )


def test_postgres_gains_columns_too(on_postgres: PostgresWarehouse) -> None:
    assert isinstance(on_postgres, EvolvingWarehouse)
    assert on_postgres.schema("nowhere") is None
    run(on_postgres, "create schema tailrace", "create table tailrace.some_mart (ds date, age float8)")
    run(on_postgres, "insert into tailrace.some_mart values (date '2013-01-01', 1)")
    types = {"visits": "integer", "Plan": "varchar(20)", "at": "timestamptz"}
    foretold = on_postgres.typed(types)
    for _ in range(2):
        on_postgres.add_columns("some_mart", types)
    gained = on_postgres.schema("some_mart")
    assert gained is not None
    assert [gained.field(name) for name in types] == list(foretold)
    assert on_postgres.read("some_mart", DAY, []).read_all()["visits"].to_pylist() == [None]
    with pytest.raises(BadInput, match="Postgres does not know a type"):
        on_postgres.typed({"x": "no_such_type"})


def run(warehouse: PostgresWarehouse, *statements: str) -> None:
    with warehouse._connect() as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        connection.commit()
