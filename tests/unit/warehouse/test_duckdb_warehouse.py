"""How dbt's results and failures come out of DuckDBWarehouse, on a project of a few lines."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest

from pipelines.errors import BuildFailed, UpstreamMissing
from pipelines.warehouse.duckdb import DuckDBWarehouse

DAY = dt.date(2013, 1, 1)
PROFILE = """
tiny:
  target: duckdb
  outputs:
    duckdb: {type: duckdb, path: "{{ env_var('TAILRACE_WAREHOUSE') }}"}
"""
SOUND = """
{{ config(materialized='incremental') }}
select date '{{ env_var("BUILD_FIRST_DAY") }}' as ds, '{{ env_var("TAILRACE_LANDING") }}' as landing
"""


class Sound:
    """A landing zone with nothing to complain about."""

    location = "/landing/zone"

    def check(self, first: dt.date, last: dt.date) -> None:
        pass


class Absent(Sound):
    def check(self, first: dt.date, last: dt.date) -> None:
        raise UpstreamMissing("nothing was landed")


def warehouse(folder: Path, landing: Sound | None = None, **models: str) -> DuckDBWarehouse:
    """A project with the given models, each with the file of its tests if that is given too."""
    project = folder / "project"
    (project / "models").mkdir(parents=True)
    (project / "tests").mkdir()
    (project / "dbt_project.yml").write_text("{name: tiny, profile: tiny, flags: {send_anonymous_usage_stats: false}}")
    (project / "profiles.yml").write_text(PROFILE)
    for name, sql in models.items():
        kind = "tests" if name.startswith("assert_") else "models"
        (project / kind / f"{name}.sql").write_text(sql)
    return DuckDBWarehouse(folder / "data" / "tiny.duckdb", project, landing or Sound(), folder / "work")


def test_a_build_gives_a_result_per_node(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    environment, here = dict(os.environ), Path.cwd()
    tiny = warehouse(tmp_path, flights=SOUND, assert_rows="select * from {{ ref('flights') }} where ds is null")

    results = {result.name: result for result in tiny.build(DAY, DAY)}

    assert results["flights"].kind == "model"
    assert results["flights"].status == "success"
    assert results["flights"].rows == 1
    assert results["flights"].seconds > 0
    assert results["assert_rows"].kind == "test"
    assert results["assert_rows"].rows == 0
    assert tiny.read("flights", DAY, []).read_all().to_pylist() == [{"ds": DAY, "landing": "/landing/zone"}]
    assert (dict(os.environ), Path.cwd()) == (environment, here)
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "work" / "logs" / "dbt.log").exists()


def test_every_failed_node_is_named(tmp_path: Path) -> None:
    tiny = warehouse(
        tmp_path,
        flights=SOUND,
        broken="select no_such_column from (select 1 as one)",
        behind="select * from {{ ref('broken') }}",
        assert_none="select * from {{ ref('flights') }}",
    )

    with pytest.raises(BuildFailed) as failure:
        tiny.build(DAY, DAY)

    message = str(failure.value)
    assert "dbt failed on 2 of 4 nodes for 2013-01-01:" in message
    assert "model broken: " in message
    assert "no_such_column" in message
    assert "test assert_none: 1 rows fail; to see them, run the query in " in message
    assert "behind" not in message


def test_a_project_that_dbt_cannot_read_fails_the_build(tmp_path: Path) -> None:
    tiny = warehouse(tmp_path, flights="select * from {{ ref('nowhere') }}")

    with pytest.raises(BuildFailed, match=r"dbt did not start building 2013-01-01: (.|\n)*nowhere"):
        tiny.build(DAY, DAY)


def test_dbt_is_not_started_on_a_landing_that_is_not_sound(tmp_path: Path) -> None:
    with pytest.raises(UpstreamMissing):
        warehouse(tmp_path, Absent(), flights=SOUND).build(DAY, DAY)
    assert not (tmp_path / "data").exists()
