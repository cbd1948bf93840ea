"""Schedules and backfills of real flights in a running Airflow, and who reads what they publish."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import signal
import subprocess
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from scripts import stack
from tailrace import settings
from tailrace.commands.airflow.api import FINAL, AirflowApi
from tailrace.commands.main import app
from tailrace.errors import AuditFailed
from tailrace.spec import registry, zone
from tailrace.wiring import Wiring
from tests.e2e.flights import BIN, LAST, NEXT, PREDICT, TRAINED, airflow, published, tailrace
from tests.support import eventually

pytestmark = pytest.mark.airflow

THIRTY = [dt.date(2013, 1, 12) + dt.timedelta(days=offset) for offset in range(30)]
SIX = [dt.date(2013, 2, 1) + dt.timedelta(days=offset) for offset in range(6)]
"""Days of them on which all is well; the storm of 8 and 9 February is not one of them."""
DOCUMENTED = settings.find_project().root / "docs" / "airflow.md"
(CONSUMER,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENTED.read_text(), re.M | re.S)
"""A DAG of somebody else's, scheduled on the predictions, as it is documented."""


@pytest.fixture(scope="module")
def dags_folder(home) -> Path:
    """The project's DAGs, and one of somebody else's."""
    folder = Path(shutil.copytree(settings.find_project().dags, home.home / "dags"))
    (folder / "consumer.py").write_text(CONSUMER)
    return folder


def backfill(home: settings.Settings, days: list[dt.date], *more: str) -> subprocess.CompletedProcess[str]:
    return tailrace(home, "backfill", "flight_delay", "--from", str(days[0]), "--to", str(days[-1]), *more, "--json")


def predictions(home: settings.Settings, days: list[dt.date]) -> pa.Table:
    held = Wiring(home).lake.read("predictions/flight_delay", first=days[0], last=days[-1]).read_all()
    return held.sort_by([(name, "ascending") for name in ("ds", *registry.get("flight_delay").features.key)])


def performance(home: settings.Settings) -> pa.Table:
    """How the thirty days turned out, as the monitor tells it of what is published there."""
    environment = {"TAILRACE_HOME": str(home.home), "TAILRACE_LAKE": home.lake}
    for day in THIRTY[::7]:
        command = ["run", "monitor", "flight_delay", "--date", str(day + dt.timedelta(days=7))]
        assert CliRunner().invoke(app, command, env=environment).exit_code == 0
    held = Wiring(home).lake.read("performance/flight_delay", first=THIRTY[0], last=THIRTY[-1]).read_all()
    assert held.num_rows > 15
    return held.sort_by("ds")


def announced(api: AirflowApi) -> list[str]:
    events = api.get("/assets/events?limit=1000")["asset_events"]
    return [event["partition_key"] for event in events if event["name"] == "predictions/flight_delay"]


@dataclass(frozen=True)
class Backfilled:
    """What a backfill of thirty days said of each, and a home in which each was a run by itself.

    `at_once` is how many of its runs there were at the same moment, at the most.
    """

    rows: list[dict]
    elsewhere: settings.Settings
    refused: list[dt.date]
    at_once: int


def most_at_once(api: AirflowApi) -> int:
    """Of the runs that backfills of predictions have made, how many ran at the same moment."""
    runs = api.get(f"/dags/{PREDICT}/dagRuns?run_type=backfill&limit=100")["dag_runs"]
    assert len(runs) == len(THIRTY)
    began, ended = (sorted(run[name] for run in runs) for name in ("start_date", "end_date"))
    # It is fullest when a run has just begun.
    return max(began.index(moment) + 1 - sum(end <= moment for end in ended) for moment in began)


@pytest.fixture(scope="module")
def thirty_days(home, running, api, tmp_path_factory) -> Backfilled:
    lake = shutil.copytree(home.lake, tmp_path_factory.mktemp("single") / "lake")
    environment = {"TAILRACE_HOME": str(home.home), "TAILRACE_LAKE": str(lake)}
    refused = []
    for day in THIRTY:
        # The command line itself, but in one process: thirty would import everything thirty times.
        command = ["predict", "flight_delay", "--date", str(day), "--model", "current"]
        alone = CliRunner().invoke(app, command, env=environment)
        if isinstance(alone.exception, AuditFailed):
            refused.append(day)
        else:
            assert alone.exit_code == 0, f"{day}: {alone.output} {alone.exception!r}"
    # It follows every published day, and is tested elsewhere.
    airflow(running, "dags", "pause", "monitor__flight_delay")
    done = backfill(home, THIRTY, "--model", "current", "--at-once", "4", "--reason", "it <b>rained</b>")
    assert done.returncode == (1 if refused else 0), done.stdout + done.stderr
    assert f"{len(THIRTY) - len(refused)} done, {len(refused)} failed, 0 left" in done.stderr
    return Backfilled(json.loads(done.stdout), replace(home, lake=str(lake)), refused, most_at_once(api))


def test_a_backfill_gives_the_tables_that_single_runs_give(home, thirty_days):
    states = {row["day"]: row["state"] for row in thirty_days.rows}
    expected = {str(day): "failed" if day in thirty_days.refused else "success" for day in THIRTY}
    assert states == expected
    assert len(thirty_days.refused) < 10, "most days are published, or this compares nothing"
    assert 2 <= thirty_days.at_once <= 4, "some ran side by side, and no more than were allowed"
    single = predictions(thirty_days.elsewhere, THIRTY)
    assert predictions(home, THIRTY).equals(single)
    assert performance(home).equals(performance(thirty_days.elsewhere))
    assert single.num_rows == sum(row["rows"] for row in thirty_days.rows if row["state"] == "success") > 15_000


def test_what_a_backfill_was_asked_for_is_in_every_commit(home, thirty_days):
    for day, commit in Wiring(home).lake.days("predictions/flight_delay").items():
        if day in SIX:
            asked = [commit.metadata[f"request_{name}"] for name in ("model", "backfill", "reason", "triggered_by")]
            assert asked == ["current", "true", "it <b>rained</b>", stack.USER]
            assert commit.metadata["look_ahead"] == "true"


def test_days_published_from_the_same_inputs_are_skipped_in_silence(home, api, thirty_days):
    before, events = published(home), announced(api)
    done = backfill(home, SIX[:2], "--model", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [(row["state"], row["model"]) for row in json.loads(done.stdout)] == [("skipped", "1")] * 2
    assert published(home) == before
    assert announced(api) == events, "nothing new is announced"


def test_a_consumer_gets_the_day_that_was_published(home, api, thirty_days):
    def taken() -> dict[str, dict]:
        runs = api.get("/dags/consumer/dagRuns?limit=100")["dag_runs"]
        told = [
            api.xcom("consumer", run["dag_run_id"], "take", "return_value") for run in runs if run["state"] == "success"
        ]
        return {each["day"]: each for each in told}

    days = {str(day) for day in SIX}
    eventually(lambda: days <= taken().keys(), f"the consumer took {days}", seconds=120)
    told = taken()
    assert {day: told[day]["rows"] for day in days} == {str(day): predictions(home, [day]).num_rows for day in SIX}
    assert told[str(SIX[0])]["from"] == "2013-01-31T05:00:00+00:00"
    assert told[str(SIX[0])]["to"] == "2013-02-01T05:00:00+00:00"


def weights(api: AirflowApi, dag: str, run: str) -> dict[str, int]:
    return {task["task_id"]: task["priority_weight"] for task in api.tasks(dag, run)}


def test_a_night_gets_a_worker_before_a_backfill(api, thirty_days):
    run = api.run_day(PREDICT, NEXT, {})
    (backfilled,) = api.get(f"/dags/{PREDICT}/dagRuns?run_type=backfill&limit=1&order_by=-id")["dag_runs"]
    night, waits = weights(api, PREDICT, run), weights(api, PREDICT, backfilled["dag_run_id"])
    assert night.keys() == waits.keys() == {"score", "audit", "publish"}
    assert min(night.values()) > max(waits.values())
    assert waits["score"] > waits["publish"], "else as Airflow does it"


def test_a_night_ends_beside_a_backfill_that_is_interrupted_and_cancelled(home, api, thirty_days):
    command = ["backfill", "flight_delay", "--from", str(THIRTY[0]), "--to", str(THIRTY[-1])]
    eventually(lambda: api.running_backfill(PREDICT) is None, "Airflow has written down that the last one is over")
    with started(home, *command, "--model", "1", "--force") as watching:
        running = eventually(lambda: api.running_backfill(PREDICT), "the backfill runs")
        eventually(lambda: any(run.state == "running" for run in api.runs(running)), "a day of it is worked on")
        night = api.run_day(PREDICT, NEXT, {"force": True})
        assert any(run.state in ("queued", "running") for run in api.runs(running)), "the night did not wait for it"
        watching.send_signal(signal.SIGINT)
        said = watching.communicate(timeout=60)[1].replace("\n", " ")
    assert watching.returncode == 130
    assert "The backfill goes on in Airflow" in said
    assert "tailrace backfill flight_delay --cancel" in said
    assert api.xcom(PREDICT, night, "publish", "tailrace_result")["rows"] > 600

    cancelled = tailrace(home, "backfill", "flight_delay", "--cancel", "--json")
    assert cancelled.returncode == 0, cancelled.stderr
    eventually(lambda: all(run.state in FINAL for run in api.runs(running)), "what ran has ended", seconds=120)
    states = [run.state for run in api.runs(running)]
    assert 0 < states.count("success") < len(THIRTY) - len(thirty_days.refused), states
    eventually(lambda: api.running_backfill(PREDICT) is None, "nothing of it is left")
    assert tailrace(home, "backfill", "flight_delay", "--cancel").returncode == 2


def started(home: settings.Settings, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [BIN / "tailrace", *command],
        env={**os.environ, "TAILRACE_HOME": str(home.home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Who runs the tests in the background of a script ignores interrupts, which children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_every_task_links_to_what_it_made_or_judged(home, running, api):
    run = api.run_day(PREDICT, NEXT, {"force": True, "model": "1"})
    links = {task: api.links(PREDICT, run, task) for task in ("score", "audit", "publish")}
    version = api.xcom(PREDICT, run, "publish", "tailrace_result")["version"]
    (trained,) = [one.training_run for one in Wiring(home).tracker.versions("flight_delay") if one.version == "1"]
    mlflow, validations = running.mlflow_url, f"{running.airflow_url}/tailrace/data-docs/validations/flight_delay"
    assert links["score"].keys() == {"MLflow run"}
    assert links["score"]["MLflow run"].startswith(mlflow)
    assert links["score"]["MLflow run"].endswith(f"/runs/{trained}")
    assert links["audit"].keys() == {"Data Docs"}
    assert links["audit"]["Data Docs"].startswith(f"{validations}/predictions/{NEXT}/")
    day = f"{running.airflow_url}/tailrace/pages/flight_delay/{NEXT}"
    assert links["publish"] == {"Published day": f"{day}#version-{version}"}
    assert f'id="version-{version}"' in seen(api, links["publish"]["Published day"])

    night = api.run_day("warehouse", NEXT, {})
    tasks = ("ingest", "build", "flight_delay.validate", "flight_delay.snapshot")
    links = {task: api.links("warehouse", night, task) for task in tasks}
    assert links["ingest"] == {}, "what is landed is for dbt alone"
    assert links["build"].keys() == {"dbt models and tests"}
    assert "Compiled SQL" in seen(api, links["build"]["dbt models and tests"])
    pages = links["flight_delay.validate"]
    assert pages.keys() == {"Data Docs", "Data Docs of outcomes"}
    assert pages["Data Docs"].startswith(f"{validations}/features/{NEXT}/")
    assert pages["Data Docs of outcomes"].startswith(f"{validations}/outcomes/{NEXT}/")
    assert all("flight_delay" in seen(api, page) for page in pages.values())
    assert links["flight_delay.snapshot"] == {"Features in the lake": f"{day}#features"}
    assert 'id="features"' in seen(api, links["flight_delay.snapshot"]["Features in the lake"])


def seen(api: AirflowApi, address: str) -> str:
    """The page behind a link below Airflow's address, as its user's browser is given it."""
    return api.page(address.removeprefix(api.url).partition("#")[0])


def test_the_warehouse_is_backfilled_oldest_first_and_shows_what_dbt_did(running, api):
    done = tailrace(running.configured, "backfill", "warehouse", "--from", str(NEXT), "--to", str(LAST), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    newest = api.get("/dags/warehouse/dagRuns?run_type=backfill&order_by=start_date")["dag_runs"]
    assert [run["partition_key"] for run in newest] == [str(NEXT), str(LAST)]
    assert newest[0]["end_date"] <= newest[1]["start_date"], "features look back: one day after the other"
    page = api.page(f"/tailrace/pages/runs/warehouse/{newest[1]['dag_run_id']}/dbt")
    for text in ("flight_delay_features", "flight_delay_outcomes", "Compiled SQL", "All passed", "select"):
        assert text in page


def test_a_dry_run_publishes_nothing_and_says_so(home, api):
    before = published(home)
    run = api.run_day(PREDICT, NEXT, {"dry_run": True})
    said = api.xcom(PREDICT, run, "publish", "tailrace_result")["skipped"]
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
    # By the time the command has ended, the run may have failed and the backfill be over.
    (run,) = api.follow(api.latest_backfill(PREDICT))
    assert run.state == "failed"
    assert "model, engine, reason, dry_run, force did not reach it" in api.why_failed(PREDICT, run.id)
    assert published(home) == before


def test_a_backfill_over_days_before_the_first_model_names_each_day(home, api):
    before = published(home)
    done = backfill(home, [dt.date(2013, 1, 2), dt.date(2013, 1, 3)])
    assert done.returncode == 1
    assert [row["state"] for row in json.loads(done.stdout)] == ["failed", "failed"]
    for day in ("2013-01-02", "2013-01-03"):
        assert f"{day}: flight_delay: no model was champion on {day}." in done.stderr.replace("\n", " ")
    assert published(home) == before


def test_a_backfill_with_a_version_that_does_not_exist_says_so_of_each_day(home, thirty_days):
    before = published(home)
    done = backfill(home, SIX[:2], "--model", "9")
    assert done.returncode == 1
    assert [row["state"] for row in json.loads(done.stdout)] == ["failed", "failed"]
    for day in SIX[:2]:
        assert f"{day}: There is no version of model flight_delay '9'. Known: 1." in done.stderr.replace("\n", " ")
    assert published(home) == before


def test_stale_days_are_repaired_by_backfills_oldest_first(home, api):
    """A threshold from another day on, and a landed file that is not what the source gives: both nights run again."""
    api.run_day(PREDICT, NEXT, {})
    before = published(home)
    since = ("threshold", "flight_delay", "0.3", "--from", str(TRAINED), "--reason", "more people in the evening")
    assert tailrace(home, *since).returncode == 0
    landing = Wiring(home).landing
    landed = landing.read("weather", NEXT).drop_columns(["ds", "_landed_at"])
    landing.write("weather", NEXT, landed.set_column(landed.schema.get_field_index("temp"), "temp", landed["dewp"]))

    said = tailrace(home, "stale", "flight_delay", "--json")
    found = {row["what"]: row for row in json.loads(said.stdout)["rows"]}
    assert {str(TRAINED), str(NEXT)} <= found.keys(), said.stdout + said.stderr
    assert all(any("threshold 0.3" in why for why in found[str(day)]["why"]) for day in (TRAINED, NEXT))

    done = tailrace(home, "stale", "flight_delay", "--repair")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.index("backfill warehouse") < done.stdout.index(f"backfill {PREDICT}")
    assert "Nothing is stale." in tailrace(home, "stale", "flight_delay").stdout
    assert landing.read("weather", NEXT).drop_columns(["ds", "_landed_at"]).equals(landed), (
        "the source's own rows are landed again"
    )
    after = published(home)
    assert all(after[day] != before[day] for day in (TRAINED, NEXT))
    commit = Wiring(home).lake.days("predictions/flight_delay")[NEXT]
    assert json.loads(commit.metadata["policy"])["threshold"] == 0.3


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

            from tailrace.spec import registry
            from tailrace.orchestration import dags

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


def test_trainings_are_backfilled_on_the_days_they_are_scheduled(home, api):
    """The last test here: its versions may become champions."""
    before = {version.version for version in Wiring(home).tracker.versions("flight_delay")}
    mondays = ["2013-02-04", "2013-02-11"]
    asked = ["--trials", "2", "--reason", "what would have been"]
    # Within the range lies the twelfth, a Tuesday: no day of the schedule, whatever was trained on it by hand.
    done = backfill(home, [dt.date(2013, 2, 1), dt.date(2013, 2, 14)], "--train", *asked)
    states = {row["day"]: row["state"] for row in json.loads(done.stdout)}
    assert sorted(states) == mondays, done.stderr
    below = [day for day, state in states.items() if state == "failed"]
    assert done.returncode == (1 if below else 0)
    said = done.stderr.replace("\n", " ")
    assert all(re.search(rf"{day}: flight_delay: version \d+ is not promoted: ", said) for day in below), said
    assert len(below) < len(states), "a month of winter may be below the gate's floor, not every one"
    tracker = Wiring(home).tracker
    made = [version for version in tracker.versions("flight_delay") if version.version not in before]
    tags = [tracker.run(version.training_run).tags for version in made]
    assert sorted(each["tailrace.day"] for each in tags) == mondays
    assert {each["tailrace.request.reason"] for each in tags} == {"what would have been"}
    assert {each["tailrace.request.trials"] for each in tags} == {"2"}
