"""Does the master answer, do executors come, do their workers fit: asked before any work is given out."""

from __future__ import annotations

import re
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tailrace.engines.spark import executor_pods, pod_states
from tailrace.engines.spark.failures import no_rights
from tailrace.engines.spark.jvm import last_words
from tailrace.engines.spark.preflight import slots_of
from tailrace.errors import ClusterRefused, ClusterUnavailable, QuotaUsedUp
from tailrace.settings import SparkSettings

if TYPE_CHECKING:
    from pyspark import SparkContext

ANSWER_SECONDS = 10
POLL_SECONDS = 0.25
LIBRARIES = ("xgboost", "tailrace.engines.spark.scoring", "tailrace.lake.parts")
"""What the tasks of scoring import."""

ENDS_AT_START = 5
"""So many executors that ended before any registered are no accident."""


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
    fail it. Raises ClusterRefused as soon as it is known that no more executors will come, ClusterUnavailable when they
    end as soon as they start and after `executor_wait_seconds`, QuotaUsedUp where the quota has no room by then.
    """
    with executor_pods.watched(settings, executor_pods.of_application(context.applicationId)) as ends:
        _wait_for_slots(context, settings, slots, ends)


def _wait_for_slots(context: SparkContext, settings: SparkSettings, slots: int, ends: executor_pods.Ends) -> None:
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
        if len(ends) >= ENDS_AT_START and got == 0:
            raise ClusterUnavailable(end_at_start(settings, ends))
        if time.monotonic() > deadline:
            executors = java_context.getExecutorMemoryStatus().size() - 1  # the driver is one
            said = [*([ends.last] if ends.last else []), *reasons]
            why = "; ".join(said) or _last_warning() or "nothing was said why"
            kind = QuotaUsedUp if any(pod_states.exceeds_quota(reason) for reason in reasons) else ClusterUnavailable
            raise kind(_too_few(settings, slots, got, executors, why))
        time.sleep(POLL_SECONDS)


def end_at_start(settings: SparkSettings, ends: executor_pods.Ends) -> str:
    """The sentence about executors of which none comes to work."""
    return (
        f"Executors on {settings.master} end before they do any work, {len(ends)} so far, the last for this: "
        f"{ends.last}. Check TAILRACE_SPARK_CONF, TAILRACE_SPARK_IMAGE, TAILRACE_SPARK_EXECUTOR_MEMORY and the pod "
        "template (TAILRACE_SPARK_POD_TEMPLATE); the log has all that they said."
    )


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
    return [*_refused_requests(settings), *executor_pods.waiting(settings, application)]


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
            from tailrace.engines.spark.workers import settle

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
        url = urlsplit(executor_pods.api_url(master))
        return [(url.hostname or "", url.port or (80 if url.scheme == "http" else 443))]
    return []


def _refused_requests(settings: SparkSettings) -> list[str]:
    """What the API server answered to requests of Spark's, from what its client printed."""
    reasons = []
    for line in last_words():
        if not (
            found := re.search(r"Failure executing: (\w+) at: \S+?\. Message: (.+?)(?:\. Received status|$)", line)
        ):
            continue
        message = found[2]
        if pod_states.exceeds_quota(message) and pod_states.never_fits(message):
            raise ClusterRefused(
                f"An executor asks for more than the whole quota of the namespace {settings.namespace!r} ({message}); "
                "ask for smaller executors (TAILRACE_SPARK_EXECUTOR_CORES, TAILRACE_SPARK_EXECUTOR_MEMORY), or raise "
                "deploy/kubernetes/base/quota.yaml."
            )
        if pod_states.exceeds_quota(message):
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


def _last_warning() -> str:
    """The last thing Spark warned of, without time and class."""
    warnings = [line for line in last_words() if re.search(r" (WARN|ERROR) ", line)]
    return re.sub(r"^.*? (?:WARN|ERROR) \S+ ", "", warnings[-1]) if warnings else ""
