"""The engine `spark` on the test's cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tailrace.engines.spark.engine import SparkEngine
from tailrace.settings import SparkSettings
from tests.jvm import end_jvm
from tests.kubernetes.cluster import EXECUTOR_TEMPLATE, IMAGE, NAMESPACE, Cluster


def settings_of(cluster: Cluster, **changed: Any) -> SparkSettings:
    given = SparkSettings(
        master=cluster.master,
        image=IMAGE,
        namespace=NAMESPACE,
        service_account="tailrace-driver",
        pod_template=str(EXECUTOR_TEMPLATE),
        driver_host="127.0.0.1",
        driver_memory="512m",
        executor_memory="512m",
        executor_wait_seconds=90,
        conf={
            "spark.kubernetes.authenticate.oauthToken": cluster.token,
            "spark.kubernetes.executor.request.cores": "0.5",
        },
    )
    return replace(given, **changed)


def stop(engine: SparkEngine) -> None:
    """End the session and its JVM: the next one of this process has other settings."""
    if "session" in vars(engine):
        engine.session.stop()
    end_jvm()
