"""What `tailrace backfill` makes of what Airflow answers where it does less than it was asked for."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from zoneinfo import ZoneInfo

import httpx
import pytest
from tenacity import stop_after_attempt

from tailrace.commands import backfill
from tailrace.commands.airflow import connection, watch
from tailrace.commands.airflow.api import AirflowApi
from tailrace.errors import BadInput, Refused, Unavailable

CONF = {"trials": 2}
BEGAN = "2026-01-02T00:00:00+00:00"
DAYS = (dt.date(2013, 2, 2), dt.date(2013, 2, 4))


class Answers:
    """Airflow's REST API for one DAG: a backfill makes a run of each day, but of those that have one under way."""

    def __init__(self) -> None:
        self.under_way: dict[str, str] = {}
        self.conf: dict[str, object] = CONF
        self.made: list[dict[str, object]] = []
        self.backfills: list[dict[str, object]] = []
        self.cancelled = False
        self.logins, self.lets_in, self.expired = 0, 201, set()
        self.answers_all: Callable[[httpx.Request], httpx.Response] | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/auth/token":
            self.logins += 1
            return httpx.Response(self.lets_in, json={"access_token": f"token {self.logins}"})
        if request.headers["Authorization"] in self.expired:
            return httpx.Response(401)
        if self.answers_all is not None:
            return self.answers_all(request)
        path, query = request.url.path.removeprefix("/api/v2"), request.url.params
        if path.endswith("/details"):
            return httpx.Response(200, json={"is_paused": False, "params": {"trials": 16}})
        if path == "/backfills" and request.method == "GET":
            return httpx.Response(200, json={"backfills": self.backfills[::-1][: int(query["limit"])]})
        if path == "/backfills":
            days = [str(DAYS[0] + dt.timedelta(days=number)) for number in range(3)]
            self.made = [self.run(f"backfill_{day}", day, "success") for day in days if day not in self.under_way]
            asked = json.loads(request.content)["dag_run_conf"]
            bounds = {"from_date": f"{DAYS[0]}T00:00:00Z", "to_date": f"{DAYS[1]}T23:59:59Z", "created_at": BEGAN}
            made = {"id": len(self.backfills) + 1, "dag_id": "train__x", "dag_run_conf": asked, "completed_at": None}
            self.backfills.append(made | bounds)
            return httpx.Response(200, json=self.backfills[-1])
        if path.endswith("/cancel"):
            self.cancelled = True
            return httpx.Response(200, json={})
        if path.endswith("/dagRuns") and query.get("run_type") == "backfill":
            return httpx.Response(200, json={"dag_runs": self.made})
        if path.endswith("/dagRuns"):
            assert query.get_list("state") == ["queued", "running"]
            runs = [self.run(name, day, "running") for day, name in self.under_way.items()]
            return httpx.Response(200, json={"dag_runs": runs})
        return httpx.Response(404, json={"detail": path})

    def run(self, name: str, day: str, state: str) -> dict[str, object]:
        return {
            "dag_run_id": name,
            "partition_key": day,
            "state": state,
            "duration": 1.0,
            "conf": self.conf,
            "queued_at": BEGAN,
            "run_after": BEGAN,
        }


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def api(answers, monkeypatch) -> AirflowApi:
    made = AirflowApi("http://airflow.example", "ann", "secret", ZoneInfo("UTC"))
    transport = httpx.MockTransport(answers)
    made._client = httpx.Client(base_url="http://airflow.example/api/v2", auth=made._client.auth, transport=transport)
    # What passes is waited for in earnest elsewhere.
    monkeypatch.setattr(AirflowApi._get.retry, "stop", stop_after_attempt(1))
    return made


def test_a_day_whose_night_is_under_way_is_told_as_left_out(api, answers):
    answers.under_way = {"2013-02-03": "scheduled__3", "2013-02-09": "scheduled__9"}
    rows, why = watch.run(api, "train__x", *DAYS, conf=CONF, at_once=1)
    assert [(row["day"], row["state"]) for row in rows] == [
        ("2013-02-02", "success"),
        ("2013-02-03", "left out"),
        ("2013-02-04", "success"),
    ]
    (sentence,) = why
    assert sentence.startswith("2013-02-03: left out, because scheduled__3 had not ended")


def test_a_backfill_that_leaves_nothing_out_says_nothing(api):
    rows, why = watch.run(api, "train__x", *DAYS, conf=CONF, at_once=1)
    assert [row["state"] for row in rows] == ["success"] * 3
    assert why == []


def test_runs_that_were_not_given_the_parameters_end_it(api, answers):
    answers.conf = {}
    with pytest.raises(Refused, match="did not hand its parameters on to the runs of 2013-02-02, 2013-02-03"):
        watch.run(api, "train__x", *DAYS, conf=CONF, at_once=1)
    assert answers.cancelled


def test_a_run_of_an_earlier_backfill_that_was_cleared_since_is_not_one_of_its_own(api, answers):
    started = api.start_backfill("train__x", *DAYS, conf=CONF, at_once=1)
    answers.conf = {"trials": 16}
    answers.made.append(answers.run("backfill_2013-01-09", "2013-01-09", "running"))
    assert [run.day for run in api.follow(started)] == ["2013-02-02", "2013-02-03", "2013-02-04"]
    assert not answers.cancelled


def test_a_backfill_that_ended_is_the_latest_but_not_running(api, answers):
    assert api.latest_backfill("train__x") is None
    assert api.running_backfill("train__x") is None
    started = api.start_backfill("train__x", *DAYS, conf=CONF, at_once=1)
    assert api.latest_backfill("train__x") == api.running_backfill("train__x") == started
    answers.backfills[0]["completed_at"] = "2026-01-02T00:01:00+00:00"
    assert api.latest_backfill("train__x").id == started.id
    assert api.running_backfill("train__x") is None


def test_a_backfill_whose_runs_have_all_ended_cannot_be_cancelled(api, answers):
    api.start_backfill("train__x", *DAYS, conf=CONF, at_once=1)
    with pytest.raises(BadInput, match="No backfill of train__x is running"):
        backfill._cancel(api, "train__x", as_json=False)
    assert not answers.cancelled
    answers.made[-1]["state"] = "queued"
    backfill._cancel(api, "train__x", as_json=False)
    assert answers.cancelled


def test_a_run_of_hundreds_of_tasks_is_read_whole(api, answers):
    """The build as one task per dbt model has more tasks than a page of Airflow's answers."""
    states = {f"build.models.model_{number:03}.run": "success" for number in range(250)}
    states["build.models.model_201.run"] = "failed"
    instances = [{"task_id": task, "state": state, "try_number": 2, "max_tries": 1} for task, state in states.items()]

    def page(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/taskInstances"):
            query = request.url.params
            first, most = int(query.get("offset", 0)), min(int(query.get("limit", 50)), 100)
            return httpx.Response(200, json={"task_instances": instances[first : first + most]})
        return httpx.Response(200, json={"value": "int_late_rates was not built."})

    answers.answers_all = page
    assert {task["task_id"]: task["state"] for task in api.tasks("warehouse", "run 1")} == states
    said = api.why_failed("warehouse", "run 1").splitlines()
    assert said[1:] == ["build.models.model_201.run (try 2 of 2):", "int_late_rates was not built."]


def test_a_login_that_ran_out_is_made_again(api, answers):
    api.get("/dags/train__x/details")
    answers.expired = {"Bearer token 1"}
    assert api.get("/dags/train__x/details")["is_paused"] is False
    assert answers.logins == 2


def away(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("Connection refused")


@pytest.mark.parametrize(
    ("answering", "kind", "said"),
    [
        (
            away,
            Unavailable,
            r"Reading /dags/x: Airflow does not answer at http://airflow\.example \(Connection refused\)",
        ),
        (
            lambda _: httpx.Response(500),
            Unavailable,
            r"Reading /dags/x: Airflow at http://airflow\.example answers 500",
        ),
        (lambda _: httpx.Response(403), BadInput, "Reading /dags/x: the user 'ann' has no right to it in Airflow"),
        (lambda _: httpx.Response(404, json={"detail": "No DAG x."}), BadInput, r"is refused by Airflow: No DAG x\."),
        (lambda _: httpx.Response(401), BadInput, "does not let 'ann' in; check TAILRACE_AIRFLOW_USER"),
    ],
)
def test_what_airflow_answers_is_told_in_a_sentence(api, answers, answering, kind, said):
    answers.answers_all = answering
    with pytest.raises(kind, match=said):
        api.get("/dags/x?limit=1")


@pytest.mark.parametrize(("status", "kind"), [(401, BadInput), (422, BadInput), (503, Unavailable)])
def test_who_is_not_let_in_is_told_so(api, answers, status, kind):
    answers.lets_in = status
    with pytest.raises(kind):
        api.get("/dags/x")


def test_an_airflow_that_never_answered_is_not_waited_for_and_one_that_did_is(api, answers, monkeypatch, caplog):
    monkeypatch.undo()
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    monkeypatch.setattr(connection, "FIRST_PATIENCE", stop_after_attempt(2))
    monkeypatch.setattr(connection, "PATIENCE", stop_after_attempt(5))
    caplog.set_level("INFO", "tailrace")
    calls = []

    def gone(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        raise httpx.ReadTimeout("")

    answers.answers_all = gone
    with pytest.raises(Unavailable, match=r"does not answer at http://airflow\.example \(ReadTimeout\)\. Start it"):
        api.get("/dags/x")
    assert (len(calls), caplog.messages) == (2, [])

    answers.answers_all = lambda _: httpx.Response(200, json={})
    api.get("/dags/x")
    answers.answers_all = gone
    with pytest.raises(Unavailable):
        api.get("/dags/x")
    assert len(calls) == 2 + 5
    assert caplog.messages == ["Airflow does not answer (ReadTimeout); trying again for up to 90 seconds."]


def test_connecting_takes_seconds_at_most():
    made = AirflowApi("http://airflow.example", "ann", "secret", ZoneInfo("UTC"))
    assert made._client.timeout.connect == connection.CONNECT_SECONDS < 10


def test_another_server_than_airflow_is_said(api, answers):
    answers.answers_all = lambda _: httpx.Response(200, content=b"<html>another server</html>")
    with pytest.raises(BadInput, match=r"what answers at http://airflow\.example is not Airflow's API"):
        api.running_backfill("train__x")
    answers.lets_in = 404
    with pytest.raises(BadInput, match="is not Airflow's API"):
        api.get("/dags/x")
