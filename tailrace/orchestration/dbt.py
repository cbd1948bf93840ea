"""The task that builds the warehouse's tables with dbt, and what of it is shown; or one task per model."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

from airflow.sdk import get_current_context, task

from tailrace import settings
from tailrace.contracts import ModelResult
from tailrace.orchestration import request, task_results, tasks

log = logging.getLogger("tailrace")


def build_tasks() -> Any:
    """The build as the setting TAILRACE_DBT_TASKS wants it: one task, or a group with one for each model."""
    configured = settings.load()
    if configured.dbt_tasks == settings.BUILD:
        return build()
    from tailrace.orchestration import dbt_models
    from tailrace.wiring import Wiring

    return dbt_models.build(configured, Wiring(configured).warehouse)


@task(pool=tasks.WAREHOUSE_POOL, execution_timeout=dt.timedelta(hours=2))
def build() -> None:
    """Build and test the warehouse's tables of the days with dbt; a retry goes on where the try before failed."""
    from tailrace.stages import build as stage

    context = get_current_context()
    asked = request.read(context)
    nodes: list[ModelResult] = []
    try:
        built = stage.run(tasks.services(), asked.first, asked.last, request.run_id(context), nodes.append)
    finally:
        _show(context, nodes)
    task_results.leave(context, {"first": built.first, "last": built.last, **built.statuses})


def _show(context: Any, nodes: list[ModelResult]) -> None:
    """Log a line per node, and keep all there is to know of each for the pages."""
    from tailrace.stages.build import brief

    if not nodes:
        return
    kept = sum(node.kept for node in nodes)
    if kept:
        log.info("An earlier try of this run built %d of the %d nodes; the rest is built now.", kept, len(nodes))
    for line in task_results.lines([brief(node) for node in nodes]):
        log.info("%s", line)
    context["ti"].xcom_push(task_results.NODES, task_results.plain(nodes))
    task_results.keep_links(context, {task_results.DBT: task_results.dbt_nodes(context["dag_run"])})
