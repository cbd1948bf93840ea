"""Somebody else's dbt project, where nothing is landed: its sources are cut by their own time column."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from tailrace.errors import BadInput
from tailrace.lake.memory import MemoryLake
from tailrace.proving import prove
from tailrace.sources.landing import Landing
from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.dbt_project import DbtProjectWarehouse
from tests import shop
from tests.postgres import Server, postgres  # noqa: F401 - a fixture
from tests.shop import FEATURES, FIRST, LAST, OUTCOMES, ROWS_A_DAY

pytestmark = pytest.mark.services
"""Each test has dbt build twice, on two databases."""

DAY = FIRST.replace(day=4)
LEAKY = """
{{ config(alias='customer_features') }}
select customer, signup_date, event_time, plan, age,
    avg(visits) over (partition by plan) as visits
from {{ ref('stg_visits') }}
"""


@dataclass
class Site:
    """A project and its database; `run` runs a statement there."""

    folder: Path
    profiles: Path
    run: Callable[[str], Any]

    def services(self, spec) -> Any:
        adapter = DbtAdapter(self.folder, work=self.folder.parent / "work", profiles=self.profiles, target="prod")
        warehouse = DbtProjectWarehouse(
            adapter,
            marts=lambda: spec.marts,
            landing=Landing(str(self.folder.parent / "landing"), {}),
            work=self.folder.parent / "work",
        )
        return SimpleNamespace(warehouse=warehouse, lake=MemoryLake())

    def write(self, name: str, text: str) -> None:
        (self.folder / "models" / "marts" / name).write_text(text)


def on_duckdb(folder: Path, request: pytest.FixtureRequest) -> Site:
    file = folder / "shop.duckdb"
    # as `tailrace init` writes it: as seen from the project, where dbt runs
    profiles = shop.write(folder / "shop", {"type": "duckdb", "path": f"../{file.name}"})

    def run(statement: str) -> list[Any]:
        with duckdb.connect(file) as connection:
            return connection.execute(statement).fetchall()

    return Site(folder / "shop", profiles, run)


def on_postgres(folder: Path, request: pytest.FixtureRequest) -> Site:
    server: Server = request.getfixturevalue("postgres")
    made = server.database("proven")
    output = {"type": "postgres", "host": "127.0.0.1", "port": made.port, "user": made.user, "schema": "public"}
    output |= {"password": made.password, "dbname": made.name}
    own = f"set role {made.user}; "
    return Site(
        folder / "shop", shop.write(folder / "shop", output), lambda text: server.execute(own + text, made.name)
    )


on_one_database = pytest.mark.parametrize("site", [on_duckdb], indirect=True)
"""For what does not differ between databases."""


@pytest.fixture(scope="module", params=[on_duckdb, on_postgres])
def site(request, tmp_path_factory) -> Site:
    made = request.param(tmp_path_factory.mktemp("shop"), request)
    for statement in shop.statements():
        made.run(statement)
    schema = made.folder / "models" / "marts" / "schema.yml"
    schema.write_text(schema.read_text().replace("[{name: visits}]", "[{name: visits, loaded_at_field: event_time}]"))
    return made


@pytest.fixture
def spec(spec):
    return replace(
        spec,
        features=replace(spec.features, table=FEATURES, day="signup_date", known_at=None),
        outcome=replace(spec.outcome, table=OUTCOMES, day="left_on", known_at=None, label="is_gone"),
    )


def schemas_of(site: Site) -> set[str]:
    return {row[0] for row in site.run("select schema_name from information_schema.schemata")}


def test_a_leak_is_named_and_nothing_is_left_behind(site, spec):
    site.write("customers.sql", LEAKY)
    before = schemas_of(site)
    proof = prove.run(site.services(spec), spec, DAY)
    (found,) = proof.findings
    assert (found.table, found.column, found.of, found.leak) == (FEATURES, "visits", ROWS_A_DAY, True)
    assert "AVG(" in found.because[0]
    assert proof.later == ROWS_A_DAY * (LAST - DAY).days
    assert schemas_of(site) == before


@on_one_database
def test_the_same_without_the_leak_is_equal(site, spec):
    site.write("customers.sql", LEAKY.replace("avg(visits) over (partition by plan) as visits", "visits"))
    assert prove.run(site.services(spec), spec, DAY).findings == ()


@on_one_database
def test_a_source_without_a_time_is_refused_with_the_way_out(site, spec):
    schema = site.folder / "models" / "marts" / "schema.yml"
    before = schema.read_text()
    schema.write_text(before.replace(", loaded_at_field: event_time", ""))
    with pytest.raises(BadInput, match=r"source crm\.visits does not say when its rows became known") as refused:
        prove.run(site.services(spec), spec, DAY)
    assert "`loaded_at_field: COLUMN`" in str(refused.value)
    schema.write_text(before)
