"""Real flights through real Airflow: `dags test`, a trigger, a backfill and the command line agree."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines import registry, settings
from pipelines.airflow_api import FINAL, AirflowApi, DagRunFailed
from pipelines.spec import zone
from pipelines.wiring import Wiring
from scripts import stack
from tests.kubernetes.cluster import EXECUTOR_TEMPLATE, IMAGE, NAMESPACE, Cluster, running_cluster

BIN = Path(sys.executable).parent
FIRST, LAST = dt.date(2013, 1, 1), dt.date(2013, 2, 14)
TRAINED, NEXT = dt.date(2013, 2, 12), dt.date(2013, 2, 13)
PREDICT = "predict__flight_delay"
EARLY = dt.date(2013, 1, 29)
EXECUTORS = 2
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
WEEK = [EARLY + dt.timedelta(days=offset) for offset in range(7)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An installation whose warehouse and first model were made by `airflow dags test`."""
    folder = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "TAILRACE_HOME": str(folder)}
    configured = settings.load(environment)
    made = stack.Stack(configured, parallelism=2)
    try:
        made.prepare()
        airflow(made, "dags", "test", "warehouse", str(LAST), "-c", json.dumps({"first_day": str(FIRST)}))
        airflow(made, "dags", "test", "train__flight_delay", str(TRAINED), "-c", json.dumps({"trials": 3}))
        airflow(made, "dags", "test", PREDICT, str(TRAINED))
    finally:
        made.stop()
    return configured


@pytest.fixture(scope="module")
def running(home):
    """Airflow with its scheduler, on the same home, and a DAG of somebody else's beside the project's."""
    started = stack.Stack(home, parallelism=3)
    folder = shutil.copytree(settings.PROJECT / "dags", home.home / "dags")
    (folder / "consumer.py").write_text(CONSUMER)
    started.environment["AIRFLOW__CORE__DAGS_FOLDER"] = str(folder)
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def api(running):
    zone_of_days = zone(registry.get("flight_delay"))
    return AirflowApi(running.airflow_url, stack.USER, running.password, zone_of_days)


def airflow(made: stack.Stack, *command: str) -> None:
    done = subprocess.run([BIN / "airflow", *command], env=made.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def tailrace(home: settings.Settings, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TAILRACE_HOME": str(home.home), **more}
    return subprocess.run([BIN / "tailrace", *command], env=environment, capture_output=True, text=True)


def published(home: settings.Settings) -> dict[dt.date, str]:
    """The version of each day's last publication."""
    days = Wiring(home).lake.days(registry.get("flight_delay").predictions_table)
    return {day: commit.version for day, commit in days.items()}


def test_dags_test_published_the_day(home):
    assert list(published(home)) == [TRAINED]
    commit = Wiring(home).lake.days("predictions/flight_delay")[TRAINED]
    assert commit.rows > 600
    assert commit.metadata["model_version"] == "1"


def test_a_backfill_and_a_trigger_give_the_same_tables(home, api):
    before = published(home)
    api.backfill(PREDICT, TRAINED, NEXT, {"model": "as-of"}, at_once=2)
    after = published(home)
    assert list(after) == [TRAINED, NEXT]
    assert after[TRAINED] == before[TRAINED], "the same bytes make no commit"
    api.run_day(PREDICT, NEXT, {})
    by_hand = tailrace(home, "predict", "flight_delay", "--date", str(TRAINED), "--to", str(NEXT), "--json")
    assert by_hand.returncode == 0, by_hand.stderr
    assert [row["unchanged"] for row in json.loads(by_hand.stdout)] == [True, True]
    assert published(home) == after


def test_events_carry_the_day(home, api):
    api.run_day(PREDICT, NEXT, {})
    events = api.get("/assets/events?limit=100")["asset_events"]
    seen = {(event["name"], event["partition_key"]) for event in events}
    assert ("predictions/flight_delay", str(NEXT)) in seen
    assert ("features/flight_delay", str(LAST)) in seen, "the range of one run is announced day by day"
    assert ("features/flight_delay", str(FIRST)) in seen
    assert ("models/flight_delay", str(TRAINED)) in seen
    extra = next(
        e["extra"] for e in events if (e["name"], e["partition_key"]) == ("predictions/flight_delay", str(NEXT))
    )
    assert extra["model_version"] == "1"


@pytest.mark.parametrize(
    ("dag", "day", "conf", "sentence"),
    [
        (PREDICT, NEXT, {"modle": "1"}, "'modle' is not a parameter of this DAG. Did you mean 'model'?"),
        (PREDICT, dt.date(2013, 2, 1), {}, "no model was champion on 2013-02-01"),
        (PREDICT, NEXT, {"model": "7"}, "There is no version of model flight_delay '7'"),
        (PREDICT, dt.date(2999, 1, 1), {}, "2999-01-01 is in the future"),
        ("warehouse", dt.date(2014, 2, 1), {}, "has no extract of 2014-02-01; its calendar goes from"),
    ],
)
def test_what_cannot_be_done_fails_at_once_with_a_sentence(home, api, dag, day, conf, sentence):
    before = published(home)
    with pytest.raises(DagRunFailed) as raised:
        api.run_day(dag, day, conf)
    assert sentence in str(raised.value)
    assert "try 1 of" in str(raised.value), "it was not retried"
    assert published(home) == before


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
    deadline, taken = time.monotonic() + 120, {}
    while time.monotonic() < deadline and not {str(day) for day in SIX} <= taken.keys():
        runs = api.get("/dags/consumer/dagRuns?limit=100")["dag_runs"]
        taken = {
            run["partition_key"]: api.left("consumer", run["dag_run_id"], "take", "return_value")
            for run in runs
            if run["state"] == "success"
        }
        # Airflow tells nobody when it makes a run; this is how often it is asked.
        time.sleep(0.5)
    assert {day: taken.get(day) for day in map(str, SIX)} == {day: [day] for day in map(str, SIX)}
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


def test_the_command_line_says_what_is_wrong(home):
    for command, code, sentence in (
        (["predict", "flight_dely", "--date", "2013-02-12"], 2, "Did you mean 'flight_delay'?"),
        (["predict", "flight_delay", "--date", "2013-02-31"], 2, "write a day of the calendar"),
        (["predict", "flight_delay", "--date", "2013-02-12", "--model", "newest"], 2, "ask for 'as-of'"),
        (["predict", "flight_delay", "--date", "2013-02-01"], 1, "no model was champion on 2013-02-01"),
        (["predictions", "flight_delay", "--date", "2013-01-20"], 1, "has no published predictions of 2013-01-20"),
        (["run", "ingest", "flight_delay", "--date", "2015-01-01"], 2, "its calendar goes from"),
        (["reproduce", "nothing"], 2, "nothing"),
        (["rollback", "flight_delay", "--version", "9", "--reason", "r"], 2, "no former champion of flight_delay '9'"),
        (["backfill", "flight_delay", "--from", "2013-02-12"], 2, "Name the days: --from YYYY-MM-DD --to YYYY-MM-DD."),
        (["backfill", "warehouse", "--train"], 2, "The warehouse is not trained"),
        (["predict", "flight_delay", "--date", "2013-02-12", "--engine", "sprak"], 2, "Did you mean 'spark'?"),
    ):
        done = tailrace(home, *command)
        assert done.returncode == code, (command, done.stdout, done.stderr)
        assert sentence in done.stderr.replace("\n", " "), (command, done.stderr)
        assert "Traceback" not in done.stderr


def test_tables_come_as_json(home):
    for command in (
        ["list"],
        ["history", "flight_delay"],
        ["run", "monitor", "flight_delay", "--date", str(TRAINED)],
        ["predictions", "flight_delay", "--date", str(TRAINED)],
        ["check"],
    ):
        done = tailrace(home, *command, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)


def test_a_run_is_reproduced(home):
    (run,) = {row["run_id"] for row in json.loads(tailrace(home, "history", "flight_delay", "--json").stdout)}
    done = tailrace(home, "reproduce", run, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "same model digest, same metrics" in json.loads(done.stdout)["sentence"]


def first_run(api: AirflowApi, dag: str, seconds: float = 120) -> dict:
    """The DAG's only run, once it is there and at its end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        runs = api.get(f"/dags/{dag}/dagRuns")["dag_runs"]
        assert len(runs) <= 1, runs
        if runs and runs[0]["state"] in FINAL:
            return runs[0]
        # Airflow tells nobody when it makes a run; this is how often it is asked.
        time.sleep(0.5)
    raise AssertionError(f"the schedule of {dag} made no run that ended within {seconds} s")


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
    try:
        nightly.start()
        api = AirflowApi(nightly.airflow_url, stack.USER, nightly.password, zone(registry.get("flight_delay")))
        run = first_run(api, PREDICT)
        events = api.get("/assets/events")["asset_events"]
    finally:
        nightly.stop()
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


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster"), keep=[tmp_path_factory.getbasetemp()]) as running:
        yield running


def on(cluster: Cluster) -> dict[str, str]:
    """The settings that move the engine to the cluster."""
    spark = {
        "MASTER": cluster.master,
        "IMAGE": IMAGE,
        "NAMESPACE": NAMESPACE,
        "SERVICE_ACCOUNT": "tailrace-driver",
        "POD_TEMPLATE": str(EXECUTOR_TEMPLATE),
        "EXECUTORS": str(EXECUTORS),
        "DRIVER_HOST": "127.0.0.1",
        "DRIVER_MEMORY": "512m",
        "EXECUTOR_MEMORY": "512m",
        "CONF": json.dumps({"spark.kubernetes.executor.request.cores": "0.5"}),
    }
    named = {f"TAILRACE_SPARK_{name}": value for name, value in spark.items()}
    return named | {"TAILRACE_ENGINE": "spark", "KUBECONFIG": str(cluster.kubeconfig())}


def week_of(home: settings.Settings) -> pa.Table:
    """What is published of the week, in the order in which it was written."""
    return Wiring(home).lake.read("predictions/flight_delay", first=WEEK[0], last=WEEK[-1]).read_all()


def names(pods: list[dict]) -> set[str]:
    return {pod["metadata"]["name"] for pod in pods}


@pytest.fixture(scope="module")
def trained_on_the_cluster(home, cluster) -> dict:
    """A training as of an early day, whose model is champion from then on."""
    done = tailrace(home, "train", "flight_delay", "--date", str(EARLY), "--trials", "3", "--json", **on(cluster))
    assert done.returncode == 0, done.stdout + done.stderr
    (trained,) = json.loads(done.stdout)
    assert trained["outcome"] == "promoted"
    assert cluster.requests()["create", "pods"] == EXECUTORS, "it trained there"
    cluster.wait(lambda: not cluster.pods(), "no pod is left")
    return trained


@pytest.mark.kubernetes
def test_a_week_is_the_same_on_a_cluster_that_loses_an_executor(home, cluster, trained_on_the_cluster):
    week = ["predict", "flight_delay", "--date", str(WEEK[0]), "--to", str(WEEK[-1]), "--json"]
    made_before = cluster.requests()["create", "pods"]
    with ThreadPoolExecutor(1) as pool:
        backfill = pool.submit(tailrace, home, *week, **on(cluster))
        cluster.wait(lambda: WEEK[0] in published(home) or backfill.done(), "the first day is published", 180)
        working = names(cluster.executors())
        for victim in sorted(working)[:1]:
            cluster.kill(victim)
        cluster.wait(lambda: names(cluster.executors()) - working or backfill.done(), "the executor is replaced", 120)
        in_the_middle = WEEK[-1] not in published(home)
        there = backfill.result()
    assert there.returncode == 0, there.stdout + there.stderr
    assert in_the_middle
    assert len(working) == EXECUTORS
    assert cluster.requests()["create", "pods"] - made_before == EXECUTORS + 1, "the killed executor was replaced"
    cluster.wait(lambda: not cluster.pods(), "no pod is left")
    assert not cluster.refused()
    rows = json.loads(there.stdout)
    assert {row["model"] for row in rows} == {trained_on_the_cluster["version"]}
    from_cluster = week_of(home)
    assert from_cluster.num_rows == sum(row["rows"] for row in rows) > 5000

    here = tailrace(home, *week)
    assert here.returncode == 0, here.stderr
    assert week_of(home).equals(from_cluster)


@pytest.mark.kubernetes
def test_what_a_cluster_trained_one_machine_reproduces(home, trained_on_the_cluster):
    done = tailrace(home, "reproduce", trained_on_the_cluster["run"], "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "same model digest, same metrics" in json.loads(done.stdout)["sentence"]
