"""Schedules and backfills of real flights in a running Airflow, and who reads what they publish."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import subprocess
import textwrap
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines import registry, settings
from pipelines.airflow_api import FINAL, AirflowApi
from pipelines.spec import zone
from pipelines.wiring import Wiring
from scripts import stack
from tests.e2e.flights import NEXT, PREDICT, airflow, published, tailrace
from tests.support import eventually

pytestmark = pytest.mark.airflow

SIX = [dt.date(2013, 2, 1) + dt.timedelta(days=offset) for offset in range(6)]
CONSUMER = """
import datetime as dt

from airflow.sdk import DAG, PartitionedAssetTimetable, get_current_context, task

from pipelines.orchestration import assets, request

with DAG(
    "consumer",
    schedule=PartitionedAssetTimetable(assets=assets.predictions("flight_delay")),
    start_date=dt.datetime(2013, 1, 1, tzinfo=dt.UTC),
    catchup=False,
):

    @task
    def take():
        return [str(day) for day in request.read(get_current_context()).span]

    take()
"""
"""A DAG of somebody else's, scheduled on the predictions."""


@pytest.fixture(scope="module")
def dags_folder(home) -> Path:
    """The project's DAGs, and one of somebody else's."""
    folder = Path(shutil.copytree(settings.PROJECT / "dags", home.home / "dags"))
    (folder / "consumer.py").write_text(CONSUMER)
    return folder


def backfill(home: settings.Settings, days: list[dt.date], *more: str) -> subprocess.CompletedProcess[str]:
    return tailrace(home, "backfill", "flight_delay", "--from", str(days[0]), "--to", str(days[-1]), *more, "--json")


def predictions(home: settings.Settings, days: list[dt.date]) -> pa.Table:
    held = Wiring(home).lake.read("predictions/flight_delay", first=days[0], last=days[-1]).read_all()
    return held.sort_by([(name, "ascending") for name in ("ds", *registry.get("flight_delay").features.key)])


def announced(api: AirflowApi) -> list[str]:
    events = api.get("/assets/events?limit=100")["asset_events"]
    return [event["partition_key"] for event in events if event["name"] == "predictions/flight_delay"]


@pytest.fixture(scope="module")
def six_days(home, api, tmp_path_factory) -> tuple[list[dict], pa.Table]:
    """The rows a backfill ends with, and the tables that single runs of the same days give elsewhere."""
    elsewhere = replace(home, lake=str(shutil.copytree(home.lake, tmp_path_factory.mktemp("single") / "lake")))
    span = ("--date", str(SIX[0]), "--to", str(SIX[-1]))
    by_hand = tailrace(home, "predict", "flight_delay", *span, "--model", "current", TAILRACE_LAKE=elsewhere.lake)
    assert by_hand.returncode == 0, by_hand.stderr
    done = backfill(home, SIX, "--model", "current", "--at-once", "3", "--reason", "it <b>rained</b>")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 done, 0 failed, 0 left" in done.stderr
    return json.loads(done.stdout), predictions(elsewhere, SIX)


def test_a_backfill_gives_the_tables_that_single_runs_give(home, six_days):
    rows, single = six_days
    assert [(row["day"], row["state"], row["unchanged"]) for row in rows] == [
        (str(day), "success", False) for day in SIX
    ]
    assert predictions(home, SIX).equals(single)
    assert single.num_rows == sum(row["rows"] for row in rows)


def test_what_a_backfill_was_asked_for_is_in_every_commit(home, six_days):
    for day, commit in Wiring(home).lake.days("predictions/flight_delay").items():
        if day in SIX:
            asked = [commit.metadata[f"request_{name}"] for name in ("model", "backfill", "reason", "triggered_by")]
            assert asked == ["current", "true", "it <b>rained</b>", stack.USER]
            assert commit.metadata["look_ahead"] == "true"


def test_days_published_from_the_same_inputs_are_skipped_in_silence(home, api, six_days):
    before, events = published(home), announced(api)
    done = backfill(home, SIX[:2], "--model", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [(row["state"], row["model"]) for row in json.loads(done.stdout)] == [("skipped", "1")] * 2
    assert published(home) == before
    assert announced(api) == events, "nothing new is announced"


def test_a_consumer_gets_the_day_that_was_published(api, six_days):
    def taken() -> dict[str, list[str]]:
        runs = api.get("/dags/consumer/dagRuns?limit=100")["dag_runs"]
        return {
            run["partition_key"]: api.left("consumer", run["dag_run_id"], "take", "return_value")
            for run in runs
            if run["state"] == "success"
        }

    every = {str(day): [str(day)] for day in SIX}
    eventually(lambda: every.items() <= taken().items(), f"the consumer took {every}", seconds=120)
    events = api.get("/assets/events?limit=100")["asset_events"]
    wanted = ("predictions/flight_delay", str(SIX[0]))
    event = next(event for event in events if (event["name"], event["partition_key"]) == wanted)
    assert event["extra"]["data_interval_start"] == "2013-01-31T05:00:00+00:00"
    assert event["extra"]["data_interval_end"] == "2013-02-01T05:00:00+00:00"


def test_links_lead_to_the_day_and_to_its_validation(api):
    run = api.run_day(PREDICT, NEXT, {"force": True})
    links = {
        task: api.get(f"/dags/{PREDICT}/dagRuns/{run}/taskInstances/{task}/links") for task in ("audit", "publish")
    }
    assert links["publish"]["extra_links"]["Published day"].endswith(f"/tailrace/pages/flight_delay/{NEXT}")
    assert (
        f"/tailrace/data-docs/validations/flight_delay/predictions/{NEXT}" in links["audit"]["extra_links"]["Data Docs"]
    )
    assert links["audit"]["extra_links"]["MLflow run"] is None


def test_a_dry_run_publishes_nothing_and_says_so(home, api):
    before = published(home)
    run = api.run_day(PREDICT, NEXT, {"dry_run": True})
    said = api.left(PREDICT, run, "publish", "tailrace_result")["skipped"]
    assert said.startswith("Dry run: ")
    assert said.endswith("predictions passed the audit and were discarded.")
    assert published(home) == before


def test_a_backfill_whose_parameters_got_lost_does_nothing(home, running, api):
    """As Airflow's own command line starts it, and its form unless a box is ticked that says something else."""
    before = published(home)
    day = [f"{SIX[0]}T00:00:00-05:00", f"{SIX[0]}T23:59:59-05:00"]
    limits = ["--max-active-runs", "1", "--reprocess-behavior", "completed"]
    eventually(lambda: api.running_backfill(PREDICT) is None, "Airflow has written down that the last one is over")
    airflow(running, "backfill", "create", "--dag-id", PREDICT, "--from-date", day[0], "--to-date", day[1], *limits)
    (run,) = api.follow(api.running_backfill(PREDICT))
    assert run.state == "failed"
    assert "model, engine, reason, dry_run, force did not reach it" in api.why(PREDICT, run.id)
    assert published(home) == before


def test_a_backfill_over_days_before_the_first_model_names_each_day(home, api):
    before = published(home)
    done = backfill(home, [dt.date(2013, 1, 2), dt.date(2013, 1, 3)])
    assert done.returncode == 1
    assert [row["state"] for row in json.loads(done.stdout)] == ["failed", "failed"]
    for day in ("2013-01-02", "2013-01-03"):
        assert f"{day}: flight_delay: no model was champion on {day}." in done.stderr.replace("\n", " ")
    assert published(home) == before


def first_run(api: AirflowApi, dag: str) -> dict:
    """The DAG's only run, once it is there and at its end."""

    def ended() -> dict | None:
        runs = api.get(f"/dags/{dag}/dagRuns")["dag_runs"]
        assert len(runs) <= 1, runs
        return runs[0] if runs and runs[0]["state"] in FINAL else None

    return eventually(ended, f"the schedule of {dag} makes a run, and that ends", seconds=120)


def test_the_schedule_fires_by_itself(home, tmp_path):
    """On an installation of Airflow that nobody triggers: the nights that were slept through are caught up."""
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "nightly.py").write_text(
        textwrap.dedent(f"""
            import datetime as dt
            from dataclasses import replace

            from airflow.sdk import DAG

            from pipelines import registry
            from pipelines.orchestration import dags

            spec = registry.get("flight_delay")
            the_day = dt.date.fromisoformat("{NEXT}")
            schedule = replace(spec.schedule, start=the_day, end=the_day)
            dag = dags._predict_dag(replace(spec, schedule=schedule), None)
            dag.catchup = True
        """)
    )
    nightly = stack.Stack(replace(home, home=tmp_path), parallelism=2)
    nightly.environment |= {
        "TAILRACE_HOME": str(home.home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
    }
    # A lake of its own, in which nothing is published: a day that is would be left alone.
    lake = Path(shutil.copytree(home.lake, tmp_path / "lake"))
    shutil.rmtree(lake / "predictions")
    nightly.environment["TAILRACE_LAKE"] = str(lake)
    own = replace(home, lake=str(lake))
    with nightly.started():
        api = nightly.api(zone(registry.get("flight_delay")))
        run = first_run(api, PREDICT)
        events = api.get("/assets/events")["asset_events"]
    assert (run["run_type"], run["triggered_by"]) == ("scheduled", "timetable")
    assert (run["partition_key"], run["state"]) == (str(NEXT), "success"), "logs: " + str(nightly.home / "logs")
    after = published(own)
    assert list(after) == [NEXT]
    announced = [(event["name"], event["partition_key"], event["extra"]["version"]) for event in events]
    assert announced == [("predictions/flight_delay", str(NEXT), after[NEXT])]
    by_hand = tailrace(home, "predict", "flight_delay", "--date", str(NEXT), "--json", TAILRACE_LAKE=str(lake))
    assert by_hand.returncode == 0, by_hand.stderr
    assert [row["unchanged"] for row in json.loads(by_hand.stdout)] == [True]
    assert published(own) == after
