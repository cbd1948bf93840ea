"""Settings of Spark that are known to hang or fail are refused in a sentence each."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from tailrace.engines.spark import cluster, preflight
from tailrace.engines.spark.session import conf_of
from tailrace.errors import ClusterUnavailable, SettingsError
from tailrace.settings import SparkSettings

LOCAL = SparkSettings(master="local[2]")
KUBERNETES = SparkSettings(
    master="k8s://https://127.0.0.1:6443",
    image="tailrace:1",
    namespace="team",
    service_account="tailrace",
    driver_host="10.0.0.7",
    driver_pod="tailrace-driver",
)


def test_good_settings_have_no_problems():
    assert preflight.problems_of(LOCAL, distributed=True, workers=2) == []
    assert preflight.problems_of(KUBERNETES, distributed=True, workers=2) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (replace(KUBERNETES, image=""), "TAILRACE_SPARK_IMAGE is not set"),
        (replace(KUBERNETES, namespace=""), "TAILRACE_SPARK_NAMESPACE is not set"),
        (replace(KUBERNETES, service_account=""), "TAILRACE_SPARK_SERVICE_ACCOUNT is not set"),
        (replace(KUBERNETES, driver_host=""), "TAILRACE_SPARK_DRIVER_HOST is not set"),
        (replace(KUBERNETES, pod_template="/none.yaml"), "there is no such file"),
        (replace(KUBERNETES, executor_cores=8, node_cores=4), "no executor would ever start"),
        (replace(KUBERNETES, executor_memory="3g", node_memory="4g"), "needs 4.2 GiB"),
        (replace(KUBERNETES, dynamic_allocation=True), "switch it off"),
        (replace(LOCAL, native_reader="delta"), "no delta-spark jar is configured"),
    ],
)
def test_each_problem_is_a_sentence(settings, words):
    problems = preflight.problems_of(settings, distributed=True)
    assert len(problems) == 1
    assert words in problems[0]


def test_more_workers_than_tasks_at_once_would_wait_for_ever():
    assert "wait forever" in preflight.problems_of(LOCAL, distributed=True, workers=3)[0]
    assert preflight.problems_of(LOCAL, distributed=False, workers=3) == []


def test_all_problems_are_raised_at_once():
    with pytest.raises(SettingsError) as raised:
        preflight.check(SparkSettings(master="k8s://https://127.0.0.1:6443"))
    assert len(raised.value.problems) == 4


@pytest.mark.parametrize(
    ("version", "good"), [("1.8.0_402", False), ("11.0.2", False), ("17.0.15", True), ("21", True)]
)
def test_java_is_checked_by_its_version(tmp_path, version, good):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2024-01-01' >&2\n")
    java.chmod(0o755)
    problems = preflight.problems_of(replace(LOCAL, java_home=str(tmp_path)))
    assert (problems == []) is good
    assert good or "Spark needs Java 17" in problems[0]


def test_a_missing_java_is_said(tmp_path):
    assert "none was found" in preflight.problems_of(replace(LOCAL, java_home=str(tmp_path)))[0]


@pytest.mark.parametrize("master", ["spark://127.0.0.1:1", "k8s://https://127.0.0.1:1", "k8s://http://127.0.0.1:1"])
def test_an_unreachable_master_is_said_before_anything_starts(master):
    with pytest.raises(ClusterUnavailable, match=r"does not answer .*127\.0\.0\.1:1: Connection refused.*SPARK_MASTER"):
        cluster.check_answers(master)


def test_a_local_master_listens_on_loopback_alone_and_workers_run_the_drivers_python():
    conf = conf_of(LOCAL)
    assert conf["spark.driver.bindAddress"] == conf["spark.driver.host"] == "127.0.0.1"
    assert conf["spark.ui.enabled"] == "false"
    assert conf["spark.pyspark.python"] == sys.executable
    assert conf["spark.sql.parquet.outputTimestampType"] == "TIMESTAMP_MICROS"
    assert conf["spark.sql.session.timeZone"] == "UTC", "whatever the host's zone"
    assert not any(name.startswith("spark.kubernetes") for name in conf)


def test_on_kubernetes_executors_are_owned_by_the_drivers_pod_and_speak_encrypted():
    conf = conf_of(KUBERNETES)
    assert conf["spark.kubernetes.driver.pod.name"] == "tailrace-driver"
    assert conf["spark.driver.bindAddress"] == "10.0.0.7"
    assert conf["spark.authenticate"] == conf["spark.network.crypto.enabled"] == "true"
    assert conf["spark.executor.instances"] == "2"


def test_the_pod_template_names_the_executors_account():
    account = "spark.kubernetes.authenticate.{}.serviceAccountName".format
    without, given = conf_of(KUBERNETES), conf_of(replace(KUBERNETES, pod_template="executor.yaml"))
    assert without[account("executor")] == "tailrace"
    assert account("executor") not in given
    assert account("driver") not in given, "Spark falls back to it where the template has no deprecated serviceAccount"


def test_executors_hand_over_for_as_long_as_their_template_says(tmp_path):
    grace = "spark.kubernetes.executor.terminationGracePeriodSeconds"
    (tmp_path / "pod.yaml").write_text("spec: {terminationGracePeriodSeconds: 120}")
    assert conf_of(replace(KUBERNETES, pod_template=str(tmp_path / "pod.yaml")))[grace] == "120s"
    assert conf_of(KUBERNETES)[grace] == "90s", "Spark's own is 30 s"


def test_a_template_that_is_no_pod_is_said(tmp_path):
    (tmp_path / "pod.yaml").write_text("[")
    problems = preflight.problems_of(replace(KUBERNETES, pod_template=str(tmp_path / "pod.yaml")))
    assert any("which is not a pod in YAML" in problem for problem in problems)


def test_who_authenticates_encrypts():
    master = SparkSettings(master="spark://master:7077")
    secret = {"spark.authenticate": "true", "spark.authenticate.secret": "s"}
    assert "spark.network.crypto.enabled" not in conf_of(master)
    assert conf_of(replace(master, conf=secret))["spark.network.crypto.enabled"] == "true"
    off = {**secret, "spark.network.crypto.enabled": "false"}
    assert conf_of(replace(master, conf=off))["spark.network.crypto.enabled"] == "false"


def test_dynamic_allocation_has_the_executors_as_its_most():
    conf = conf_of(replace(KUBERNETES, dynamic_allocation=True, executors=7))
    assert conf["spark.dynamicAllocation.maxExecutors"] == "7"
    assert conf["spark.dynamicAllocation.shuffleTracking.enabled"] == "true"
    assert "spark.executor.instances" not in conf


def test_further_conf_wins():
    assert conf_of(replace(LOCAL, conf={"spark.ui.enabled": "true"}))["spark.ui.enabled"] == "true"
