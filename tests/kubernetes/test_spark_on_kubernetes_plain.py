"""Spark's own client in client mode, with the rights of deploy/kubernetes and no other; nothing of Tailrace runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import kubernetes_validate
import pytest
import yaml

from tests.kubernetes.cluster import BASE, DRIVER_TEMPLATE, IMAGE, Cluster

if TYPE_CHECKING:
    from pyspark import SparkContext

DRIVER = """
import json, os
from pyspark import SparkConf, SparkContext
conf = json.loads(os.environ["CONF"])
conf["spark.driver.host"] = conf["spark.driver.bindAddress"] = os.environ["TAILRACE_SPARK_DRIVER_HOST"]
conf["spark.kubernetes.driver.pod.name"] = os.environ["TAILRACE_SPARK_DRIVER_POD"]
conf["spark.kubernetes.executor.podTemplateFile"] = os.environ["TAILRACE_SPARK_POD_TEMPLATE"]
context = SparkContext(conf=SparkConf().setAppName("pod").setAll(list(conf.items())))
print("SUM", context.parallelize(range(100), 4).sum(), flush=True)
print("CWD", sorted(os.listdir("."))[:1], flush=True)
import threading
threading.Event().wait()
"""


@contextmanager
def session(cluster: Cluster, **more: str) -> Iterator[SparkContext]:
    """A driver in this process that names its account as the engine does; `more` as in Cluster.spark_conf."""
    from pyspark import SparkConf, SparkContext

    named = {"spark_kubernetes_authenticate_driver_serviceAccountName": "tailrace-driver"}
    conf = SparkConf().setAppName("plain").setAll(list(cluster.spark_conf(**named, **more).items()))
    context = SparkContext(conf=conf)
    try:
        yield context
    finally:
        context.stop()
        # The next session of this process needs a JVM with other settings.
        assert SparkContext._gateway is not None
        SparkContext._gateway.shutdown()
        SparkContext._gateway = SparkContext._jvm = None


@pytest.fixture
def spark(cluster: Cluster) -> Iterator[SparkContext]:
    with session(cluster) as context:
        yield context


@pytest.fixture
def lake_secret(cluster: Cluster) -> Iterator[dict[str, str]]:
    """The object store's variables, as docs/kubernetes.md has the team create them."""
    held = {"AWS_ACCESS_KEY_ID": "of the lake"}
    metadata = {"name": "tailrace-lake"}
    cluster.apply({"kind": "Secret", "apiVersion": "v1", "metadata": metadata, "stringData": held})
    yield held
    cluster.delete("secrets", "tailrace-lake")


def test_a_killed_executor_is_replaced_and_the_result_is_right(
    cluster: Cluster, lake_secret: dict[str, str], spark: SparkContext, tmp_path: Path
) -> None:
    cluster.wait(lambda: len(cluster.executors()) == 2, "two executors run")
    started, go_on = tmp_path / "started", tmp_path / "go-on"
    started.mkdir()

    def summed(rows: Iterator[int]) -> Iterator[tuple[str, int]]:
        import time

        name = os.environ["SPARK_EXECUTOR_POD_NAME"]
        (started / name).touch()
        while not go_on.exists():
            time.sleep(0.05)
        yield name, sum(rows)

    def kill_one() -> str:
        cluster.wait(lambda: len(list(started.iterdir())) == 2, "both executors work")
        victim = min(path.name for path in started.iterdir())
        cluster.kill(victim)
        go_on.touch()
        return victim

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill_one)
        result = spark.parallelize(range(1000), 8).mapPartitions(summed).collect()
        victim = killing.result()

    assert sum(total for _, total in result) == sum(range(1000))
    assert victim not in {name for name, _ in result}
    cluster.wait(lambda: len(cluster.executors()) == 2, "the killed executor is replaced")
    key = spark.parallelize([0], 1).map(lambda _: os.environ.get("AWS_ACCESS_KEY_ID")).first()
    assert key == lake_secret["AWS_ACCESS_KEY_ID"], "the Python workers open the lake themselves"
    for pod in cluster.executors():
        assert pod["spec"]["serviceAccountName"] == "tailrace-executor"
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert {"cpu", "memory"} <= set(pod["spec"]["containers"][0]["resources"]["limits"])
        kubernetes_validate.validate(pod, "1.34", strict=True)

    spark.stop()
    cluster.wait(lambda: not cluster.pods(), "no pod is left")
    assert _of_spark(cluster.configmaps()) == []
    assert cluster.objects("services") == []
    assert not cluster.refused()


def test_executors_end_with_the_pod_of_a_driver_that_vanishes(cluster: Cluster) -> None:
    """The driver's pod template, its service account's mounted token, and nothing left when its node is gone."""
    pod = yaml.safe_load(DRIVER_TEMPLATE.read_text())
    pod["metadata"]["name"] = "driver"
    container = pod["spec"]["containers"][0]
    conf = cluster.spark_conf()
    del conf["spark.kubernetes.authenticate.oauthToken"]
    container |= {"image": IMAGE, "args": ["python3", "-c", DRIVER]}
    container["env"] += [
        {"name": "CONF", "value": json.dumps(conf)},
        {"name": "TAILRACE_SPARK_DRIVER_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "TAILRACE_SPARK_DRIVER_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    cluster.apply(pod)

    cluster.wait(lambda: f"SUM {sum(range(100))}" in cluster.log("driver"), "the driver has its sum", 90)
    assert cluster.executors()
    cluster.vanish("driver")

    cluster.wait(lambda: not cluster.pods(), "the executors are gone with their driver")
    assert _of_spark(cluster.configmaps()) == []
    assert not cluster.refused()


def test_every_right_of_the_driver_is_used(cluster: Cluster) -> None:
    """What nobody asks for is not given: a session that an executor's death and a look at all pods is part of."""
    role = next(
        obj
        for obj in yaml.safe_load_all((BASE / "rbac.yaml").read_text())
        if obj["kind"] == "Role" and obj["metadata"]["name"] == "tailrace-driver"
    )
    given = {(verb, resource) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    before = cluster.requests()

    def asked() -> set[tuple[str, str]]:
        return set(cluster.requests() - before)

    owner = yaml.safe_load(DRIVER_TEMPLATE.read_text())
    owner["metadata"]["name"] = "owner"
    owner["spec"]["containers"][0] |= {"image": IMAGE, "args": ["sleep", "infinity"]}
    cluster.apply(owner)
    with session(
        cluster,
        spark_kubernetes_driver_pod_name="owner",
        spark_kubernetes_executor_apiPollingInterval="1s",  # half a minute by default
        spark_executor_instances="1",
    ):
        executor = cluster.wait(cluster.executors, "an executor runs")[0]["metadata"]["name"]
        cluster.kill(executor)
        cluster.wait(lambda: {("list", "pods"), ("delete", "pods")} <= asked(), "Spark has looked and cleaned up")
    cluster.clear()

    assert asked() == given
    assert not cluster.refused()


def _of_spark(configmaps: list[dict]) -> list[str]:
    return [found["metadata"]["name"] for found in configmaps if found["metadata"]["name"].startswith("spark-")]
