"""A small project under git, with a lake and a tracker in memory: dbt on DuckDB, and three days published."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tailrace import days, settings
from tailrace.engines.local import LocalEngine
from tailrace.impact import diffing, finding
from tailrace.lake.memory import MemoryLake
from tailrace.sources.landing import Landing
from tailrace.spec import registry
from tailrace.tracking.memory import MemoryTracker
from tailrace.validation.memory import MemoryValidator
from tailrace.warehouse.duckdb import DuckDBWarehouse
from tests.stages.conftest import Loop
from tests.support import churn_rows

FIRST, LAST = dt.date(2024, 3, 1), dt.date(2024, 3, 12)
TRAINED, ROWS_A_DAY = dt.date(2024, 3, 9), 60
FEATURES = "select ds, customer, event_time, event_time as known_at, plan, age, visits from {{ ref('stg_visits') }}"
FILES = {
    "tailrace.toml": 'zone = "UTC"\n[use]\nvalidator = "tests.impact.small_project:MemoryValidator"\n',
    "dbt/dbt_project.yml": "{name: tiny, profile: tiny, flags: {send_anonymous_usage_stats: false}}",
    "dbt/profiles.yml": "tiny: {target: duckdb, outputs: {duckdb: {type: duckdb, threads: 1, "
    "path: \"{{ env_var('TAILRACE_WAREHOUSE') }}\"}}}",
    "dbt/models/stg_visits.sql": "select * from {{ source('crm', 'visits') }}",
    "dbt/models/unused.sql": "select customer, visits as calls from {{ ref('stg_visits') }}",
    "dbt/models/churn_features.sql": f"{{{{ config(materialized='table') }}}}\n{FEATURES}",
    "dbt/models/churn_outcomes.sql": "select cast(ds + 1 as date) as ds, customer, left_at as known_at, gone as left "
    "from {{ ref('stg_visits') }}",
    "dbt/models/sources.yml": "sources: [{name: crm, schema: raw, tables: [{name: visits}]}]",
    "pipelines/churn.py": '''
import datetime as dt
from tailrace import (Candidate, Features, Gate, Outcome, PipelineSpec, Predictions, Review, Schedule, SearchBudget,
                      Window)

SPEC = PipelineSpec(
    name="churn", owner="growth", description="Who leaves?",
    features=Features(key=("customer",), event_time="event_time",
                      columns={"plan": "categorical", "age": "numeric", "visits": "numeric"}),
    outcome=Outcome(label="left"),
    candidates=(Candidate("logistic", "sklearn.linear_model.LogisticRegression", {"max_iter": 500}),),
    search=SearchBudget(trials=1), window=Window(days=6, holdout_days=2), gate=Gate(metric="roc_auc", floor=0.5),
    schedule=Schedule(train="0 1 * * 1", predict="30 0 * * *", timezone="UTC"),
    predictions=Predictions(threshold=0.5),
)
''',
    ".gitignore": ".tailrace/\ndbt/target/\n__pycache__/\n",
}  # fmt: skip
Parts = Callable[[Path], tuple[Any, Any]]
"""What makes a lake and a tracker."""
JUDGED = {"features": "visits", "outcomes": "left", "predictions": "score"}


@dataclass
class Shop:
    """The project with its last three days published; `run` compares the working files with the commit."""

    root: Path
    services: Any
    settings: settings.Settings

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.root / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def restore(self) -> None:
        git(self.root, "reset", "-q", "--hard", "first")
        git(self.root, "clean", "-qfd")

    def impact(self, revision: str | None = None) -> finding.Impact:
        return finding.find(self.services, self.settings, revision)

    def diff(self, **options: Any) -> diffing.Diff:
        return diffing.run(self.services, self.settings, **{"days": 3, **options})


@dataclass
class Services:
    lake: Any
    tracker: Any
    validator: Any
    warehouse: Any
    engine: Any
    tables: Any = None


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def landed() -> pa.Table:
    found = []
    for number, day in enumerate(days.span(FIRST, LAST)):
        rows, labels = churn_rows(ROWS_A_DAY, seed=number)
        moment = dt.datetime.combine(day, dt.time(), dt.UTC)
        found.append(
            rows.append_column("left_at", pa.array([moment + dt.timedelta(days=1)] * ROWS_A_DAY))
            .append_column("event_time", pa.array([moment] * ROWS_A_DAY))
            .append_column("ds", pa.array([day] * ROWS_A_DAY, pa.date32()))
            .append_column("customer", pa.array([f"{day}-{each:03d}" for each in range(ROWS_A_DAY)]))
            .append_column("gone", labels)
        )
    return pa.concat_tables(found)


def write(root: Path, files: Mapping[str, str]) -> None:
    """The project's files, its suites and its first commit."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "expectations" / "churn").mkdir(parents=True)
    for part, column in JUDGED.items():
        rule: dict[str, Any] = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": column}}
        if part == "features":
            rule = {"type": "expect_column_values_to_be_between", "kwargs": {"column": column, "max_value": 60}}
        suite = {"name": f"churn.{part}", "expectations": [{**rule, "severity": "critical"}]}
        (root / "expectations" / "churn" / f"{part}.json").write_text(json.dumps(suite))
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    git(root, "tag", "first")


def made(
    root: Path,
    patch: pytest.MonkeyPatch,
    files: Mapping[str, str],
    raw: Mapping[str, pa.Table],
    engine: Any = None,
    parts: Parts | None = None,
) -> Shop:
    """The project in `root` with its last three days published; `raw` are the tables of its source."""
    configured = configure(root, patch, files)
    database = Path(configured.warehouse)
    database.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(database)) as connection:
        connection.execute("create schema raw")
        for name, rows in raw.items():
            connection.register("rows", rows)
            connection.execute(f"create table raw.{name} as select * from rows")  # noqa: S608 - a test's own name
            connection.unregister("rows")
    warehouse = DuckDBWarehouse.from_settings(configured, landing=Landing(configured.landing, {}))
    return published(root, configured, warehouse, engine or LocalEngine(), parts or in_memory)


def configure(root: Path, patch: pytest.MonkeyPatch, files: Mapping[str, str], **env: str) -> settings.Settings:
    """Write the project; its settings."""
    write(root, files)
    for name in ("TAILRACE_HOME", "TAILRACE_WAREHOUSE"):
        patch.delenv(name, raising=False)
    for name, value in {"TAILRACE_PROJECT": str(root), **env}.items():
        patch.setenv(name, value)
    return settings.load()


def in_memory(root: Path) -> tuple[Any, Any]:
    return MemoryLake(), MemoryTracker(root / ".tailrace" / "t")


def published(root: Path, configured: settings.Settings, warehouse: Any, engine: Any, parts: Parts = in_memory) -> Shop:
    """Build the days, train a champion and publish the days after it."""
    lake, tracker = parts(root)
    services = Services(lake, tracker, MemoryValidator(root / "expectations"), warehouse, engine)
    warehouse.build(FIRST, LAST)
    loop = Loop(services, registry.get("churn"))
    loop.take(FIRST, LAST)
    loop.challenge(TRAINED)
    for day in days.span(TRAINED + dt.timedelta(days=1), LAST):
        loop.predict(day)
    return Shop(root, services, configured)
