"""What `tailrace backfill` makes of what Airflow answers where it does less than it was asked for."""

from __future__ import annotations

import datetime as dt
import json
from zoneinfo import ZoneInfo

import httpx
import pytest

from pipelines import backfills
from pipelines.airflow_api import AirflowApi
from pipelines.errors import Refused

CONF = {"trials": 2}
BEGAN = "2026-01-02T00:00:00+00:00"
DAYS = (dt.date(2013, 2, 2), dt.date(2013, 2, 4))


class Answers:
    """Airflow's REST API for one DAG: a backfill makes a run of each day, but of those that have one under way."""

    def __init__(self) -> None:
        self.under_way: dict[str, str] = {}
        self.conf: dict[str, object] = CONF
        self.made: list[dict[str, object]] = []
        self.cancelled = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path, query = request.url.path.removeprefix("/api/v2"), request.url.params
        if path.endswith("/details"):
            return httpx.Response(200, json={"is_paused": False, "params": {"trials": 16}})
        if path == "/backfills" and request.method == "GET":
            return httpx.Response(200, json={"backfills": []})
        if path == "/backfills":
            days = [str(DAYS[0] + dt.timedelta(days=number)) for number in range(3)]
            self.made = [self.run(f"backfill_{day}", day, "success") for day in days if day not in self.under_way]
            asked = json.loads(request.content)["dag_run_conf"]
            return httpx.Response(200, json={"id": 1, "dag_id": "train__x", "created_at": BEGAN, "dag_run_conf": asked})
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
    token = httpx.Response(200, json={"access_token": "t"}, request=httpx.Request("POST", "http://airflow.example"))
    monkeypatch.setattr(httpx, "post", lambda *args, **kwargs: token)
    made = AirflowApi("http://airflow.example", "ann", "secret", ZoneInfo("UTC"))
    made._client = httpx.Client(base_url="http://airflow.example/api/v2", transport=httpx.MockTransport(answers))
    return made


def test_a_day_whose_night_is_under_way_is_told_as_left_out(api, answers):
    answers.under_way = {"2013-02-03": "scheduled__3", "2013-02-09": "scheduled__9"}
    rows, why = backfills.run(api, "train__x", *DAYS, CONF, 1)
    assert [(row["day"], row["state"]) for row in rows] == [
        ("2013-02-02", "success"),
        ("2013-02-03", "left out"),
        ("2013-02-04", "success"),
    ]
    (sentence,) = why
    assert sentence.startswith("2013-02-03: left out, since scheduled__3 was under way")


def test_a_backfill_that_leaves_nothing_out_says_nothing(api):
    rows, why = backfills.run(api, "train__x", *DAYS, CONF, 1)
    assert [row["state"] for row in rows] == ["success"] * 3
    assert why == []


def test_runs_that_were_not_given_the_parameters_end_it(api, answers):
    answers.conf = {}
    with pytest.raises(Refused, match="did not hand its parameters on to the runs of 2013-02-02, 2013-02-03"):
        backfills.run(api, "train__x", *DAYS, CONF, 1)
    assert answers.cancelled
