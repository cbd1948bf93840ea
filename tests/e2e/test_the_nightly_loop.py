"""Real flights through real Airflow: `dags test`, a trigger, a backfill and the command line agree."""

from __future__ import annotations

import datetime as dt
import json
import os
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
from pipelines.spec import zone
from pipelines.wiring import Wiring
from scripts import stack
from scripts.airflow_api import FINAL, AirflowApi, DagRunFailed
from tests.kubernetes.cluster import EXECUTOR_TEMPLATE, IMAGE, NAMESPACE, Cluster, running_cluster

BIN = Path(sys.executable).parent
FIRST, LAST = dt.date(2013, 1, 1), dt.date(2013, 2, 14)
TRAINED, NEXT = dt.date(2013, 2, 12), dt.date(2013, 2, 13)
PREDICT = "predict__flight_delay"
EARLY = dt.date(2013, 1, 29)
EXECUTORS = 2
WEEK = [EARLY + dt.timedelta(days=offset) for offset in range(7)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An installation whose warehouse and first model were made by `airflow dags test`."""
    folder = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "TAILRACE_HOME": str(folder)}
    configured = settings.load(environment)
    made = stack.Stack(configured, parallelism=2)
    for command in (["db", "migrate"], ["pools", "set", "warehouse", "1", "one writer"]):
        airflow(made, *command)
    airflow(made, "dags", "test", "warehouse", str(LAST), "-c", json.dumps({"first_day": str(FIRST)}))
    airflow(made, "dags", "test", "train__flight_delay", str(TRAINED), "-c", json.dumps({"trials": 3}))
    airflow(made, "dags", "test", PREDICT, str(TRAINED))
    return configured


@pytest.fixture(scope="module")
def api(home):
    """Airflow with its scheduler, on the same home."""
    running = stack.Stack(home, parallelism=2)
    try:
        running.start()
        yield AirflowApi(running.airflow_url, stack.USER, running.password, zone(registry.get("flight_delay")))
    finally:
        running.stop()


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


def test_the_command_line_says_what_is_wrong(home):
    for command, code, sentence in (
        (["predict", "flight_dely", "--date", "2013-02-12"], 2, "Did you mean 'flight_delay'?"),
        (["predict", "flight_delay", "--date", "2013-02-31"], 2, "write a day of the calendar"),
        (["predict", "flight_delay", "--date", "2013-02-12", "--model", "newest"], 2, "ask for 'as-of'"),
        (["predict", "flight_delay", "--date", "2013-02-01"], 1, "no model was champion on 2013-02-01"),
        (["predictions", "flight_delay", "--date", "2013-02-01"], 1, "has no published predictions of 2013-02-01"),
        (["run", "ingest", "flight_delay", "--date", "2015-01-01"], 2, "its calendar goes from"),
        (["reproduce", "nothing"], 2, "nothing"),
    ):
        done = tailrace(home, *command)
        assert done.returncode == code, (command, done.stdout, done.stderr)
        assert sentence in done.stderr.replace("\n", " "), (command, done.stderr)
        assert "Traceback" not in done.stderr


def test_tables_come_as_json(home):
    for command in (
        ["list"],
        ["history", "flight_delay"],
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
    before = published(home)
    try:
        nightly.start()
        api = AirflowApi(nightly.airflow_url, stack.USER, nightly.password, zone(registry.get("flight_delay")))
        run = first_run(api, PREDICT)
        events = api.get("/assets/events")["asset_events"]
    finally:
        nightly.stop()
    assert (run["run_type"], run["triggered_by"]) == ("scheduled", "timetable")
    assert (run["partition_key"], run["state"]) == (str(NEXT), "success"), "logs: " + str(nightly.home / "logs")
    after = published(home)
    announced = [(event["name"], event["partition_key"], event["extra"]["version"]) for event in events]
    assert announced == [("predictions/flight_delay", str(NEXT), after[NEXT])]
    by_hand = tailrace(home, "predict", "flight_delay", "--date", str(NEXT), "--json")
    assert by_hand.returncode == 0, by_hand.stderr
    assert [row["unchanged"] for row in json.loads(by_hand.stdout)] == [True]
    assert published(home) == after == before | {NEXT: after[NEXT]}


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
