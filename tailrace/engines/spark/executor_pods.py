"""The executors' pods on Kubernetes: why they do not start, and how they ended."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tailrace.engines.spark import pod_states
from tailrace.errors import ClusterRefused
from tailrace.settings import SparkSettings

log = logging.getLogger("tailrace")

SESSION = "tailrace.dev/session"
"""A label of the executors whose value is known before Spark gives its application an id."""
ANSWER_SECONDS = 10
WATCH_SECONDS = 10
"""How long one watch request stays open."""
SHOWN = 400
"""The longest part of a container's last output that a sentence quotes, in characters from its end."""


def waiting(settings: SparkSettings, application: str) -> list[str]:
    """Why the application's executors do not start; empty if the API server does not answer.

    Raises ClusterRefused if waiting cannot help.
    """
    reasons = set()
    for pod in _listed(settings, application):
        for status in pod.status.container_statuses or ():
            state = status.state.waiting if status.state else None
            if state is not None and state.reason:
                reasons.add(_why(settings, pod.metadata.name, state.reason, state.message or ""))
        for condition in pod.status.conditions or ():
            if condition.type == "PodScheduled" and condition.status == "False":
                reasons.add(f"{condition.reason}: {condition.message}")
    return sorted(reasons)


def _why(settings: SparkSettings, pod: str, reason: str, message: str) -> str:
    """A waiting container's reason. Raises ClusterRefused if it will never start."""
    why = f"{reason}: {message}" if message else reason
    if reason == pod_states.WRONG_CONFIGURATION or pod_states.image_is_wrong(reason, message):
        raise ClusterRefused(
            f"The executor pod {pod} in {settings.namespace!r} cannot start from the image "
            f"{settings.image!r} ({why}); correct TAILRACE_SPARK_IMAGE, or the pull secret or configuration "
            "in the pod template (TAILRACE_SPARK_POD_TEMPLATE)."
        )
    if reason in pod_states.PULL_FAILED:
        return f"{why}; the image is {settings.image!r} (TAILRACE_SPARK_IMAGE), or the registry does not answer"
    return why


class Ends:
    """How executors ended, by pod: within a second Spark deletes a failed pod, with its reason and its log."""

    def __init__(self) -> None:
        self._sentences: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._sentences)

    @property
    def last(self) -> str:
        """How the executor that ended last ended; empty if none did."""
        return next(reversed(self._sentences.values()), "")

    def note(self, pod: Any) -> None:
        """Record how the pod's container ended, if it failed, and log its last output."""
        name = pod.metadata.name
        for status in pod.status.container_statuses or ():
            ended = status.state.terminated if status.state else None
            if name in self._sentences or ended is None or not ended.exit_code:
                continue
            words = (ended.message or "").strip()
            how = f"executor pod {name} ended with exit code {ended.exit_code}, {ended.reason or 'Error'}"
            log.warning("The %s.%s", how, f" Its last output:\n{words}" if words else "")
            shown = " ".join(words.split())[-SHOWN:]
            self._sentences[name] = f"{how}: {shown}" if shown else f"{how}, and left no message"


def of_application(application: str) -> str:
    """The label selector of an application's executors, once its id is known."""
    return f"spark-app-selector={application},spark-role=executor"


@contextmanager
def watched(settings: SparkSettings, labels: str) -> Iterator[Ends]:
    """How the executors with these labels end while the block runs, if the API server tells.

    Empty without Kubernetes.
    """
    ends, over = Ends(), threading.Event()
    if settings.master.startswith("k8s://"):
        arguments = (settings, labels, ends, over)
        threading.Thread(target=_watch, args=arguments, name="tailrace-executors", daemon=True).start()
    try:
        yield ends
    finally:
        over.set()


def _watch(settings: SparkSettings, labels: str, ends: Ends, over: threading.Event) -> None:
    import kubernetes
    import urllib3

    with kubernetes.client.ApiClient(_configuration(settings)) as client:
        pods = kubernetes.client.CoreV1Api(client).list_namespaced_pod
        while not over.is_set():
            try:
                watch = kubernetes.watch.Watch()
                for event in watch.stream(pods, timeout_seconds=WATCH_SECONDS, **_selected(settings, labels)):
                    ends.note(event["object"])
            except (kubernetes.client.ApiException, urllib3.exceptions.HTTPError):
                over.wait(1)


def _listed(settings: SparkSettings, application: str) -> list[Any]:
    """The application's executor pods; none if the API server does not answer: then Spark's own messages must do."""
    import kubernetes
    import urllib3

    with kubernetes.client.ApiClient(_configuration(settings)) as client:
        try:
            api = kubernetes.client.CoreV1Api(client)
            return list(
                api.list_namespaced_pod(
                    _request_timeout=ANSWER_SECONDS, **_selected(settings, of_application(application))
                ).items
            )
        except (kubernetes.client.ApiException, urllib3.exceptions.HTTPError):
            return []


def _selected(settings: SparkSettings, labels: str) -> dict[str, str]:
    return {"namespace": settings.namespace, "label_selector": labels}


def _configuration(settings: SparkSettings) -> Any:
    import kubernetes

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
    return configuration


def api_url(master: str) -> str:
    """The API server's URL: Spark uses https if the master has no scheme."""
    address = master.removeprefix("k8s://")
    return address if "://" in address else f"https://{address}"
