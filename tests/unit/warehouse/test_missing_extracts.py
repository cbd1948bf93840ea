"""A build without the extracts of one source: what is made from the others is built, and recorded."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest

from tailrace.errors import UpstreamMissing
from tailrace.sources.landing import Landing
from tailrace.warehouse.duckdb import DuckDBWarehouse

DAY = dt.date(2013, 1, 2)
SCHEMA = pa.schema({"number": pa.int64()})
PROFILE = """
tiny:
  target: duckdb
  outputs:
    duckdb: {type: duckdb, path: "{{ env_var('TAILRACE_WAREHOUSE') }}"}
"""
SOURCES = """
sources:
  - name: landing
    config:
      meta:
        external_location: "read_parquet('{{ env_var('TAILRACE_LANDING') }}/{name}/*/*.parquet')"
    tables: [{name: orders}, {name: weather}]
"""
MART = "{{{{ config(materialized='incremental') }}}} select ds, number from {{{{ {of} }}}}"


@pytest.fixture
def site(tmp_path: Path) -> tuple[Landing, DuckDBWarehouse]:
    """Two sources; of the weather, the day is not landed."""
    models = tmp_path / "project" / "models"
    models.mkdir(parents=True)
    (models.parent / "dbt_project.yml").write_text(
        "{name: tiny, profile: tiny, flags: {send_anonymous_usage_stats: false}}"
    )
    (models.parent / "profiles.yml").write_text(PROFILE)
    (models / "sources.yml").write_text(SOURCES)
    (models / "sales.sql").write_text(MART.format(of="source('landing', 'orders')"))
    (models / "rain.sql").write_text(MART.format(of="source('landing', 'weather')"))
    (models / "umbrellas.sql").write_text(MART.format(of="ref('rain')"))
    landing = Landing(str(tmp_path / "landing"), {"orders": SCHEMA, "weather": SCHEMA})
    landing.declare()
    landing.write("orders", DAY, pa.table({"number": [1]}, schema=SCHEMA))
    warehouse = DuckDBWarehouse(
        tmp_path / "tiny.duckdb", project=models.parent, landing=landing, work=tmp_path / "work"
    )
    return landing, warehouse


@pytest.mark.services
def test_what_is_made_from_other_sources_is_built(site: tuple[Landing, DuckDBWarehouse]) -> None:
    landing, tiny = site
    with pytest.raises(UpstreamMissing, match=rf"weather: {DAY}"):
        tiny.build(DAY, DAY)
    assert tiny.lacking(DAY, DAY) == {"weather": (DAY,)}
    found = tiny.readers(["weather", "orders"])
    assert found is not None
    assert {table: sorted(name for name, _ in models) for table, models in found.items()} == {
        "weather": ["rain", "umbrellas"],
        "orders": ["sales"],
    }
    assert found["orders"] == [("sales", "tiny.main.sales")]
    assert tiny.readers(["weather", "planes"]) is None, "nobody can tell who reads what is no source of the project"

    assert [node.name for node in tiny.build(DAY, DAY, lacking=["weather"])] == ["sales"]
    assert list(tiny.built(DAY) or {}) == ["sales"]

    landing.write("weather", DAY, pa.table({"number": [2]}, schema=SCHEMA))
    assert tiny.lacking(DAY, DAY) == {}
    assert {node.name for node in tiny.build(DAY, DAY)} == {"sales", "rain", "umbrellas"}
