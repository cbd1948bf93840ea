"""The DAGs in which people decide, and the one that watches: what they are made of."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tailrace.errors import TrackerUnavailable
from tailrace.orchestration import dags, decision_forms, task_run
from tailrace.spec import Baseline, registry


@pytest.fixture(scope="module")
def made():
    return {dag.dag_id: dag for dag in dags.pipeline_dags("flight_delay", "About flights.")}


@pytest.fixture(scope="module")
def by_person():
    spec = registry.get("flight_delay")
    return replace(spec, gate=replace(spec.gate, approval="human", approval_days=5))


def test_a_pipeline_has_five_dags(made):
    assert list(made) == [f"{name}__flight_delay" for name in ("train", "approve", "rollback", "predict", "monitor")]
    for dag in made.values():
        assert dag.doc_md
        assert "flight_delay" in dag.tags


def test_a_waiting_approval_holds_nobody_up(made, by_person):
    approve = dags._approve_dag(by_person)
    assert [task.task_id for task in approve.topological_sort()] == ["ask", "decide"]
    assert approve.max_active_runs >= 10
    assert approve.schedule is None
    ask = approve.get_task("ask")
    assert ask.response_timeout == dt.timedelta(days=5)
    assert (ask.options, ask.defaults) == (["Approve", "Reject"], ["Reject"])
    assert list(ask.params) == ["reason"], "the DAG's own form is not asked again"
    assert "within 5 days" in approve.doc_md
    assert approve.get_task("decide").max_active_tis_per_dag == 1


def test_a_training_that_waits_for_its_days_holds_no_other_up(made):
    train = made["train__flight_delay"]
    assert train.max_active_runs > 1
    assert [task.max_active_tis_per_dag for task in train.topological_sort()] == [1, 1, 1]


def test_only_what_makes_a_champion_announces_one(made, by_person):
    def outlets(task):
        return [asset.name for asset in task.outlets]

    assert outlets(made["train__flight_delay"].get_task("promote")) == ["models/flight_delay"]
    assert outlets(dags._train_dag(by_person, None).get_task("promote")) == []
    assert outlets(dags._approve_dag(by_person).get_task("decide")) == ["models/flight_delay"]
    assert outlets(made["rollback__flight_delay"].get_task("roll_back")) == ["models/flight_delay"]
    assert outlets(made["monitor__flight_delay"].get_task("monitor")) == ["performance/flight_delay"]


def test_the_monitor_follows_the_predictions(made):
    from airflow.sdk import PartitionedAssetTimetable

    monitor = made["monitor__flight_delay"]
    assert isinstance(monitor.timetable, PartitionedAssetTimetable)
    assert monitor.timetable.asset_condition.name == "predictions/flight_delay"
    assert monitor.max_active_runs == 1
    assert monitor.get_task("monitor").priority_weight == 0, "a night's own tasks go first"


@pytest.mark.parametrize(
    "form",
    [
        {"version": "1"},
        {"version": "1", "reason": ""},
        {"version": "0", "reason": "r"},
        {"version": "1", "reason": "r", "from_day": "soon"},
        {"version": "1", "reason": "r" * 501},
    ],
)
def test_a_rollbacks_form_refuses(form):
    from airflow.sdk.definitions.param import ParamsDict
    from airflow.sdk.exceptions import ParamValidationError

    asked = ParamsDict(decision_forms.rollback())
    ParamsDict(decision_forms.rollback() | {"version": "1", "reason": "r"}).validate()
    with pytest.raises((ParamValidationError, ValueError)):
        ParamsDict({name: asked.get_param(name) for name in asked} | form).validate()
        for name, value in form.items():
            asked[name] = value
        asked.validate()


def answered(**event):
    return {
        "chosen_options": ["Approve"],
        "params_input": {"reason": "  better\n by far\x00 "},
        "responded_at": dt.datetime(2013, 3, 1, tzinfo=dt.UTC),
        "responded_by_user": {"id": "7", "name": "ada"},
        "timedout": False,
    } | event


@pytest.fixture
def ask(by_person, monkeypatch):
    def away():
        raise TrackerUnavailable("MLflow does not answer.")

    # An answer must not need it: where it is away the task would ask again, and the answer were lost.
    monkeypatch.setattr(task_run, "services", away)
    operator = dags._approve_dag(by_person).get_task("ask")
    operator.training_run = "2"
    monkeypatch.setattr(type(operator), "execute", lambda self, context: "asked again")
    return operator


def test_an_answer_is_who_what_and_why(ask):
    assert ask.execute_complete({}, answered()) == {
        "training_run": "2",
        "decided_at": "2013-03-01T00:00:00+00:00",
        "approved": True,
        "decided_by": "ada",
        "reason": "better by far",
    }
    assert ask.execute_complete({}, answered(chosen_options=["Reject"]))["approved"] is False


def test_nobodys_answer_is_a_rejection(ask):
    given = ask.execute_complete(
        {}, answered(timedout=True, chosen_options=["Reject"], params_input={"reason": ""}, responded_by_user=None)
    )
    assert (given["approved"], given["decided_by"]) == (False, "timeout")
    assert given["reason"] == "Nobody answered within 5 days."


@pytest.mark.parametrize(
    "event",
    [{"params_input": {}}, {"params_input": None}, {"params_input": {"reason": " \n"}}, {"chosen_options": []}],
)
def test_half_an_answer_is_asked_again(ask, event):
    assert ask.execute_complete({}, answered(**event)) == "asked again"
    assert ask.note.startswith("**The last answer had no reason, so it did not count.**")


def test_asking_again_gives_no_more_time(by_person):
    operator = dags._approve_dag(by_person).get_task("ask")
    began = dt.datetime.now(dt.UTC) - dt.timedelta(days=4)
    left = operator._left({"dag_run": SimpleNamespace(start_date=began)})
    assert dt.timedelta(hours=23) < left < dt.timedelta(hours=25)
    long_ago = {"dag_run": SimpleNamespace(start_date=began - dt.timedelta(days=9))}
    assert operator._left(long_ago) == dt.timedelta(seconds=1)


def test_a_threshold_has_a_dag_where_the_question_has_one():
    from airflow.sdk.definitions.param import ParamsDict
    from airflow.sdk.exceptions import ParamValidationError

    spec = registry.get("flight_delay")
    dag = dags._threshold_dag(spec)
    assert (dag.dag_id, list(dag.task_dict), dag.schedule) == ("threshold__flight_delay", ["set_threshold"], None)
    asked = ParamsDict(decision_forms.threshold(spec))
    asked["reason"], asked["threshold"] = "r", 0.3
    asked.validate()
    with pytest.raises((ParamValidationError, ValueError)):
        asked["threshold"] = 1.5
        asked.validate()


def test_a_baseline_has_a_dag_where_the_spec_has_one(by_person):
    from airflow.sdk.definitions.param import ParamsDict
    from airflow.sdk.exceptions import ParamValidationError

    own = replace(by_person, baselines=(Baseline(name="guess", constant=0.5), Baseline(name="low", constant=0.1)))
    dag = dags._baseline_dag(own)
    assert (dag.dag_id, list(dag.task_dict), dag.schedule) == ("baseline__flight_delay", ["promote_baseline"], None)
    assert [asset.name for asset in dag.get_task("promote_baseline").outlets] == ["models/flight_delay"]
    asked = ParamsDict(decision_forms.baseline(own))
    asked["reason"] = "r"
    assert asked.validate()["baseline"] == "guess"
    with pytest.raises((ParamValidationError, ValueError)):
        asked["baseline"] = "another"
        asked.validate()
