"""The form that makes a baseline champion: tried first, then decided, and announced once."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from airflow.sdk.execution_time.context import OutletEventAccessors, set_current_context

from tailrace.champions import promotions
from tailrace.errors import BadInput
from tailrace.orchestration import dags, task_run
from tailrace.spec import Baseline
from tests.stages.conftest import FIRST, Loop, installation, memory
from tests.support import new_project


class Events(list):
    """An asset's events, as an inlet gives them."""

    def after(self, moment):
        return self


@pytest.fixture
def site(tmp_path, spec, monkeypatch):
    """Services with one day of features, and what runs the task with a filled-in form."""
    own = replace(spec, baselines=(Baseline(name="guess", constant=0.25),))
    project = new_project(tmp_path, monkeypatch)
    text = f"from tailrace import *\nfrom tailrace.spec import *\nSPEC = {own!r}\n"
    (project.pipelines / "churn.py").write_text(text)
    loop = Loop(installation(memory, tmp_path, own), own)
    loop.take(FIRST, FIRST)
    monkeypatch.setattr(task_run, "services", lambda *given: loop.services)
    task = dags._baseline_dag(own).get_task("promote_baseline")
    events = Events()

    def run(run_id="manual 1", **form):
        params = {"baseline": "guess", "reason": "to begin", "from_day": None, "dry_run": False} | form
        context = {
            "dag": SimpleNamespace(params=params),
            "params": params,
            "dag_run": SimpleNamespace(
                dag_id="baseline__churn",
                run_id=run_id,
                conf={},
                partition_key=None,
                triggering_user_name="ann",
                run_after=dt.datetime.now(dt.UTC),
            ),
            "ti": SimpleNamespace(xcom_push=lambda *given: None),
            "outlet_events": OutletEventAccessors(),
            "inlet_events": dict.fromkeys(task.inlets, events),
        }
        with set_current_context(context):
            task.python_callable("churn")
        (asset,) = context["outlet_events"]
        extra = context["outlet_events"][asset].extra
        events.append(SimpleNamespace(source_dag_id="baseline__churn", source_run_id=run_id, extra=extra))
        return extra

    return SimpleNamespace(run=run, lake=loop.services.lake, tracker=loop.services.tracker, events=events)


def test_a_dry_run_says_who_would_be_champion(site):
    with pytest.raises(AirflowSkipException) as said:
        site.run(dry_run=True)
    assert str(said.value) == (
        f"Dry run: baseline 'guess' would be registered as a new version, and would be champion from {FIRST} on, as "
        "the first champion. Nothing changed."
    )
    assert not site.tracker.versions("churn")
    for dry_run in (True, False):
        with pytest.raises(BadInput, match="far ahead"):
            site.run(dry_run=dry_run, from_day="2099-01-01")
    assert not site.tracker.versions("churn")


def test_it_is_registered_decided_and_announced_once(site):
    assert site.run()["model_version"] == "1"
    (decided,) = promotions.history(site.lake, "churn")
    assert (decided.decided_by, decided.reason, decided.effective_from) == ("ann", "to begin", FIRST)
    with pytest.raises(AirflowSkipException, match=r"run baseline__churn/manual 1 decided before: Version 1 became"):
        site.run()
    with pytest.raises(AirflowSkipException, match=r"'guess' is the champion already: version 1\. Nothing"):
        site.run("manual 2")
    with pytest.raises(AirflowSkipException, match=f"is version 1, and would be champion from {FIRST} on, in place"):
        site.run(dry_run=True)
    with pytest.raises(BadInput, match="the reason is empty"):
        site.run(reason="  ")


def test_a_cleared_run_does_not_decide_over_a_later_decision(site):
    site.run()
    (first,) = promotions.history(site.lake, "churn")
    promotions.record(site.lake, replace(first, version="9", training_run="later", decided_by="bob"))
    with pytest.raises(AirflowSkipException, match=r"Since then: Version 9 became champion, .*decided by bob"):
        site.run()
    assert [row.version for row in promotions.history(site.lake, "churn")] == ["9", "1"]


def test_a_cleared_run_announces_its_decision_if_it_ended_before_that(site):
    assert site.run()["model_version"] == "1"
    site.events.clear()
    assert site.run()["model_version"] == "1"
    assert len(promotions.history(site.lake, "churn")) == 1
