"""Turns failures of Spark, its workers and its cluster into Tailrace's errors, most useful part first.

A worker's exception reaches the driver as text inside the text of the JVM's exception. An error of Tailrace's own
survives this because `guarded` writes it into a line that `spark_errors` reads back.
"""

from __future__ import annotations

import base64
import functools
import inspect
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from tailrace import errors
from tailrace.engines.spark.jvm import has_ended, last_words
from tailrace.engines.spark.preflight import size_text
from tailrace.errors import (
    ClusterRefused,
    ClusterUnavailable,
    ExecutorsLost,
    JobFailed,
    OutOfMemory,
    StorageFull,
    TailraceError,
)

log = logging.getLogger(__name__)

MARK = "tailrace-error:"
RAISE_MEMORY = (
    "raise TAILRACE_SPARK_EXECUTOR_MEMORY, or TAILRACE_SPARK_EXECUTOR_MEMORY_OVERHEAD for the Python workers alone, "
    "or lower TAILRACE_SPARK_EXECUTOR_CORES so that fewer tasks share it"
)
RAISE_DRIVER_MEMORY = "raise TAILRACE_SPARK_DRIVER_MEMORY"

Function = TypeVar("Function", bound=Callable[..., Any])


class _Carried(Exception):
    """A TailraceError on its way from a worker, as one line that tracebacks do not break."""

    def __init__(self, error: TailraceError) -> None:
        content = {
            "class": type(error).__name__,
            "message": str(error),
            "attributes": vars(error),
        }
        super().__init__(MARK + base64.urlsafe_b64encode(json.dumps(content, default=str).encode()).decode() + ";")


def guarded(function: Function) -> Function:
    """Wrap a function for workers so that its TailraceErrors come out of `spark_errors` unchanged.

    Works for plain functions and for generators, which raise while they are read.
    """
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generating(*args: Any, **kwargs: Any) -> Iterator[Any]:
            try:
                yield from function(*args, **kwargs)
            except TailraceError as error:
                raise _Carried(error) from error

        return generating  # type: ignore[return-value]

    @functools.wraps(function)
    def calling(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TailraceError as error:
            raise _Carried(error) from error

    return calling  # type: ignore[return-value]


@contextmanager
def spark_errors(doing: str) -> Iterator[None]:
    """Turn what Spark raises inside the block into errors of Tailrace.

    `doing` begins the sentence: "Scoring churn for 2013-03-01". The full text is logged, first the worker's Python
    error, then the JVM's stack; Spark's own exception is kept as `__cause__`. Raises the worker's own TailraceError, or
    ClusterRefused, ClusterUnavailable, OutOfMemory, ExecutorsLost, StorageFull or JobFailed. Errors that do not come
    from Spark are raised unchanged.
    """
    try:
        yield
    except _raised_by_spark() as error:
        text = text_of(error)
        log.info("%s failed: %s\nSpark's full message:\n%s", doing, main_error(text), text)
        raise (_driver_ended(doing, text) or error_of(doing, text, peak_memory)) from error


@contextmanager
def freed(free: Callable[[], Any]) -> Iterator[None]:
    """Call `free` at the end. Errors because the session has ended are ignored: they must not hide why it ended."""
    try:
        yield
    finally:
        with suppress(*_raised_by_spark()):
            free()


def _raised_by_spark() -> tuple[type[Exception], ...]:
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    return Py4JError, PySparkException, ConnectionError, EOFError


def text_of(error: BaseException) -> str:
    """The full text of one of Spark's exceptions, the JVM's stack last."""
    stack = getattr(error, "_stackTrace", None) or ""
    text = f"{type(error).__name__}: {error}"
    return text if stack in text else f"{text}\n{stack}"


def error_of(doing: str, text: str, peak: Callable[[str], str] = lambda executor: "") -> TailraceError:
    """The error that the text of a Spark failure stands for; `peak` describes an executor's peak memory."""
    if carried := re.search(rf"{MARK}([\w=-]+);", text):
        return _read_back(carried[1])
    found = _installation(text) or _memory(text, peak) or _lost(text) or _other(text)
    kind, sentence = found or (JobFailed, f"{main_error(text)}. The log has Spark's full message.")
    return kind(f"{doing} failed{_where(text)}: {sentence}")


def other_python(workers: str, driver: str) -> str:
    """The sentence for executors with another minor version of Python."""
    return (
        f"the executors run Python {workers} and the driver {driver}, and Spark needs the same minor version on both; "
        f"set TAILRACE_SPARK_PYTHON to a Python {driver} on the executors, or use an image (TAILRACE_SPARK_IMAGE) "
        "built from the driver's environment."
    )


def main_error(text: str) -> str:
    """The worker's Python error if there is one, else the innermost error of the JVM, on one line."""
    if errors_raised := re.findall(r"Traceback \(most recent call last\):\n(?:[ \t]+.*\n)+((?:\S.*(?:\n|$))+)", text):
        return " ".join(errors_raised[-1].split())
    if causes := re.findall(r"^Caused by: (.+)$", text, re.MULTILINE):
        return str(causes[-1]).strip()
    if raised := re.search(r"^: (.+)$", text, re.MULTILINE):
        return raised[1].strip()
    return text.split("\n", 1)[0].partition(": ")[2].strip() or text.strip()


def peak_memory(executor: str) -> str:
    """'; its peak was 1.2 GiB, 0.9 GiB of it Python' if the executor reported it, else empty."""
    from py4j.protocol import Py4JError
    from pyspark import SparkContext

    context = SparkContext._active_spark_context
    if context is None:
        return ""
    try:
        known = context._jsc.sc().statusStore().executorList(False)
        for index in range(known.size()):
            summary = known.apply(index)
            peaks = summary.peakMemoryMetrics()
            if summary.id() == executor and peaks.isDefined():
                python = peaks.get().getMetricValue("ProcessTreePythonRSSMemory")
                jvm = peaks.get().getMetricValue("ProcessTreeJVMRSSMemory")
                if python + jvm > 0:
                    return f" (its last reported peak was {size_text(python + jvm)}, {size_text(python)} of it Python)"
    except (Py4JError, ConnectionError):
        pass  # the JVM has ended as well, so no report can be read
    return ""


def _read_back(encoded: str) -> TailraceError:
    content = json.loads(base64.urlsafe_b64decode(encoded))
    error = errors.rebuilt(content["class"], content["message"]) or JobFailed(content["message"])
    # JSON has no tuples, and errors have no lists.
    vars(error).update({n: tuple(v) if isinstance(v, list) else v for n, v in content["attributes"].items()})
    return error


def _driver_ended(doing: str, text: str) -> TailraceError | None:
    """The error if the driver's JVM did not start or has ended."""
    words = "\n".join(last_words())
    if "Max number of executor failures" in words and (cause := _memory(words, peak_memory) or _lost(words)):
        return cause[0](f"{doing} failed, and Spark gave up after too many executors were lost: {cause[1]}")
    if "JAVA_GATEWAY_EXITED" in text or has_ended():
        if "OutOfMemoryError" in words or "Could not reserve enough space" in words:
            return OutOfMemory(f"{doing} failed: the driver's JVM got too little memory; {RAISE_DRIVER_MEMORY}.")
        last = next(
            (line for line in reversed(last_words()) if line.strip() and not line.startswith("\tat")), "nothing"
        )
        return ClusterUnavailable(
            f"{doing} failed: the driver's JVM ended (its last output: {last.strip()}); if it was killed for memory "
            f"give the machine or pod more, else check the log (TAILRACE_SPARK_LOG)."
        )
    if "stopped SparkContext" in text or "SparkContext was shut down" in text:
        return ClusterUnavailable(
            f"{doing} failed: Spark's application was ended from outside or lost its master; check the master's log "
            "and the log here (TAILRACE_SPARK_LOG), and run again."
        )
    return None


Failure = tuple[type[TailraceError], str]


def _installation(text: str) -> Failure | None:
    """The error if something is wrong with the executors' Python."""
    if found := re.search(r"different version(?: in worker)?: (\d+\.\d+) than that in driver: (\d+\.\d+)", text):
        return ClusterRefused, other_python(found[1], found[2])
    if found := re.search(r'Cannot run program "([^"]+)"', text):
        return ClusterRefused, (
            f"there is no Python at {found[1]}; set TAILRACE_SPARK_PYTHON to the path of the interpreter on the "
            "executors, or use an image (TAILRACE_SPARK_IMAGE) built from the driver's environment."
        )
    if found := re.search(r"ModuleNotFoundError: No module named '([\w.]+)'", text):
        return ClusterRefused, (
            f"the executors' Python has no module {found[1]!r}; use an image or an interpreter (TAILRACE_SPARK_IMAGE, "
            "TAILRACE_SPARK_PYTHON) with the driver's locked environment."
        )
    if found := re.search(r"KubernetesClientException: .*/namespaces/([^/?]+)/.*?(?i:forbidden|unauthorized)", text):
        return ClusterRefused, no_rights(found[1], found[0].rpartition("Message: ")[2])
    return None


def no_rights(namespace: str, message: str) -> str:
    """The sentence for a namespace in which the driver's account has no rights."""
    return (
        f"Kubernetes does not let Spark work in the namespace {namespace!r} ({message.rstrip('.')}); give the account "
        "the driver acts as (TAILRACE_SPARK_SERVICE_ACCOUNT) the role of deploy/kubernetes there, or set "
        "TAILRACE_SPARK_NAMESPACE to one where it has it."
    )


def _memory(text: str, peak: Callable[[str], str]) -> Failure | None:
    executor = _executor(text)
    if re.search(r"(exit code|exited with code|exitCode:?) 137|OOMKilled", text):
        return (
            OutOfMemory,
            f"the executor was killed with exit code 137, out of memory{peak(executor)}; {RAISE_MEMORY}.",
        )
    if "java.lang.OutOfMemoryError" in text:
        remedy = RAISE_DRIVER_MEMORY if executor in ("", "driver") else RAISE_MEMORY
        return OutOfMemory, f"the JVM's heap is full{peak(executor)}; {remedy}."
    if re.search(r"^(numpy\.\S+\.)?_?(Array)?MemoryError\b|ArrowMemoryError", text, re.MULTILINE):
        return OutOfMemory, f"a Python worker found no more memory{peak(executor)}; {RAISE_MEMORY}."
    if "Python worker exited unexpectedly" in text and "Fatal Python error" not in text:
        return OutOfMemory, (
            f"a Python worker was killed, in most cases for taking too much memory{peak(executor)}; {RAISE_MEMORY}."
        )
    return None


def _lost(text: str) -> Failure | None:
    if found := re.search(r"ExecutorLostFailure \(.*?\) Reason: (.+)", text):
        return ExecutorsLost, (
            f"executors were lost, the last for this: {found[1].strip().rstrip('.')}; if nodes are taken away, run "
            f"again; if it is memory, {RAISE_MEMORY}."
        )
    return None


def _other(text: str) -> Failure | None:
    if re.search(r"requires more slots than the total number of slots in the cluster", text):
        return ClusterUnavailable, (
            "its tasks must all start at once, and the cluster has too few cores for them now; run again when the "
            "executors are there, or lower TAILRACE_SPARK_EXECUTORS to what the cluster can give."
        )
    if found := re.search(r"Fatal Python error: ([^\n]+)", text):
        return JobFailed, f"a Python worker crashed in native code ({found[1].strip()}); the log has its Python stack."
    if re.search(r"No space left on device|Disk quota exceeded", text):
        return StorageFull, (
            "the disk is full, on the executor or where it writes; nothing was published. Free space (spark.local.dir "
            "in TAILRACE_SPARK_CONF moves Spark's scratch files) and run again."
        )
    return None


def _executor(text: str) -> str:
    """The id of the executor that ran the last failed task; empty if the text names none."""
    found = re.search(r"Lost task \S+ in stage \S+ \(TID \d+\) \(\S+ executor (\S+?)\)", text)
    return found[1] if found else ""


def _where(text: str) -> str:
    found = re.search(r"Lost task (\d+)\.\d+ in stage (\d+)\.\d+ \(TID \d+\) \((\S+) executor (\S+?)\)", text)
    if found is None:
        return ""
    executor = "" if found[4] == "driver" else f" on executor {found[4]} ({found[3]})"
    return f" in task {found[1]} of stage {found[2]}{executor}"
