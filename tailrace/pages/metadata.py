"""Reads Airflow's metadata for the pages, inside the api-server."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunType
from sqlalchemy import String, and_, cast, func, select
from sqlalchemy.orm import Session

from tailrace import days
from tailrace.contracts import ModelResult
from tailrace.lineage import dag_ids, xcom_keys
from tailrace.pages.activity import Attempt, NextRun, Night, OpenApproval, RunState

MOST_RUNS = 5000
"""At most this many of a DAG's newest runs are read: years of nights, and their reruns."""
LONGEST = dt.timedelta(days=400)
"""For a run of several days, at most this many days before the last one are considered."""
OUTCOMES: Mapping[str, RunState] = {"success": "success", "failed": "failed", "queued": "queued"}
UNFINISHED = (
    TaskInstanceState.RUNNING,
    TaskInstanceState.UP_FOR_RETRY,
    TaskInstanceState.QUEUED,
    TaskInstanceState.SCHEDULED,
    TaskInstanceState.DEFERRED,
    TaskInstanceState.AWAITING_INPUT,
)


class AirflowActivity:
    """See `tailrace.pages.activity.Activity`."""

    def latest(self, pipelines: Sequence[str]) -> Mapping[str, Attempt]:
        # As text, days sort correctly. A run whose form names its day may have no partition.
        day = func.coalesce(DagRun.partition_key, DagRun.conf["day"].as_string())
        # As text: a cast to a boolean would fail on other values that a run may have received. SQLite returns 1.
        earnest = func.coalesce(cast(DagRun.conf["dry_run"].as_string(), String), "").not_in(("true", "1"))
        days_of = select(DagRun.dag_id, func.max(day).label("day")).group_by(DagRun.dag_id)
        of_these = DagRun.dag_id.in_([dag_ids.predict(name) for name in pipelines])
        last_day = days_of.where(of_these, earnest, day <= str(_tomorrow())).subquery()
        on_it = select(DagRun).join(last_day, and_(DagRun.dag_id == last_day.c.dag_id, day == last_day.c.day))
        with create_session(scoped=False) as session:
            last: dict[str, DagRun] = {}
            for run in session.scalars(on_it.where(earnest)):
                if run.dag_id not in last or _at(last[run.dag_id]) < _at(run):
                    last[run.dag_id] = run
            return {each.dag_id.removeprefix(dag_ids.predict("")): each for each in _attempts(session, last.values())}

    def by_day(self, pipeline: str) -> Mapping[dt.date, Attempt]:
        newest_first = (
            select(DagRun).where(DagRun.dag_id == dag_ids.predict(pipeline)).order_by(DagRun.id.desc()).limit(MOST_RUNS)
        )
        latest = _tomorrow()
        with create_session(scoped=False) as session:
            last: dict[dt.date, DagRun] = {}
            for run in session.scalars(newest_first):
                for day in [] if _is_dry(run) else _span(run, latest):
                    if day not in last or _at(last[day]) < _at(run):
                        last[day] = run
            runs = {run.id: run for run in last.values()}
            attempts = dict(zip(runs, _attempts(session, runs.values()), strict=True))
            return {day: replace(attempts[run.id], day=day) for day, run in last.items()}

    def next_runs(self, pipelines: Sequence[str]) -> Mapping[str, NextRun]:
        wanted = {dag_ids.predict(name): name for name in pipelines}
        with create_session(scoped=False) as session:
            rows = session.execute(
                select(DagModel.dag_id, DagModel.next_dagrun_create_after, DagModel.is_paused).where(
                    DagModel.dag_id.in_(wanted), DagModel.is_stale.is_(False)
                )
            )
            known = {wanted[dag_id]: NextRun(at, paused) for dag_id, at, paused in rows}
        return {name: known.get(name, NextRun(None, missing=True)) for name in pipelines}

    def night(self) -> Night:
        following = select(DagModel.next_dagrun_partition_key).where(
            DagModel.dag_id == dag_ids.WAREHOUSE, DagModel.is_stale.is_(False)
        )
        under_way = select(DagRun.run_type, DagRun.partition_key).where(
            DagRun.dag_id == dag_ids.WAREHOUSE, DagRun.state.in_((DagRunState.QUEUED, DagRunState.RUNNING))
        )
        with create_session(scoped=False) as session:
            keys = [session.scalar(following)]
            runs = session.execute(under_way).all()
        keys += [key for kind, key in runs if kind == DagRunType.SCHEDULED]
        return Night(min((day for key in keys if (day := _parsed(key))), default=None), bool(runs))

    def approvals(self, pipelines: Sequence[str]) -> Mapping[str, Sequence[OpenApproval]]:
        with create_session(scoped=False) as session:
            rows = session.execute(
                select(
                    TaskInstance.dag_id,
                    TaskInstance.run_id,
                    TaskInstance.task_id,
                    HITLDetail.subject,
                    HITLDetail.created_at,
                )
                .join(TaskInstance, TaskInstance.id == HITLDetail.ti_id)
                .where(HITLDetail.responded_at.is_(None), TaskInstance.state.in_(UNFINISHED))
                .order_by(HITLDetail.created_at)
            ).all()
        waiting: dict[str, list[OpenApproval]] = {}
        for dag_id, run_id, task_id, subject, since in rows:
            pipeline = dag_id.partition("__")[2]
            if pipeline in pipelines:
                approval = OpenApproval(dag_id=dag_id, run_id=run_id, task_id=task_id, subject=subject, since=since)
                waiting.setdefault(pipeline, []).append(approval)
        return waiting

    def nodes(self, dag_id: str, run_id: str) -> Sequence[ModelResult] | None:
        with create_session(scoped=False) as session:
            results: Sequence[Any] = session.scalars(
                select(XComModel.value).where(
                    XComModel.dag_id == dag_id, XComModel.run_id == run_id, XComModel.key == xcom_keys.NODES
                )
            ).all()
        return [_node(each) for value in results for each in _loaded(value) or ()] if results else None

    def form(self, dag_id: str) -> Mapping[str, Mapping[str, Any]] | None:
        with create_session(scoped=False) as session:
            dag = SerializedDagModel.get_dag(dag_id, session=session)
            if dag is None:
                return None
            dumped = {name: param.dump() for name, param in dag.params.items()}
        return {
            name: {"description": param.get("description"), **param["schema"], "default": _plain(param["value"])}
            for name, param in dumped.items()
        }


def _attempts(session: Session, runs: Iterable[DagRun]) -> list[Attempt]:
    """The runs with the task that failed or is running, and its last message."""
    every_run = list(runs)
    open_ones = [run for run in every_run if run.state != "success"]
    tasks = _tasks(session, open_ones)
    errors = _errors(session, [run.id for run in open_ones])
    attempts = []
    for run in every_run:
        task, waits = tasks.get((run.dag_id, run.run_id), ("", False))
        attempts.append(
            Attempt(
                dag_id=run.dag_id,
                run_id=run.run_id,
                day=_day(run),
                outcome=OUTCOMES.get(str(run.state), "running"),
                at=_at(run),
                task=task,
                error=errors.get((run.id, task), ""),
                by=run.triggering_user_name or "",
                waits=waits,
            )
        )
    return attempts


def _tasks(session: Session, runs: Sequence[DagRun]) -> dict[tuple[str, str], tuple[str, bool]]:
    """The first task of each run that failed or has not finished, and whether it will be retried."""
    wanted = {(run.dag_id, run.run_id) for run in runs}
    rows = session.execute(
        select(TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.state)
        .where(
            TaskInstance.dag_id.in_({run.dag_id for run in runs}),
            TaskInstance.run_id.in_({run.run_id for run in runs}),
            TaskInstance.state.in_((TaskInstanceState.FAILED, *UNFINISHED)),
        )
        .order_by(TaskInstance.start_date)
    )
    found: dict[tuple[str, str], tuple[str, bool]] = {}
    for dag_id, run_id, task_id, state in rows:
        if (dag_id, run_id) in wanted:
            found.setdefault((dag_id, run_id), (task_id, state == TaskInstanceState.UP_FOR_RETRY))
    return found


def _errors(session: Session, ids: Sequence[int]) -> dict[tuple[int, str], str]:
    rows = session.execute(
        select(XComModel.dag_run_id, XComModel.task_id, XComModel.value).where(
            XComModel.dag_run_id.in_(ids), XComModel.key == xcom_keys.ERROR
        )
    )
    return {(row.dag_run_id, row.task_id): str(_loaded(row.value)) for row in rows}


def _loaded(value: Any) -> Any:
    """An XCom's value: tasks store it as JSON, Airflow's own code as the JSON's text."""
    with suppress(ValueError, TypeError):
        return json.loads(value)
    return value


def _at(run: DagRun) -> dt.datetime:
    return run.end_date or run.start_date or run.queued_at or run.run_after


def _is_dry(run: DagRun) -> bool:
    """Whether the run was not meant to publish anything."""
    return bool((run.conf or {}).get("dry_run"))


def _day(run: DagRun) -> dt.date | None:
    """The run's day: its partition, or the day in its form."""
    return _parsed(run.partition_key or (run.conf or {}).get("day"))


def _parsed(text: str | None) -> dt.date | None:
    with suppress(ValueError, TypeError):
        return dt.date.fromisoformat(text or "")
    return None


def _tomorrow() -> dt.date:
    """The latest day that has begun in any time zone. Runs for later days failed; they belong to no day."""
    return dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)


def _span(run: DagRun, latest: dt.date) -> list[dt.date]:
    """All days of the run; none if that is later than the latest possible day."""
    last = _day(run)
    if last is None or last > latest:
        return []
    with suppress(ValueError, TypeError):
        first = dt.date.fromisoformat((run.conf or {}).get("first_day") or "")
        return list(days.span(max(first, last - LONGEST), last)) or [last]
    return [last]


def _plain(default: Any) -> Any:
    """The default; None if the parameter has none: Airflow then stores a marker object."""
    return default if isinstance(default, str | int | float | bool) else None


def _node(stored: Mapping[str, Any]) -> ModelResult:
    """A node's result as a task stored it; tasks of earlier releases of Tailrace stored fewer fields."""
    known = {each.name: stored[each.name] for each in fields(ModelResult) if each.name in stored}
    return ModelResult(**{**known, **{name: tuple(known.get(name, ())) for name in ("depends_on", "judges")}})
