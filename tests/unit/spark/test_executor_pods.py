"""What is known of executors that do not start or do not live, as the API server tells it."""

from __future__ import annotations

import logging

import pytest
from kubernetes import client as k8s

from tailrace.engines.spark import cluster, executor_pods, jvm
from tailrace.errors import ClusterRefused
from tailrace.settings import SparkSettings

SETTINGS = SparkSettings(master="k8s://https://127.0.0.1:6443", image="registry.example/i:1", namespace="team")
WORDS = "Unrecognized VM option 'NoSuchOption'\nError: Could not create the Java Virtual Machine."


def pod(name, code, message=None):
    state = k8s.V1ContainerState(terminated=k8s.V1ContainerStateTerminated(exit_code=code, message=message))
    status = k8s.V1ContainerStatus(name="e", image="i", image_id="", ready=False, restart_count=0, state=state)
    return k8s.V1Pod(metadata=k8s.V1ObjectMeta(name=name), status=k8s.V1PodStatus(container_statuses=[status]))


def test_an_executors_end_is_kept_once_with_its_last_words(caplog):
    caplog.set_level(logging.WARNING)
    ends = executor_pods.Ends()
    for seen in (pod("e-1", 1, WORDS), pod("e-1", 1, WORDS), pod("e-2", 0), pod("e-3", 137)):
        ends.note(seen)
        if seen.metadata.name == "e-1":
            assert ends.last == f"executor pod e-1 ended with exit code 1, Error: {' '.join(WORDS.split())}"
    assert len(ends) == 2, "one that ended in good order says nothing"
    assert ends.last == "executor pod e-3 ended with exit code 137, Error, and left no message"
    assert caplog.text.count("Could not create the Java Virtual Machine") == 1


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("ErrImagePull", "failed to resolve reference: registry.example/i:1: not found"),
        ("ImagePullBackOff", 'Back-off pulling image "i": ErrImagePull: pull access denied'),
        ("InvalidImageName", ""),
        ("CreateContainerConfigError", "secret not there"),
    ],
)
def test_what_will_never_start_is_refused(reason, message):
    with pytest.raises(ClusterRefused, match=r"e-1 in 'team' cannot start .*TAILRACE_SPARK_IMAGE"):
        executor_pods._why(SETTINGS, "e-1", reason, message)


@pytest.mark.parametrize("message", ['Back-off pulling image "i"', "503 Service Unavailable", "dial tcp: i/o timeout"])
def test_a_registry_that_may_be_down_is_waited_for(message):
    why = executor_pods._why(SETTINGS, "e-1", "ImagePullBackOff", message)
    assert why.startswith(f"ImagePullBackOff: {message}; the image is 'registry.example/i:1'")


def test_executors_wait_for_the_quota_unless_it_can_never_hold_them(monkeypatch):
    said = "exceeded quota: team, requested: limits.memory={}Gi, used: limits.memory=9Gi, limited: limits.memory=10Gi"

    def why_none(memory):
        line = f"Failure executing: POST at: https://x. Message: {said.format(memory)}. Received status: x"
        monkeypatch.setattr(jvm, "_said", [line])
        monkeypatch.setattr(executor_pods, "waiting", lambda settings, application: [])
        return cluster.why_none(SETTINGS, "spark-1")

    assert why_none(5) == [f"quota: {said.format(5)}"]
    with pytest.raises(ClusterRefused, match="requests more than the total quota of the namespace 'team'"):
        why_none(12)
