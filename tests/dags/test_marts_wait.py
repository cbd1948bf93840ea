"""A night whose marts somebody else builds: the run waits for them, and says which did not come."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import duckdb
import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

from tests import shop
from tests.dags.memory_parts import HELD, TOML
from tests.dags.test_stopped_pipelines import FILE
from tests.shop import LAST
from tests.stages.conftest import write_suites
from tests.support import new_project

SETTINGS = (
    TOML.replace('warehouse = "tests.dags.memory_parts:Warehouse"\n', "")
    + """
[dbt]
project = "../shop"
profiles = "../profiles"
target = "prod"
build = "elsewhere"
wait_minutes = 0
"""
)


COMPANY = """
import datetime as dt

from airflow.sdk import DAG, Asset, task

with DAG("company_dbt", schedule=None):

    @task(outlets=[Asset("ml_marts"), Asset("ml_days")])
    def build(outlet_events, logical_date):
        outlet_events[Asset("ml_days")].add_partitions([str(logical_date.date())])

    build()

with DAG("company_check", schedule=None):

    @task(retries=0)
    def check():
        raise ValueError("no rows")

    check()
"""


@pytest.fixture
def waiting_for():
    """What [dbt] wait_for names."""
    return ()


@pytest.fixture
def bag(tmp_path, spec, monkeypatch, airflow_db, waiting_for):
    """The DAG `warehouse` of two pipelines; the marts of one are complete, those of the other end a day earlier."""
    database = tmp_path / "shop.duckdb"
    shop.write(tmp_path / "shop", {"type": "duckdb", "path": str(database)})
    with duckdb.connect(database) as connection:
        for statement in (*shop.statements(), *shop.marts()):
            connection.execute(statement)
    settings = SETTINGS + (f"wait_for = {list(waiting_for)}\n" if waiting_for else "")
    project = new_project(tmp_path / "project", monkeypatch, settings)
    monkeypatch.setenv("TAILRACE_HOME", str(tmp_path / "home"))
    complete = replace(
        spec,
        features=replace(spec.features, table=shop.FEATURES, day="signup_date", known_at=None),
        outcome=replace(spec.outcome, table=shop.OUTCOMES, day="left_on", known_at=None, label="is_gone"),
    )
    late = replace(complete, name="loyalty", features=replace(complete.features, table="ml.yesterdays"))
    for each in (complete, late):
        text = f"from tailrace import *\nfrom tailrace.spec import *\nSPEC = {each!r}\n"
        (project.pipelines / f"{each.name}.py").write_text(text)
        outcomes = write_suites(project.expectations, each) / each.name / "outcomes.json"
        outcomes.write_text(outcomes.read_text().replace('"left"', '"is_gone"'))
    HELD.clear()
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "warehouse.py").write_text(FILE)
    (tmp_path / "dags" / "company.py").write_text(COMPANY)
    bag = DagBag(tmp_path / "dags")
    assert not bag.import_errors
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    return bag.dags


@pytest.fixture
def dag(bag):
    return bag["warehouse"]


def run(dag, day):
    done = dag.test(logical_date=dt.datetime.combine(day, dt.time(), dt.UTC))
    return done.state, {task.task_id: task.state for task in done.get_task_instances()}


@pytest.mark.services
def test_pipelines_whose_marts_came_go_on(dag, caplog):
    assert dag.task_dict["wait"].reschedule, "it holds no slot"
    assert "ingest" not in dag.task_dict

    state, tasks = run(dag, LAST)
    assert state == "failed"
    assert tasks == {
        "wait": "success",
        "build": "failed",
        "all_built": "upstream_failed",
        "churn.validate": "success",
        "churn.snapshot": "success",
        "loyalty.validate": "failed",
        "loyalty.snapshot": "upstream_failed",
    }
    assert HELD["lake"].days("features/churn").keys() == {LAST}
    assert (
        f"ml.yesterdays: its newest day is {LAST - dt.timedelta(days=1)}; signup_date {LAST} is needed" in caplog.text
    )

    state, tasks = run(dag, LAST + dt.timedelta(days=5))
    assert (state, tasks["wait"], tasks["build"]) == ("failed", "failed", "upstream_failed")
    assert {state for task, state in tasks.items() if "." in task} == {"upstream_failed"}


@pytest.mark.services
@pytest.mark.parametrize("waiting_for", [("dag:company_dbt", "asset:ml_marts", "asset:ml_days")])
def test_a_run_waits_for_another_dag_and_an_asset_of_the_day(bag, caplog):
    before = LAST - dt.timedelta(days=1)
    run(bag["company_dbt"], before)
    state, tasks = run(bag["warehouse"], LAST)
    assert (state, tasks["wait"], tasks["build"]) == ("failed", "failed", "upstream_failed")
    assert f"which is success; one of {LAST} is needed" in caplog.text
    assert f"asset:ml_days: its newest event is of the partition {before}, made at " in caplog.text
    assert "asset:ml_marts: its" not in caplog.text, "an event without a partition is of its moment and all days before"
    assert "Waited for up to 0 minutes ([dbt] wait_minutes) for all that [dbt] wait_for names." in caplog.text

    run(bag["company_dbt"], LAST)
    _, tasks = run(bag["warehouse"], LAST)
    assert (tasks["wait"], tasks["churn.snapshot"], tasks["loyalty.validate"]) == ("success", "success", "failed")


@pytest.mark.services
@pytest.mark.parametrize("waiting_for", [("dag:company_check", "dag:nobodys", "asset:nobodys")])
def test_what_did_not_come_is_named_with_what_was_seen(bag, caplog):
    run(bag["company_check"], LAST)
    _, tasks = run(bag["warehouse"], LAST)
    assert tasks["wait"] == "failed"
    assert f"dag:company_check: its run of {LAST} is" in caplog.text
    assert "which is failed" in caplog.text
    assert "dag:nobodys: Airflow has no run of a DAG of this name" in caplog.text
    assert "asset:nobodys: Airflow has no event of it; see whether this is its name" in caplog.text
