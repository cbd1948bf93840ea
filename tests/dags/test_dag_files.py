"""What the DAG files make, and that one broken spec breaks only itself."""

from __future__ import annotations

import datetime as dt
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tailrace.errors import SpecError
from tailrace.settings import find_project
from tailrace.spec import registry
from tests.support import new_project

DAGS = Path(__file__).resolve().parents[2] / "dags"
HEAVY = {
    "pandas", "sklearn", "xgboost", "mlflow", "great_expectations", "dbt", "duckdb", "deltalake", "pyspark", "pyarrow",
    "optuna", "matplotlib",
}  # fmt: skip


def load(path: Path):
    spec = importlib.util.spec_from_file_location(f"dag_file_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def dags():
    from airflow.sdk import DAG

    modules = [load(path) for path in sorted(DAGS.glob("*.py"))]
    return {value.dag_id: value for module in modules for value in vars(module).values() if isinstance(value, DAG)}


def test_there_is_a_stub_for_every_pipeline():
    assert {path.stem for path in DAGS.glob("*.py")} == {"warehouse", "upkeep", *registry.names()}


def test_tasks_are_the_stages_in_the_order_data_flows(dags):
    def chain(dag_id):
        return [task.task_id for task in dags[dag_id].topological_sort()]

    first, second, *others = chain("warehouse")
    assert (first, second) == ("ingest", "build")
    for name in registry.names():
        assert [task for task in others if task.startswith(name)] == [f"{name}.validate", f"{name}.snapshot"]
    assert sorted(
        set(others) - {f"{name}.{task}" for name in registry.names() for task in ("validate", "snapshot")}
    ) == ["all_built", "any_landed"]
    assert len(others) == 2 * len(registry.names()) + 2
    assert chain("train__flight_delay") == ["train", "evaluate", "promote"]
    assert chain("predict__flight_delay") == ["score", "audit", "publish"]


def test_airflow_finds_the_dag_of_a_threshold_although_no_file_names_it(tmp_path):
    from airflow.dag_processing.dagbag import DagBag

    (tmp_path / "one.py").write_text((DAGS / "flight_delay.py").read_text())
    (tmp_path / "two.py").write_text((DAGS / "pizza_demand.py").read_text())
    found = DagBag(tmp_path)
    assert not found.import_errors
    assert sorted(name for name in found.dags if name.startswith("threshold__")) == ["threshold__flight_delay"]
    assert found.dags["threshold__flight_delay"].task_ids == ["set_threshold"]
    assert len(found.dags) == 11


@pytest.mark.parametrize(
    ("dag", "task", "after"),
    [
        ("predict__flight_delay", "publish", "audit"),
        ("train__flight_delay", "promote", "evaluate"),
        ("warehouse", "flight_delay.snapshot", "flight_delay.validate"),
    ],
)
def test_nothing_is_published_before_it_was_judged(dags, dag, task, after):
    assert after in dags[dag].get_task(task).upstream_task_ids


def test_every_dag_says_what_it_is_and_holds_back(dags):
    for dag in dags.values():
        assert dag.doc_md
        assert dag.catchup is False
        # An approval that waits takes no worker.
        assert dag.max_active_runs <= 4 or dag.dag_id.startswith("approve__")
        for task in dag.tasks:
            assert task.execution_timeout
            assert task.retries == 3
            assert task.retry_policy is not None


def test_the_duckdb_file_is_touched_through_one_slot(dags):
    pools = {task.task_id: task.pool for task in dags["warehouse"].tasks}
    for task in ("build", "flight_delay.validate", "flight_delay.snapshot"):
        assert pools[task] == "warehouse"


def test_backfills_leave_workers_to_the_nights(dags):
    """However many runs a backfill is asked to have at once, Airflow starts no more of its heavy tasks than these."""
    for task, at_once in (("ingest", 1), ("train", 1), ("evaluate", 1), ("score", 4)):
        (found,) = {each.max_active_tis_per_dag for dag in dags.values() for each in dag.tasks if each.task_id == task}
        assert found == at_once
    for dag in dags.values():
        if dag.dag_id.startswith(("predict__", "train__", "warehouse")):
            assert "Override parameters on existing runs" in dag.doc_md


def test_a_failed_try_says_why_at_the_end_of_its_log(dags):
    from tailrace.orchestration import task_results

    for dag in dags.values():
        for task in dag.tasks:
            assert task_results.say_why in task.on_failure_callback
            assert task_results.say_why in task.on_retry_callback


def test_the_day_of_a_scheduled_run_is_its_partition(dags):
    from airflow.sdk import CronPartitionTimetable
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction

    for dag in (dag for dag in dags.values() if isinstance(dag.timetable, CronPartitionTimetable)):
        timetable = coerce_to_core_timetable(dag.timetable)
        restriction = TimeRestriction(earliest=dag.start_date, latest=dag.end_date, catchup=True)
        info = timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=restriction)
        local = info.run_after.in_timezone(dag.timezone)
        assert info.partition_key == local.strftime("%Y-%m-%d")
        assert local.date() >= dt.date(2013, 1, 1)


def test_parsing_imports_nothing_heavy():
    code = (
        "import sys, importlib.util, airflow.sdk\n"
        "before = set(sys.modules)\n"
        f"for path in {[str(path) for path in DAGS.glob('*.py')]!r}:\n"
        "    spec = importlib.util.spec_from_file_location('dag_file', path)\n"
        "    spec.loader.exec_module(importlib.util.module_from_spec(spec))\n"
        "import tailrace.airflow\n"
        "assert 'warehouse' in tailrace.airflow.dags()\n"
        f"heavy = {{name.partition('.')[0] for name in set(sys.modules) - before}} & {HEAVY!r}\n"
        "sys.exit(', '.join(sorted(heavy)) or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, f"parsing the DAG files imports {done.stderr.strip()[-200:]}"


def test_a_broken_spec_breaks_only_its_own_file(tmp_path, monkeypatch):
    from tailrace.orchestration import dags as factory

    good = (find_project().pipelines / "flight_delay.py").read_text()
    project = new_project(tmp_path, monkeypatch)
    (project.pipelines / "good.py").write_text(good.replace('name="flight_delay"', 'name="good"'))
    (project.pipelines / "bad.py").write_text(
        good.replace('name="flight_delay"', 'name="bad"').replace('"roc_auc"', '"rok"')
    )
    assert [dag.dag_id for dag in factory.pipeline_dags("good", "")] == [
        f"{kind}__good" for kind in ("train", "approve", "rollback", "predict", "monitor")
    ]
    with pytest.raises(SpecError, match=r"bad: gate\.metric is .rok.; it must be one of roc_auc"):
        factory.pipeline_dags("bad", "")
    from tailrace.spec import Schedule

    warehouse = factory.warehouse_dag("", Schedule(train=None, predict=None))
    assert {"bad.snapshot", "good.snapshot"} <= set(warehouse.task_dict)
    assert "ingest" not in warehouse.task_dict, "this project has no sources"


@pytest.mark.parametrize(
    ("error", "action"),
    [
        ("AuditFailed", "FAIL"),
        ("ValidationFailed", "FAIL"),
        ("BadInput", "FAIL"),
        ("PublishConflict", "FAIL"),
        ("TrackerUnavailable", "RETRY"),
        ("LakeUnavailable", "RETRY"),
        ("WarehouseBusy", "RETRY"),
        ("UpstreamMissing", "RETRY"),
    ],
)
def test_bad_data_is_not_retried_and_a_lost_connection_is(error, action):
    from tailrace import errors
    from tailrace.orchestration.dags import RETRIES

    assert RETRIES.evaluate(getattr(errors, error)("said"), try_number=1, max_tries=3).action.name == action


@pytest.mark.parametrize(
    ("run_type", "action"),
    [("SCHEDULED", "RETRY"), ("BACKFILL_JOB", "FAIL"), ("MANUAL", "FAIL"), ("ASSET_TRIGGERED", "FAIL")],
)
def test_only_a_night_waits_for_what_is_not_published_yet(run_type, action):
    from airflow.utils.types import DagRunType

    from tailrace.errors import UpstreamMissing
    from tailrace.orchestration.dags import RETRIES

    context = {"dag_run": SimpleNamespace(run_type=getattr(DagRunType, run_type))}
    assert RETRIES.evaluate(UpstreamMissing("said"), 1, 3, context).action.name == action


def test_what_is_not_of_tailrace_is_retried_as_usual():
    from tailrace.orchestration.dags import RETRIES

    assert RETRIES.evaluate(ConnectionResetError(), try_number=1, max_tries=3).action.name == "DEFAULT"
