"""The loop on Postgres, S3 and an MLflow server, beside the embedded default: same predictions; faults; a backup."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any

import boto3
import pyarrow as pa
import pytest
from mlflow import MlflowClient

from scripts import backup, restore, stack
from tailrace import settings
from tailrace.commands.airflow.api import FINAL, AirflowApi, DagRunFailed
from tailrace.spec import registry, zone
from tailrace.wiring import Wiring
from tests.e2e import flights
from tests.object_store import s3_server
from tests.postgres import Server
from tests.support import eventually

pytestmark = pytest.mark.services

FIRST, LAST = dt.date(2013, 1, 10), flights.LAST
TRAINED, NEXT = flights.TRAINED, flights.NEXT
PIPELINE = "flight_delay"
PREDICT, PREDICTIONS = f"predict__{PIPELINE}", f"predictions/{PIPELINE}"
TRIALS = 2
MLFLOW_DOWN_SECONDS = 30
QUICK_RECOVERY = {
    # How often a scheduler looks for the tasks of another that fell silent 30 s ago; 300 s by default.
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
}


@dataclass
class Installation:
    """A running stack and what leads to its data."""

    running: stack.Stack
    configured: settings.Settings
    api: AirflowApi
    server: Server | None = None
    """The Postgres that holds warehouse and MLflow, where there is one."""

    def published(self) -> dict[dt.date, str]:
        """The version of each day's last publication."""
        return flights.published(self.configured)

    def commits(self) -> int:
        """How many commits the predictions' table has had."""
        return int(max(self.published().values(), key=int, default="0"))

    def predictions(self, day: dt.date) -> pa.Table:
        """What is published of a day, without what names the model version's run."""
        rows = Wiring(self.configured).lake.read(PREDICTIONS, first=day, last=day).read_all()
        return rows.sort_by([(name, "ascending") for name in registry.get(PIPELINE).features.key])


def objects(variables: Mapping[str, str]) -> Any:
    """A client of the object store."""
    return boto3.client(
        "s3",
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        region_name=variables["AWS_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )


def client(running: stack.Stack) -> AirflowApi:
    return running.api(zone(registry.get(PIPELINE)))


def a_month(api: AirflowApi) -> None:
    """Warehouse, a model, and its first night."""
    api.run_day("warehouse", LAST, {"first_day": str(FIRST)})
    api.run_day(f"train__{PIPELINE}", TRAINED, {"trials": TRIALS})
    api.run_day(PREDICT, TRAINED, {})


@pytest.fixture(scope="module")
def embedded(tmp_path_factory) -> Iterator[Installation]:
    """What `make up` starts, with a month of flights."""
    configured = settings.load({"TAILRACE_HOME": str(tmp_path_factory.mktemp("embedded"))})
    with stack.Stack(configured, parallelism=2).started() as running:
        api = client(running)
        a_month(api)
        yield Installation(running, configured, api)


@pytest.fixture(scope="module")
def services(tmp_path_factory) -> Iterator[Installation]:
    """Airflow on Postgres, the warehouse on Postgres, MLflow's server on Postgres and S3, the lake on S3."""
    server = Server()
    server.start()
    try:
        with s3_server() as store:
            objects(store).create_bucket(Bucket="mlflow")
            warehouse = server.database("warehouse")
            variables = store | {
                "TAILRACE_HOME": str(tmp_path_factory.mktemp("services")),
                "TAILRACE_LAKE": "s3://lake/lake",
                "TAILRACE_STORAGE_OPTIONS": json.dumps(store),
                "TAILRACE_WAREHOUSE": warehouse.url,
                "TAILRACE_WAREHOUSE_PASSWORD": warehouse.password,
            }
            of_the_server = replace(
                settings.load(variables), tracking_uri=server.database("mlflow").sqlalchemy_url, artifacts="s3://mlflow"
            )
            running = stack.Stack(of_the_server, parallelism=2)
            running.environment |= (
                variables
                | QUICK_RECOVERY
                | {
                    "TAILRACE_TRACKING_URI": running.mlflow_url,
                    "MLFLOW_S3_ENDPOINT_URL": store["AWS_ENDPOINT_URL"],
                }
            )
            configured = settings.load(running.environment)
            with running.started():
                api = client(running)
                a_month(api)
                yield Installation(running, configured, api, server)
    finally:
        server.remove()


def test_the_loop_on_real_services_predicts_what_the_embedded_one_does(embedded, services):
    assert services.configured.lake.startswith("s3://")
    assert services.configured.warehouse_is_postgres
    assert list(services.published()) == list(embedded.published()) == [TRAINED]
    ours, theirs = services.predictions(TRAINED), embedded.predictions(TRAINED)
    assert ours.num_rows > 600
    assert ours.equals(theirs)
    (version,) = Wiring(services.configured).tracker.versions(PIPELINE)
    assert version.version == "1"
    run = MlflowClient(services.configured.tracking_uri).get_run(version.training_run)
    assert run.info.artifact_uri.startswith("mlflow-artifacts:"), "clients write to the server, not to its store"
    assert objects(services.running.environment).list_objects_v2(Bucket="mlflow")["KeyCount"] > 3


def keep_alive(running: stack.Stack, run: Future[Any]) -> None:
    """Wait for the run. What ends meanwhile is started again, as compose does: a scheduler ends with its database."""
    until = time.monotonic() + 300
    while wait([run], timeout=1).not_done:
        assert time.monotonic() < until, "the run has not ended in 300 s"
        for name in ("scheduler", "triggerer", "dag-processor", "api-server"):
            if running.processes.ended(name):
                running.start_one(name)


def in_the_middle(
    installation: Installation,
    dag: str,
    day: dt.date,
    fault: Callable[[], None],
    conf: Mapping[str, Any] | None = None,
    task: str = "~",
) -> dict[str, str]:
    """Run a day, strike while its first task or the named one runs, and wait for the end; the states of its tasks."""
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(installation.api.run_day, dag, day, conf or {})
        running = f"/dags/{dag}/dagRuns/~/taskInstances?state=running"

        def runs() -> bool:
            return any(task in ("~", each["task_id"]) for each in installation.api.get(running)["task_instances"])

        eventually(lambda: run.done() or runs(), f"a task of {dag} runs")
        assert not run.done(), f"it ended before anything could happen to it: {run.result()}"
        fault()
        keep_alive(installation.running, run)
        # What a gate refuses is a failed run: the tasks tell more.
        with contextlib.suppress(DagRunFailed):
            run.result()
    (last,) = installation.api.get(f"/dags/{dag}/dagRuns?limit=1&order_by=-id")["dag_runs"]
    tasks = installation.api.get(f"/dags/{dag}/dagRuns/{last['dag_run_id']}/taskInstances")["task_instances"]
    return {task["task_id"]: task["state"] for task in tasks}


def test_the_metadata_database_is_restarted_in_mid_run(services):
    before = services.published()
    states = in_the_middle(services, PREDICT, TRAINED, services.running.restart_database, {"force": True})
    assert states["publish"] == "success", states
    assert services.published() == before, "the same bytes make no second commit"


def test_the_scheduler_is_killed_in_mid_run(services):
    before = services.commits()

    def kill() -> None:
        os.killpg(services.running.processes.pid("scheduler"), signal.SIGKILL)
        services.running.start_one("scheduler")

    states = in_the_middle(services, PREDICT, NEXT, kill)
    assert states["publish"] == "success", states
    assert NEXT in services.published()
    assert services.commits() == before + 1, "published once"


def test_mlflow_is_down_for_half_a_minute_in_mid_training(services):
    tracker = Wiring(services.configured).tracker
    before = len(tracker.versions(PIPELINE))

    def kill() -> None:
        os.killpg(services.running.processes.pid("mlflow"), signal.SIGKILL)
        threading.Timer(MLFLOW_DOWN_SECONDS, services.running.start_one, ["mlflow"]).start()

    states = in_the_middle(services, f"train__{PIPELINE}", NEXT, kill, {"trials": TRIALS})
    assert (states["train"], states["evaluate"]) == ("success", "success"), states
    assert len(tracker.versions(PIPELINE)) == before + 1, "one version, however often the task was tried"


def test_mlflow_is_down_for_half_a_minute_in_mid_prediction(services):
    before = services.published()

    def kill() -> None:
        os.killpg(services.running.processes.pid("mlflow"), signal.SIGKILL)
        threading.Timer(MLFLOW_DOWN_SECONDS, services.running.start_one, ["mlflow"]).start()

    states = in_the_middle(services, PREDICT, TRAINED, kill, {"force": True, "model": "1"})
    assert states == {"score": "success", "audit": "success", "publish": "success"}
    assert services.published() == before, "the same bytes make no second commit"


@pytest.mark.parametrize(("dag", "task"), [("warehouse", "build"), (f"train__{PIPELINE}", "train")])
def test_the_postgres_of_warehouse_and_mlflow_is_restarted_in_mid_run(services, dag, task):
    lake = Wiring(services.configured).lake
    before = lake.days(f"features/{PIPELINE}")[NEXT].version
    versions = len(Wiring(services.configured).tracker.versions(PIPELINE))

    def restart() -> None:
        services.server.stop()
        services.server.start()

    conf = {"trials": TRIALS, "force": True} if task == "train" else {}
    states = in_the_middle(services, dag, NEXT, restart, conf, task)
    if task == "train":
        assert (states["train"], states["evaluate"]) == ("success", "success"), states
        assert len(Wiring(services.configured).tracker.versions(PIPELINE)) == versions + 1, "one more"
    else:
        assert set(flights.of_flights(states).values()) == {"success"}, states
        assert lake.days(f"features/{PIPELINE}")[NEXT].version == before, "the same bytes make no second commit"


def test_a_task_per_model_builds_the_same_on_postgres(services):
    """The last one on these services: they stay with this setting."""
    lake = Wiring(services.configured).lake
    before = lake.days(f"features/{PIPELINE}")[NEXT].version
    services.running.environment["TAILRACE_DBT_TASKS"] = "models"
    for name in ("scheduler", "dag-processor"):
        # In good order: what a killed scheduler leaves is looked for, and taken from whoever has it, for half a minute.
        os.killpg(services.running.processes.pid(name), signal.SIGTERM)
        eventually(lambda name=name: services.running.processes.ended(name), f"{name} has ended")
        services.running.start_one(name)
    tasks = "/dags/warehouse/tasks?limit=1"
    eventually(lambda: services.api.get(tasks)["total_entries"] > 20, "the DAG is parsed with its new setting")
    run = services.api.run_day("warehouse", NEXT, {})
    states = {task["task_id"]: task["state"] for task in services.api.tasks("warehouse", run)}
    assert set(flights.of_flights(states).values()) == {"success"}, states
    assert "build.models.flight_delay_features.test" in states
    assert lake.days(f"features/{PIPELINE}")[NEXT].version == before, "the same bytes make no second commit"


def tailrace(installation: Installation, *command: str) -> Any:
    done = flights.tailrace(installation.configured, *command, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def seen(installation: Installation, api: AirflowApi) -> dict[str, Any]:
    """What a person sees of it: runs in Airflow, models and their history, predictions."""
    runs = api.get("/dags/~/dagRuns?limit=100&order_by=id")["dag_runs"]
    return {
        "runs": [(run["dag_id"], run["dag_run_id"], run["state"], run["conf"]) for run in runs],
        "history": tailrace(installation, "history", PIPELINE),
        "predictions": tailrace(installation, "predictions", PIPELINE, "--date", str(TRAINED)),
        "published": installation.published(),
    }


def is_monitored(api: AirflowApi) -> bool:
    """Whether the runs that follow a publication have ended."""
    runs = api.get(f"/dags/monitor__{PIPELINE}/dagRuns")["dag_runs"]
    return bool(runs) and all(run["state"] in FINAL for run in runs)


def test_a_backup_restores_runs_models_and_predictions(embedded, tmp_path):
    eventually(lambda: is_monitored(embedded.api), "the published days are monitored")
    before = seen(embedded, embedded.api)
    made = tmp_path / "backup"
    backup.back_up(embedded.configured, made)
    # What comes after the backup is gone after the restore.
    embedded.api.run_day(PREDICT, NEXT, {})
    assert seen(embedded, embedded.api) != before

    with pytest.raises(backup.CannotBackUp, match=r"make down.*OVER=yes"):
        restore.restore(embedded.configured, made, over=False)
    embedded.running.stop()
    with pytest.raises(backup.CannotBackUp, match="OVER=yes"):
        restore.restore(embedded.configured, made, over=False)
    aside = restore.restore(embedded.configured, made, over=True)
    assert (aside / "lake").is_dir(), "what was there is still somewhere"

    with stack.Stack(embedded.configured, parallelism=2).started() as again:
        assert seen(embedded, client(again)) == before
        (run,) = {row["training_run"] for row in before["history"]}
        assert "same model digest, same metrics" in tailrace(embedded, "reproduce", run)["sentence"]
        night = client(again).run_day("warehouse", LAST, {})
        taken = client(again).xcom("warehouse", night, f"{PIPELINE}.snapshot", "tailrace_result")
        assert taken["unchanged"], "dbt builds the warehouse, which no backup holds, from the landed files"
        client(again).run_day(PREDICT, NEXT, {})
        assert NEXT in embedded.published(), "it goes on from there"


def test_a_backup_that_changed_is_refused_before_anything_is_touched(embedded, tmp_path):
    made = tmp_path / "backup"
    backup.back_up(embedded.configured, made)
    (made / "mlflow.db").write_bytes(b"")
    (next((made / "lake").rglob("*.parquet"))).unlink()
    with pytest.raises(backup.CannotBackUp, match=r"not as it was written.*2 files"):
        restore.restore(embedded.configured, made, over=True)
    with pytest.raises(backup.CannotBackUp, match=r"no manifest\.json"):
        restore.restore(embedded.configured, tmp_path, over=True)
