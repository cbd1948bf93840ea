"""How a pod ended: as the result of its stage, or as the error that a task in-process would have raised."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowException, AirflowTaskTimeout

from tailrace.engines.spark import pod_states
from tailrace.errors import ClusterRefused, ClusterUnavailable, OutOfMemory, TailraceError
from tailrace.operations import stage_result_file

KILLED, TERMINATED = 137, 143
"""Exit codes of a process that was ended by SIGKILL, and by SIGTERM."""


def result(pod: Any, what: str) -> list[dict[str, Any]]:
    """The rows that a finished stage handed back. Raises ClusterUnavailable if it handed back none."""
    ended = _state(pod, "terminated")
    try:
        return stage_result_file.read((ended and ended.message) or "")
    except ValueError as error:
        raise ClusterUnavailable(
            f"{what}: its pod {pod.metadata.name} finished and handed back no result; is its image of another version?"
        ) from error


def spark_application(pod: Any) -> str:
    """The id of the Spark application that the stage ran in its pod; empty if it ran none or did not come to say it."""
    ended = _state(pod, "terminated") if pod.status else None
    return stage_result_file.spark_application((ended and ended.message) or "")


def error(pod: Any, what: str, event: Mapping[str, Any], otherwise: AirflowException) -> BaseException:
    """The error to raise for a pod that failed: the stage's own, or one made of how the pod ended."""
    if pod.status is None:  # nobody has looked at it since it was created
        return otherwise
    ended = _state(pod, "terminated")
    if ended and ended.message and (own := _handed_back(ended.message)):
        return own
    if ended and ended.exit_code:
        return _of_exit(pod, what, ended, otherwise)
    if waiting := _state(pod, "waiting"):
        return _of_waiting(what, waiting)
    if pod.status.phase == "Pending":
        return ClusterUnavailable(
            f"{what}: its pod was given no node in time ({_unscheduled(pod)}). Free some of the cluster, lower the "
            "requests of the template, or raise TAILRACE_POD_START_SECONDS."
        )
    if event.get("status") == "timeout":
        return AirflowTaskTimeout(f"{what}: its pod was still running at the task's execution timeout and was deleted.")
    return otherwise


def said_by_api(error: Any) -> str:
    """The message of the API server's answer, as a sentence."""
    try:
        said = json.loads(error.body)["message"]
    except (TypeError, ValueError, LookupError):
        said = f"{error.status} {error.reason}"
    return f"{said.rstrip('.')}."


def _handed_back(message: str) -> Exception | None:
    try:
        stage_result_file.read(message)
    except ValueError:
        return None
    except (TailraceError, stage_result_file.StageFailed) as own:
        return own
    return None


def _of_exit(pod: Any, what: str, ended: Any, otherwise: AirflowException) -> Exception:
    name = f"its pod {pod.metadata.name}"
    evicted = pod.status.reason or _disruption(pod)
    if ended.reason == "OOMKilled" or (ended.exit_code == KILLED and not evicted):
        limit = ((pod.spec.containers[0].resources and pod.spec.containers[0].resources.limits) or {}).get("memory")
        return OutOfMemory(
            f"{what}: {name} was killed (exit code {ended.exit_code}, {ended.reason}), most likely for its memory, "
            f"which is limited to {limit or 'what the node has'}. Raise TAILRACE_POD_MEMORY; with the engine spark, "
            "leave room there for TAILRACE_SPARK_DRIVER_MEMORY."
        )
    if evicted or ended.exit_code in (KILLED, TERMINATED):
        return ClusterUnavailable(
            f"{what}: {name} was stopped by the cluster ({evicted or f'exit code {ended.exit_code}'}). "
            "Nothing of it is published; a retry starts a new pod."
        )
    return AirflowException(
        f"{what}: {name} ended with exit code {ended.exit_code} ({ended.reason}) and no message; its log is above."
    ).with_traceback(otherwise.__traceback__)


def _of_waiting(what: str, waiting: Any) -> Exception:
    said = f"{waiting.reason}: {(waiting.message or '').rstrip('.')}"
    check = "Check TAILRACE_POD_IMAGE (TAILRACE_SPARK_IMAGE) and the cluster's access to the registry."
    if pod_states.image_is_wrong(waiting.reason, waiting.message or ""):
        return ClusterRefused(f"{what}: its image cannot be pulled ({said}). {check}")
    if waiting.reason in pod_states.PULL_FAILED:
        return ClusterUnavailable(
            f"{what}: its image could not be pulled ({said}). The cluster does not say whether the registry is down or "
            f"the name is wrong, so a retry pulls again. {check}"
        )
    if waiting.reason == pod_states.WRONG_CONFIGURATION:
        return ClusterRefused(
            f"{what}: its pod names configuration that is not there ({said}). Apply deploy/kubernetes, or correct "
            "TAILRACE_POD_TEMPLATE."
        )
    return ClusterUnavailable(f"{what}: its pod did not start in time ({said}).")


def _state(pod: Any, kind: str) -> Any:
    """The first container's state of this kind, None if it is in another."""
    statuses = pod.status.container_statuses or []
    return getattr(statuses[0].state, kind) if statuses else None


def _disruption(pod: Any) -> str:
    """Why the cluster took the pod's node, if it did."""
    found = [each for each in pod.status.conditions or [] if each.type == "DisruptionTarget" and each.status == "True"]
    return found[0].reason or "disruption" if found else ""


def _unscheduled(pod: Any) -> str:
    said = [each.message for each in pod.status.conditions or [] if each.type == "PodScheduled" and each.message]
    return said[0].rstrip(".") if said else "the scheduler gave no reason"
