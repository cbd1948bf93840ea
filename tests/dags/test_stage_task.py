"""The one shape of a task: what its function returns becomes results, links, and what later tasks are given."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG
from airflow.sdk.execution_time.context import set_current_context

from tailrace.lineage import xcom_keys
from tailrace.orchestration import assets, task_results
from tailrace.orchestration.dags import pipeline_dags
from tailrace.orchestration.stage_task import stage_task
from tailrace.orchestration.task_run import TaskRun


@dataclass(frozen=True)
class Counted:
    pipeline: str
    rows: int


@pytest.fixture
def left():
    return {}


@pytest.fixture
def made():
    with DAG("counting", schedule=None) as dag:

        @stage_task(
            returns=lambda rows: rows[0]["rows"],
            links=lambda run, rows: {task_results.DBT: f"pages/{run.pipeline}"},
            outlet=assets.features,
            reads_own_events=True,
            retries=7,
        )
        def count(run: TaskRun, staged: dict[str, int]) -> list[Counted]:
            """Count rows."""
            return [Counted(run.pipeline, staged["rows"])]

        count("churn", staged={"rows": 3})
    return dag.get_task("count")


def test_a_task_is_named_documented_and_wired_by_its_decorator(made):
    assert (made.task_id, made.doc_md, made.retries) == ("count", "Count rows.", 7)
    assert [asset.name for asset in made.outlets] == [asset.name for asset in made.inlets] == ["features/churn"]
    assert made.multiple_outputs is False


def test_what_the_function_returns_is_kept_linked_and_handed_on(made, left):
    context = {"ti": SimpleNamespace(xcom_push=left.__setitem__), "dag_run": None}
    with set_current_context(context):
        assert made.python_callable("churn", staged={"rows": 3}) == 3
    assert left == {
        xcom_keys.RESULT: {"pipeline": "churn", "rows": 3},
        xcom_keys.LINK + task_results.DBT: "pages/churn",
    }


def test_airflow_gives_a_task_its_pipeline_and_what_earlier_tasks_returned_and_no_context(made):
    assert list(inspect.signature(made.python_callable).parameters) == ["pipeline", "staged"]
    for dag in pipeline_dags("flight_delay", ""):
        for task in dag.tasks:
            if task.task_id != "ask":
                first, *others = inspect.signature(task.python_callable).parameters.values()
                assert first.name == "pipeline"
                assert all(other.kind is inspect.Parameter.KEYWORD_ONLY for other in others), task.task_id


def test_a_task_without_an_outlet_announces_nothing():
    with pytest.raises(ValueError, match="The task for churn has no outlet"):
        TaskRun({}, "churn").announce([], {})
