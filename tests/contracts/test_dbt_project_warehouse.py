"""A warehouse that somebody else's dbt project fills, from its build to a published day, on DuckDB and on Postgres."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tailrace.contracts import ModelResult
from tailrace.errors import UpstreamMissing
from tailrace.sources.landing import Landing
from tailrace.spec import Candidate, PipelineSpec, SearchBudget, Window
from tailrace.stages import build, validate
from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.dbt_project import DbtProjectWarehouse
from tests import shop
from tests.postgres import Server, postgres  # noqa: F401 - a fixture
from tests.shop import FEATURES, FIRST, LAST, OUTCOMES, ROWS_A_DAY
from tests.stages.conftest import Installation, Loop, memory, write_suites

NEXT = LAST + dt.timedelta(days=1)


@dataclass
class Shop:
    """Somebody else's project, its database, and the spec of a pipeline that reads its marts."""

    folder: Path
    profiles: Path
    run: Callable[[str], Any]
    spec: PipelineSpec
    warehouses: int = field(default=0)

    def warehouse(
        self, spec: PipelineSpec | None = None, *, target: str = "prod", **options: Any
    ) -> DbtProjectWarehouse:
        """A warehouse with a work folder of its own for each set of options."""
        spec, work = spec or self.spec, self.folder.parent / "work"
        return DbtProjectWarehouse(
            DbtAdapter(self.folder, work=work, profiles=self.profiles, target=target),
            marts=lambda: spec.marts,
            landing=Landing(str(self.folder.parent / "landing"), {}),
            work=work,
            **options,
        )

    def fill(self, last: dt.date = LAST) -> None:
        for statement in shop.statements(last):
            self.run(statement)


def foreign(spec: PipelineSpec) -> PipelineSpec:
    return replace(
        spec,
        features=replace(spec.features, table=FEATURES, day="signup_date", known_at=None),
        outcome=replace(spec.outcome, table=OUTCOMES, day="left_on", known_at=None, label="is_gone"),
        candidates=(Candidate("logistic", "sklearn.linear_model.LogisticRegression"),),
        window=Window(days=7, holdout_days=2),
        search=SearchBudget(trials=1),
    )


@pytest.fixture
def on_duckdb(tmp_path: Path, spec: PipelineSpec) -> Shop:
    file = tmp_path / "shop.duckdb"
    profiles = shop.write(tmp_path / "shop", {"type": "duckdb", "path": str(file)})

    def run(statement: str) -> list[Any]:
        with duckdb.connect(file) as connection:
            return connection.execute(statement).fetchall()

    made = Shop(tmp_path / "shop", profiles, run, foreign(spec))
    made.fill()
    return made


@pytest.fixture
def on_postgres(tmp_path: Path, spec: PipelineSpec, postgres: Server) -> Iterator[Shop]:  # noqa: F811
    database = postgres.database("shop_of_others")
    output = {"type": "postgres", "host": "127.0.0.1", "port": database.port, "user": database.user, "schema": "public"}
    output |= {"password": database.password, "dbname": database.name}
    profiles = shop.write(tmp_path / "shop", output)
    made = Shop(tmp_path / "shop", profiles, lambda sql: postgres.execute(sql, database.name), foreign(spec))
    for statement in (f"create schema raw authorization {database.user}", "create schema ml", "create schema audit"):
        made.run(statement)
    made.run(f"set role {database.user}")
    for statement in shop.statements():
        made.run(statement)
    made.run(f"grant all on all tables in schema raw to {database.user}")
    made.run(f"alter schema ml owner to {database.user}")
    yield made
    postgres.execute(f"drop database {database.name} with (force)")
    postgres.execute(f"drop role {database.user}")


@pytest.fixture(params=["duckdb", "postgres"])
def place(request: pytest.FixtureRequest) -> Shop:
    return request.getfixturevalue(f"on_{request.param}")


def loop(place: Shop, tmp_path: Path, warehouse: DbtProjectWarehouse) -> Loop:
    from tailrace.engines.local import LocalEngine
    from tailrace.validation.memory import MemoryValidator

    lake, tracker = memory(tmp_path)
    suites = write_suites(tmp_path / "expectations", place.spec)
    outcomes = suites / "churn" / "outcomes.json"
    outcomes.write_text(outcomes.read_text().replace('"left"', '"is_gone"'))
    services = Installation(lake, tracker, MemoryValidator(suites), warehouse, LocalEngine(), {})
    return Loop(services, place.spec)


def test_a_night_from_somebody_elses_project_to_a_published_day(place: Shop, tmp_path: Path) -> None:
    before = {file: file.read_bytes() for file in place.folder.rglob("*") if file.is_file()}
    night = loop(place, tmp_path, place.warehouse())

    built = build.run(night.services, FIRST, LAST)
    assert {node.name: node.rows for node in built.nodes if node.kind == "model"} == {
        "stg_visits": None,
        "customers": ROWS_A_DAY * 9,
        "leavers": ROWS_A_DAY * 8,
    }
    assert {node.kind for node in built.nodes} == {"model", "test"}
    assert place.run("select count(*) from ml.customer_features") == [(ROWS_A_DAY * 9,)]

    assert validate.run(night.work(), FIRST, LAST).rows["features"] == ROWS_A_DAY * 9
    night.take(FIRST, LAST)
    night.challenge(LAST)
    assert night.predict(LAST).rows == ROWS_A_DAY
    # nothing was written into their folder
    assert {file: file.read_bytes() for file in place.folder.rglob("*") if file.is_file()} == before


def test_marts_that_are_built_elsewhere_are_waited_for(on_duckdb: Shop) -> None:
    on_duckdb.warehouse().build(FIRST, LAST)
    heard: list[ModelResult] = []
    waiting = on_duckdb.warehouse(wait=dt.timedelta(seconds=0.2), poll_seconds=0.05)
    assert [node.status for node in waiting.build(FIRST, LAST, on_node=heard.append)] == ["success", "success"]

    with pytest.raises(UpstreamMissing) as missing:
        waiting.build(NEXT, NEXT + dt.timedelta(days=1))
    said = str(missing.value)
    assert said.startswith(
        f"Waited 0.00333333 minutes for the marts of {NEXT + dt.timedelta(days=1)} in duckdb (target 'prod'"
    )
    assert f"  - ml.customer_features: its newest day is {LAST}; signup_date 2024-03-11 is needed\n" in said
    assert f"  - ml.leavers: its newest day is {NEXT}; left_on 2024-03-11 is needed\n" in said
