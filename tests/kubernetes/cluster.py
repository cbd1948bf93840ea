"""A test's hold on the cluster: the API server as a child process, and the sentences a test wants to say to it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
BASE = REPOSITORY / "deploy/kubernetes/base"
EXECUTOR_TEMPLATE = BASE / "pod-templates/executor.yaml"
DRIVER_TEMPLATE = REPOSITORY / "tailrace/orchestration/pods/driver.yaml"
ENTRYPOINT = REPOSITORY / "deploy/images/entrypoint.sh"
IMAGE = "registry.example/tailrace:test"
"""The one image that can be pulled; it holds this checkout and this interpreter. Any other: ErrImagePull."""
NAMESPACE = "tailrace"
APPLIED = ("namespace.yaml", "service-accounts.yaml", "rbac.yaml", "quota.yaml", "network-policy.yaml")
IMAGE_FILES = {"/opt/tailrace/app": REPOSITORY, "/opt/decom.sh": REPOSITORY / "deploy/images/decommission.sh"}
"""What deploy/images/Dockerfile puts where, as far as pods name it."""

Object = dict[str, Any]


class Cluster:
    """A running cluster that has the manifests of deploy/kubernetes/base, their rights, quota and pod security.

    `url` is its API server, `token` the bearer token of the driver's service account (the least rights),
    `admin_token` may do everything. `isolated` tells whether containers have mounts of their own.
    """

    def __init__(self, url: str, admin_token: str, folder: Path, isolated: bool) -> None:
        self.url = url
        self.admin_token = admin_token
        self.folder = folder
        self.isolated = isolated
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {admin_token}"}, timeout=30)
        self.token = self.token_of("tailrace-driver")

    @property
    def master(self) -> str:
        """For TAILRACE_SPARK_MASTER."""
        return f"k8s://{self.url}"

    def token_of(self, service_account: str, namespace: str = NAMESPACE) -> str:
        """The service account's bearer token; an account without a role may do nothing."""
        return self._answer("GET", f"/testing/tokens/{namespace}/{service_account}")

    def kubeconfig(self, service_account: str = "tailrace-driver", namespace: str = NAMESPACE) -> Path:
        """A kubeconfig file that acts as the service account, for $KUBECONFIG or an Airflow connection."""
        token = self.token_of(service_account, namespace)
        named = {"name": "test"}
        path = self.folder / f"kubeconfig-{namespace}-{service_account}.yaml"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [named | {"cluster": {"server": self.url}}],
            "users": [named | {"user": {"token": token}}],
            "contexts": [named | {"context": {"cluster": "test", "user": "test", "namespace": namespace}}],
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def spark_conf(self, **more: str) -> dict[str, str]:
        """Plain Spark configuration of a client-mode driver in this process, with two small executors.

        Keys of `more` are written with _ for the dots: `spark_executor_instances="3"`.
        """
        return {
            "spark.master": self.master,
            "spark.kubernetes.authenticate.oauthToken": self.token,
            "spark.kubernetes.namespace": NAMESPACE,
            "spark.kubernetes.container.image": IMAGE,
            "spark.kubernetes.executor.podTemplateFile": str(EXECUTOR_TEMPLATE),
            "spark.kubernetes.executor.request.cores": "0.5",
            # Nothing of Tailrace uses them, and without the default's clean-up of them no right on them is needed.
            "spark.kubernetes.driver.service.deleteOnTermination": "false",
            "spark.kubernetes.driver.ownPersistentVolumeClaim": "false",
            "spark.kubernetes.driver.reusePersistentVolumeClaim": "false",
            "spark.executor.instances": "2",
            "spark.executor.cores": "1",
            "spark.executor.memory": "512m",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.pyspark.python": sys.executable,
            "spark.pyspark.driver.python": sys.executable,
            "spark.ui.enabled": "false",
        } | {name.replace("_", "."): value for name, value in more.items()}

    # ---- look

    def objects(self, resource: str, namespace: str = NAMESPACE, labels: str = "") -> list[Object]:
        """Objects such as `services`, as the API server holds them; `labels` is a label selector."""
        query = {"labelSelector": labels} if labels else {}
        return self._answer("GET", f"/api/v1/namespaces/{namespace}/{resource}", params=query)["items"]

    def pods(self, labels: str = "", namespace: str = NAMESPACE) -> list[Object]:
        """All pods, also failed ones, oldest name first."""
        return self.objects("pods", namespace, labels)

    def executors(self, namespace: str = NAMESPACE) -> list[Object]:
        """Spark's executors that run now."""
        running = self.pods("spark-role=executor", namespace)
        return [pod for pod in running if pod["status"]["phase"] == "Running"]

    def configmaps(self, labels: str = "", namespace: str = NAMESPACE) -> list[Object]:
        return self.objects("configmaps", namespace, labels)

    def events(self, pod: str, namespace: str = NAMESPACE) -> list[Object]:
        """What the kubelet told of a pod, also after its end."""
        return [e for e in self.objects("events", namespace) if e["involvedObject"]["name"] == pod]

    def log(self, pod: str, namespace: str = NAMESPACE) -> str:
        """What the pod's container has printed so far."""
        return self._http.get(f"/api/v1/namespaces/{namespace}/pods/{pod}/log").raise_for_status().text

    def requests(self, user: str = "tailrace-driver") -> Counter[tuple[str, str]]:
        """How often the service account asked for each (verb, resource), refused or not. "" counts everybody."""
        return self._counted(lambda row: row["user"].endswith(f":{user}" if user else ""))

    def refused(self, user: str = "tailrace-driver") -> Counter[tuple[str, str]]:
        """The (verb, resource) that the service account had no right to."""
        return self._counted(lambda row: row["user"].endswith(f":{user}") and row["code"] == 403)

    # ---- steer

    def apply(self, obj: Object, namespace: str = NAMESPACE) -> Object:
        """Creates an object of the core group, such as a Secret or a Pod, as administrator."""
        resource = obj["kind"].lower() + "s"
        path = "/api/v1/namespaces" if resource == "namespaces" else f"/api/v1/namespaces/{namespace}/{resource}"
        return self._answer("POST", path, json=obj)

    def delete(self, resource: str, name: str, namespace: str = NAMESPACE) -> None:
        """Deletes as kubectl does: a pod is told to stop and has its grace period."""
        self._answer("DELETE", f"/api/v1/namespaces/{namespace}/{resource}/{name}")

    def kill(self, pod: str, signal: str = "SIGKILL", namespace: str = NAMESPACE) -> None:
        """Signals the pod's process. After SIGKILL the pod has failed with exit code 137."""
        self._answer("POST", f"/testing/pods/{namespace}/{pod}/{signal}")

    def out_of_memory(self, pod: str, namespace: str = NAMESPACE) -> None:
        """What the kernel does to a container above its limit: SIGKILL, exit code 137, reason OOMKilled."""
        self._answer("POST", f"/testing/pods/{namespace}/{pod}/oom")

    def vanish(self, pod: str, namespace: str = NAMESPACE) -> None:
        """The pod's node is gone: process killed and object removed, without grace."""
        self._answer("POST", f"/testing/pods/{namespace}/{pod}/vanish")

    def hold_next_pod(self, labels: str) -> None:
        """The next pod of these labels will run and do nothing until it is killed, told to stop, or sent SIGCONT.

        A test that must meet a pod at work needs this: without it, a fast pod has ended before the test looks.
        """
        self._answer("POST", "/testing/hold-next-pod", params={"labelSelector": labels})

    def clear(self, namespace: str = NAMESPACE) -> None:
        """Removes every pod at once, for the next test on this cluster."""
        for pod in self.pods(namespace=namespace):
            self.vanish(pod["metadata"]["name"], namespace)
        self.wait(lambda: not self.pods(namespace=namespace), "no pod is left")

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
        """The condition's first true value, looked at on every change of a pod. Fails when it does not come."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            left = deadline - time.monotonic()
            assert left > 0, f"waited {seconds} s in vain until {what}"
            self._next_change(min(left, 1))
        return value

    def forget_history(self) -> None:
        """As etcd's compaction: running watches from before now end with 410."""
        self._answer("POST", "/testing/forget-history")

    def _next_change(self, seconds: float) -> None:
        version = self._answer("GET", "/api/v1/pods")["metadata"]["resourceVersion"]
        watched = {"watch": "1", "resourceVersion": version, "timeoutSeconds": f"{seconds:.2f}"}
        with self._http.stream("GET", "/api/v1/pods", params=watched) as lines:
            next(lines.iter_lines(), None)

    def _counted(self, counts: Callable[[Object], bool]) -> Counter[tuple[str, str]]:
        total: Counter[tuple[str, str]] = Counter()
        for row in self._answer("GET", "/testing/requests"):
            if counts(row):
                total[row["verb"], row["resource"]] += row["count"]
        return total

    def _answer(self, method: str, path: str, **options: Any) -> Any:
        answer = self._http.request(method, path, **options)
        if answer.is_error:
            raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()


@contextmanager
def running_cluster(
    folder: Path,
    keep: Sequence[Path] = (),
    images: Sequence[str] = (IMAGE,),
    enforce_memory: bool = False,
    isolation: bool = True,
) -> Iterator[Cluster]:
    """A cluster of its own for the time of the block; every container is killed at its end.

    `folder` must be empty; containers see the host's files, also those in `keep` where a volume is mounted above them.
    With `enforce_memory` a container above its memory limit is killed as the kernel would.
    """
    admin_token = secrets.token_hex(16)
    containers = folder / "containers"
    containers.mkdir(parents=True)
    seen = {REPOSITORY, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), folder.resolve(), *keep}
    command = [
        sys.executable,
        "-m",
        "tests.kubernetes.api",
        "--folder",
        str(containers),
        "--entrypoint",
        str(ENTRYPOINT),
    ]
    for option, values in (
        ("--image", images),
        ("--keep", _outermost(seen)),
        ("--image-file", [f"{source}={target}" for target, source in IMAGE_FILES.items()]),
        ("--manifests", [BASE / name for name in APPLIED]),
    ):
        command += [word for value in values for word in (option, str(value))]
    command += ["--enforce-memory"] * enforce_memory + ["--no-isolation"] * (not isolation)
    log = (folder / "api.log").open("wb")
    server = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=os.environ | {"TEST_CLUSTER_ADMIN_TOKEN": admin_token, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
    )
    try:
        assert server.stdout is not None
        first_line = server.stdout.readline()
        assert first_line, f"the API server did not start: {(folder / 'api.log').read_text()}"
        ready = json.loads(first_line)
        if isolation and not ready["isolated"]:
            warnings.warn(
                "No mount namespaces on this machine (unshare is missing or forbidden): the pods' volumes are NOT "
                "mounted, paths in their environment and arguments are rewritten instead.",
                stacklevel=2,
            )
        cluster = Cluster(ready["url"], admin_token, folder, ready["isolated"])
        _configure(cluster)
        yield cluster
    finally:
        server.terminate()
        server.wait(30)
        log.close()


def _configure(cluster: Cluster) -> None:
    """The config maps that kustomize makes, with this cluster's address and image."""
    config = yaml.safe_load((BASE / "config.yaml").read_text())
    config["data"] |= {"TAILRACE_SPARK_MASTER": cluster.master, "TAILRACE_SPARK_IMAGE": IMAGE}
    cluster.apply(config)
    templates = {"executor.yaml": EXECUTOR_TEMPLATE.read_text()}
    cluster.apply({"kind": "ConfigMap", "metadata": {"name": "tailrace-pod-templates"}, "data": templates})


def _outermost(folders: set[Path]) -> list[Path]:
    """The folders without those that lie in another of them."""
    return sorted(path for path in folders if not any(other in path.parents for other in folders))
