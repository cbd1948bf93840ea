"""The day of a run is one thing, whatever started the run."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace

import pytest

from pipelines.errors import BadInput
from pipelines.orchestration import request

PARAMS = {"day": None, "first_day": None, "model": "as-of"}


def context(partition: str | None = None, logical: dt.datetime | None = None, **conf: object) -> dict:
    return {
        "dag_run": SimpleNamespace(partition_key=partition, conf=conf, logical_date=logical),
        "dag": SimpleNamespace(params=PARAMS),
        "params": {**PARAMS, **conf},
    }


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
    ],
)
def test_what_cannot_be_run_is_refused(given, expected):
    with pytest.raises(BadInput) as raised:
        request.read(given)
    assert expected in str(raised.value)
