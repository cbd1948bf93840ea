"""One run of a stage in a pod: its manifest, its start, and its end, on top of KubernetesPodOperator."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import yaml
from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodNotFoundException
from airflow.sdk.exceptions import AirflowException
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from tailrace.engines.spark import pod_states
from tailrace.errors import ClusterRefused, ClusterUnavailable, QuotaUsedUp, TailraceError, cause_of
from tailrace.orchestration.pods import pod_failure
from tailrace.settings import PodSettings

log = logging.getLogger("tailrace")

TERMINATION_LOG = "/dev/termination-log"
"""Kubernetes' default for the file whose text it keeps in a pod's status."""
TEMPLATE = Path(__file__).with_name("driver.yaml")
"""The pods' template where TAILRACE_POD_TEMPLATE names no other."""
DOWNWARD = {"TAILRACE_SPARK_DRIVER_POD": "metadata.name", "TAILRACE_SPARK_DRIVER_HOST": "status.podIP"}
"""What only the cluster knows of the pod: the executors' owner, and where they reach their driver."""
NAMES_A_CLUSTER = ("in_cluster", "kube_config_path", "kube_config")
"""Fields of a connection that say which cluster it leads to."""
OLD_PREFIX = "extra__kubernetes__"
"""What connections made before Airflow 2.3 have before a field's name."""
POLL_SECONDS = 2
LOG_SECONDS = 10


def manifest(pods: PodSettings, arguments: Sequence[str]) -> dict[str, Any]:
    """The pod as a dictionary: the template with image, command and addresses. Raises ClusterRefused."""
    pod = _template(pods)
    container = pod["spec"]["containers"][0]
    result = container.get("terminationMessagePath", TERMINATION_LOG)
    container |= {"name": container.get("name", "base"), "image": pods.image, "args": [*arguments, "--result", result]}
    own = container.setdefault("env", [])
    known = {variable["name"] for variable in own}
    own += [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
        for name, path in DOWNWARD.items()
        if name not in known
    ]
    if pods.memory:
        for bound in ("requests", "limits"):
            container.setdefault("resources", {}).setdefault(bound, {})["memory"] = pods.memory
    if pods.service_account:
        pod["spec"]["serviceAccountName"] = pods.service_account
    return pod


class _Operator(KubernetesPodOperator):
    """KubernetesPodOperator whose trigger reaches the cluster of the connection, whatever $KUBECONFIG says."""

    def convert_config_file_to_dict(self) -> None:
        """Upstream gives the trigger what $KUBECONFIG names, and then refuses it where the connection names a cluster
        too: the task would fail when its pod has finished."""
        extras = cast(KubernetesHook, self.hook).conn_extras
        if any(extras.get(f"{old}{name}") for name in NAMES_A_CLUSTER for old in ("", OLD_PREFIX)):
            self._config_dict = None
        else:
            super().convert_config_file_to_dict()


class PodRun:
    """The pod of one task instance of Airflow, from the task's start to its end."""

    def __init__(
        self,
        context: Any,
        *,
        stage: str,
        pipeline: str,
        day: dt.date,
        arguments: Sequence[str],
        execution_timeout: dt.timedelta | None,
        pods: PodSettings,
    ) -> None:
        self._context = context
        self._what = f"{stage} of {pipeline} for {day}"
        self._pods = pods
        self.pod_name = ""
        """Once it is known."""
        self.spark_application = ""
        """Once the pod has ended: the id of its Spark application, if it ran one."""
        pod = manifest(pods, arguments)
        self._operator = _Operator(
            task_id=stage,
            name=f"{stage}-{pipeline}".replace("_", "-"),
            namespace=pods.namespace,
            pod_template_dict=pod,
            labels={"tailrace.dev/pipeline": pipeline, "tailrace.dev/stage": stage},
            base_container_name=pod["spec"]["containers"][0]["name"],
            kubernetes_conn_id=pods.connection,
            execution_timeout=execution_timeout,
            deferrable=True,
            durable=True,
            get_logs=True,
            logging_interval=LOG_SECONDS,
            poll_interval=POLL_SECONDS,
            startup_check_interval_seconds=POLL_SECONDS,
            startup_timeout_seconds=pods.start_seconds,
            schedule_timeout_seconds=pods.start_seconds,
            on_finish_action="delete_pod",
            on_kill_action="delete_pod",
            log_pod_spec_on_failure=False,
        )

    def start(self) -> list[dict[str, Any]]:
        """Start the pod, or take up that of an earlier try, and defer (by raising TaskDeferred).

        Returns the results of an earlier try's pod that has finished with nobody to see it.
        """
        with self._cluster_errors():
            left = self._operator.find_pod(self._pods.namespace, self._context)
            if left is not None and left.status.phase == "Succeeded":
                log.info("Pod %s of an earlier try has finished: its result is taken.", left.metadata.name)
                self._operator.pod_manager.delete_pod(left)
                self.spark_application = pod_failure.spark_application(left)
                return pod_failure.result(left, self._what)
            failure = self._failure(lambda: self._operator.execute_async(self._context))
        return self._end(failure, {})

    def finish(self, event: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Read the log of the pod that the trigger saw end, delete the pod, and return the stage's results."""
        with self._cluster_errors():
            failure = self._failure(lambda: self._operator.trigger_reentry(self._context, dict(event)))
        return self._end(failure, event)

    def kill(self) -> None:
        """Delete the pod: somebody stopped the task."""
        self._operator.on_kill()

    def _failure(self, step: Any) -> AirflowException | None:
        """What KubernetesPodOperator says of a pod that failed; the pod itself knows more."""
        try:
            step()
        except PodNotFoundException:
            self._operator.pod = None
        except AirflowException as error:
            return error
        return None

    def _end(self, failure: AirflowException | None, event: Mapping[str, Any]) -> list[dict[str, Any]]:
        pod = self._operator.pod
        self.pod_name = pod.metadata.name if pod is not None else str(event.get("name", ""))
        if pod is not None:
            self.spark_application = pod_failure.spark_application(pod)
        if pod is None and failure is None:
            raise ClusterUnavailable(
                f"{self._what}: its pod {event.get('name', '')} is gone before its result was read: deleted, or lost "
                f"with its node. Nothing of it is published; a retry starts a new pod."
            )
        if failure is None:
            return pod_failure.result(pod, self._what)
        if pod is None:
            raise failure
        raise pod_failure.error(pod, self._what, event, failure)

    @contextmanager
    def _cluster_errors(self) -> Iterator[None]:
        """What the cluster's API answers, in a sentence. Raises ClusterRefused, ClusterUnavailable."""
        namespace = self._pods.namespace
        try:
            yield
        except ApiException as error:
            said = pod_failure.said_by_api(error)
            if error.status == 403 and pod_states.exceeds_quota(said):
                raise self._over_quota(said) from error
            if error.status == 403:
                raise ClusterRefused(
                    f"{self._what}: Airflow may not run pods in the namespace {namespace!r}: {said} Give its worker "
                    "and its triggerer the role of deploy/kubernetes/base/rbac.yaml."
                ) from error
            if error.status in (400, 401, 404, 422):
                raise ClusterRefused(
                    f"{self._what}: the cluster refuses the pod in the namespace {namespace!r}: {said} "
                    f"Check TAILRACE_POD_NAMESPACE, TAILRACE_POD_TEMPLATE and the connection {self._pods.connection!r}."
                ) from error
            raise ClusterUnavailable(f"{self._what}: the cluster did not start the pod: {said}") from error
        except HTTPError as error:
            raise ClusterUnavailable(
                f"{self._what}: the cluster of the connection {self._pods.connection!r} does not answer: "
                f"{cause_of(error)}"
            ) from error
        except ConfigException as error:
            raise ClusterRefused(
                f"{self._what}: the connection {self._pods.connection!r} leads to no cluster: {error} Make it in "
                "Airflow, or name another with TAILRACE_POD_CONNECTION."
            ) from error

    def _over_quota(self, said: str) -> TailraceError:
        refused = f"{self._what}: the namespace {self._pods.namespace!r} takes no further pod: {said}"
        if pod_states.never_fits(said):
            return ClusterRefused(
                f"{refused} The pod asks for more than the whole quota: raise deploy/kubernetes/base/quota.yaml, or "
                "lower the requests of TAILRACE_POD_TEMPLATE."
            )
        return QuotaUsedUp(f"{refused} Other pods of the namespace must end first, or its quota be raised.")


def _template(pods: PodSettings) -> dict[str, Any]:
    path = pods.template or TEMPLATE
    try:
        template = yaml.safe_load(path.read_text())
        first = template["spec"]["containers"][0]
    except (OSError, yaml.YAMLError, LookupError, TypeError) as error:
        raise ClusterRefused(
            f"TAILRACE_POD_TEMPLATE is {path}, which is no pod with a container ({type(error).__name__}: "
            f"{error}); take Tailrace's own, {TEMPLATE}, as it is, or as a start."
        ) from error
    if not isinstance(first, dict):
        raise ClusterRefused(f"The first container of {path} (TAILRACE_POD_TEMPLATE) is no object.")
    return template
