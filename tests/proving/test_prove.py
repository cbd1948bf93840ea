"""Thirteen planted leaks are named, each with the expression that makes it; what does not look ahead is not."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tailrace.commands import options
from tailrace.commands.main import call
from tailrace.errors import BadInput, BuildFailed
from tailrace.lake.memory import MemoryLake
from tailrace.operations import exposures
from tailrace.proving import prove
from tailrace.spec import registry
from tailrace.warehouse.manifest import DbtManifest
from tests.proving import leaky_project
from tests.proving.leaky_project import DAY, HONEST, LAST, LEAKY

pytestmark = pytest.mark.services
"""dbt builds a project of fifteen models twice."""

BECAUSE = {
    "spent_ever": "int_spent_ever: SUM(",
    "next_plan": "later.ds = ",
    "final_status": "COALESCE(",
    "against_all": "AVG(",
    "latest_plan": "ROW_NUMBER() OVER",
    "note": "CASE WHEN EXISTS",
    "next_amount": "LEAD(",
    "next_order": "l.ds > o.ds",
    "amount_rank": "RANK() OVER",
    "orders_around": "+ 3",
    "days_since": "CURRENT_DATE",
    "corrected": "ARG_MAX(",
    "of_the_build": "l.ds >= o.ds",
}
"""What is said of each leak."""


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    warehouse = leaky_project.write(tmp_path_factory.mktemp("leaky"))
    return SimpleNamespace(warehouse=warehouse, lake=MemoryLake())


@pytest.fixture(scope="module")
def proof(services):
    return prove.run(services, leaky_project.spec(), DAY)


@pytest.mark.parametrize("column", LEAKY)
def test_every_planted_leak_is_named_with_its_expression(proof, column):
    (found,) = [each for each in proof.findings if each.column == column]
    assert found.leak
    assert any(BECAUSE[column] in step for step in found.because), found.because
    if found.kind == prove.AHEAD:
        assert found.rows
        assert "now" in found.examples[0]


def test_nothing_else_is_named(proof):
    assert {each.column for each in proof.findings} == set(LEAKY)
    assert not {each.column for each in proof.findings} & set(HONEST)
    assert proof.later == (LAST - DAY).days
    assert proof.rows == 2 * leaky_project.CUSTOMERS


def test_the_warehouse_and_the_landing_zone_stay_as_they_are(services, proof):
    warehouse = services.warehouse
    assert not (warehouse.project.parent / "warehouse.duckdb").exists()
    assert warehouse.landing.last() == LAST


def test_days_without_later_days_are_refused(services):
    with pytest.raises(BadInput, match="nothing is there that came after 2024-01-14"):
        prove.run(services, leaky_project.spec(), LAST)
    assert prove.last_provable(services, leaky_project.spec(), 2) == [DAY - dt.timedelta(days=1), DAY]


def test_the_pipelines_are_exposures_of_the_dbt_project(services, proof):
    warehouse, specs = services.warehouse, [leaky_project.spec()]
    manifest = DbtManifest.read(warehouse.parse(), warehouse.project)
    file = exposures.file_of(manifest.project)
    assert exposures.problems(manifest, specs) == [], "a project that never had any is left alone"
    file.write_text(exposures.text_of(manifest, specs))
    assert exposures.problems(manifest, specs) == []
    (shown,) = json.loads(warehouse.parse().read_text())["exposures"].values()
    assert (shown["name"], shown["type"], shown["owner"]["name"]) == ("shop", "ml", "us")
    assert shown["depends_on"]["nodes"] == ["model.leaky.shop_features", "model.leaky.shop_outcomes"]
    other = [replace(specs[0], owner="them")]
    assert "does not say what the specs say" in exposures.problems(manifest, other)[0]
    # dbt counts exposures among what it builds.
    assert {node.kind for node in warehouse.build_without_tests(DAY, DAY, ["shop_outcomes"])} == {"model"}

    # A mart that has another name now: the file that names the old one is set aside, and is still there afterwards.
    file.write_text(file.read_text().replace("shop_features", "shop_rows"))
    with pytest.raises(
        BuildFailed, match=r"depends on a node named 'shop_rows'.*write the file again: tailrace exposures"
    ):
        warehouse.parse()
    assert exposures.text_of(exposures.manifest_of(warehouse), specs).count("shop_features") == 1
    assert "shop_rows" in file.read_text()
    file.unlink()


def test_the_command_names_the_leaks_and_its_exit_code_says_so(services, proof, monkeypatch, capsys):
    def run(*arguments: str):
        with pytest.raises(SystemExit) as ended:
            call(["prove", *arguments, "--json"])
        return ended.value.code, capsys.readouterr()

    monkeypatch.setattr(options, "open_services", lambda engine, on_spark: services)
    monkeypatch.setattr(registry, "get", lambda name: leaky_project.spec())
    monkeypatch.setattr(prove, "run", lambda services, spec, day, step: proof)
    code, said = run("shop")
    shown = json.loads(said.out)
    assert code == 1
    assert shown["sentence"].startswith("shop looks ahead: against_all, amount_rank, corrected,")
    assert {row["column"] for row in shown["rows"]} == set(LEAKY)
    monkeypatch.setattr(prove, "run", lambda services, spec, day, step: replace(proof, findings=()))
    code, said = run("shop")
    assert (code, json.loads(said.out)["rows"]) == (0, [])
    assert run()[0] == run("shop", "--changed")[0] == 2
