"""The build as one task per dbt model, by Cosmos: TAILRACE_DBT_TASKS=models.

One task runs dbt for all of them; the others watch for their model. Import this only where the setting asks
for it: Cosmos takes a second.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

# read when Cosmos is imported
os.environ["AIRFLOW__COSMOS__ENABLE_TELEMETRY"] = "False"

from airflow.sdk import TaskGroup, get_current_context, task
from cosmos import (
    DbtTaskGroup,
    ExecutionConfig,
    LoadMode,
    ProfileConfig,
    ProjectConfig,
    RenderConfig,
)
from cosmos.constants import ExecutionMode, InvocationMode

from tailrace.orchestration import tasks
from tailrace.orchestration.task_run import TaskRun
from tailrace.settings import Settings
from tailrace.stages.build import marts
from tailrace.warehouse.dbt import DbtWarehouse
from tailrace.warehouse.graph import called, unneeded

DAYS = ("BUILD_FIRST_DAY", "BUILD_LAST_DAY")
LOOK_SECONDS = 5
"""How often a model's task looks whether its model was built."""


@task(pool=tasks.WAREHOUSE_POOL, execution_timeout=dt.timedelta(hours=2))
def prepare() -> dict[str, str]:
    """Check what was landed for the days, and copy it to where the database reads it; returns dbt's variables."""
    run = TaskRun(get_current_context())
    first, last, warehouse = run.request.first, run.request.last, run.services.warehouse
    # the graph of the next parse: a changed project shows after one run
    warehouse.parse()
    return dict(warehouse.prepare(first, last))


@task(pool=tasks.WAREHOUSE_POOL, execution_timeout=dt.timedelta(hours=2))
def record(pipeline: str) -> None:
    """Record in the warehouse that the pipeline's marts were built for these days.

    A day without rows is taken only if they were.
    """
    run = TaskRun(get_current_context())
    first, last = run.request.first, run.request.last
    run.services.warehouse.record(first, last, marts()[pipeline])


def leave_out(context: Any) -> None:
    """Before dbt builds for all: leave out what the pipelines that the run's form names do not need.

    The tasks that watch for it are skipped.
    """
    run = TaskRun(context)
    if not run.request.pipelines:
        return
    of = marts()
    wanted = [mart for pipeline in run.request.pipelines for mart in of[pipeline]]
    manifest = json.loads(run.services.warehouse.manifest.read_text())
    # Cosmos does the same for models whose sources are stale
    context["task"]._apply_node_state_tokens(context, [(node, "skipped") for node in unneeded(wanted, manifest)])


def build(settings: Settings, warehouse: DbtWarehouse, landed: Sequence[Any]) -> Callable[[str], Any]:
    """The tasks of every model and its tests, after one that prepares the run's days.

    Returns what makes a pipeline's task that records the days of its marts. It comes after these marts and their tests,
    so a pipeline waits for no model that it does not need.
    """
    manifest = warehouse.manifest if warehouse.manifest.exists() else warehouse.parse()
    variables = warehouse.variables(dt.date.min, dt.date.min)
    with TaskGroup("build") as group:
        recorded = TaskGroup("record")
        prepared: Any = prepare()
        env = {**variables} | {name: f"{{{{ ti.xcom_pull(task_ids='build.prepare')['{name}'] }}}}" for name in DAYS}
        models = DbtTaskGroup(
            "models",
            project_config=ProjectConfig(manifest_path=manifest, project_name="tailrace", install_dbt_deps=False),
            profile_config=ProfileConfig(
                profile_name="tailrace",
                target_name=variables["DBT_TARGET"],
                profiles_yml_filepath=settings.dbt_project / "profiles.yml",
            ),
            execution_config=ExecutionConfig(
                dbt_project_path=settings.dbt_project,
                execution_mode=ExecutionMode.WATCHER,
                invocation_mode=InvocationMode.DBT_RUNNER,
                # the task that builds for all: a lost one is made up for by the models' own second try
                setup_operator_args={"pool": tasks.WAREHOUSE_POOL, "retries": 0, "pre_execute": leave_out},
            ),
            render_config=RenderConfig(load_method=LoadMode.DBT_MANIFEST, emit_datasets=False),
            operator_args={
                "env": env
                | {"DBT_EXCLUDE_RESOURCE_TYPES": "unit_test exposure", "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
                "append_env": True,
                # between looks a watcher frees its slot, so that the one that builds always finds one
                "deferrable": False,
                "mode": "reschedule",
                "poke_interval": LOOK_SECONDS,
                "retries": 1,
                # in a cleared run nobody builds for all: a model's first try finds that, and its second builds it
                "retry_delay": dt.timedelta(seconds=1),
                "retry_exponential_backoff": False,
                # a second try runs dbt itself, and DuckDB has one writer
                "pool": "default_pool" if settings.warehouse_is_postgres else tasks.WAREHOUSE_POOL,
            },
        )
        prepared >> models
    if landed:
        landed >> prepared

    of, nodes = marts(), json.loads(manifest.read_text())["nodes"]

    def recorded_marts(pipeline: str) -> Any:
        with group, recorded:
            done: Any = record.override(task_id=pipeline)(pipeline)
        _tasks_of(of[pipeline], models, nodes) >> done
        return done

    return recorded_marts


def _tasks_of(names: Collection[str], models: DbtTaskGroup, nodes: Mapping[str, Any]) -> list[Any]:
    """The tasks of these marts and their tests; all models if dbt, whose nodes these are, does not know the marts."""
    found = [
        task
        for unique_id, task in models.tasks_map.items()
        if (node := nodes.get(unique_id)) and called(node["name"], f"{node['schema']}.{node['alias']}", names)
    ]
    return found or [models]
