"""The day of a run is one thing, whatever started the run."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from airflow.sdk.api.datamodels._generated import DagRunType

from tailrace.champions import model_versions
from tailrace.errors import BadInput
from tailrace.operations import people
from tailrace.orchestration import decision_forms, forms, request
from tailrace.spec import registry

PARAMS = {"day": None, "first_day": None, "model": "as-of", "reason": None}
WHOLE = {"model": "current", "reason": None}


def context(
    partition: str | None = None,
    logical: dt.datetime | None = None,
    run_type: DagRunType = DagRunType.MANUAL,
    **conf: object,
) -> dict:
    return {
        "dag_run": SimpleNamespace(
            partition_key=partition,
            conf=conf,
            logical_date=logical,
            run_type=run_type,
            dag_id="predict__x",
            run_id="r1",
            triggering_user_name="ada",
        ),
        "dag": SimpleNamespace(params=PARAMS),
        "params": {**PARAMS, **conf},
    }


def backfill(**conf: object) -> dict:
    return context("2013-03-10", run_type=DagRunType.BACKFILL, **conf)


def test_schedule_and_backfill_give_the_partition():
    assert request.read(context("2013-03-10")).day == dt.date(2013, 3, 10)


def test_the_form_gives_the_day_and_a_range():
    asked = request.read(context(day="2013-03-10", first_day="2013-03-08", model="3"))
    assert [str(day) for day in asked.span] == ["2013-03-08", "2013-03-09", "2013-03-10"]
    assert asked.params["model"] == "3"


def test_dags_test_gives_the_day_as_midnight():
    assert request.read(context(logical=dt.datetime(2013, 3, 10, tzinfo=dt.UTC))).day == dt.date(2013, 3, 10)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (context(), "no day is given"),
        (context(logical=dt.datetime(2013, 3, 10, 7, 3, tzinfo=dt.UTC)), "no day is given"),
        (context("2013-03-10", day="2013-03-11"), "but the run is for the partition '2013-03-10'"),
        (context("2013-03-10", modle="3"), "'modle' is not a parameter of this DAG. Did you mean 'model'?"),
        (context("march"), "write a day of the calendar as YYYY-MM-DD"),
        (context("2013-03-10", first_day="2013-03-11"), "first_day 2013-03-11 is after day 2013-03-10"),
        (context("2999-01-01"), "2999-01-01 is in the future"),
        (backfill(), "model, reason did not reach it"),
        (backfill(model="3"), "reason did not reach it"),
        (backfill(**WHOLE, first_day="2013-03-08"), "which knows its days: leave first_day empty"),
    ],
)
def test_what_cannot_be_run_is_refused(given, expected):
    with pytest.raises(BadInput) as raised:
        request.read(given)
    assert expected in str(raised.value)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(BadInput) as raised:
        request.read(context("2999-01-01", day="2013-03-11", modle="3", first_day="soon"))
    for said in ("'modle' is not a parameter", "but the run is for the partition '2999-01-01'", "first_day is 'soon'"):
        assert said in str(raised.value)


def test_a_backfill_that_states_everything_starts():
    asked = request.read(backfill(**WHOLE))
    assert (asked.day, asked.model, asked.backfill) == (dt.date(2013, 3, 10), "current", True)


def test_a_refused_backfill_is_told_what_to_send():
    with pytest.raises(BadInput) as raised:
        request.read(backfill(model="3"))
    told = str(raised.value)
    sent = json.loads(told[told.index("{") : told.index("}") + 1])
    assert request.read(backfill(**sent)).model == "3"


def test_what_was_chosen_is_recorded_as_text():
    asked = request.read(context("2013-03-10", model="3", reason="two\nlines\x00 <b>" + "x" * 600))
    assert asked.record() == {
        "airflow_dag": "predict__x",
        "airflow_run": "r1",
        "triggered_by": "ada",
        "model": "3",
        "reason": asked.reason,
    }
    assert asked.reason.startswith("two lines <b>xxx")
    assert len(asked.reason) == people.REASON_LENGTH


def test_a_range_a_dry_run_and_an_engine_are_recorded():
    asked = request.read(context(day="2013-03-10", first_day="2013-03-08"))
    assert "pipelines" not in asked.record()
    assert replace(asked, pipelines=("churn", "loyalty")).record()["pipelines"] == "churn, loyalty"
    recorded = replace(asked, engine="spark", dry_run=True, force=True, trials=5, backfill=True).record()
    assert {name: recorded[name] for name in ("first_day", "last_day", "engine", "dry_run", "force", "trials")} == {
        "first_day": "2013-03-08",
        "last_day": "2013-03-10",
        "engine": "spark",
        "dry_run": "true",
        "force": "true",
        "trials": "5",
    }


def test_the_engine_of_the_settings_is_no_choice():
    assert request.read(context("2013-03-10", engine="as set") | {"dag": SimpleNamespace(params=forms.predict())})
    read = context("2013-03-10")
    read["params"]["engine"] = "spark"
    assert request.read(read).engine == "spark"
    read["params"]["engine"] = forms.AS_SET
    assert request.read(read).engine is None


FORMS = {
    "warehouse": lambda: forms.warehouse(["churn", "loyalty"]),
    "train": lambda: forms.train(registry.get("flight_delay")),
    "predict": forms.predict,
    "monitor": forms.monitor,
    "approve": decision_forms.approve,
    "rollback": decision_forms.rollback,
}
WRONG = {
    "day": ["2013-02-31x", 3],
    "first_day": ["soon"],
    "from_day": ["soon"],
    "model": ["newest", "0", "v1"],
    "version": ["0", "newest", ""],
    "training_run": ["", "x" * 65],
    "trials": [0, 1_000_001, 2.5, "many"],
    "engine": ["gpu", ""],
    "reason": ["x" * 501],
    "pipelines": ["churn", ["chrun"], [1]],
    "dry_run": ["maybe", 1],
    "force": ["maybe", 3],
}


@pytest.mark.parametrize(
    ("form", "name", "wrong"),
    [
        (form, name, wrong)
        for form, fields in FORMS.items()
        for name in fields()
        # A field that nobody thought of here fails, instead of going untested.
        for wrong in WRONG[name]
    ],
)
def test_every_form_refuses_wrong_values(form, name, wrong):
    from airflow.sdk.exceptions import ParamValidationError

    param = FORMS[form]()[name]
    assert not param.has_value or param.resolve() is param.value
    with pytest.raises(ParamValidationError):
        param.resolve(wrong)


def test_what_forms_have_in_common_is_asked_everywhere():
    assert {form for form, fields in FORMS.items() if "reason" not in fields()} == {"approve"}, "it is in the answer"
    assert {form for form, fields in FORMS.items() if "dry_run" not in fields()} == {"monitor"}, "it decides nothing"


def test_the_forms_words_are_the_models_words():
    assert (forms.AS_OF, forms.CURRENT) == (model_versions.AS_OF, model_versions.CURRENT)
