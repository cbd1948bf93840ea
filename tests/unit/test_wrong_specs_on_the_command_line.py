"""A wrong spec breaks only itself: the commands go on for the other pipelines, and say what is wrong with it."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from pipelines import cli, registry
from pipelines.errors import SpecError
from pipelines.pages import catalog
from pipelines.spec import zone

HEAD = "from dataclasses import replace\nfrom pipelines.catalog.flight_delay import SPEC as FLIGHTS\n"
WRONG = "SPEC = replace(FLIGHTS, name='wrong', search=replace(FLIGHTS.search, trials='16'))"


@pytest.fixture(autouse=True)
def two_pipelines(tmp_path, monkeypatch):
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "good.py").write_text(HEAD + "SPEC = replace(FLIGHTS, name='good')")
    (tmp_path / "catalog" / "wrong.py").write_text(HEAD + WRONG)
    monkeypatch.setattr(registry, "CATALOG", tmp_path / "catalog")
    monkeypatch.setenv("TAILRACE_HOME", str(tmp_path / "home"))


def test_the_list_shows_the_others_and_what_is_wrong():
    listed = CliRunner().invoke(cli.app, ["list", "--json"], catch_exceptions=False)
    assert listed.exit_code == 0
    assert '"pipeline": "good"' in listed.stdout
    assert "search.trials is '16'" in listed.output


def test_the_history_of_another_pipeline_is_shown():
    shown = CliRunner().invoke(cli.app, ["history", "good"], catch_exceptions=False)
    assert shown.exit_code == 0


def test_the_pages_show_the_others_and_what_is_wrong():
    specs, problems = catalog.read()
    assert list(specs) == ["good"]
    assert "search.trials is '16'" in problems["wrong"]


def test_a_backfill_of_the_warehouse_takes_the_zone_of_the_others(tmp_path):
    dag, its_zone = cli._backfilled("warehouse", train=False)
    assert (dag, its_zone) == ("warehouse", zone(registry.get("good")))
    (tmp_path / "catalog" / "good.py").unlink()
    with pytest.raises(SpecError, match="trials is '16'"):
        cli._backfilled("warehouse", train=False)
