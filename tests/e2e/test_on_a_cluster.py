"""A training and a week of real flights on a cluster, with the same results as on one machine."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from tailrace import settings
from tailrace.wiring import Wiring
from tests.e2e.flights import published, tailrace
from tests.kubernetes.cluster import EXECUTOR_TEMPLATE, IMAGE, NAMESPACE, Cluster, running_cluster

pytestmark = pytest.mark.kubernetes

EARLY = dt.date(2013, 1, 29)
EXECUTORS = 2
WEEK = [EARLY + dt.timedelta(days=offset) for offset in range(7)]


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


def test_what_a_cluster_trained_one_machine_reproduces(home, trained_on_the_cluster):
    done = tailrace(home, "reproduce", trained_on_the_cluster["run"], "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "same model digest, same metrics" in json.loads(done.stdout)["sentence"]
