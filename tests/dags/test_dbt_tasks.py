"""The build as one Airflow task, and as one task per dbt model: the same marts."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

from pipelines.sources.nycflights13 import TABLES
from tailrace import settings
from tailrace.days import span
from tailrace.errors import NotInstalled
from tailrace.orchestration import dbt
from tailrace.warehouse.dbt import DbtWarehouse
from tailrace.wiring import Wiring
from tests.airflow_home import HOME
from tests.support import marts_of_others

PROJECT = Path(__file__).resolve().parents[2]
FIRST, DAY = dt.date(2013, 1, 1), dt.date(2013, 1, 3)
WATCHED = "build.models."
ORDER = {"flight_delay_features": ["flight_key"], "flight_delay_outcomes": ["flight_key"]}


def test_cosmos_is_not_loaded_where_it_is_not_asked_for() -> None:
    """But for its plugin, which Airflow loads itself."""
    file = str(PROJECT / "dags" / "warehouse.py")
    script = f"import runpy, sys; runpy.run_path({file!r}); print('cosmos.converter' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_without_cosmos_the_dag_says_which_extra_it_needs(hide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILRACE_DBT_TASKS", settings.MODELS)
    hide("cosmos")
    with pytest.raises(NotInstalled, match=r"needs astronomer-cosmos, .*'tailrace\[cosmos\]'"):
        dbt.build_tasks([])


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wiring:
    """An installation that wants a task per model, with three days landed."""
    monkeypatch.setenv("TAILRACE_HOME", str(tmp_path))
    monkeypatch.setenv("TAILRACE_DBT_TASKS", settings.MODELS)
    wired = Wiring(settings.load())
    wired.landing.declare()
    for table in TABLES:
        for day in span(FIRST, DAY):
            wired.landing.write(table, day, wired.source.extract(table, day))
    wired.warehouse.parse()
    return wired


def test_every_model_is_a_task(installation: Wiring) -> None:
    dag = DagBag(PROJECT / "dags" / "warehouse.py").dags["warehouse"]

    models = {path.stem for path in (PROJECT / "dbt" / "models").rglob("*.sql")}
    tasks = {task.task_id.removeprefix(WATCHED): task for task in dag.tasks if task.task_id.startswith(WATCHED)}
    assert {name.removesuffix("_run").removesuffix(".run") for name in tasks if name.endswith("run")} == models
    assert tasks["dbt_producer_watcher"].upstream_task_ids == {"build.prepare"}
    assert f"{WATCHED}int_flights__days_run" in tasks["int_late_rates.run"].upstream_task_ids
    assert dag.task_dict["build.prepare"].upstream_task_ids == {"ingest"}
    recorded = dag.task_dict["build.record.flight_delay"].upstream_task_ids
    assert recorded == {f"{WATCHED}flight_delay_{part}.test" for part in ("features", "outcomes")}
    assert dag.task_dict["flight_delay.validate"].upstream_task_ids == {"build.record.flight_delay"}
    assert "cosmos" not in dag.task_dict["flight_delay.validate"].task_type.lower()


def test_a_form_that_names_pipelines_leaves_the_models_of_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tailrace.orchestration import dbt_models

    monkeypatch.setenv("TAILRACE_HOME", str(tmp_path))
    monkeypatch.setenv("TAILRACE_DBT_TASKS", settings.MODELS)
    dag = DagBag(PROJECT / "dags" / "warehouse.py").dags["warehouse"]
    producer = dag.task_dict[f"{WATCHED}dbt_producer_watcher"]
    pushed: dict[str, str] = {}
    params = {"day": str(DAY), "first_day": None, "pipelines": ["flight_delay"]}
    run = SimpleNamespace(partition_key=None, conf={}, logical_date=None, dag_id="warehouse", run_id="manual 1")
    context = {
        "task": producer,
        "dag": SimpleNamespace(params=params),
        "params": params,
        "dag_run": run,
        "ti": SimpleNamespace(xcom_push=lambda key, value: pushed.__setitem__(key, value["status"])),
    }
    producer._pre_execute_hook(context)
    left_out = set(producer.exclude.split())
    assert {"pizza_demand_features", "journal_mood_outcomes"} <= left_out
    assert not {"flight_delay_features", "int_flights__days", "stg_weather"} & left_out
    assert pushed["model__tailrace__pizza_demand_features_status"] == "skipped"
    assert dbt_models.leave_out is producer._pre_execute_hook


@pytest.mark.services
def test_a_task_per_model_gives_the_same_marts(
    installation: Wiring, airflow_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = DagBag(PROJECT / "dags" / "warehouse.py")
    dag = bag.dags["warehouse"]
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    run = dag.test(
        # Of a later moment than the DAG's end Airflow makes a run without tasks.
        logical_date=dt.datetime.combine(DAY, dt.time(), dt.UTC),
        run_conf={"first_day": str(FIRST)},
        mark_success_pattern=r"ingest|flight_delay\..*",
    )

    assert run.state == "success"
    # In Airflow each task is a process of its own; here dbt's connection is still open in this one.
    installation.warehouse._release()
    built = _marts(installation.warehouse)
    assert sum(map(len, built)) > 2000
    assert set(ORDER) <= set(installation.warehouse.built(DAY) or {}), "a day of one task per model is recorded too"
    monkeypatch.setenv("TAILRACE_HOME", str(HOME))
    alone = Wiring(settings.load({"TAILRACE_HOME": str(HOME), "TAILRACE_LANDING": installation.settings.landing}))
    alone.warehouse.build(FIRST, DAY, without=marts_of_others("flight_delay"))
    assert _marts(alone.warehouse) == built


def _marts(warehouse: DbtWarehouse) -> list[object]:
    return [warehouse.read(table, day, order).read_all() for table, order in ORDER.items() for day in span(FIRST, DAY)]
