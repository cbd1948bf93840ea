"""The DAG that deletes what nothing needs any more, as often as the settings say."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from airflow.sdk import DAG, TaskGroup

from tailrace import settings
from tailrace.orchestration import forms
from tailrace.orchestration.dags import common, daily
from tailrace.orchestration.stage_task import stage_task
from tailrace.orchestration.task_run import TaskRun
from tailrace.spec import Schedule, registry

DOC = """### Upkeep

Joins small files of the lake, and deletes what nothing needs any more: files of superseded versions, records of old
stagings, checkpoints, old Data Docs, the files of models that never were champion, what killed runs left behind. The
section `[upkeep]` of `tailrace.toml` says how long each is kept. What a pin, a published day or a champion needs is
never deleted.

Each task's log has a row for every table with the files and bytes that were deleted. **To see it first**, trigger the
DAG with *Dry run*. **Do not run it during a backup.**
"""
WHAT_A_DRY_RUN_DOES = "Only say what would be deleted, in the tasks' logs."


def upkeep_dag() -> DAG:
    """The DAG of the settings `upkeep.dag` and `upkeep.schedule`: a task for each pipeline, then one for the rest."""
    configured = settings.load()
    kept, zone = configured.upkeep, configured.zone or "UTC"
    cron = None if kept.schedule == settings.NEVER else kept.schedule
    schedule = Schedule(train=None, predict=cron, timezone=zone)
    with DAG(
        kept.dag,
        schedule=daily(cron, schedule),
        doc_md=DOC,
        tags=["tailrace"],
        max_active_runs=1,
        # One after the other: nights go first.
        max_active_tasks=1,
        params={"dry_run": forms.dry_run(WHAT_A_DRY_RUN_DOES)},
        **common("tailrace", schedule),
    ) as dag:
        for name in registry.names():
            # By name only: a pipeline whose spec is broken fails in its own task.
            with TaskGroup(name):
                upkeep(name)
        shared()
    return dag


@stage_task(execution_timeout=dt.timedelta(hours=2), priority_weight=0, weight_rule="absolute")
def upkeep(run: TaskRun) -> Sequence[Any]:
    """The upkeep of a pipeline's tables and models."""
    from tailrace.operations import maintenance

    kept = run.services.settings.upkeep
    return list(maintenance.of_pipeline(run.services, run.spec, kept, dry_run=_is_dry(run)))


@stage_task(execution_timeout=dt.timedelta(hours=2), priority_weight=0, weight_rule="absolute")
def shared(run: TaskRun) -> Sequence[Any]:
    """The upkeep of what belongs to all pipelines."""
    return rows_of_shared(run)


def rows_of_shared(run: TaskRun) -> Sequence[Any]:
    """What the task `shared` did to each table and place."""
    from tailrace.operations import maintenance

    configured = run.services.settings
    return list(maintenance.shared(run.services, configured.upkeep, configured.data_docs, dry_run=_is_dry(run)))


def _is_dry(run: TaskRun) -> bool:
    return bool(run.context["params"].get("dry_run"))
