"""The test cluster keeps to what Kubernetes does, asked through the official Python client."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException

from tests.kubernetes.cluster import IMAGE, NAMESPACE, Cluster, running_cluster


def api_of(cluster: Cluster, token: str) -> client.CoreV1Api:
    configuration = client.Configuration(host=cluster.url)
    configuration.api_key = {"authorization": f"Bearer {token}"}
    return client.CoreV1Api(client.ApiClient(configuration))


@pytest.fixture
def api(cluster: Cluster) -> Iterator[client.CoreV1Api]:
    """As administrator."""
    yield api_of(cluster, cluster.admin_token)
    cluster.clear()


def pod(name: str, *command: str, image: str = IMAGE, **spec: Any) -> dict[str, Any]:
    """A pod that the namespace's policy lets in; `container` adds to its container."""
    container = spec.pop("container", {})
    secure = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"test": name}},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {"name": "main", "image": image, "args": list(command), "securityContext": secure} | container
            ],
        }
        | spec,
    }


def ended(cluster: Cluster, name: str) -> dict[str, Any]:
    """The terminated state of the pod's container."""

    def state() -> dict[str, Any] | None:
        found = [p for p in cluster.pods() if p["metadata"]["name"] == name]
        statuses = found[0]["status"].get("containerStatuses") if found else None
        return statuses[0]["state"].get("terminated") if statuses else None

    return cluster.wait(state, f"pod {name} has ended", 20)


def running(cluster: Cluster, name: str) -> dict[str, Any]:
    def found() -> list[dict[str, Any]]:
        return [p for p in cluster.pods(f"test={name}") if p["status"]["phase"] == "Running"]

    return cluster.wait(found, f"pod {name} runs", 20)[0]


def code_of(call: Any, *args: Any, **options: Any) -> int:
    with pytest.raises(ApiException) as refused:
        call(*args, **options)
    return refused.value.status


def test_exit_codes_phases_and_logs(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NAMESPACE, pod("good", "echo", "hello"))
    api.create_namespaced_pod(NAMESPACE, pod("bad", "sh", "-c", "echo oh >&2; exit 3"))
    assert ended(cluster, "good")["reason"] == "Completed"
    assert ended(cluster, "bad")["exitCode"] == 3
    assert api.read_namespaced_pod("good", NAMESPACE).status.phase == "Succeeded"
    assert api.read_namespaced_pod("bad", NAMESPACE).status.phase == "Failed"
    assert cluster.log("bad") == "oh\n"
    stamped = api.read_namespaced_pod_log("good", NAMESPACE, timestamps=True, _preload_content=False).data
    assert stamped.startswith(b"20")
    assert stamped.endswith(b"Z hello\n")


def test_a_followed_log_ends_with_its_container(cluster: Cluster, api: client.CoreV1Api, tmp_path: Path) -> None:
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    api.create_namespaced_pod(NAMESPACE, pod("talks", "sh", "-c", f"echo one; cat {fifo}; echo two"))
    running(cluster, "talks")
    lines = api.read_namespaced_pod_log("talks", NAMESPACE, follow=True, _preload_content=False).stream()
    assert next(lines) == b"one\n"
    fifo.write_text("")
    assert b"".join(lines) == b"two\n"


@pytest.mark.parametrize(("steer", "reason"), [("kill", "Error"), ("out_of_memory", "OOMKilled")])
def test_a_killed_pod_fails_with_137(cluster: Cluster, api: client.CoreV1Api, steer: str, reason: str) -> None:
    api.create_namespaced_pod(NAMESPACE, pod("victim", "sleep", "600"))
    running(cluster, "victim")
    getattr(cluster, steer)("victim")
    state = ended(cluster, "victim")
    assert (state["exitCode"], state["reason"]) == (137, reason)


def test_an_image_that_cannot_be_pulled_is_told(cluster: Cluster, api: client.CoreV1Api) -> None:
    api.create_namespaced_pod(NAMESPACE, pod("typo", "true", image="registry.example/tailrase:1"))

    def waiting() -> bool:
        status = api.read_namespaced_pod("typo", NAMESPACE).status.container_statuses
        return bool(status) and status[0].state.waiting.reason == "ImagePullBackOff"

    cluster.wait(waiting, "the pull has failed", 10)
    events = api.list_namespaced_event(NAMESPACE, field_selector="involvedObject.name=typo").items
    assert any("Failed to pull image" in event.message for event in events)


def test_watches_start_where_they_are_told(cluster: Cluster, api: client.CoreV1Api) -> None:
    before = api.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    body = {"metadata": {"name": "watched", "labels": {"a": "b"}}}
    api.create_namespaced_config_map(NAMESPACE, body)
    api.patch_namespaced_config_map("watched", NAMESPACE, {"metadata": {"labels": {"a": "c"}}})
    api.delete_namespaced_config_map("watched", NAMESPACE)

    def seen(selector: str) -> list[str]:
        stream = watch.Watch().stream(
            api.list_namespaced_config_map,
            NAMESPACE,
            resource_version=before,
            label_selector=selector,
            timeout_seconds=1,
        )
        return [event["type"] for event in stream]

    assert seen("a") == ["ADDED", "MODIFIED", "DELETED"]
    assert seen("a=b") == ["ADDED", "DELETED"]  # it left the selection
    assert seen("a in (c,d)") == ["ADDED", "DELETED"]
    assert seen("!a") == []
    cluster.forget_history()
    with pytest.raises(ApiException) as expired:
        list(
            watch.Watch().stream(api.list_namespaced_config_map, NAMESPACE, resource_version=before, timeout_seconds=5)
        )
    assert expired.value.status == 410


def test_a_collection_is_deleted_by_label(api: client.CoreV1Api) -> None:
    for name, app in (("one", "x"), ("two", "x"), ("three", "y")):
        api.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": name, "labels": {"app": app}}})
    api.delete_collection_namespaced_config_map(NAMESPACE, label_selector="app=x")
    left = api.list_namespaced_config_map(NAMESPACE, label_selector="app").items
    assert [found.metadata.name for found in left] == ["three"]
    api.delete_namespaced_config_map("three", NAMESPACE)


def test_what_is_owned_goes_with_its_owner(cluster: Cluster, api: client.CoreV1Api) -> None:
    owner = api.create_namespaced_pod(NAMESPACE, pod("owner", "sleep", "600"))
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "owner", "uid": owner.metadata.uid}
    owned = pod("owned", "sleep", "600")
    owned["metadata"]["ownerReferences"] = [reference]
    api.create_namespaced_pod(NAMESPACE, owned)
    api.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "owned", "ownerReferences": [reference]}})
    running(cluster, "owned")
    cluster.vanish("owner")
    cluster.wait(lambda: not cluster.pods(), "both pods are gone", 20)
    assert code_of(api.read_namespaced_config_map, "owned", NAMESPACE) == 404


def test_deletion_gives_the_container_time(cluster: Cluster, api: client.CoreV1Api, tmp_path: Path) -> None:
    told, hooked = tmp_path / "told", tmp_path / "hooked"
    waits = f"trap 'touch {told}; exit 0' TERM; while :; do sleep 0.1; done"
    hook = {"lifecycle": {"preStop": {"exec": {"command": ["touch", str(hooked)]}}}}
    api.create_namespaced_pod(NAMESPACE, pod("polite", "sh", "-c", waits, container=hook))
    running(cluster, "polite")
    marked = api.delete_namespaced_pod("polite", NAMESPACE)
    assert marked.metadata.deletion_timestamp
    cluster.wait(lambda: not cluster.pods(), "the pod is gone", 20)
    assert told.exists()
    assert hooked.exists()


def test_rights_are_kept(cluster: Cluster, api: client.CoreV1Api) -> None:
    driver, nobody = api_of(cluster, cluster.token), api_of(cluster, cluster.token_of("tailrace-executor"))
    assert driver.list_namespaced_pod(NAMESPACE).items == []
    assert code_of(driver.list_namespaced_secret, NAMESPACE) == 403
    assert code_of(driver.list_pod_for_all_namespaces) == 403
    assert code_of(driver.list_namespaced_pod, "other") == 403
    assert code_of(api_of(cluster, "made-up").list_namespaced_pod, NAMESPACE) == 401
    with pytest.raises(ApiException) as refused:
        nobody.create_namespaced_pod(NAMESPACE, pod("no", "true"))
    assert 'User \\"system:serviceaccount:tailrace:tailrace-executor\\" cannot create' in refused.value.body
    assert cluster.refused("tailrace-executor") == {("create", "pods"): 1}
    assert cluster.requests()["list", "pods"] >= 1


def test_the_namespace_refuses_what_kubernetes_would(cluster: Cluster, api: client.CoreV1Api) -> None:
    root = pod("root", "true", securityContext={})
    assert code_of(api.create_namespaced_pod, NAMESPACE, root) == 403
    assert code_of(api.create_namespaced_pod, NAMESPACE, pod("who", "true", serviceAccountName="nobody")) == 403
    assert code_of(api.create_namespaced_pod, "nowhere", pod("lost", "true")) == 404
    assert code_of(api.create_namespaced_pod, NAMESPACE, pod("always", "true", restartPolicy="Always")) == 422
    assert code_of(api.read_namespaced_pod, "none", NAMESPACE) == 404
    api.create_namespaced_pod(NAMESPACE, pod("twin", "true"))
    assert code_of(api.create_namespaced_pod, NAMESPACE, pod("twin", "true")) == 409
    quota = {"kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    cluster.apply(quota)
    with pytest.raises(ApiException) as exceeded:
        api.create_namespaced_pod(NAMESPACE, pod("more", "true"))
    cluster.delete("resourcequotas", "none")
    assert "exceeded quota" in exceeded.value.body


FULL = """
import os
print(os.environ["FROM_CONFIG"], os.environ["FROM_SECRET"], os.environ["ALL"], os.environ["JOINED"], sep=",")
print(os.environ["IP"], os.environ["NAME"], sep=",")
print(open("/opt/mounted/conf/setting").read(), open("/tmp/written", "w").write("x"), os.getcwd(), sep=",")
print(open("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read())
"""


def full_pod(script: Path) -> dict[str, Any]:
    return pod(
        "full",
        "python3",
        str(script),
        volumes=[{"name": "conf", "configMap": {"name": "full"}}, {"name": "tmp", "emptyDir": {}}],
        container={
            "workingDir": "/tmp",
            "volumeMounts": [{"name": "conf", "mountPath": "/opt/mounted/conf"}, {"name": "tmp", "mountPath": "/tmp"}],
            "envFrom": [{"configMapRef": {"name": "full"}}],
            "env": [
                {"name": "FROM_CONFIG", "valueFrom": {"configMapKeyRef": {"name": "full", "key": "setting"}}},
                {"name": "FROM_SECRET", "valueFrom": {"secretKeyRef": {"name": "full", "key": "word"}}},
                {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "JOINED", "value": "$(NAME)-$(UNKNOWN)-$$(NAME)"},
            ],
        },
    )


def full_config(cluster: Cluster) -> None:
    cluster.apply({"kind": "ConfigMap", "metadata": {"name": "full"}, "data": {"setting": "on", "ALL": "all"}})
    word = base64.b64encode(b"hush").decode()
    cluster.apply({"kind": "Secret", "metadata": {"name": "full"}, "data": {"word": word}})


def test_environment_and_volumes(cluster: Cluster, api: client.CoreV1Api, tmp_path: Path) -> None:
    """Also: the config map may come after its pod, and /tmp of the pod is its own though the script lies in /tmp."""
    script = tmp_path / "full.py"
    script.write_text(FULL)
    api.create_namespaced_pod(NAMESPACE, full_pod(script))
    full_config(cluster)
    state = ended(cluster, "full")
    said = cluster.log("full").splitlines()
    assert state["exitCode"] == 0, said
    assert said[0] == "on,hush,all,full-$(UNKNOWN)-$(NAME)"
    assert said[1] == f"{api.read_namespaced_pod('full', NAMESPACE).status.pod_ip},full"
    assert said[1].startswith("127.77.0.")
    assert said[3] == NAMESPACE
    if cluster.isolated:
        assert said[2] == "on,1,/tmp"
        assert not Path("/tmp/written").exists()
        assert not Path("/opt/mounted").exists()


def test_without_mount_namespaces_paths_are_rewritten(tmp_path: Path) -> None:
    with running_cluster(tmp_path / "cluster", isolation=False) as cluster:
        full_config(cluster)
        reading = full_pod(tmp_path)
        reading["spec"]["containers"][0]["args"] = ["cat", "/opt/mounted/conf/setting"]
        cluster.apply(reading)
        assert ended(cluster, "full")["exitCode"] == 0
        assert cluster.log("full") == "on\n"


def test_memory_limits_can_be_kept(tmp_path: Path) -> None:
    with running_cluster(tmp_path / "cluster", enforce_memory=True) as cluster:
        hungry = "x = b'x' * 300_000_000; import time; time.sleep(600)"
        limits = {"resources": {"limits": {"memory": "100Mi"}}}
        cluster.apply(pod("hungry", "python3", "-c", hungry, container=limits))
        assert ended(cluster, "hungry")["reason"] == "OOMKilled"


def test_nothing_outlives_the_cluster(tmp_path: Path) -> None:
    with running_cluster(tmp_path / "cluster") as cluster:
        pid_file = tmp_path / "pid"
        cluster.apply(pod("long", "sh", "-c", f"setsid --fork true; echo $$ > {pid_file}; exec sleep 600"))
        cluster.wait(lambda: pid_file.exists() and pid_file.read_text().strip(), "the process told its number", 20)
        process = psutil.Process(int(pid_file.read_text()))
        assert process.is_running()
    # It is killed by now; the process that reaps it may take a moment longer.
    process.wait(20)


def test_kubeconfig_acts_as_the_account(cluster: Cluster) -> None:
    configuration = client.Configuration()
    config.load_kube_config(str(cluster.kubeconfig("airflow-worker", "airflow")), client_configuration=configuration)
    worker = client.CoreV1Api(client.ApiClient(configuration))
    worker.create_namespaced_pod(NAMESPACE, pod("task", "true"))
    worker.patch_namespaced_pod("task", NAMESPACE, {"metadata": {"labels": {"already_checked": "True"}}})
    assert worker.read_namespaced_pod("task", NAMESPACE).metadata.labels["already_checked"] == "True"
    ended(cluster, "task")
    worker.read_namespaced_pod_log("task", NAMESPACE)
    worker.list_namespaced_event(NAMESPACE)
    worker.delete_namespaced_pod("task", NAMESPACE)
    assert code_of(worker.delete_collection_namespaced_pod, NAMESPACE) == 403
    cluster.clear()


def test_a_slow_watch_does_not_keep_others_waiting(cluster: Cluster, api: client.CoreV1Api) -> None:
    done = threading.Event()

    def watch_long() -> None:
        for _ in watch.Watch().stream(api.list_namespaced_pod, NAMESPACE, timeout_seconds=2):
            pass
        done.set()

    thread = threading.Thread(target=watch_long)
    thread.start()
    assert api.list_namespaced_pod(NAMESPACE).items == []
    assert not done.is_set()
    thread.join()
