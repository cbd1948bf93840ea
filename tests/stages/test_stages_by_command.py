"""`tailrace run` passes a stage what its signature takes, and no more."""

from __future__ import annotations

import datetime as dt
import inspect
import json
from pathlib import Path

import pytest

from tailrace import stages
from tailrace.commands import options
from tailrace.commands.main import call
from tailrace.commands.stage_call import SUPPLIED
from tests.stages.conftest import Loop, installation, memory
from tests.support import new_project

TRAINED = dt.date(2013, 1, 9)
REQUEST = {"reason": "it rained", "triggered_by": "ada"}
WITHOUT_REQUEST = {"ingest": "lands extracts", "build": "dbt's own record"}
"""The stages that record no request, and why: they work for all pipelines, and write nothing into the lake."""
NIGHT = ("snapshot", "train", "evaluate", "promote", "score", "audit", "publish", "monitor")


@pytest.fixture
def services(tmp_path, spec, monkeypatch):
    """An installation in memory, and a project with the pipeline of the suites."""
    project = new_project(tmp_path, monkeypatch)
    (project.pipelines / f"{spec.name}.py").write_text(
        f"from tailrace import *\nfrom tailrace.spec import *\nSPEC = {spec!r}\n"
    )
    monkeypatch.setenv("TAILRACE_HOME", str(tmp_path / "home"))
    services = installation(memory, tmp_path, spec)
    monkeypatch.setattr(options, "open_services", lambda engine, on_spark: services)
    return services


def run(stage: str, *arguments: str) -> object:
    """The exit code of `tailrace run`."""
    with pytest.raises(SystemExit) as ended:
        call(["run", stage, "churn", f"--date={TRAINED}", *arguments])
    return ended.value.code


def test_the_order_of_the_stages_names_every_stage():
    assert sorted(stages.STAGES) == sorted(
        file.stem for file in Path(stages.__file__).parent.glob("*.py") if not file.stem.startswith("_")
    )


@pytest.mark.parametrize("stage", stages.STAGES)
def test_a_stage_takes_only_what_the_command_can_supply(stage):
    """A parameter that nobody supplies would be a TypeError of every pod."""
    needed = [
        name
        for name, parameter in inspect.signature(stages.entry(stage)).parameters.items()
        if parameter.default is inspect.Parameter.empty
    ]
    assert set(needed) <= {*SUPPLIED, *stages.OPTIONS}
    assert ("work" in needed) == (stage not in WITHOUT_REQUEST), "work carries the request"


@pytest.mark.parametrize("stage", stages.STAGES)
def test_options_that_a_stage_does_not_take_are_refused_by_name(stage, capsys):
    taken = stages.options_of(stage)
    switches = ("force", "dry_run")
    refused = {name: flag for name, flag in stages.OPTIONS.items() if name not in taken}
    assert run(stage, *(flag if name in switches else f"{flag}=1" for name, flag in refused.items())) == 2
    said = capsys.readouterr().err
    takes = ", ".join(stages.OPTIONS[name] for name in taken) or "none of"
    assert f"The stage {stage} does not take {' or '.join(refused.values())}; it takes {takes}" in said


def test_every_stage_records_the_request_with_what_it_writes(services, spec):
    Loop(services, spec).take(last=TRAINED - dt.timedelta(days=1))
    for stage in NIGHT:
        more = ["--trials=1"] if stage == "train" else []
        assert run(stage, f"--request={json.dumps(REQUEST)}", *more) == 0
    for table in (spec.features_table, spec.outcomes_table, spec.predictions_table, spec.performance_table):
        recorded = services.lake.days(table)[TRAINED].metadata
        assert {name: recorded.get(f"request_{name}") for name in REQUEST} == REQUEST, table
    (training,) = services.tracker.runs(spec.name)
    assert {name: training.tags[f"tailrace.request.{name}"] for name in REQUEST} == REQUEST
