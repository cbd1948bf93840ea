"""Checks before any work is sent: the master answers, executors start, and their workers have what jobs need."""

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
"""The modules that scoring tasks import."""

ENDS_AT_START = 5
"""If this many executors end before one has registered, it is no accident."""


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
    """Wait until the registered executors can run `slots` tasks at once.

    A barrier stage starts all its tasks together: with fewer slots Spark would try for ten minutes and then fail the
    stage. Raises ClusterRefused as soon as it is clear that no more executors will come; ClusterUnavailable if they
    end right after their start, or after `executor_wait_seconds`; QuotaUsedUp if by then the quota still has no room.
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
                f"The Spark master {settings.master} did not accept the application or ended it. Check its log, and "
                f"what Spark reported here: {_last_warning()}"
            )
        if time.monotonic() > next_look:
            reasons = why_none(settings, context.applicationId)
            next_look = time.monotonic() + 2
        if len(ends) >= ENDS_AT_START and got == 0:
            raise ClusterUnavailable(end_at_start(settings, ends))
        if time.monotonic() > deadline:
            executors = java_context.getExecutorMemoryStatus().size() - 1  # the driver is one
            reported = [*([ends.last] if ends.last else []), *reasons]
            why = "; ".join(reported) or _last_warning() or "no reason was reported"
            kind = QuotaUsedUp if any(pod_states.exceeds_quota(reason) for reason in reasons) else ClusterUnavailable
            raise kind(_too_few(settings, slots, got=got, executors=executors, why=why))
        time.sleep(POLL_SECONDS)


def end_at_start(settings: SparkSettings, ends: executor_pods.Ends) -> str:
    """The sentence for executors that all end before they do any work."""
    return (
        f"Executors on {settings.master} end before they do any work, {len(ends)} so far, the last for this: "
        f"{ends.last}. Check TAILRACE_SPARK_CONF, TAILRACE_SPARK_IMAGE, TAILRACE_SPARK_EXECUTOR_MEMORY and the pod "
        "template (TAILRACE_SPARK_POD_TEMPLATE); the log has all of their messages."
    )


def _too_few(settings: SparkSettings, slots: int, *, got: int, executors: int, why: str) -> str:
    """The sentence for executors that did not start in time."""
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
    """Known reasons why executors do not start; raises ClusterRefused if waiting cannot help."""
    if not settings.master.startswith("k8s://"):
        return []
    return [*_refused_requests(settings), *executor_pods.waiting(settings, application)]


def check_workers(context: SparkContext, settings: SparkSettings) -> None:
    """Raise ClusterRefused if the executors' Python lacks modules that jobs import.

    It runs one task for each slot, so that the workers have started and loaded their libraries before the first job.
    No Python, or another minor version of it, fails here too: `spark_errors` makes the message.
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
            # Only now: if libraries are missing, the package of this function may be missing too.
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
    """Errors that the API server returned to Spark's requests, from the output of Spark's client."""
    reasons = []
    for line in last_words():
        if not (
            found := re.search(r"Failure executing: (\w+) at: \S+?\. Message: (.+?)(?:\. Received status|$)", line)
        ):
            continue
        message = found[2]
        if pod_states.exceeds_quota(message) and pod_states.never_fits(message):
            raise ClusterRefused(
                f"An executor requests more than the total quota of the namespace {settings.namespace!r} ({message}); "
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
    """Spark's latest warning, without time and class."""
    warnings = [line for line in last_words() if re.search(r" (WARN|ERROR) ", line)]
    return re.sub(r"^.*? (?:WARN|ERROR) \S+ ", "", warnings[-1]) if warnings else ""
