"""The task that builds the warehouse's tables with dbt, and what of it is shown; or one task per model.

A node that fails stops the pipelines that need it. The others go on, in the same run; the run is failed in the end, so
that a person sees it and clears what failed.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import TriggerRule

from tailrace import extras, settings
from tailrace.contracts import ModelResult
from tailrace.errors import PipelinesStopped
from tailrace.lineage import xcom_keys
from tailrace.orchestration import task_results, tasks
from tailrace.orchestration.stage_task import stage_task
from tailrace.orchestration.task_run import TaskRun

if TYPE_CHECKING:
    from tailrace.wiring import Wiring

log = logging.getLogger("tailrace")

ALL_BUILT, ANY_LANDED = "all_built", "any_landed"


@dataclass(frozen=True, kw_only=True)
class BuildTasks:
    """`before` gives the tasks that a pipeline's first own task comes after; `rule` is the rule by which it starts."""

    before: Callable[[str], Any]
    rule: TriggerRule


def build_tasks(landed: Sequence[Any]) -> BuildTasks:
    """The build after the task that lands, if there is one, as the setting TAILRACE_DBT_TASKS wants it.

    It is one task, or a group with one for each model.
    """
    configured = settings.load()
    if configured.waits_for_marts:
        from tailrace.orchestration import marts_wait

        waited = marts_wait.wait(configured.dbt)
        if landed:
            landed >> waited
        landed = [waited]
    if configured.dbt_tasks == settings.BUILD:
        return _one_task(landed, waits=configured.waits_for_marts)
    extras.require("One task per dbt model (TAILRACE_DBT_TASKS=models)", "cosmos")
    from tailrace.orchestration import dbt_models
    from tailrace.wiring import Wiring

    before = dbt_models.build(configured, Wiring(configured).warehouse, landed)
    return BuildTasks(before=before, rule=TriggerRule.ALL_SUCCESS)


def _one_task(landed: Sequence[Any], *, waits: bool) -> BuildTasks:
    """One task for all. Pipelines start when it has ended, however it ended: `require_built` stops those that must not.

    It starts although extracts could not be landed, and leaves out what needs them. If no source has the days, it is
    skipped, and so are the pipelines. If nothing came that is built elsewhere, it does not start, and no pipeline does.
    """
    built = build(trigger_rule=TriggerRule.ALL_DONE if landed and not waits else None)
    # without this task, Airflow would call a run successful in which only a node failed that no pipeline needs
    built >> EmptyOperator(task_id=ALL_BUILT, execution_timeout=dt.timedelta(minutes=5))
    if landed and not waits:
        # the same for a run in which no source had the days, and all that comes after the landing is skipped
        [*landed, built] >> EmptyOperator(
            task_id=ANY_LANDED, trigger_rule=TriggerRule.ONE_SUCCESS, execution_timeout=dt.timedelta(minutes=5)
        )
    if landed:
        landed >> built
    if not waits:
        return BuildTasks(before=lambda pipeline: built, rule=TriggerRule.NONE_SKIPPED)
    return BuildTasks(before=lambda pipeline: [*landed, built], rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS)


@stage_task(pool=tasks.WAREHOUSE_POOL, execution_timeout=dt.timedelta(hours=2))
def build(run: TaskRun) -> Sequence[Any]:
    """Build and test the warehouse's tables of the days with dbt; a retry goes on where the try before failed."""
    from tailrace.orchestration import build_results
    from tailrace.rows import scheduled_days
    from tailrace.stages import build as stage

    requested = run.request
    # pipelines that the form names are built whatever their schedules say
    absent = () if requested.pipelines else scheduled_days.absent(requested.first, requested.last)
    build_results.skip_without_a_day(run, absent)
    not_landed = build_results.not_landed(run)
    if absent:
        log.info("The tables of %s are left out: their schedules have none of the days.", ", ".join(absent))
    nodes: list[ModelResult] = []
    try:
        built = stage.run(
            _without_waiting(run.services),
            requested.first,
            requested.last,
            absent=absent,
            only=requested.pipelines,
            run_id=run.run_id,
            on_node=nodes.append,
            not_landed=not_landed,
        )
    except PipelinesStopped as error:
        run.context["ti"].xcom_push(xcom_keys.STOPPED, dict(error.stopped))
        raise
    finally:
        _show(run, nodes)
    return [{"first": built.first, "last": built.last, **built.statuses}]


def _without_waiting(services: Wiring) -> Wiring:
    """The services; marts that are built elsewhere have been waited for by a task of its own."""
    from tailrace.wiring import Wiring

    configured = services.settings
    if not configured.waits_for_marts:
        return services
    return Wiring(replace(configured, dbt=replace(configured.dbt, wait_minutes=0)))


def _show(run: TaskRun, nodes: list[ModelResult]) -> None:
    """Log a line per node, and keep all there is to know of each for the pages."""
    from tailrace.stages.build import brief

    if not nodes:
        return
    kept = sum(node.kept for node in nodes)
    if kept:
        log.info("An earlier try of this run built %d of the %d nodes; the rest is built now.", kept, len(nodes))
    for line in task_results.lines([brief(node) for node in nodes]):
        log.info("%s", line)
    run.context["ti"].xcom_push(xcom_keys.NODES, task_results.plain(nodes))
    run.link({task_results.DBT: task_results.dbt_nodes(run.context["dag_run"])})
