"""The commands around stale days, typed: what they print, and that nothing is changed where they say so."""

from __future__ import annotations

import datetime as dt
import json
from types import SimpleNamespace

import pytest
import typer

from tailrace.champions import policies
from tailrace.commands import options, stale
from tailrace.commands.airflow import watch
from tailrace.commands.main import call
from tailrace.errors import TrackerUnavailable
from tailrace.operations.stale import Repair
from tailrace.reporting import model_report
from tailrace.settings import find_project
from tests.stages.conftest import Loop, installation, memory
from tests.support import new_project

DAY = dt.date(2013, 1, 9)


@pytest.fixture
def services(tmp_path, spec, monkeypatch):
    project = new_project(tmp_path, monkeypatch)
    (project.pipelines / f"{spec.name}.py").write_text(
        f"from tailrace import *\nfrom tailrace.spec import *\nSPEC = {spec!r}\n"
    )
    monkeypatch.setenv("TAILRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(model_report, "write", lambda folder, judged: None)
    services = installation(memory, tmp_path, spec)
    monkeypatch.setattr(options, "open_services", lambda engine, on_spark: services)
    loop = Loop(services, spec)
    loop.take()
    loop.challenge(DAY)
    loop.predict(DAY)
    return services


def test_a_tracker_that_does_not_answer_makes_no_champion_stale(services, capsys, monkeypatch):
    def silent(pipeline: str):
        raise TrackerUnavailable("MLflow does not answer.")

    monkeypatch.setattr(services.tracker, "versions", silent)
    with pytest.raises(SystemExit) as ended:
        call(["stale", "--json"])
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert json.loads(said.out) == {"sentence": "What is stale of churn is not known.", "rows": []}
    assert "churn: MLflow does not answer." in said.err


def test_a_spec_that_cannot_be_used_leaves_what_is_stale_of_the_others(services, capsys, tmp_path):
    (find_project().pipelines / "broken.py").write_text("SPEC = 1 / 0\n")
    with pytest.raises(SystemExit) as ended:
        call(["stale", "--json"])
    said = capsys.readouterr()
    assert ended.value.code == 1
    sentence = "What is stale of broken is not known. Of the others: Nothing is stale."
    assert json.loads(said.out) == {"sentence": sentence, "rows": []}
    assert "broken: Pipeline 'broken' cannot be used" in said.err.replace("\n", " ")


def test_the_published_days_of_a_range_are_shown_beside_those_that_are_not(services, capsys):
    with pytest.raises(SystemExit) as ended:
        call(["predictions", "churn", "--date", "2013-01-08", "--to", "2013-01-10", "--json"])
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert [row["day"] for row in json.loads(said.out)] == ["2013-01-09"]
    for day in ("2013-01-08", "2013-01-10"):
        assert f"has no published predictions of {day}." in said.err.replace("\n", " ")


@pytest.mark.parametrize(("kind", "named"), [("warehouse", "warehouse"), ("predict", "churn")])
def test_a_repair_that_is_interrupted_says_which_command_cancels_the_backfill(
    services, capsys, monkeypatch, kind, named
):
    def interrupted(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(stale.backfill, "airflow", lambda zone: SimpleNamespace(url="http://airflow"))
    monkeypatch.setattr(watch, "run", interrupted)
    monkeypatch.setattr(stale, "zone", lambda spec: None)
    monkeypatch.setattr(stale.warehouse_days, "zone", lambda: None)
    spec = SimpleNamespace(name="churn")
    with pytest.raises(typer.Exit):
        stale._repair(services, spec, [Repair(kind=kind, first=DAY, last=DAY)], preview=False, reason="")
    assert f"Cancel it with: tailrace backfill {named} --cancel" in capsys.readouterr().err


def test_another_threshold_makes_a_day_stale_and_its_repair_is_shown(services, capsys):
    def run(*arguments: str):
        with pytest.raises(SystemExit) as ended:
            call(arguments)
        return ended.value.code, capsys.readouterr().out

    assert "Nothing is stale." in run("stale", "churn")[1]
    set_it = ("threshold", "churn", "0.3", "--from", str(DAY), "--reason", "more people")
    code, said = run(*set_it, "--dry-run", "--json")
    assert (code, json.loads(said)[0]["previous"], json.loads(said)[0]["published"]) == (0, 0.5, 1)
    assert [row.set_by for row in policies.history(services.lake, "churn")] == ["promotion"]
    assert run(*set_it)[0] == 0
    listed = json.loads(run("threshold", "churn", "--json")[1])
    assert [(row["set_by"], row["threshold"]) for row in listed] == [("threshold", 0.3), ("promotion", 0.5)]

    found = json.loads(run("stale", "churn", "--json")[1])
    assert found["sentence"] == "1 published days and 0 champions are stale."
    assert found["rows"][0]["what"] == str(DAY)
    assert found["rows"][0]["why"][0].startswith("threshold 0.3 instead of 0.5 (set by ")
    code, said = run("stale", "--repair", "--preview")
    assert code == 0
    assert "repair churn: preview" in said
    assert run("stale", "--repair", "--json")[0] == 2

    shown = json.loads(run("backfill", "churn", "--from", str(DAY), "--to", "2013-01-10", "--preview", "--json")[1])
    assert [row["outcome"] for row in shown["rows"]] == ["runs", "runs"]
    assert shown["sentence"].startswith("2 of 2 days would run; 1 of these are published and would be replaced.")
    assert run("backfill", "churn", "--from", str(DAY), "--to", str(DAY), "--preview", "--train")[0] == 2
    assert run("threshold", "churn", "1.5", "--reason", "x")[0] == 2
