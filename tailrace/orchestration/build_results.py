"""What the task `build` left of each pipeline, for the pipelines' own tasks."""

from __future__ import annotations

from tailrace.errors import BuildFailed
from tailrace.lineage import xcom_keys
from tailrace.orchestration.task_run import TaskRun

BUILD = "build"
_NOT_STARTED = "upstream_failed"
_FAILED = ("failed", _NOT_STARTED)


def require_built(run: TaskRun) -> None:
    """Refuse a pipeline whose tables this run did not build. Raises BuildFailed with the reason."""
    ti, dag_run = run.context["ti"], run.context["dag_run"]
    states = ti.get_task_states(dag_id=dag_run.dag_id, task_ids=[BUILD], run_ids=[dag_run.run_id])
    state = states.get(dag_run.run_id, {}).get(BUILD)
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
