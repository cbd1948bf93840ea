"""A data engineer breaks a dbt model, sees it in Airflow, mends it, tries again: as one task, and as one per model."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import stack
from tailrace import settings
from tailrace.commands.airflow.api import FINAL, AirflowApi, DagRunFailed
from tailrace.spec import registry, zone
from tailrace.wiring import Wiring
from tests.e2e import flights
from tests.e2e.flights import LAST, NEXT
from tests.support import eventually

pytestmark = pytest.mark.airflow

BROKEN = "int_late_rates"
FEATURES = "features/flight_delay"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A checkout of one's own, whose models may be broken."""
    copy = tmp_path_factory.mktemp("checkout")
    for part in ("tailrace", "pipelines", "dags", "dbt", "expectations", "plugins"):
        shutil.copytree(
            settings.find_project().root / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", "target")
        )
    shutil.copy(settings.find_project().file, copy)
    return copy


@pytest.fixture(scope="module")
def started(home, project) -> Callable:
    """Airflow on that checkout, with these settings besides."""

    @contextmanager
    def start(**more: str):
        running = stack.Stack(home, parallelism=4)
        running.environment |= {
            "PYTHONPATH": str(project),
            "TAILRACE_PROJECT": str(project),
            "AIRFLOW__CORE__DAGS_FOLDER": str(project / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(project / "plugins"),
            **more,
        }
        with running.started():
            yield running.api(zone(registry.get("flight_delay")))

    return start


@pytest.fixture
def broken(project) -> Callable[[], None]:
    """A model with a slip in it; gives what mends it."""
    (file,) = (project / "dbt" / "models").rglob(f"{BROKEN}.sql")
    sound = file.read_text()
    file.write_text(f"{sound}\nwehre true\n")
    yield lambda: file.write_text(sound)
    file.write_text(sound)


def failed_run(api: AirflowApi, day: dt.date = NEXT) -> tuple[str, str]:
    """A warehouse run that fails, and what it says."""
    with pytest.raises(DagRunFailed) as raised:
        api.run_day("warehouse", day, {})
    (run,) = api.get("/dags/warehouse/dagRuns?limit=1&order_by=-id")["dag_runs"]
    return run["dag_run_id"], str(raised.value)


def cleared(api: AirflowApi, run: str, before: dict[str, str]) -> dict[str, str]:
    """Clear what failed in a run, as its button does, and wait for its end; the tasks' states."""
    body = {"dag_run_id": run, "only_failed": True, "dry_run": False}
    api._post("/dags/warehouse/clearTaskInstances", body)
    eventually(lambda: states(api, run) != before, "it begins again")
    path = f"/dags/warehouse/dagRuns/{run}"
    eventually(lambda: api.get(path)["state"] in FINAL, "it ends")
    return states(api, run)


def states(api: AirflowApi, run: str) -> dict[str, str]:
    return {task["task_id"]: task["state"] for task in api.tasks("warehouse", run)}


def features(home: settings.Settings) -> str:
    return Wiring(home).lake.days(FEATURES)[NEXT].version


SHARED = dt.date(2014, 1, 2)
"""A day of two pipelines: the last outcomes of flights come, and texts are rated."""


@pytest.mark.parametrize("how", [settings.BUILD, settings.MODELS])
def test_a_broken_model_stops_its_own_pipeline_and_a_cleared_run_repeats_nothing_of_the_others(
    how, home, started, broken, tmp_path
):
    places = {f"TAILRACE_{name}": str(tmp_path / name.lower()) for name in ("LAKE", "LANDING")}
    places["TAILRACE_WAREHOUSE"] = str(tmp_path / "warehouse.duckdb")
    with started(TAILRACE_DBT_TASKS=how, **places) as api:
        known = f"/dags/warehouse/tasks/{'build' if how == settings.BUILD else 'build.prepare'}"
        eventually(lambda: api._client.get(known).is_success, "the DAG is parsed with its new setting")
        run, said = failed_run(api, SHARED)
        ended = states(api, run)
        assert BROKEN in said
        assert ended["journal_mood.snapshot"] == ended["journal_mood.validate"] == "success", ended
        assert ended["flight_delay.snapshot"] == "upstream_failed"
        if how == settings.BUILD:
            assert (ended["build"], ended["flight_delay.validate"]) == ("failed", "failed")
            why = api.xcom("warehouse", run, "flight_delay.validate", "tailrace_error")
            assert why.startswith(
                f"flight_delay: its tables were not built as they should be. dbt failed on model {BROKEN} ("
            )

        def of_texts() -> list[tuple[str, int, str]]:
            tasks = (task for task in api.tasks("warehouse", run) if task["task_id"].startswith("journal_mood."))
            return sorted((task["task_id"], task["try_number"], task["start_date"]) for task in tasks)

        before = of_texts()
        broken()
        again = cleared(api, run, ended)
        assert again["flight_delay.snapshot"] == "success", again
        assert of_texts() == before, "they did not run again"
    lake = Wiring(replace(home, lake=places["TAILRACE_LAKE"])).lake
    assert [set(lake.days(f"features/{name}")) for name in ("journal_mood", "flight_delay")] == [{SHARED}] * 2


def test_a_retry_builds_only_what_failed_and_what_depends_on_it(home, started, broken):
    before = features(home)
    with started() as api:
        # A test before it may have had a task per model.
        eventually(lambda: api._client.get("/dags/warehouse/tasks/build").is_success, "the DAG is parsed anew")
        run, said = failed_run(api)
        assert "build (try 1 of" in said
        assert BROKEN in said
        page = api.page(f"/tailrace/pages/runs/warehouse/{run}/dbt")
        assert "failed.</strong> Pipelines that need none of it were loaded. To try again, clear what failed" in page
        assert page.index(BROKEN) < page.index("stg_schedules"), "what failed comes first"

        broken()
        assert set(flights.of_flights(cleared(api, run, states(api, run))).values()) == {"success"}
        nodes = {node["name"]: node for node in api.xcom("warehouse", run, "build", "tailrace_nodes")}
        kept = {name for name, node in nodes.items() if node["kept"]}
        assert {"stg_schedules", "stg_weather"} <= kept
        assert not {BROKEN, "flight_delay_features"} & kept, "these are built now"
        page = api.page(f"/tailrace/pages/runs/warehouse/{run}/dbt")
        assert "All passed" in page
        assert page.count(">kept<") == len(kept)
    assert features(home) == before, "the same bytes make no second commit"


def test_with_a_task_per_model_the_failed_one_is_seen_and_cleared(home, started, broken):
    before = features(home)
    with started(TAILRACE_DBT_TASKS="models") as api:
        known = "/dags/warehouse/tasks/build.prepare"
        eventually(lambda: api._client.get(known).is_success, "the DAG is parsed with its new setting")
        run, _ = failed_run(api)
        ended = states(api, run)
        failed = {task for task, state in ended.items() if state == "failed"}
        assert f"build.models.{BROKEN}_run" in failed or f"build.models.{BROKEN}.run" in failed, ended
        assert ended["flight_delay.snapshot"] == "upstream_failed"
        assert features(home) == before

        broken()
        again = cleared(api, run, ended)
        assert again.pop("build.models.dbt_producer_watcher") == "skipped", "now each model builds itself"
        again.pop("build", None)  # Airflow's mark of a task that the run was first made with
        assert set(flights.of_flights(again).values()) == {"success"}
        page = api.page(f"/tailrace/pages/runs/warehouse/{run}/dbt")
        assert "each model is instead a task of the run" in page
    assert features(home) == before, "the same bytes make no second commit"
    assert LAST in Wiring(home).lake.days(FEATURES)
