"""The marts of this repository's three pipelines do not look ahead, on data of their own."""

from __future__ import annotations

import datetime as dt
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
    make, day, before = PIPELINES[pipeline]
    source = make(tmp_path / "cache")
    landing = Landing(str(tmp_path / "landing"), source.tables)
    for table in source.tables:
        for landed in span(day - dt.timedelta(days=before), day + dt.timedelta(days=3)):
            landing.write(table, landed, source.extract(table, landed))
    # What dbt knows of the parsed project is kept for the next pipeline.
    work = tmp_path_factory.getbasetemp() / "shipped-marts"
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb", project=PROJECT, landing=landing, work=work)
    proof = prove.run(SimpleNamespace(warehouse=warehouse, lake=MemoryLake()), registry.get(pipeline), day)
    assert proof.findings == ()
    assert proof.rows > 100 or pipeline != "flight_delay"
    assert (proof.later, proof.rows > 0) == (3, True)
