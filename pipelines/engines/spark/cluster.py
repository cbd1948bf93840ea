"""Does the master answer, do executors come, do their workers fit: asked before any work is given out."""

from __future__ import annotations

import re
import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipelines.engines.spark.failures import no_rights
from pipelines.engines.spark.jvm import last_words
from pipelines.engines.spark.preflight import slots_of
from pipelines.errors import ClusterRefused, ClusterUnavailable
from pipelines.settings import SparkSettings

if TYPE_CHECKING:
    from pyspark import SparkContext

ANSWER_SECONDS = 10
POLL_SECONDS = 0.25
LIBRARIES = ("xgboost", "pipelines.engines.spark.scoring", "pipelines.lake.parts")
"""What the tasks of scoring import."""

NEVER_STARTS = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError")
"""Reasons of a waiting container that no further waiting cures."""


def check_answers(master: str) -> None:
    """Raise ClusterUnavailable if nothing listens at the address of a `spark://` or `k8s://` master."""
    refusals = []
    for host, port in _addresses(master):
        try:
            socket.create_connection((host, port), timeout=ANSWER_SECONDS).close()
        except OSError as error:
            refusals.append(f"{host}:{port}: {error.strerror or error}")
        else:
            return
    if refusals:
        raise ClusterUnavailable(
            f"The Spark master {master} does not answer ({'; '.join(refusals)}); check TAILRACE_SPARK_MASTER and "
            "that the address can be reached from here, or use TAILRACE_ENGINE=local."
        )


def wait_for_slots(context: SparkContext, settings: SparkSettings, slots: int) -> None:
    """Return when the executors that have registered can run `slots` tasks at once.

    A barrier stage starts all its tasks together: with fewer slots Spark would ask again for ten minutes, and then
    fail it. Raises ClusterRefused as soon as it is known that no more executors will come, ClusterUnavailable after
    `executor_wait_seconds`.
    """
    deadline = time.monotonic() + settings.executor_wait_seconds
    next_look = 0.0
    reasons: list[str] = []
    java_context = context._jsc.sc()
    profile = java_context.resourceProfileManager().defaultResourceProfile()
    while (got := java_context.maxNumConcurrentTasks(profile)) < slots:
        if java_context.isStopped():
            raise ClusterUnavailable(
                f"The Spark master {settings.master} did not take the application or ended it; see its log, and "
                f"what Spark said here: {_last_warning()}"
            )
        if time.monotonic() > next_look:
            reasons = why_none(settings, context.applicationId)
            next_look = time.monotonic() + 2
        if time.monotonic() > deadline:
            executors = java_context.getExecutorMemoryStatus().size() - 1  # the driver is one
            why = "; ".join(reasons) or _last_warning() or "nothing was said why"
            raise ClusterUnavailable(_too_few(settings, slots, got, executors, why))
        time.sleep(POLL_SECONDS)


def _too_few(settings: SparkSettings, slots: int, got: int, executors: int, why: str) -> str:
    """The sentence about executors that did not come in time."""
    size = f"{settings.executor_cores} cores and {settings.executor_memory}"
    wait = settings.executor_wait_seconds
    smaller = "ask for smaller executors (TAILRACE_SPARK_EXECUTOR_CORES, TAILRACE_SPARK_EXECUTOR_MEMORY)"
    longer = "wait longer (TAILRACE_SPARK_EXECUTOR_WAIT_SECONDS)"
    if executors == 0:
        return (
            f"{settings.master} gave no executor of {size} within {wait} seconds ({why}); free or add capacity, "
            f"{smaller}, or {longer}."
        )
    return (
        f"{slots} tasks have to start at once, and after {wait} seconds {settings.master} had given {executors} of "
        f"{settings.executors} executors, with room for {got} ({why}); free or add capacity, raise "
        f"TAILRACE_SPARK_EXECUTORS, {smaller}, train on fewer workers, or {longer}."
    )


def why_none(settings: SparkSettings, application: str) -> list[str]:
    """What keeps executors from starting, as far as it is known; raises ClusterRefused for what will not pass."""
    if not settings.master.startswith("k8s://"):
        return []
    return [*_refused_requests(settings), *_waiting_pods(settings, application)]


def check_workers(context: SparkContext, settings: SparkSettings) -> None:
    """Raise ClusterRefused if the executors' Python lacks what jobs import.

    One task for each that will run at once: the workers are up, with their libraries loaded, when the first job
    comes. Another minor version of Python, or none, fails here too: `spark_errors` words it.
    """

    def missing(_: int) -> list[str]:
        import importlib

        lacking = []
        for name in LIBRARIES:
            try:
                importlib.import_module(name)
            except ImportError as error:
                lacking.append(error.name or name)
        if not lacking:
            # Only now: where libraries are missing, the package of this function may be.
            from pipelines.engines.spark.workers import settle

            settle()
        return lacking

    slots = slots_of(settings)
    lacking = sorted(
        {name for names in context.parallelize(range(slots), slots).map(missing).collect() for name in names}
    )
    if lacking:
        raise ClusterRefused(
            f"The executors' Python cannot import {', '.join(lacking)}; use an image or an interpreter "
            "(TAILRACE_SPARK_IMAGE, TAILRACE_SPARK_PYTHON) with the driver's locked environment."
        )


def _addresses(master: str) -> list[tuple[str, int]]:
    if master.startswith("spark://"):
        pairs = [address.rpartition(":") for address in master.removeprefix("spark://").split(",")]
        return [(host, int(port)) for host, _, port in pairs]
    if master.startswith("k8s://"):
        url = urlsplit(api_url(master))
        return [(url.hostname or "", url.port or (80 if url.scheme == "http" else 443))]
    return []


def api_url(master: str) -> str:
    """The API server's URL: Spark takes https where the master names no scheme."""
    address = master.removeprefix("k8s://")
    return address if "://" in address else f"https://{address}"


def _refused_requests(settings: SparkSettings) -> list[str]:
    """What the API server answered to requests of Spark's, from what its client printed."""
    reasons = []
    for line in last_words():
        if not (
            found := re.search(r"Failure executing: (\w+) at: \S+?\. Message: (.+?)(?:\. Received status|$)", line)
        ):
            continue
        message = found[2]
        if "exceeded quota" in message:
            reasons.append(f"quota: {message}")
        elif re.search(r"forbidden|unauthorized", message, re.IGNORECASE):
            raise ClusterRefused(no_rights(settings.namespace, message))
        elif re.search(r"namespaces? .*not found", message):
            raise ClusterRefused(
                f"There is no Kubernetes namespace {settings.namespace!r} ({message}); create it or set "
                "TAILRACE_SPARK_NAMESPACE."
            )
        else:
            reasons.append(message)
    return sorted(set(reasons))


def _waiting_pods(settings: SparkSettings, application: str) -> list[str]:
    reasons = set()
    for pod in _pods(settings, application):
        for status in pod.status.container_statuses or ():
            waiting = status.state.waiting if status.state else None
            if waiting is None or not waiting.reason:
                continue
            why = f"{waiting.reason}{f': {waiting.message}' if waiting.message else ''}"
            if waiting.reason in NEVER_STARTS:
                raise ClusterRefused(
                    f"The executor pod {pod.metadata.name} in {settings.namespace!r} cannot start from the image "
                    f"{settings.image!r} ({why}); correct TAILRACE_SPARK_IMAGE, or the pull secret or configuration "
                    "in the pod template (TAILRACE_SPARK_POD_TEMPLATE)."
                )
            reasons.add(why)
        for condition in pod.status.conditions or ():
            if condition.type == "PodScheduled" and condition.status == "False":
                reasons.add(f"{condition.reason}: {condition.message}")
    return sorted(reasons)


def _pods(settings: SparkSettings, application: str) -> list[Any]:
    """The application's executor pods; none if the API server does not tell: Spark's own words must do then."""
    import kubernetes
    import urllib3

    configuration = kubernetes.client.Configuration()
    try:
        if settings.driver_pod:
            kubernetes.config.load_incluster_config(client_configuration=configuration)
        else:
            context = settings.conf.get("spark.kubernetes.context")
            kubernetes.config.load_kube_config(client_configuration=configuration, context=context)
    except kubernetes.config.ConfigException:
        pass  # an API server without credentials
    if token := settings.conf.get("spark.kubernetes.authenticate.oauthToken"):
        configuration.api_key = {"authorization": f"Bearer {token}"}
    configuration.host = api_url(settings.master)
    configuration.retries = False
    with kubernetes.client.ApiClient(configuration) as client:
        try:
            return list(
                kubernetes.client.CoreV1Api(client)
                .list_namespaced_pod(
                    settings.namespace,
                    label_selector=f"spark-app-selector={application},spark-role=executor",
                    _request_timeout=ANSWER_SECONDS,
                )
                .items
            )
        except (kubernetes.client.ApiException, urllib3.exceptions.HTTPError):
            return []


def _last_warning() -> str:
    """The last thing Spark warned of, without time and class."""
    warnings = [line for line in last_words() if re.search(r" (WARN|ERROR) ", line)]
    return re.sub(r"^.*? (?:WARN|ERROR) \S+ ", "", warnings[-1]) if warnings else ""
