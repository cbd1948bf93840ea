"""What a backfill must be like is said in Airflow's own form, before a run is made."""

from __future__ import annotations

import datetime as dt

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from tailrace.orchestration.backfill_guard import AT_ONCE, BackfillDoor
from tailrace.orchestration.tasks import AT_ONCE as TASKS_AT_ONCE

GOOD = {"dag_id": "predict__x", "max_active_runs": 4, "dag_run_conf": {"model": "as-of"}}


@pytest.fixture(scope="module")
def client():
    async def echo(request: Request) -> JSONResponse:
        return JSONResponse(await request.json())

    app = Starlette(routes=[Route(path, echo, methods=["POST"]) for path in ("/api/v2/backfills", "/api/v2/pools")])
    app.add_middleware(BackfillDoor)
    return TestClient(app)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_active_runs": 5}, "At most 4 runs of a backfill of predict__x"),
        ({"max_active_runs": "50"}, "not 50"),
        ({"from_date": "1913-01-01", "to_date": "2013-02-01"}, "has 36,557 days; a backfill takes at most 1,000"),
        ({"from_date": "2010-05-08", "to_date": "2013-02-01"}, "has 1,001 days"),
        ({"from_date": "2013-02-10T05:00:00Z"}, "begins at 05:00 of 2013-02-10. Its bounds are days"),
        ({"max_active_runs": None, "dag_run_conf": None}, "tick 'Override parameters on existing runs'"),
        ({"dag_id": "train__x"}, "At most 1 runs"),
        ({"to_date": "2130-02-01T00:00:00Z"}, "ends 2130-02-01, in the future"),
        ({"to_date": "2130-02-01"}, "in the future"),
        ({"dag_id": "warehouse", "max_active_runs": 1, "run_backwards": True}, "leave 'Run backwards' off"),
    ],
)
def test_what_would_not_do_as_its_form_says_is_refused(client, change, said):
    answer = client.post("/api/v2/backfills", json=GOOD | change)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_runs_at_once_are_bounded_where_nothing_is_said(client):
    asked = {name: value for name, value in GOOD.items() if name != "max_active_runs"}
    assert "not 10" in client.post("/api/v2/backfills", json=asked).json()["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v2/backfills", GOOD),
        ("/api/v2/backfills", {**GOOD, "to_date": "2013-02-01T23:59:59-05:00"}),
        (
            "/api/v2/backfills",
            {**GOOD, "from_date": "2010-05-10T00:00:00-04:00", "to_date": "2013-02-01T23:59:59-05:00"},
        ),
        ("/api/v2/backfills", {**GOOD, "max_active_runs": "many"}),
        ("/api/v2/backfills", {**GOOD, "to_date": str(dt.datetime.now(dt.UTC) + dt.timedelta(hours=23))}),
        ("/api/v2/backfills", {**GOOD, "to_date": "tomorrow"}),
        ("/api/v2/backfills", {"dag_id": "somebody_elses"}),
        ("/api/v2/backfills", {**GOOD, "dag_run_conf": {"reason": "x" * 2_000_000}}),
        ("/api/v2/pools", {"dag_id": "warehouse", "run_backwards": True}),
    ],
)
def test_everything_else_passes_as_it_is(client, path, body):
    answer = client.post(path, json=body)
    assert (answer.status_code, answer.json()) == (200, body)


def test_a_backfill_takes_no_more_runs_than_its_tasks():
    assert (AT_ONCE["warehouse"], AT_ONCE["train"], AT_ONCE["predict"]) == (
        TASKS_AT_ONCE["ingest"],
        TASKS_AT_ONCE["train"],
        TASKS_AT_ONCE["score"],
    )
