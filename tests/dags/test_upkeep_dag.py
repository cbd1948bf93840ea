"""The DAG of upkeep: when it runs, that it holds nobody up, and what the settings say of it."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

import tests.airflow_home  # noqa: F401  before Airflow is imported
from tailrace.lake.memory import MemoryLake
from tailrace.lineage import xcom_keys
from tailrace.orchestration import upkeep
from tailrace.orchestration.task_run import TaskRun
from tailrace.settings import find_project
from tailrace.settings.fields import UpkeepSettings
from tailrace.sources.landing import Landing
from tests.dags.memory_parts import HELD, TOML
from tests.support import new_project

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch):
    good = (find_project().pipelines / "journal_mood.py").read_text()
    made = new_project(tmp_path, monkeypatch, 'zone = "Europe/Rome"\n')
    for name in ("first", "second"):
        (made.pipelines / f"{name}.py").write_text(good.replace('name="journal_mood"', f'name="{name}"'))
    return made


def test_it_runs_once_a_week_one_task_at_a_time_and_after_all_others(project):
    dag = upkeep.upkeep_dag()
    assert (dag.dag_id, dag.timetable.expression, str(dag.timetable.timezone)) == (
        "upkeep",
        "30 5 * * 0",
        "Europe/Rome",
    )
    assert (dag.max_active_runs, dag.max_active_tasks, dag.catchup) == (1, 1, False)
    assert sorted(dag.task_ids) == ["first.upkeep", "second.upkeep", "shared"]
    assert {task.priority_weight for task in dag.tasks} == {0}


def test_the_settings_name_it_and_say_when_it_runs(project, monkeypatch):
    project.file.write_text('[upkeep]\ndag = "cleaning"\nschedule = "0 4 * * *"\n')
    dag = upkeep.upkeep_dag()
    assert (dag.dag_id, dag.timetable.expression) == ("cleaning", "0 4 * * *")
    monkeypatch.setenv("TAILRACE_UPKEEP_SCHEDULE", "never")
    assert upkeep.upkeep_dag().schedule is None


def test_a_pipeline_that_cannot_be_read_is_no_error_of_the_file(project):
    (project.pipelines / "second.py").write_text("SPEC = (")
    assert sorted(upkeep.upkeep_dag().task_ids) == ["first.upkeep", "second.upkeep", "shared"]


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_run_changes_something_unless_it_is_dry(tmp_path, monkeypatch, dry_run):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    partial = tmp_path / "landing" / "rows" / "ds=2013-01-01" / "part-0.parquet.1.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"half")
    os.utime(partial, (0, 0))
    configured = SimpleNamespace(upkeep=UpkeepSettings(), data_docs=tmp_path / "data_docs")
    landing = Landing(str(tmp_path / "landing"), {"rows": None})
    run = TaskRun({"params": {"dry_run": dry_run}})
    run.services = SimpleNamespace(settings=configured, lake=MemoryLake(), landing=landing)
    made = {row.table: row for row in upkeep.rows_of_shared(run)}
    assert (made["landing"].deleted, made["landing"].bytes) == (1, 4)
    assert partial.exists() == dry_run


def test_a_broken_pipeline_fails_alone_and_every_task_leaves_its_rows(project, tmp_path, monkeypatch, airflow_db):
    (project.pipelines / "second.py").write_text("SPEC = (")
    project.file.write_text(f'zone = "Europe/Rome"\n{TOML}tracker = "tests.dags.memory_parts:Tracker"\n')
    monkeypatch.setenv("TAILRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    HELD.clear()
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "upkeep.py").write_text((REPOSITORY / "dags" / "upkeep.py").read_text())
    bag = DagBag(tmp_path / "dags")
    assert not bag.import_errors
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    done = bag.dags["upkeep"].test(logical_date=dt.datetime(2013, 3, 3, tzinfo=dt.UTC), run_conf={"dry_run": True})
    tasks = {task.task_id: task for task in done.get_task_instances()}
    assert {name: task.state for name, task in tasks.items()} == {
        "first.upkeep": "success",
        "second.upkeep": "failed",
        "shared": "success",
    }
    rows = tasks["shared"].xcom_pull(task_ids="shared", key=xcom_keys.RESULT)
    assert {row["table"] for row in rows} == {"data docs", "landing", "temporary folders"}
