"""Reads from Airflow's metadata which runs worked on which day, and where they stopped."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.state import TaskInstanceState
from airflow.utils.types import DagRunType
from sqlalchemy import String, and_, cast, func, or_, select
from sqlalchemy.orm import Session

from tailrace import days
from tailrace.lineage import dag_ids, xcom_keys
from tailrace.operations.day_states import CHAIN, Attempt, RunState
from tailrace.pages.activity import DayAttempts

MOST_RUNS = 5000
"""At most this many of a DAG's newest runs are read: years of nights, and their reruns."""
LONGEST = dt.timedelta(days=400)
"""For a run of several days, at most this many days before the last one are considered."""
INGEST, BUILD, VALIDATE, SNAPSHOT = CHAIN[dag_ids.WAREHOUSE]
UNFINISHED = (
    TaskInstanceState.RUNNING,
    TaskInstanceState.UP_FOR_RETRY,
    TaskInstanceState.QUEUED,
    TaskInstanceState.SCHEDULED,
    TaskInstanceState.DEFERRED,
    TaskInstanceState.AWAITING_INPUT,
)
_OUTCOMES: Mapping[str, RunState] = {"success": "success", "failed": "failed", "queued": "queued"}
_COLUMNS = (
    DagRun.id,
    DagRun.dag_id,
    DagRun.run_id,
    DagRun.run_type,
    DagRun.state,
    DagRun.partition_key,
    DagRun.conf,
    DagRun.end_date,
    DagRun.start_date,
    DagRun.queued_at,
    DagRun.run_after,
    DagRun.triggering_user_name,
)


@dataclass(frozen=True, kw_only=True)
class _Task:
    """A task of a run that has not succeeded, or that belongs to a pipeline."""

    name: str
    state: str
    ended: dt.datetime | None

    @property
    def unfinished(self) -> bool:
        return self.state in UNFINISHED


@dataclass(frozen=True, kw_only=True)
class _Left:
    """What the tasks of unsuccessful runs left: by run, its tasks in the order of their start, and their errors."""

    tasks: Mapping[tuple[str, str], Sequence[_Task]] = field(default_factory=dict)
    errors: Mapping[tuple[int, str], str] = field(default_factory=dict)
    stopped: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    """By run, the pipelines that its build stopped, each with the reason."""

    def of(self, run: Any) -> Sequence[_Task]:
        return self.tasks.get((run.dag_id, run.run_id), ())


def read(session: Session, since: Mapping[str, dt.date | None]) -> Mapping[str, DayAttempts]:
    """See `tailrace.pages.activity.Activity.attempts`."""
    runs = _runs(session, since)
    left = _left(session, [run for run in runs if run.state != "success"])
    found: dict[str, dict[dt.date, dict[str, Attempt]]] = {name: {} for name in since}
    latest = _tomorrow()
    for run in runs:
        kind, span = dag_ids.kind_of(run.dag_id), _span(run, latest)
        for pipeline in [dag_ids.pipeline_of(run.dag_id)] if kind in ("predict", "monitor") else since:
            first = since.get(pipeline)
            wanted = [day for day in span if first is None or first <= day]
            attempt = _attempt(run, left, pipeline) if wanted else None
            if attempt is None:
                continue
            for day in wanted:
                known = found[pipeline].setdefault(day, {})
                if kind not in known or known[kind].at < attempt.at:
                    known[kind] = replace(attempt, day=day)
    return found


def stopped(session: Session, pipelines: Sequence[str]) -> dict[str, list[Attempt]]:
    """See `tailrace.pages.activity.Activity.stopped`."""
    dags = {dag(name): name for name in pipelines for dag in (dag_ids.train, dag_ids.approve, dag_ids.rollback)}
    # As text: a cast to a boolean would fail on other values that a run may have received. SQLite returns 1.
    earnest = func.coalesce(cast(DagRun.conf["dry_run"].as_string(), String), "").not_in(("true", "1"))
    newest = select(func.max(DagRun.id)).where(DagRun.dag_id.in_(dags), earnest).group_by(DagRun.dag_id)
    runs = session.execute(select(*_COLUMNS).where(DagRun.id.in_(newest), DagRun.state == "failed")).all()
    left = _left(session, runs)
    found: dict[str, list[Attempt]] = {}
    for run in sorted(runs, key=lambda each: str(each.dag_id)):
        attempt = _attempt(run, left, dags[run.dag_id])
        if attempt is not None:
            found.setdefault(dags[run.dag_id], []).append(attempt)
    return found


def _runs(session: Session, since: Mapping[str, dt.date | None]) -> list[Any]:
    """The runs of these pipelines' DAGs, newest first, from their days on; no dry runs."""
    # As text, days sort correctly. A run whose form names its day may have no partition.
    day = func.coalesce(DagRun.partition_key, DagRun.conf["day"].as_string())
    together: dict[dt.date | None, list[str]] = {}
    for pipeline, first in since.items():
        together.setdefault(first, []).extend((dag_ids.predict(pipeline), dag_ids.monitor(pipeline)))
    if not together:
        return []
    together.setdefault(None if None in together else min(filter(None, together)), []).append(dag_ids.WAREHOUSE)
    wanted = [
        and_(DagRun.dag_id.in_(dags), day >= str(first)) if first else DagRun.dag_id.in_(dags)
        for first, dags in together.items()
    ]
    newest_first = select(*_COLUMNS).where(or_(*wanted)).order_by(DagRun.id.desc())
    most = MOST_RUNS * sum(map(len, together.values()))
    return [run for run in session.execute(newest_first.limit(most)) if not (run.conf or {}).get("dry_run")]


def _left(session: Session, runs: Sequence[Any]) -> _Left:
    if not runs:
        return _Left()
    wanted = {(run.dag_id, run.run_id) for run in runs}
    rows = session.execute(
        select(
            TaskInstance.dag_id,
            TaskInstance.run_id,
            TaskInstance.task_id,
            TaskInstance.state,
            TaskInstance.end_date,
        )
        .where(
            TaskInstance.dag_id.in_({run.dag_id for run in runs}),
            TaskInstance.run_id.in_({run.run_id for run in runs}),
        )
        .order_by(TaskInstance.start_date)
    )
    tasks: dict[tuple[str, str], list[_Task]] = {}
    for dag_id, run_id, name, state, ended in rows:
        if (dag_id, run_id) in wanted:
            tasks.setdefault((dag_id, run_id), []).append(_Task(name=name, state=str(state), ended=ended))
    said = session.execute(
        select(XComModel.dag_run_id, XComModel.task_id, XComModel.key, XComModel.value).where(
            XComModel.dag_run_id.in_([run.id for run in runs]),
            XComModel.key.in_((xcom_keys.ERROR, xcom_keys.STOPPED)),
        )
    ).all()
    return _Left(
        tasks=tasks,
        errors={(row.dag_run_id, row.task_id): str(loaded(row.value)) for row in said if row.key == xcom_keys.ERROR},
        stopped={row.dag_run_id: loaded(row.value) or {} for row in said if row.key == xcom_keys.STOPPED},
    )


def _attempt(run: Any, left: _Left, pipeline: str) -> Attempt | None:
    """The run as an attempt at the pipeline's days; None if it did not concern the pipeline."""
    if run.dag_id == dag_ids.WAREHOUSE:
        return _of_warehouse(run, left, pipeline)
    stopped = next((task for task in left.of(run) if task.state == TaskInstanceState.FAILED or task.unfinished), None)
    return _made(run, left, stopped)


def _of_warehouse(run: Any, left: _Left, pipeline: str) -> Attempt | None:
    """A run of `warehouse` ends for each pipeline as the pipeline's own tasks in it ended."""
    only = (run.conf or {}).get("pipelines")
    if only and pipeline not in only:
        return None
    if run.state == "success":
        return _made(run, left, None)
    validate, snapshot = f"{pipeline}.{VALIDATE}", f"{pipeline}.{SNAPSHOT}"
    tasks = {task.name: task for task in left.of(run)}
    own = [tasks[name] for name in (validate, snapshot) if name in tasks]
    if not own or own[0].state == TaskInstanceState.SKIPPED:
        return _without_a_day(run, left, pipeline, tasks.get(INGEST))
    failed = next((task for task in own if task.state == TaskInstanceState.FAILED), None)
    if failed is not None:
        made = _made(run, left, failed, outcome="failed")
        return replace(made, task=_cause(run, left, pipeline)) if failed.name == validate else made
    if all(task.state == TaskInstanceState.SUCCESS for task in own) or own[-1].state == TaskInstanceState.SKIPPED:
        return _made(run, left, None, outcome="success")
    shared = [task for task in left.of(run) if "." not in task.name or task.name.startswith(f"{BUILD}.")]
    if own[0].state == TaskInstanceState.UPSTREAM_FAILED:
        stopped = next((task for task in shared if task.state == TaskInstanceState.FAILED), own[0])
        return _made(run, left, stopped, outcome="failed")
    now = next((task for task in [*shared, *own] if task.unfinished), None)
    return _made(run, left, now)


def _without_a_day(run: Any, left: _Left, pipeline: str, landing: _Task | None) -> Attempt | None:
    """A run that skipped the pipeline's tasks: failed in `ingest` if no source had its days, else none of its own."""
    if landing is None or landing.state != TaskInstanceState.FAILED or pipeline not in left.stopped.get(run.id, {}):
        return None
    return _made(run, left, landing, outcome="failed")


def _cause(run: Any, left: _Left, pipeline: str) -> str:
    """The task because of which a pipeline's `validate` failed: itself, or the one that built or landed nothing."""
    failed = {task.name for task in left.of(run) if task.state == TaskInstanceState.FAILED}
    stopped = left.stopped.get(run.id)
    if BUILD not in failed or (stopped is not None and pipeline not in stopped):
        return f"{pipeline}.{VALIDATE}"
    return INGEST if INGEST in failed and stopped is None else BUILD


def _made(run: Any, left: _Left, task: _Task | None, outcome: RunState | None = None) -> Attempt:
    ended = outcome or _OUTCOMES.get(str(run.state), "running")
    at = task.ended if task is not None and ended == "failed" and task.ended else _at(run)
    return Attempt(
        dag_id=run.dag_id,
        run_id=run.run_id,
        day=None,
        outcome=ended,
        at=at if at.tzinfo else at.replace(tzinfo=dt.UTC),
        task=task.name if task else "",
        error=left.errors.get((run.id, task.name), "") if task else "",
        by=run.triggering_user_name or "",
        waits=task is not None and task.state == TaskInstanceState.UP_FOR_RETRY,
        scheduled=run.run_type in (DagRunType.SCHEDULED, DagRunType.ASSET_TRIGGERED),
    )


def loaded(value: Any) -> Any:
    """An XCom's value: tasks store it as JSON, Airflow's own code as the JSON's text."""
    with suppress(ValueError, TypeError):
        return json.loads(value)
    return value


def parsed(text: str | None) -> dt.date | None:
    """The day; None if the text is none."""
    with suppress(ValueError, TypeError):
        return dt.date.fromisoformat(text or "")
    return None


def _at(run: Any) -> dt.datetime:
    at: dt.datetime = run.end_date or run.start_date or run.queued_at or run.run_after
    return at


def _tomorrow() -> dt.date:
    """The latest day that has begun in any time zone. Runs for later days failed; they belong to no day."""
    return dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)


def _span(run: Any, latest: dt.date) -> list[dt.date]:
    """All days of the run; none if that is later than the latest possible day."""
    conf = run.conf or {}
    last = parsed(run.partition_key or conf.get("day"))
    if last is None or last > latest:
        return []
    first = parsed(conf.get("first_day"))
    return list(days.span(max(first, last - LONGEST), last)) or [last] if first else [last]
