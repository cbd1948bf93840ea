"""What the task `build` left of each pipeline, for the pipelines' own tasks."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tailrace.errors import BadInput, BuildFailed
from tailrace.lineage import xcom_keys
from tailrace.orchestration.task_run import TaskRun
from tailrace.spec import registry

BUILD, INGEST = "build", "ingest"
_NOT_STARTED, _SKIPPED = "upstream_failed", "skipped"
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


def skip_without_a_day(run: TaskRun, absent: Collection[str]) -> None:
    """End the task `build` as skipped if no source has the run's days: the task `ingest` has failed and says so.

    Then the tasks of the pipelines are skipped too. What stopped them is kept for the pages, except for those that are
    `absent`: none of the days concerns them.
    """
    if _state(run, INGEST) not in _FAILED or not run.context["ti"].xcom_pull(task_ids=INGEST, key=xcom_keys.NO_DAY):
        return
    sentence = "No source has the days of this run, so there is nothing to build: the task ingest says which it has."
    concerned = run.request.pipelines or [name for name in registry.names() if name not in absent]
    run.context["ti"].xcom_push(xcom_keys.STOPPED, dict.fromkeys(concerned, sentence))
    run.skip(sentence)


def require_all_cleared(run: TaskRun) -> None:
    """Refuse to land again while `build` is still skipped: the run would end well, and nothing would be built.

    Airflow's *Clear, only failed* leaves skipped tasks as they are. Raises BadInput.
    """
    if _state(run, BUILD) == _SKIPPED:
        raise BadInput(
            "The tasks after this one were skipped, as no source had the days of this run, and they were not cleared. "
            "Clear this task together with all tasks after it (Downstream), or start a new run."
        )


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
