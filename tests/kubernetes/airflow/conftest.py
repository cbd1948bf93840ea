"""Airflow whose heavy tasks are pods of the test cluster, on a small lake of made-up flights."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.airflow_home import ENVIRONMENT, airflow_db
from tests.kubernetes.airflow import synthetic_flights
from tests.kubernetes.cluster import DRIVER_TEMPLATE, IMAGE, NAMESPACE, Cluster

__all__ = ["airflow_db"]

TRAINED = dt.date(2013, 2, 12)
AIRFLOW = Path(sys.executable).with_name("airflow")


@dataclass(frozen=True)
class Ended:
    """A DAG run that has ended, by task; `spark` is what a task links to, `pods_created` counts the pods it made."""

    states: Mapping[str, str]
    tries: Mapping[str, int]
    returned: Mapping[str, Any]
    spark: Mapping[str, str | None]
    pods_created: int


@dataclass
class Installation:
    """One home that pods and in-process tasks share, and Airflow, whose environment makes the heavy tasks pods."""

    cluster: Cluster
    environment: Mapping[str, str]

    def configure(self, **settings: str) -> None:
        """Give the pods these settings beside their home, as an overlay of deploy/kubernetes/base does."""
        self.cluster.delete("configmaps", "tailrace-config")
        data = {"TAILRACE_HOME": self.environment["TAILRACE_HOME"], **settings}
        metadata = {"name": "tailrace-config"}
        self.cluster.apply({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": data})

    def created(self) -> int:
        """How many pods Airflow has asked for, in all."""
        return self.cluster.requests("airflow-worker")["create", "pods"]

    def run(self, dag_id: str, day: dt.date, /, *, score: Mapping[str, Any] | None = None, **conf: Any) -> Ended:
        """Run a DAG for a day by dag.test(), in this process, without waiting between tries.

        `score` sets attributes of that task.
        """
        dag, before = self._dag(dag_id), self.created()
        for name, value in (score or {}).items():
            setattr(dag.get_task("score"), name, value)
        # The same day again and again: one that is published from the same inputs would be left alone.
        again = {"force": True} if dag_id.startswith("predict__") else {}
        run = dag.test(logical_date=dt.datetime.combine(day, dt.time(), dt.UTC), run_conf={**again, **conf})
        return self._ended(run.get_task_instances(), before)

    def worker(self, dag_id: str, day: dt.date) -> subprocess.Popen[bytes]:
        """The same in a process of its own, to be killed."""
        return subprocess.Popen(
            [str(AIRFLOW), "dags", "test", dag_id, str(day)],
            env={**os.environ, **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def next_try(self, dag_id: str, task_id: str) -> Ended:
        """Run a task of the DAG's last run again, as the scheduler does when the task's worker died."""
        from airflow.models.taskinstance import TaskInstance
        from airflow.sdk.definitions.dag import _run_task
        from airflow.utils.session import create_session
        from sqlalchemy import select

        dag, before = self._dag(dag_id), self.created()
        with create_session() as session:
            wanted = select(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.task_id == task_id)
            ti = max(session.scalars(wanted), key=lambda ti: ti.queued_dttm or ti.scheduled_dttm)
            ti.try_number += 1
            ti.clear_next_method_args()  # the try that died may have deferred already
            session.commit()
            _run_task(ti=ti, task=dag.get_task(task_id), run_triggerer=True)
            return self._ended([ti], before)

    def _dag(self, dag_id: str) -> Any:
        from tailrace.orchestration.dags import pipeline_dags

        dag = {dag.dag_id: dag for dag in pipeline_dags("flight_delay", "")}[dag_id]
        for task in dag.tasks:
            task.retry_delay = dt.timedelta(0)
        return dag

    def _ended(self, instances: list[Any], before: int) -> Ended:
        from tailrace.lineage import xcom_keys
        from tailrace.orchestration import task_results

        return Ended(
            {ti.task_id: str(getattr(ti.state, "value", ti.state)) for ti in instances},
            {ti.task_id: ti.try_number for ti in instances},
            {ti.task_id: ti.xcom_pull(task_ids=ti.task_id) for ti in instances},
            {
                ti.task_id: ti.xcom_pull(task_ids=ti.task_id, key=xcom_keys.LINK + task_results.SPARK)
                for ti in instances
            },
            self.created() - before,
        )


@pytest.fixture(scope="module")
def installation(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, airflow_db: None
) -> Iterator[Installation]:
    home = tmp_path_factory.mktemp("home")
    synthetic_flights.publish(home / "lake", TRAINED)
    kubeconfig = cluster.kubeconfig("airflow-worker", "airflow")
    environment = {
        **ENVIRONMENT,
        "TAILRACE_HOME": str(home),
        "TAILRACE_TASKS": "pods",
        "TAILRACE_POD_TEMPLATE": str(DRIVER_TEMPLATE),
        "TAILRACE_SPARK_IMAGE": IMAGE,
        "TAILRACE_SPARK_NAMESPACE": NAMESPACE,
        # Upstream's trap: what it names beside the connection's own is refused when a pod has finished.
        "KUBECONFIG": str(kubeconfig),
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps(
            {"conn_type": "kubernetes", "extra": {"kube_config_path": str(kubeconfig)}}
        ),
    }
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        made = Installation(cluster, environment)
        made.configure()
        yield made
