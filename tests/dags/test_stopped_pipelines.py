"""A failed node stops the pipelines that need it: the run of the warehouse is failed, and the others are loaded."""

from __future__ import annotations

import datetime as dt
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.utils.session import create_session

from tailrace.errors import BadInput, BuildFailed, UpstreamMissing
from tailrace.lineage import xcom_keys
from tailrace.orchestration.build_results import require_all_cleared, require_built
from tailrace.orchestration.task_run import TaskRun
from tailrace.pages import attempts
from tailrace.warehouse.memory import MemoryWarehouse
from tests.dags.memory_parts import HELD, TOML
from tests.stages.conftest import LAST, tables, write_suites
from tests.support import new_project

SAID = "Binder Error: no column plann"
FILE = """
from airflow.sdk import DAG

from tailrace.orchestration.dags import warehouse_dag
from tailrace.spec import Schedule

dag = warehouse_dag("The warehouse.", Schedule(train=None, predict=None))
"""


@pytest.fixture
def dag(tmp_path, spec, monkeypatch, airflow_db, settings):
    """The DAG `warehouse` of a project with two pipelines."""
    project = new_project(tmp_path, monkeypatch, settings)
    (tmp_path / "late_parts.py").write_text(OWN)
    monkeypatch.setenv("TAILRACE_HOME", str(tmp_path / "home"))
    made = {}
    for each in (spec, replace(spec, name="loyalty")):
        text = f"from tailrace import *\nfrom tailrace.spec import *\nSPEC = {each!r}\n"
        (project.pipelines / f"{each.name}.py").write_text(text)
        write_suites(project.expectations, each)
        made |= tables(each)
    HELD.clear()
    HELD["tables"] = made | {"report": made["churn_features"]}
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "warehouse.py").write_text(FILE)
    bag = DagBag(tmp_path / "dags")
    assert not bag.import_errors
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    return bag.dags["warehouse"]


def run(dag, *broken: str, form=None, reads=None, day: dt.date = LAST) -> tuple[str, dict[str, str]]:
    """The state of a run in which these tables fail, and those of its tasks."""
    HELD["warehouse"] = MemoryWarehouse(HELD["tables"], broken=dict.fromkeys(broken, SAID), reads=reads)
    done = dag.test(logical_date=dt.datetime.combine(day, dt.time(), dt.UTC), run_conf=form)
    return done.state, {task.task_id: task.state for task in done.get_task_instances()}


OWN = """
import datetime as dt

import pyarrow as pa

from tailrace.errors import UpstreamMissing
from tailrace.sources.memory import MemorySource

ROWS = pa.table({"number": [1]})


class Late(MemorySource):
    def extract(self, table, day):
        raise UpstreamMissing(f"The calls of {day} have not come.")


def clicks(work):
    return MemorySource({"clicks": ROWS.schema}, {("clicks", dt.date(YEAR)): ROWS}, (dt.date(YEAR), dt.date(YEAR)))


def calls(work):
    return Late({"calls": ROWS.schema}, {}, (dt.date(YEAR), dt.date(YEAR)))
""".replace("YEAR", f"{LAST.year}, {LAST.month}, {LAST.day}")


@pytest.fixture
def settings(request):
    """The project's tailrace.toml."""
    return TOML


@pytest.mark.services
@pytest.mark.parametrize("settings", ['sources = ["late_parts:clicks", "late_parts:calls"]' + TOML])
def test_a_missing_extract_stops_the_pipeline_that_reads_it(dag, tmp_path):
    reads = {"calls": ["churn_features"], "clicks": ["loyalty_features"]}
    dag.task_dict["ingest"].retries = 0
    state, tasks = run(dag, reads=reads)
    assert state == "failed"
    assert tasks == {
        "ingest": "failed",
        "build": "failed",
        "all_built": "upstream_failed",
        "any_landed": "upstream_failed",
        "churn.validate": "failed",
        "churn.snapshot": "upstream_failed",
        "loyalty.validate": "success",
        "loyalty.snapshot": "success",
    }

    state, tasks = run(dag, reads=reads, form={"pipelines": ["loyalty"]})
    assert (state, tasks["ingest"], tasks["any_landed"]) == ("success", "failed", "success"), "it needs no calls"


@pytest.mark.services
@pytest.mark.parametrize("settings", ['sources = ["late_parts:clicks"]' + TOML])
def test_a_day_that_no_source_has_fails_in_one_task_that_the_pages_name_for_every_pipeline(dag):
    later = LAST + dt.timedelta(days=1)
    state, tasks = run(dag, day=later, form={"day": str(later)})
    assert state == "failed"
    assert tasks == {
        "ingest": "failed",
        "build": "skipped",
        "all_built": "skipped",
        "any_landed": "upstream_failed",
        "churn.validate": "skipped",
        "churn.snapshot": "skipped",
        "loyalty.validate": "skipped",
        "loyalty.snapshot": "skipped",
    }
    with create_session() as session:
        found = attempts.read(session, {"churn": None, "loyalty": None, "ended": None})
    assert not found["ended"], "a pipeline that none of the days concerns"
    for pipeline in ("churn", "loyalty"):
        attempt = found[pipeline][later]["warehouse"]
        assert (attempt.outcome, attempt.task, attempt.link) == ("failed", "ingest", "ingest")
        assert attempt.error.startswith("memory has no extract of")


@pytest.mark.services
def test_a_run_loads_the_pipelines_whose_marts_were_built(dag):
    state, tasks = run(dag, "churn_outcomes")
    assert state == "failed", "a person sees it and can clear it"
    assert tasks == {
        "build": "failed",
        "all_built": "upstream_failed",
        "churn.validate": "failed",
        "churn.snapshot": "upstream_failed",
        "loyalty.validate": "success",
        "loyalty.snapshot": "success",
    }
    assert HELD["lake"].days("features/loyalty").keys() == {LAST}
    assert not HELD["lake"].days("features/churn")

    state, tasks = run(dag, "report")
    assert (state, tasks.pop("build"), tasks.pop("all_built")) == ("failed", "failed", "upstream_failed")
    assert set(tasks.values()) == {"success"}, "no pipeline needs the report"

    state, tasks = run(dag, "churn_outcomes", "report", form={"pipelines": ["loyalty"]})
    assert (state, tasks.pop("churn.validate"), tasks.pop("churn.snapshot")) == ("success", "skipped", "skipped")
    assert set(tasks.values()) == {"success"}, "what the form does not name is not built"
    assert set(HELD["warehouse"].built(LAST)) == {"loyalty_features", "loyalty_outcomes"}


class Ti:
    """What a task knows of the run's build."""

    def __init__(self, state: str, **left: object) -> None:
        self.state, self.left = state, left

    def get_task_states(self, dag_id, task_ids, run_ids):
        return {run_ids[0]: dict.fromkeys(task_ids, self.state)}

    def xcom_pull(self, task_ids, key):
        return self.left.get(key)


def checked(state: str, **left: object) -> None:
    context = {"ti": Ti(state, **left), "dag_run": SimpleNamespace(dag_id="warehouse", run_id="night")}
    require_built(TaskRun(context, "churn"))


def test_a_pipeline_goes_on_unless_the_build_stopped_it():
    checked("success")
    checked("success", **{xcom_keys.STOPPED: {"churn": "of a try that a person marked as a success"}})
    checked("failed", **{xcom_keys.STOPPED: {"loyalty": "stopped"}})
    with pytest.raises(BuildFailed, match=r"^churn: dbt failed on flights$"):
        checked("failed", **{xcom_keys.STOPPED: {"churn": "churn: dbt failed on flights"}})


def test_a_landing_that_is_cleared_without_what_was_skipped_after_it_is_refused():
    for state in ("None", "success", "failed", "skipped"):
        run = TaskRun({"ti": Ti(state), "dag_run": SimpleNamespace(dag_id="warehouse", run_id="night")})
        refused = pytest.raises(BadInput, match="Clear this task together with all tasks after it")
        with refused if state == "skipped" else nullcontext():
            require_all_cleared(run)


def test_a_build_that_built_nothing_is_named_with_its_reason():
    error = {xcom_keys.ERROR: str(UpstreamMissing("two days were not landed"))}
    with pytest.raises(BuildFailed, match=r"^churn: the task build .* built nothing: two days were not landed$"):
        checked("failed", **error)
    with pytest.raises(BuildFailed, match="did not start, as a task before it failed"):
        checked("upstream_failed")
