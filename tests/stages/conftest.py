"""A small installation: its tables in memory, the rest either in memory or real and embedded."""

from __future__ import annotations

import copy
import datetime as dt
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest

from tailrace import days
from tailrace.contracts import Engine, Lake, Tracker, Validator, Warehouse
from tailrace.engines.local import LocalEngine
from tailrace.spec import PipelineSpec
from tailrace.stages import audit, evaluate, promote, publish, score, snapshot, train
from tailrace.warehouse.memory import MemoryWarehouse
from tailrace.work import Work
from tests.support import churn_rows, keyed, mlflow_database, work

FIRST = dt.date(2013, 1, 1)
LAST = dt.date(2013, 1, 14)
ROWS_A_DAY = 150
NOW = dt.datetime(2013, 2, 1, tzinfo=dt.UTC)
NO_ARRIVALS = "the landed files of arrivals have no rows"


@dataclass
class Installation:
    """Services whose parts a test may replace."""

    lake: Lake
    tracker: Tracker
    validator: Validator
    warehouse: Warehouse
    engine: Engine
    tables: dict[str, pa.Table]

    def rebuild(self, empty: str = "", **tables: pa.Table) -> None:
        """Give the warehouse other tables, as a build would; `empty` says why days of them may have no rows."""
        self.tables = {**self.tables, **tables}
        reasons = dict.fromkeys(days.span(FIRST, LAST), empty)
        self.warehouse = MemoryWarehouse(self.tables, empty={**reasons, FIRST: empty or NO_ARRIVALS})
        self.warehouse.build(FIRST, LAST)


class Loop:
    """The stages in the order of a night."""

    def __init__(self, services: Installation, spec: PipelineSpec) -> None:
        self.services, self.spec = services, spec

    def work(self, run_id: str = "r", *, request: Mapping[str, str] | None = None) -> Work:
        return work(self.services, self.spec, run_id, request=request)

    def take(self, first: dt.date = FIRST, last: dt.date = LAST, run: str = "w") -> list[snapshot.Snapshotted]:
        return [snapshot.run(self.work(f"{run}-{day}"), day) for day in days.span(first, last)]

    def train(self, day: dt.date, seed: int = 1) -> train.TrainingResult:
        return train.run(self.work(), day, seed=seed)

    def challenge(self, day: dt.date, seed: int = 1) -> promote.Promoted:
        training_run = self.train(day, seed).training_run
        evaluate.run(self.work(), training_run)
        return promote.run(self.work(), training_run, recorded_at=NOW)

    def predict(self, day: dt.date, run: str = "p", model: str = "as-of") -> publish.Published:
        # Forced: a day published from the same inputs would be left alone.
        score.run(self.work(run), day, model=model, force=True)
        audit.run(self.work(run), day)
        return publish.run(self.work(run), day)

    def published(self, day: dt.date) -> pa.Table:
        return self.services.lake.read(self.spec.predictions_table, first=day, last=day).read_all()


def tables(spec: PipelineSpec) -> dict[str, pa.Table]:
    """Features of each day, and their outcomes, known a day later."""
    features, outcomes = [], []
    for number, day in enumerate(days.span(FIRST, LAST)):
        rows, labels = churn_rows(ROWS_A_DAY, seed=number)
        known = days.cutoff(day, spec_zone(spec))
        of_day = keyed(rows, day).append_column(
            "known_at", pa.array([known] * ROWS_A_DAY, pa.timestamp("us", tz="UTC"))
        )
        features.append(of_day)
        next_day = day + dt.timedelta(days=1)
        outcomes.append(
            pa.table(
                {
                    "customer": of_day["customer"],
                    "ds": pa.array([next_day] * ROWS_A_DAY, pa.date32()),
                    "known_at": pa.array(
                        [days.cutoff(next_day, spec_zone(spec))] * ROWS_A_DAY, pa.timestamp("us", tz="UTC")
                    ),
                    "left": labels,
                }
            )
        )
    return {f"{spec.name}_features": pa.concat_tables(features), f"{spec.name}_outcomes": pa.concat_tables(outcomes)}


def spec_zone(spec: PipelineSpec):
    from tailrace.spec import zone

    return zone(spec)


SUITES = {
    "features": [("expect_column_values_to_be_between", {"column": "visits", "min_value": 0}, "critical")],
    "outcomes": [("expect_column_values_to_not_be_null", {"column": "left"}, "critical")],
    "predictions": [
        ("expect_column_values_to_not_be_null", {"column": "score"}, "critical"),
        ("expect_table_row_count_to_be_between", {"min_value": 100, "max_value": 200}, "warning"),
    ],
}


def write_suites(folder: Path, spec: PipelineSpec) -> Path:
    (folder / spec.name).mkdir(parents=True)
    for part, expectations in SUITES.items():
        suite = {
            "name": f"{spec.name}.{part}",
            "expectations": [
                {"type": name, "kwargs": kwargs, "severity": severity} for name, kwargs, severity in expectations
            ],
        }
        (folder / spec.name / f"{part}.json").write_text(json.dumps(suite))
    return folder


def memory(tmp_path: Path) -> tuple[Lake, Tracker]:
    from tailrace.lake.memory import MemoryLake
    from tailrace.tracking.memory import MemoryTracker

    return MemoryLake(), MemoryTracker(tmp_path / "tracker")


def embedded(tmp_path: Path) -> tuple[Lake, Tracker]:
    from tailrace.lake.delta import DeltaLake
    from tailrace.tracking.mlflow import MlflowTracker

    tracker = MlflowTracker(mlflow_database(tmp_path), str(tmp_path / "artifacts"))
    return DeltaLake(str(tmp_path / "lake")), tracker


@pytest.fixture(params=[memory, embedded], ids=["memory", "embedded"])
def services(request, tmp_path, spec):
    return installation(request.param, tmp_path, spec)


def installation(kind: Callable[[Path], tuple[Lake, Tracker]], tmp_path: Path, spec: PipelineSpec) -> Installation:
    """Services around a lake and a tracker, in `memory` or `embedded`."""
    from tailrace.validation.memory import MemoryValidator

    lake, tracker = kind(tmp_path)
    suites = write_suites(tmp_path / "expectations", spec)
    held = tables(spec)
    return Installation(lake, tracker, MemoryValidator(suites), MemoryWarehouse(held), LocalEngine(), held)


def churn() -> PipelineSpec:
    """The pipeline of the suites, for fixtures of a module."""
    from tests.conftest import spec

    made: PipelineSpec = spec.__wrapped__() if hasattr(spec, "__wrapped__") else spec.__pytest_wrapped__.obj()
    return made


def copy_of(services: Installation, folder: Path) -> Installation:
    """The same installation in memory once more: what a test does there, the others do not see."""
    from tailrace.tracking.memory import MemoryTracker

    before = services.tracker
    assert isinstance(before, MemoryTracker)
    tracker = MemoryTracker(folder / "tracker")
    shutil.copytree(before.folder, tracker.folder, dirs_exist_ok=True)
    for held in ("trials", "_runs", "_versions", "_aliases"):
        setattr(tracker, held, copy.deepcopy(getattr(before, held)))
    return replace(services, lake=copy.deepcopy(services.lake), tracker=tracker)


@pytest.fixture
def loop(services, spec) -> Loop:
    return Loop(services, spec)
