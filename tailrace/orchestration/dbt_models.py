"""The build as one task per dbt model, by Cosmos: TAILRACE_DBT_TASKS=models.

One task runs dbt for all of them; the others watch for their model. Import this only where the setting asks
for it: Cosmos takes a second.
"""

from __future__ import annotations

import datetime as dt
import os
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
from tailrace.warehouse.dbt import DbtWarehouse

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
def record() -> None:
    """Record in the warehouse that these days were built: a day without rows is taken only if they were."""
    run = TaskRun(get_current_context())
    first, last = run.request.first, run.request.last
    run.services.warehouse.record(first, last)


def build(settings: Settings, warehouse: DbtWarehouse) -> TaskGroup:
    """The tasks of every model and its tests, between one that prepares the run's days and one that records them."""
    manifest = warehouse.manifest if warehouse.manifest.exists() else warehouse.parse()
    variables = warehouse.variables(dt.date.min, dt.date.min)
    with TaskGroup("build") as group:
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
                setup_operator_args={"pool": tasks.WAREHOUSE_POOL, "retries": 0},
            ),
            render_config=RenderConfig(load_method=LoadMode.DBT_MANIFEST, emit_datasets=False),
            operator_args={
                "env": env | {"DBT_EXCLUDE_RESOURCE_TYPES": "unit_test", "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
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
        prepared >> models >> record()
    return group
