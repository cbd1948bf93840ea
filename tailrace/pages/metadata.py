"""Reads Airflow's metadata for the pages, inside the api-server."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunType
from sqlalchemy import select

from tailrace.contracts import ModelResult
from tailrace.lineage import dag_ids, xcom_keys
from tailrace.operations.day_states import Attempt
from tailrace.pages import attempts
from tailrace.pages.activity import DayAttempts, NextRun, Night, OpenApproval


class AirflowActivity:
    """See `tailrace.pages.activity.Activity`."""

    def attempts(self, since: Mapping[str, dt.date | None]) -> Mapping[str, DayAttempts]:
        with create_session(scoped=False) as session:
            return attempts.read(session, since)

    def stopped(self, pipelines: Sequence[str]) -> Mapping[str, Sequence[Attempt]]:
        with create_session(scoped=False) as session:
            return attempts.stopped(session, pipelines)

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
        return Night(min((day for key in keys if (day := attempts.parsed(key))), default=None), bool(runs))

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
                .where(HITLDetail.responded_at.is_(None), TaskInstance.state.in_(attempts.UNFINISHED))
                .order_by(HITLDetail.created_at)
            ).all()
        waiting: dict[str, list[OpenApproval]] = {}
        for dag_id, run_id, task_id, subject, since in rows:
            pipeline = dag_id.partition("__")[2]
            if pipeline in pipelines:
                approval = OpenApproval(dag_id=dag_id, run_id=run_id, task_id=task_id, subject=subject, since=since)
                waiting.setdefault(pipeline, []).append(approval)
        return waiting

    def is_paused(self, dag_id: str) -> bool:
        with create_session(scoped=False) as session:
            return bool(session.scalar(select(DagModel.is_paused).where(DagModel.dag_id == dag_id)))

    def nodes(self, dag_id: str, run_id: str) -> Sequence[ModelResult] | None:
        with create_session(scoped=False) as session:
            results: Sequence[Any] = session.scalars(
                select(XComModel.value).where(
                    XComModel.dag_id == dag_id, XComModel.run_id == run_id, XComModel.key == xcom_keys.NODES
                )
            ).all()
        return (
            [ModelResult.from_json(each) for value in results for each in attempts.loaded(value) or ()]
            if results
            else None
        )

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


def _plain(default: Any) -> Any:
    """The default; None if the parameter has none: Airflow then stores a marker object."""
    return default if isinstance(default, str | int | float | bool) else None
