"""A wrong spec breaks only itself: the commands go on for the other pipelines, and say what is wrong with it."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from tailrace.commands import backfill
from tailrace.commands.main import app
from tailrace.errors import BadInput, SettingsError, SpecError, UnknownName
from tailrace.pages import catalog
from tailrace.spec import MOST_DAYS, MOST_TRIALS, registry, zone
from tests.support import new_project

HEAD = "from dataclasses import replace\nfrom pipelines.flight_delay import SPEC as FLIGHTS\n"
WRONG = "SPEC = replace(FLIGHTS, name='wrong', search=replace(FLIGHTS.search, trials='16'))"


@pytest.fixture(autouse=True)
def two_pipelines(tmp_path, monkeypatch):
    project = new_project(tmp_path, monkeypatch)
    (project.pipelines / "good.py").write_text(HEAD + "SPEC = replace(FLIGHTS, name='good')")
    (project.pipelines / "wrong.py").write_text(HEAD + WRONG)
    monkeypatch.setenv("TAILRACE_HOME", str(tmp_path / "home"))


def test_the_list_shows_the_others_and_what_is_wrong():
    listed = CliRunner().invoke(app, ["list", "--json"], catch_exceptions=False)
    assert listed.exit_code == 0
    assert '"pipeline": "good"' in listed.stdout
    assert "search.trials is '16'" in listed.output


def test_the_list_shows_the_others_where_one_pipeline_fails(tmp_path):
    (tmp_path / "pipelines" / "wrong.py").write_text(HEAD + "SPEC = replace(FLIGHTS, name='wrong')")
    log = tmp_path / "home" / "lake" / "predictions" / "wrong" / "_delta_log"
    log.mkdir(parents=True)
    (log / f"{0:020}.json").write_text("{")
    listed = CliRunner().invoke(app, ["list", "--json"], catch_exceptions=False)
    assert listed.exit_code == 1
    assert '"pipeline": "good"' in listed.stdout
    assert "Not listed: wrong: " in listed.stderr


def test_check_says_what_is_wrong_with_settings_and_specs_at_once(tmp_path):
    (tmp_path / "tailrace.toml").write_text('sources = ["no_such:Orders"]')
    checked = CliRunner().invoke(app, ["check"])
    assert isinstance(checked.exception, SettingsError)
    first, second = checked.exception.problems
    assert first.startswith("sources names 'no_such:Orders', and no_such does not import")
    assert second.startswith("wrong: search.trials is '16'")


def test_the_history_of_another_pipeline_is_shown():
    shown = CliRunner().invoke(app, ["history", "good"], catch_exceptions=False)
    assert shown.exit_code == 0


def test_the_pages_show_the_others_and_what_is_wrong():
    specs, problems = catalog.read()
    assert list(specs) == ["good"]
    assert "search.trials is '16'" in problems["wrong"]


def test_a_backfill_of_the_warehouse_takes_the_zone_of_the_others(tmp_path):
    dag, its_zone = backfill._backfilled("warehouse", train=False)
    assert (dag, its_zone) == ("warehouse", zone(registry.get("good")))
    (tmp_path / "pipelines" / "abroad.py").write_text(
        HEAD + "SPEC = replace(FLIGHTS, name='abroad', schedule=replace(FLIGHTS.schedule, timezone='Asia/Tokyo'))"
    )
    with pytest.raises(BadInput, match=r"time zones \(America/New_York, Asia/Tokyo\).*zone = \"America/New_York"):
        backfill._backfilled("warehouse", train=False)
    (tmp_path / "tailrace.toml").write_text('zone = "Asia/Tokyo"')
    assert backfill._backfilled("warehouse", train=False)[1] == ZoneInfo("Asia/Tokyo")
    (tmp_path / "tailrace.toml").write_text("")
    for name in ("good", "abroad"):
        (tmp_path / "pipelines" / f"{name}.py").unlink()
    with pytest.raises(SpecError, match="trials is '16'"):
        backfill._backfilled("warehouse", train=False)


@pytest.mark.parametrize(
    ("command", "most"),
    [
        (("train", "nowhere", "--date", "2013-01-01", "--trials"), MOST_TRIALS),
        (("maintain", "nowhere", "--keep-days"), MOST_DAYS),
    ],
)
def test_a_command_takes_as_much_as_a_spec(command, most):
    taken = CliRunner().invoke(app, [*command, str(most)])
    assert isinstance(taken.exception, UnknownName), "the number is taken; the pipeline is not"
    refused = CliRunner().invoke(app, [*command, str(most + 1)])
    assert refused.exit_code == 2
    assert str(most) in refused.stderr
