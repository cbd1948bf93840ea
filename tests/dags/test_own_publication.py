"""A run that goes on after it had published, or decided: the event comes, and it comes once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowSkipException
from airflow.sdk.execution_time.context import OutletEventAccessors, set_current_context

from tailrace.champions import promotions
from tailrace.champions.promotions import Promotion
from tailrace.lake.memory import MemoryLake
from tailrace.lineage import xcom_keys
from tailrace.orchestration import dags, task_results, task_run
from tailrace.spec import registry
from tailrace.tracking.memory import MemoryTracker

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
    monkeypatch.setattr(task_run, "services", lambda *given: SimpleNamespace(lake=held, settings=None))
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


def run_task(name: str, context: dict[str, Any], **handed: Any) -> dict[str, Any]:
    """Run a task's function in the context; what it left."""
    made = {dag.dag_id: dag for dag in dags.pipeline_dags("flight_delay", "")}
    task = made[context["dag_run"].dag_id].get_task(name)
    for asset in task.inlets:
        context.setdefault("inlet_events", {})[asset] = context["events"]
    with set_current_context(context):
        task.python_callable("flight_delay", **handed)
    return context["ti"].left


def test_what_the_run_published_before_is_announced(lake, context):
    context["events"] = Events()
    run_task("audit", context, staged=STAGED)
    left = run_task("publish", context, staged=STAGED)
    (commit,) = lake.commits("predictions/flight_delay")
    assert (left[xcom_keys.RESULT]["version"], left[xcom_keys.RESULT]["unchanged"]) == (commit.version, True)
    assert left[xcom_keys.LINK + task_results.PUBLISHED_DAY].endswith(f"#version-{commit.version}")
    (asset,) = context["outlet_events"]
    extra = context["outlet_events"][asset].extra
    assert (extra["version"], extra["model_version"], extra["rows"]) == (commit.version, "3", 2)


def test_what_the_run_announced_before_is_not_announced_again(lake, context):
    (commit,) = lake.commits("predictions/flight_delay")
    own = {"source_dag_id": "predict__flight_delay", "source_run_id": "scheduled 1"}
    context["events"] = Events([SimpleNamespace(**own, extra={"version": commit.version})])
    with pytest.raises(AirflowSkipException, match=r"announced by this run already\. No second event"):
        run_task("publish", context, staged=STAGED)
    (moment,) = context["events"].since
    differ = dt.timedelta(days=2)
    assert dt.datetime.fromisoformat(moment) < commit.recorded_at - differ, "clocks may be two days apart"


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
    run_task("publish", context, staged=STAGED)
    assert list(context["outlet_events"])


def test_what_another_run_published_is_still_skipped(lake, context):
    with pytest.raises(AirflowSkipException, match="already published"):
        run_task("audit", context, staged={**STAGED, "own": []})


class TestARollback:
    """Its decision was recorded, and the task ended before Airflow knew of it."""

    @pytest.fixture
    def rolled_back(self, context, monkeypatch, tmp_path):
        """The context of the run; version 1 is champion again in place of 2, by ann's decision."""
        held, tracker = MemoryLake(), MemoryTracker(tmp_path / "tracker")
        (tmp_path / "model").mkdir()
        for version in ("1", "2", "1"):
            if len(tracker.versions("flight_delay")) < int(version):
                run_id = tracker.start_run("flight_delay", version, {"tailrace.day": str(DAY)})
                tracker.log_model(run_id, tmp_path / "model", pa.table({"hour": [1]}), pa.table({"score": [0.5]}))
        runs = {known.version: known.training_run for known in tracker.versions("flight_delay")}
        for version, decision in (("1", "promoted"), ("2", "promoted"), ("1", "rolled_back")):
            at = dt.datetime(2013, 3, 10, 8, tzinfo=dt.UTC)
            row = Promotion(
                pipeline="flight_delay",
                version=version,
                effective_from=DAY,
                recorded_at=at,
                training_run=runs[version],
                decided_by="ann",
                reason="2 drifts",
                previous=None,
                decision=decision,
            )
            promotions.record(held, row)
        monkeypatch.setattr(task_run, "services", lambda *given: SimpleNamespace(lake=held, tracker=tracker))
        form = {"version": "1", "reason": "2 drifts", "from_day": None, "dry_run": False}
        context["params"] = form
        context["dag"] = SimpleNamespace(params=form)
        context["dag_run"] = SimpleNamespace(
            dag_id="rollback__flight_delay",
            run_id="manual 1",
            conf={},
            partition_key=None,
            triggering_user_name="ann",
            run_after=dt.datetime(2013, 3, 10, 7, 59, tzinfo=dt.UTC),
        )
        context["events"] = Events()
        return context, runs["1"]

    def test_that_this_run_made_is_announced(self, rolled_back):
        context, training_run = rolled_back
        run_task("roll_back", context)
        (asset,) = context["outlet_events"]
        assert context["outlet_events"][asset].extra["run_id"] == training_run

    def test_that_this_run_announced_is_not_announced_again(self, rolled_back):
        context, training_run = rolled_back
        own = {"source_dag_id": "rollback__flight_delay", "source_run_id": "manual 1"}
        context["events"] = Events([SimpleNamespace(**own, extra={"run_id": training_run})])
        with pytest.raises(AirflowSkipException, match="Nothing changes"):
            run_task("roll_back", context)

    @pytest.mark.parametrize("changed", [{"run_after": dt.datetime(2013, 3, 11, tzinfo=dt.UTC)}, {"who": "eve"}])
    def test_that_another_run_made_is_not_announced(self, rolled_back, changed):
        context, _ = rolled_back
        run = context["dag_run"]
        run.run_after, run.triggering_user_name = changed.get("run_after", run.run_after), changed.get("who", "ann")
        with pytest.raises(AirflowSkipException, match="Nothing changes"):
            run_task("roll_back", context)

    @pytest.mark.parametrize("hours", [-72, 72])
    def test_it_is_recognised_by_the_run_however_far_the_clocks_are_apart(self, rolled_back, hours):
        context, _ = rolled_back
        run = context["dag_run"]
        context["params"]["version"] = "2"
        run.run_after = dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)
        run_task("roll_back", context)
        # Airflow did not get to know of the event, and the task is tried again.
        context["outlet_events"] = OutletEventAccessors()
        run_task("roll_back", context)
        (asset,) = context["outlet_events"]
        extra = context["outlet_events"][asset].extra
        assert extra["model_version"] == "2"
        own = {"source_dag_id": run.dag_id, "source_run_id": run.run_id}
        context["events"].append(SimpleNamespace(**own, extra=extra))
        with pytest.raises(AirflowSkipException, match="Nothing changes"):
            run_task("roll_back", context)
        (moment,) = context["events"].since
        assert dt.datetime.fromisoformat(moment) < dt.datetime.now(dt.UTC) - dt.timedelta(days=2)
        # Another run of the same user, with the same reason, has made nothing.
        run.run_id = "manual 2"
        with pytest.raises(AirflowSkipException, match="Nothing changes"):
            run_task("roll_back", context)
