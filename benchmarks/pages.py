"""How long the pages take on the server: 50 pipelines, 400 days each, limit one second a page.

Airflow's own application with the plugin in it, its metadata on Postgres (a run and three tasks a day of each
pipeline), the lake in a folder, MLflow's registry in a file; a request is made and read to its end in the server's own
process, by a user whose rights are looked up. Three looks at each page:

- `first`: after a start of the api-server, in which the pages' code is imported and every history read.
- `morning`: the first one after all pipelines have published another day.
- `again`: the median of those that follow.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import secrets
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks import child
from benchmarks.parse import copy_of, new_project
from scripts.postgres import Postgres
from tailrace.champions import promotions
from tailrace.champions.promotions import Promotion
from tailrace.lake.delta import DeltaLake
from tailrace.lineage import dag_ids, pins, xcom_keys
from tailrace.settings import find_project
from tailrace.spec import PipelineSpec, registry
from tailrace.stages import monitor

PIPELINES, DAYS, ROWS, LOOK_BACK = 50, 400, 1000, 28
FIRST = dt.date(2012, 1, 1)
TASKS = ("score", "audit", "publish")
REFUSED = "is refused:\n  - 31.0% of the scores are null (46 of 150); at most 0.0% may be."
LIMIT_SECONDS = 1.0
LIMITED = ("morning", "again")
"""The first look after a start is shown without a limit."""


def run() -> list[str]:
    """Print the table; what was missed."""
    with tempfile.TemporaryDirectory(prefix="tailrace-pages-") as folder:
        postgres = Postgres(Path(folder) / "postgres")
        postgres.start("airflow")
        try:
            found = child.call("benchmarks.pages", folder, postgres.url("airflow"))
        finally:
            postgres.stop()
    looks = ("first", *LIMITED)
    title = f"Seconds a page: {PIPELINES} pipelines, {DAYS} days"
    table = Table("page", *(f"{look}, s" for look in looks), "limit, s", title=title, title_justify="left")
    missed = []
    for name, seconds in found["pages"].items():
        table.add_row(name, *(f"{seconds[look]:.3f}" for look in looks), f"{LIMIT_SECONDS:g}")
        missed += [
            f"the page {name} took {seconds[look]:.2f} s ({look}); at most {LIMIT_SECONDS:g} s is the aim"
            for look in LIMITED
            if seconds[look] > LIMIT_SECONDS
        ]
    Console().print(table)
    return missed


def measure(folder: str, database: str) -> dict[str, Any]:
    """Seconds of each page and look. In a process of its own: Airflow reads its settings when it is imported."""
    root = Path(folder)
    os.environ |= _environment(root, database)
    specs = _project(root / "project")
    lake = DeltaLake(str(root / "lake"))
    _seed_lake(lake, root / "lake", specs)
    _seed_tracker(specs[0])
    _seed_airflow(specs)
    one = f"/tailrace/pages/{specs[0].name}"
    pages = {"overview": "/tailrace/pages", "pipeline": one, "day": f"{one}/{FIRST + dt.timedelta(days=100)}"}
    with _browser() as look:
        first = {name: look(page) for name, page in pages.items()}
        for spec in specs:
            _publish_day(lake, spec, DAYS)
        morning = {name: look(page) for name, page in pages.items()}
        again = {name: statistics.median(look(page) for _ in range(5)) for name, page in pages.items()}
    return {"pages": {name: {"first": first[name], "morning": morning[name], "again": again[name]} for name in pages}}


@contextmanager
def _browser() -> Iterator[Callable[[str], float]]:
    """Seconds that a page takes to be answered whole."""
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    with TestClient(create_app(apps="all"), base_url="http://airflow.example") as client:
        token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="ann", role="admin"))

        def look(page: str) -> float:
            began = time.perf_counter()
            answer = client.get(page, headers={"Authorization": f"Bearer {token}"})
            seconds = time.perf_counter() - began
            answer.raise_for_status()
            return seconds

        yield look


def _environment(root: Path, database: str) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(root / "airflow"),
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(find_project().plugins),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "ann:admin",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "TAILRACE_HOME": str(root),
        "TAILRACE_LAKE": str(root / "lake"),
        "TAILRACE_TRACKING_URI": f"sqlite:///{root}/mlflow.db",
    }


def _project(folder: Path) -> list[PipelineSpec]:
    """The specs of a project of copies of one pipeline, which is the project from now on."""
    original = find_project().pipelines / "flight_delay.py"
    made = new_project(folder)
    for number in range(PIPELINES):
        copy_of(original, made.pipelines, f"pipeline_{number:02d}")
    return [registry.get(name) for name in registry.names()]


def _seed_lake(lake: DeltaLake, root: Path, specs: Sequence[PipelineSpec]) -> None:
    """One pipeline's tables are published day by day; the others' are copies of them, which is what they would be."""
    first = specs[0]
    for offset in range(DAYS):
        _publish_day(lake, first, offset)
    for spec in specs[1:]:
        for kind in ("features", "predictions", "performance"):
            # Linked, not copied: none of these files is ever written to again.
            shutil.copytree(root / kind / first.name, root / kind / spec.name, copy_function=os.link)
    now = dt.datetime.now(dt.UTC)
    for spec in specs:
        promotions.record(
            lake,
            Promotion(
                pipeline=spec.name,
                version="1",
                effective_from=FIRST,
                recorded_at=now,
                training_run="run",
                decided_by="gate",
                reason="it is better",
            ),
        )


def _publish_day(lake: DeltaLake, spec: PipelineSpec, offset: int) -> None:
    """What a night leaves of a pipeline: features, predictions, performance."""
    when = FIRST + dt.timedelta(days=offset)
    sources = {when - dt.timedelta(days=back): f"{offset - back:016x}" for back in range(LOOK_BACK, -1, -1)}
    features, predictions = _rows(spec, when)
    _publish(lake, spec.features_table, when, rows=features, metadata=pins.source_note(sources))
    pin = pins.to_json(lake.pin(spec.features_table, first=when, last=when))
    held = {"model_version": "1", "model_choice": "as-of", "audit": "passed", "audit_warnings": "0"}
    _publish(lake, spec.predictions_table, when, rows=predictions, metadata={**held, "features_pin": pin})
    _publish(lake, f"performance/{spec.name}", when, rows=_performance(offset), metadata={})


def _publish(lake: DeltaLake, table: str, when: dt.date, *, rows: pa.Table, metadata: Mapping[str, str]) -> None:
    lake.publish(lake.stage(table, when, f"predict/run-{when}", rows.to_reader()), metadata)


def _rows(spec: PipelineSpec, when: dt.date) -> tuple[pa.Table, pa.Table]:
    keys = [f"{when}-{number}" for number in range(ROWS)]
    features = pa.table({spec.features.key[0]: keys, "feature": [float(number) for number in range(ROWS)]})
    predictions = pa.table(
        {
            spec.features.key[0]: keys,
            spec.predictions.score: [number / ROWS for number in range(ROWS)],
            spec.predictions.decision: [number > ROWS // 2 for number in range(ROWS)],
        }
    )
    return features, predictions


def _performance(offset: int) -> pa.Table:
    """A row as the monitor writes it."""
    measured = monitor.DayPerformance(
        day=FIRST + dt.timedelta(days=offset),
        model_version="1",
        rows=ROWS,
        known_outcomes=ROWS - 2,
        mean_label=0.2,
        mean_score=0.21,
        metrics=json.dumps({"roc_auc": 0.6 + 0.1 * (offset % 7) / 7, "log_loss": 0.5, "brier": 0.15}),
        score_psi=0.1,
        worst_feature="feature_24",
        worst_feature_psi=0.24,
        feature_psi=json.dumps({f"feature_{number}": 0.01 * number for number in range(25)}),
        drift="ok",
        note="",
        score_allowance=0.2,
        feature_allowance=json.dumps({f"feature_{number}": 0.3 for number in range(25)}),
    )
    return pa.Table.from_pylist([asdict(measured)], schema=monitor.SCHEMA)


def _seed_tracker(spec: PipelineSpec) -> None:
    """Three versions, as the pipeline's page lists them; the overview asks for none."""
    from mlflow import MlflowClient

    from tailrace import settings
    from tailrace.wiring import Wiring

    tracker = Wiring(settings.load()).tracker
    client = MlflowClient(os.environ["TAILRACE_TRACKING_URI"], os.environ["TAILRACE_TRACKING_URI"])
    client.create_registered_model(spec.name)
    for number in range(3):
        training_run = tracker.start_run(spec.name, f"training {number}", {"tailrace.day": str(FIRST)})
        tracker.log(training_run, metrics={f"holdout.metric_{each}": 0.1 * each for each in range(10)})
        tracker.end_run(training_run, "finished")
        client.create_model_version(spec.name, f"runs:/{training_run}/model", training_run)


def _seed_airflow(specs: Sequence[PipelineSpec]) -> None:
    """Every day was published by a run; the last run of each pipeline was refused by the audit."""
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils import db
    from airflow.utils.session import create_session
    from sqlalchemy import insert, select

    db.initdb()
    at = dt.datetime.now(dt.UTC)
    with create_session(scoped=False) as session:
        session.add(DagBundleModel(name="nightly"))
        session.flush()
        for spec in specs:
            dag = dag_ids.predict(spec.name)
            session.add(DagModel(dag_id=dag, bundle_name="nightly", next_dagrun_create_after=at, is_stale=False))
            session.flush()
            days = [FIRST + dt.timedelta(days=offset) for offset in range(DAYS + 1)]
            runs = [_run(dag, day, at - dt.timedelta(days=1), refused=day == days[-1]) for day in days]
            session.execute(insert(DagRun), runs)
            session.execute(insert(TaskInstance), [task for run in runs for task in _tasks(run)])
            last = session.scalar(select(DagRun.id).where(DagRun.dag_id == dag).order_by(DagRun.id.desc()))
            said = {"key": xcom_keys.ERROR, "value": json.dumps(REFUSED), "timestamp": at, "map_index": -1}
            where = {"dag_run_id": last, "dag_id": dag, "run_id": runs[-1]["run_id"], "task_id": "audit"}
            session.execute(insert(XComModel), [{**where, **said}])


def _run(dag: str, day: dt.date, at: dt.datetime, *, refused: bool) -> dict[str, Any]:
    when = at + dt.timedelta(days=2) if refused else at
    return {
        "dag_id": dag,
        "run_id": f"scheduled__{day}",
        "run_type": "scheduled",
        "_state": "failed" if refused else "success",
        "partition_key": str(day),
        "run_after": when,
        "start_date": when,
        "end_date": when,
        "conf": {},
    }


def _tasks(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    refused = run["_state"] == "failed"
    states = ("success", "failed", "upstream_failed") if refused else ("success",) * 3
    return [
        {
            "dag_id": run["dag_id"],
            "run_id": run["run_id"],
            "task_id": task,
            "state": state,
            "start_date": run["start_date"],
            "try_number": 1,
            "pool": "default_pool",
            "pool_slots": 1,
            "map_index": -1,
        }
        for task, state in zip(TASKS, states, strict=True)
    ]
