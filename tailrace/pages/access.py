"""Who may see and do what, from Airflow's own users, roles and rights on DAGs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.models.dag import DagModel

from tailrace.lineage import dag_ids


def readable(user: Any, pipelines: Sequence[str]) -> set[str]:
    """The pipelines whose predictions this user may read: those whose predict DAG the user may read."""
    dags = {dag_ids.predict(name): name for name in pipelines}
    return {dags[dag_id] for dag_id in _readable_dags(user, set(dags))}


def may_read_dag(user: Any, dag_id: str) -> bool:
    return bool(_readable_dags(user, {dag_id}))


def may_trigger(user: Any, dag_id: str) -> bool:
    """Whether this user may start runs of the DAG."""
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    return get_auth_manager().is_authorized_dag(
        method="POST", access_entity=DagAccessEntity.RUN, details=details, user=user
    )


def _readable_dags(user: Any, dag_ids: set[str]) -> set[str]:
    teams = DagModel.get_dag_id_to_team_name_mapping(list(dag_ids))
    allowed: set[str] = set()
    for team in {teams.get(dag_id) for dag_id in dag_ids}:
        of_team = {dag_id for dag_id in dag_ids if teams.get(dag_id) == team}
        allowed |= get_auth_manager().filter_authorized_dag_ids(
            dag_ids=of_team, user=user, method="GET", team_name=team
        )
    return allowed
