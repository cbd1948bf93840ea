"""A run that is cleared after it had published: the day's event comes, and it comes once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowSkipException
from airflow.sdk.execution_time.context import OutletEventAccessors, set_current_context

from pipelines import registry
from pipelines.lake.memory import MemoryLake
from pipelines.orchestration import dags, tasks, traces

DAY = dt.date(2013, 3, 10)
RUN = "predict__flight_delay/scheduled 1"
STAGED = {"days": [], "own": [str(DAY)], "already": ["predictions/flight_delay of 2013-03-10 is already published"]}


class Events(list[Any]):
    """An asset's events, as an inlet gives them."""

    def __init__(self, events: Iterable[Any] = ()) -> None:
        super().__init__(events)
        self.since: list[str] = []

    def after(self, moment: str) -> Events:
        self.since = [moment]
        return self


@pytest.fixture
def lake(monkeypatch):
    """The day, published by the run."""
    held = MemoryLake()
    table = registry.get("flight_delay").predictions_table
    staged = held.stage(table, DAY, RUN, pa.table({"score": [0.25, 0.5]}).to_reader())
    held.publish(staged, {"run_id": RUN, "model_version": "3"})
    monkeypatch.setattr(tasks, "services", lambda *given: SimpleNamespace(lake=held, settings=None))
    return held


@pytest.fixture
def context():
    params: dict[str, Any] = {"day": None}
    run = SimpleNamespace(
        partition_key=str(DAY), conf={}, logical_date=None, dag_id="predict__flight_delay", run_id="scheduled 1"
    )
    left: dict[str, Any] = {}
    return {
        "dag_run": run,
        "dag": SimpleNamespace(params=params),
        "params": params,
        "ti": SimpleNamespace(xcom_push=left.__setitem__, left=left),
        "outlet_events": OutletEventAccessors(),
    }


def run_task(name: str, context: dict[str, Any], *given: Any) -> dict[str, Any]:
    """Run a task's function in the context; what it left."""
    made = {dag.dag_id: dag for dag in dags.pipeline_dags("flight_delay", "")}
    task = made["predict__flight_delay"].get_task(name)
    for asset in task.inlets:
        context.setdefault("inlet_events", {})[asset] = context["events"]
    with set_current_context(context):
        task.python_callable(*given)
    return context["ti"].left


def test_what_the_run_published_before_is_announced(lake, context):
    context["events"] = Events()
    run_task("audit", context, "flight_delay", STAGED)
    left = run_task("publish", context, STAGED)
    (commit,) = lake.commits("predictions/flight_delay")
    assert (left[traces.RESULT]["version"], left[traces.RESULT]["unchanged"]) == (commit.version, True)
    (asset,) = context["outlet_events"]
    extra = context["outlet_events"][asset].extra
    assert (extra["version"], extra["model_version"], extra["rows"]) == (commit.version, "3", 2)


def test_what_the_run_announced_before_is_not_announced_again(lake, context):
    (commit,) = lake.commits("predictions/flight_delay")
    own = {"source_dag_id": "predict__flight_delay", "source_run_id": "scheduled 1"}
    context["events"] = Events([SimpleNamespace(**own, extra={"version": commit.version})])
    with pytest.raises(AirflowSkipException, match=r"announced by this run already\. No second event"):
        run_task("publish", context, STAGED)
    (moment,) = context["events"].since
    assert dt.datetime.fromisoformat(moment) < commit.recorded_at


@pytest.mark.parametrize(
    "other",
    [
        {"source_run_id": "scheduled 2"},
        {"source_dag_id": "by_hand", "extra": {"version": "0"}},
        {"extra": {"version": "another"}},
        {"extra": None},
    ],
)
def test_events_of_others_and_of_other_versions_do_not_count(lake, context, other):
    (commit,) = lake.commits("predictions/flight_delay")
    own = {
        "source_dag_id": "predict__flight_delay",
        "source_run_id": "scheduled 1",
        "extra": {"version": commit.version},
    }
    context["events"] = Events([SimpleNamespace(**{**own, **other})])
    run_task("publish", context, STAGED)
    assert list(context["outlet_events"])


def test_what_another_run_published_is_still_skipped(lake, context):
    with pytest.raises(AirflowSkipException, match="already published"):
        run_task("audit", context, "flight_delay", {**STAGED, "own": []})
