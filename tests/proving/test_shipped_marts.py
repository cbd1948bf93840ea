"""The marts of this repository's three pipelines do not look ahead, on data of their own."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.sources.nycflights13 import NycFlights
from pipelines.sources.pizzaplace import Pizzaplace
from pipelines.sources.rated_texts import RatedTexts
from tailrace.contracts import Source
from tailrace.days import span
from tailrace.lake.memory import MemoryLake
from tailrace.proving import prove
from tailrace.sources.landing import Landing
from tailrace.spec import registry
from tailrace.warehouse.duckdb import DuckDBWarehouse
from tailrace.warehouse.postgres import PostgresWarehouse
from tests.postgres import Server, postgres  # noqa: F401 - a fixture

pytestmark = pytest.mark.services
"""Six builds of the whole dbt project take longer than the rest of this folder."""

PROJECT = Path(__file__).resolve().parents[2] / "dbt"
PIPELINES: dict[str, tuple[Callable[[Path], Source], dt.date, int]] = {
    "flight_delay": (NycFlights, dt.date(2013, 1, 4), 3),
    "journal_mood": (RatedTexts, dt.date(2014, 3, 4), 3),
    "pizza_demand": (Pizzaplace, dt.date(2015, 3, 2), 9),
}
"""Each with its source, the day that is proven, and how many days before it are landed; three days after it are too."""


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_marts_do_not_look_ahead(pipeline, tmp_path, tmp_path_factory):
    _, day, _ = PIPELINES[pipeline]
    landing = landed(pipeline, tmp_path)
    # What dbt knows of the parsed project is kept for the next pipeline.
    work = tmp_path_factory.getbasetemp() / "shipped-marts"
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb", project=PROJECT, landing=landing, work=work)
    proof = prove.run(SimpleNamespace(warehouse=warehouse, lake=MemoryLake()), registry.get(pipeline), day)
    assert proof.findings == ()
    assert proof.rows > 100 or pipeline != "flight_delay"
    assert (proof.later, proof.rows > 0) == (3, True)


def landed(pipeline: str, folder: Path) -> Landing:
    make, day, before = PIPELINES[pipeline]
    source = make(folder / "cache")
    landing = Landing(str(folder / "landing"), source.tables)
    for table in source.tables:
        for each in span(day - dt.timedelta(days=before), day + dt.timedelta(days=3)):
            landing.write(table, each, source.extract(table, each))
    return landing


def test_on_postgres_too_and_a_planted_leak_is_named(postgres: Server, tmp_path: Path) -> None:  # noqa: F811
    """The nights have copied the landed days to the database; the second build reads those up to the proven day."""
    _, day, before = PIPELINES["pizza_demand"]
    project, database = tmp_path / "dbt", postgres.database("pizzas")
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    warehouse = PostgresWarehouse(
        database.url,
        password=database.password,
        project=project,
        landing=landed("pizza_demand", tmp_path),
        work=tmp_path / "work",
    )
    warehouse.prepare(day - dt.timedelta(days=before), day + dt.timedelta(days=3))
    services, spec = SimpleNamespace(warehouse=warehouse, lake=MemoryLake()), registry.get("pizza_demand")
    proof = prove.run(services, spec, day)
    assert proof.findings == ()
    assert proof.rows > 0 and proof.later > 0

    mart = project / "models" / "marts" / "pizza_demand_features.sql"
    sold = "(select count(*) from {{ ref('stg_pizza_sales') }} as s where s.item = menu.item)::float8 as price"
    mart.write_text(mart.read_text().replace("menu.price::float8 as price", sold))
    (found,) = prove.run(services, spec, day).findings
    assert (found.column, found.leak) == ("price", True)
    left = postgres.execute("select nspname from pg_namespace where nspname like 'tailrace_prove%'", database.name)
    assert left == []
