"""What the task `build` left of each pipeline, for the pipelines' own tasks."""

from __future__ import annotations

from collections.abc import Mapping

from tailrace.errors import BuildFailed
from tailrace.lineage import xcom_keys
from tailrace.orchestration.task_run import TaskRun

BUILD, INGEST = "build", "ingest"
_NOT_STARTED = "upstream_failed"
_FAILED = ("failed", _NOT_STARTED)


def require_built(run: TaskRun) -> None:
    """Refuse a pipeline whose tables this run did not build. Raises BuildFailed with the reason."""
    ti, state = run.context["ti"], _state(run, BUILD)
    if state not in _FAILED:
        return
    if state == _NOT_STARTED:
        raise BuildFailed(f"{run.pipeline}: the task build of this run did not start, as a task before it failed.")
    stopped = ti.xcom_pull(task_ids=BUILD, key=xcom_keys.STOPPED)
    if stopped is None:
        said = ti.xcom_pull(task_ids=BUILD, key=xcom_keys.ERROR) or "its log says why"
        raise BuildFailed(f"{run.pipeline}: the task build of this run built nothing: {said}")
    if run.pipeline in stopped:
        raise BuildFailed(stopped[run.pipeline])


def not_landed(run: TaskRun) -> Mapping[str, str]:
    """The tables of which the task `ingest` could not land a day, with a sentence for each; none if it landed all.

    Raises BuildFailed if it landed nothing.
    """
    ti, state = run.context["ti"], _state(run, INGEST)
    if state not in _FAILED:
        return {}
    found: Mapping[str, str] | None = ti.xcom_pull(task_ids=INGEST, key=xcom_keys.NOT_LANDED)
    if not found:
        said = ti.xcom_pull(task_ids=INGEST, key=xcom_keys.ERROR) or "its log says why"
        raise BuildFailed(f"The task ingest of this run landed nothing, so nothing is built: {said}")
    return found


def _state(run: TaskRun, task: str) -> str | None:
    """The state of another task of this run; None if the run does not have it."""
    dag_run = run.context["dag_run"]
    states = run.context["ti"].get_task_states(dag_id=dag_run.dag_id, task_ids=[task], run_ids=[dag_run.run_id])
    state: str | None = states.get(dag_run.run_id, {}).get(task)
    return state
