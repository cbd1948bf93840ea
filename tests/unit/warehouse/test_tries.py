"""A failed build is gone on with where it failed, and only if it is still the same build."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tailrace.contracts import ModelResult
from tailrace.errors import BuildFailed
from tailrace.warehouse.duckdb import DuckDBWarehouse
from tailrace.warehouse.tries import Tries

DAY = dt.date(2013, 1, 1)
RUN = "warehouse/manual__1"
PROFILE = """
tiny:
  target: duckdb
  outputs:
    duckdb: {type: duckdb, path: "{{ env_var('TAILRACE_WAREHOUSE') }}"}
"""
SOUND = {
    "roots": "select date '2013-01-01' as ds, 1 as one",
    "doubled": "select ds, one + one as two from {{ ref('roots') }}",
    "leaves": "select * from {{ ref('doubled') }}",
    "apart": "select * from {{ ref('roots') }}",
}
TESTS = {
    "assert_two": "select * from {{ ref('doubled') }} where two != 2",
    "assert_apart": "select * from {{ ref('apart') }} where ds is null",
}


class Landing:
    """A landing zone with one file."""

    location: str = "/landing/zone"
    look_back_days = 28

    def check(self, first: dt.date, last: dt.date) -> None:
        pass

    def gaps_before(self, day: dt.date) -> tuple[dt.date, ...]:
        return ()

    def marks(self, first: dt.date, last: dt.date) -> dict[tuple[str, dt.date], str]:
        return {("flights", first): "landed once"}

    def digests(self, first: dt.date, last: dt.date) -> dict[tuple[str, dt.date], str]:
        return self.marks(first, last)

    def empty(self, first: dt.date, last: dt.date) -> dict[dt.date, tuple[str, ...]]:
        return {}


@dataclass
class Site:
    folder: Path
    heard: list[ModelResult] = field(default_factory=list)

    def write(self, **files: str) -> None:
        for name, sql in files.items():
            kind = "tests" if name.startswith("assert_") else "models"
            (self.folder / "project" / kind / f"{name}.sql").write_text(sql)

    def build(self) -> set[str]:
        """The names of the nodes that this try built; `heard` holds every node's result."""
        self.heard.clear()
        project, work = self.folder / "project", self.folder / "work"
        tiny = DuckDBWarehouse(self.folder / "tiny.duckdb", project=project, landing=Landing(), work=work)
        return {node.name for node in tiny.build(DAY, DAY, RUN, self.heard.append) if not node.kept}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A project with one broken model, whose build failed."""
    site = Site(tmp_path)
    for folder in ("models", "tests"):
        (tmp_path / "project" / folder).mkdir(parents=True)
    (tmp_path / "project" / "dbt_project.yml").write_text(
        "{name: tiny, profile: tiny, flags: {send_anonymous_usage_stats: false}}"
    )
    (tmp_path / "project" / "profiles.yml").write_text(PROFILE)
    site.write(**SOUND, **TESTS)
    site.write(doubled="select ds, no_such_column as two from {{ ref('roots') }}")
    with pytest.raises(BuildFailed, match="model doubled"):
        site.build()
    assert {node.name: node.status for node in site.heard} == {
        "roots": "success",
        "apart": "success",
        "assert_apart": "pass",
        "doubled": "error",
        "leaves": "skipped",
        "assert_two": "skipped",
    }
    return site


@pytest.mark.services
def test_the_next_try_builds_what_failed_and_what_depends_on_it_and_the_one_after_it_everything(site: Site) -> None:
    before = {node.name: node for node in site.heard}
    site.write(doubled=SOUND["doubled"])

    assert site.build() == {"doubled", "leaves", "assert_two"}

    after = {node.name: node for node in site.heard}
    assert {node.status for node in after.values()} == {"success", "pass"}
    assert {name for name, node in after.items() if node.kept} == {"roots", "apart", "assert_apart"}
    assert after["roots"].seconds == before["roots"].seconds
    assert "one + one" in after["doubled"].sql
    assert "OK created sql view model" in after["doubled"].log
    assert after["doubled"].unique_id == "model.tiny.doubled"
    assert list((site.folder / "work" / "tries").iterdir()) == []

    assert site.build() == {*SOUND, *TESTS}


@pytest.mark.services
def test_a_failed_test_has_its_model_built_again_and_a_try_may_fail_again(site: Site) -> None:
    site.write(doubled="select ds, one + one + one as two from {{ ref('roots') }}")
    with pytest.raises(BuildFailed, match="test assert_two: 1 rows fail"):
        site.build()

    site.write(doubled=SOUND["doubled"], leaves="select no_such_column from {{ ref('doubled') }}")
    with pytest.raises(BuildFailed, match="model leaves"):
        site.build()
    assert {node.name for node in site.heard if not node.kept} == {"doubled", "leaves", "assert_two"}
    assert {node.name for node in site.heard} == {*SOUND, *TESTS}

    site.write(leaves=SOUND["leaves"])
    assert site.build() == {"leaves"}


def test_what_was_changed_besides_is_built_too(site: Site) -> None:
    site.write(doubled=SOUND["doubled"], apart="select ds from {{ ref('roots') }}")

    assert site.build() == {"doubled", "leaves", "assert_two", "apart", "assert_apart"}


ASKED = {"database": "tiny.duckdb", "days": ["2013-01-01"], "landed": [["flights", "2013-01-01", "once"]]}


@pytest.fixture
def tries(tmp_path: Path) -> Tries:
    """A try of the run RUN that built ASKED and failed."""
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "manifest.json").write_text("{}")
    tries = Tries(tmp_path / "tries")
    for run_id in ("", RUN):
        tries.save(
            run_id, ASKED, [ModelResult(name="doubled", kind="model", status="error", seconds=0.1)], tmp_path / "target"
        )
    return tries


@pytest.mark.parametrize(
    ("run_id", "asked"),
    [
        ("", ASKED),
        ("warehouse/manual__2", ASKED),
        (RUN, ASKED | {"database": "other.duckdb"}),
        (RUN, ASKED | {"days": ["2013-01-02"]}),
        (RUN, ASKED | {"landed": [["flights", "2013-01-01", "twice"]]}),
    ],
)
def test_another_build_starts_anew(tries: Tries, run_id: str, asked: dict[str, Any]) -> None:
    assert tries.load(run_id, asked) is None
    assert tries.load(RUN, ASKED) is not None


def test_the_tries_of_old_runs_go(tries: Tries, tmp_path: Path) -> None:
    for number in range(30):
        tries.save(
            f"run {number}",
            ASKED,
            [ModelResult(name="doubled", kind="model", status="error", seconds=0.1)],
            tmp_path / "target",
        )

    assert len(list((tmp_path / "tries").iterdir())) == 20
    assert tries.load("run 29", ASKED) is not None
