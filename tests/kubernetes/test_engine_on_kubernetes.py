"""The engine on `k8s://`: its contract's main cases, and executors that die."""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from tailrace.engines.local import LocalEngine
from tailrace.engines.spark.engine import SparkEngine
from tailrace.errors import OutOfMemory, StagingGone
from tailrace.lake.delta import DeltaLake
from tailrace.spec import LABEL
from tailrace.training.arrow_rows import ArrowRows
from tests.contracts.test_engine import (
    test_a_failing_trial_ends_alone,
    test_a_hopeless_trial_is_pruned,
    test_a_saved_model_predicts_alike,
    test_features_that_do_not_fit_are_all_named,
    test_no_rows_give_no_scores,
    test_one_class_cannot_be_learned,
    test_other_estimators_of_scikit_learn_work,
    test_scores_are_the_published_columns_in_order,
    test_texts_are_learned_from,
)
from tests.kubernetes.cluster import EXECUTOR_TEMPLATE, Cluster
from tests.kubernetes.engines import settings_of, stop
from tests.support import churn_rows, keyed

__all__ = [
    "test_a_failing_trial_ends_alone",
    "test_a_hopeless_trial_is_pruned",
    "test_a_saved_model_predicts_alike",
    "test_features_that_do_not_fit_are_all_named",
    "test_no_rows_give_no_scores",
    "test_one_class_cannot_be_learned",
    "test_other_estimators_of_scikit_learn_work",
    "test_scores_are_the_published_columns_in_order",
    "test_texts_are_learned_from",
]
"""The contract's main cases, run on this module's fixtures."""

DAY = dt.date(2013, 3, 1)


@pytest.fixture(scope="module")
def engine(cluster: Cluster) -> Iterator[SparkEngine]:
    made = SparkEngine(settings_of(cluster))
    yield made
    stop(made)
    cluster.wait(lambda: not cluster.pods(), "no pod is left")
    assert not cluster.refused(), "the role of deploy/kubernetes is enough"
    outrun = [event["message"] for event in cluster.objects("events") if event["reason"] == "FailedPreStopHook"]
    assert not outrun, "no executor ends before the hook that stops it"


@pytest.fixture
def learner(engine: SparkEngine) -> SparkEngine:
    return engine


@pytest.fixture
def lake(tmp_path: Path) -> DeltaLake:
    return DeltaLake(str(tmp_path / "lake"))


@pytest.fixture
def filled(lake: DeltaLake) -> DeltaLake:
    """With a day of features in several files' worth of row groups."""
    features = keyed(churn_rows(300_000, seed=3)[0], DAY)
    lake.publish(lake.stage("features", DAY, "r", features.to_reader()), {})
    return lake


def trained(engine: Any, spec: Any, rows: tuple[pa.Table, pa.Array]) -> Any:
    table, labels = rows
    held = ArrowRows(table.append_column(LABEL, labels), tuple(spec.features.columns))
    return engine.train(spec, held, seed=1, trials=6, on_trial=lambda trial: None)


def test_executors_have_the_time_to_hand_over_that_their_template_promises(cluster, engine):
    assert engine.session
    template = yaml.safe_load(EXECUTOR_TEMPLATE.read_text())["spec"]
    graces = [pod["spec"]["terminationGracePeriodSeconds"] for pod in cluster.executors()]
    assert graces == [template["terminationGracePeriodSeconds"]] * len(graces) != []


def test_it_trains_the_model_that_one_machine_trains(engine, spec, rows):
    here, there = trained(LocalEngine(), spec, rows), trained(engine, spec, rows)
    assert there.model.digest() == here.model.digest()
    assert [(t.parameters, t.state) for t in there.trials] == [(t.parameters, t.state) for t in here.trials]
    # On some processors, the last digit of a sum depends on where its numbers lie in memory.
    assert [t.value for t in there.trials] == pytest.approx([t.value for t in here.trials], rel=1e-12)


def test_an_executor_dies_in_the_middle_and_the_rows_are_the_same(cluster, engine, spec, rows, filled, tmp_path):
    model = trained(LocalEngine(), spec, rows).model
    scan = filled.scan(filled.pin("features", first=DAY, last=DAY))
    filled.publish(
        LocalEngine().score(spec, model, version="1", rows=scan, target=filled.target("expected", DAY, "local")), {}
    )
    started, go_on = tmp_path / "started", tmp_path / "go-on"
    started.mkdir()

    def kill_one() -> str:
        cluster.wait(lambda: len(list(started.iterdir())) == 2, "both executors work")
        victim = min(path.name for path in started.iterdir())
        cluster.kill(victim)
        go_on.touch()
        return victim

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill_one)
        waiting = held_up(scan, started, go_on)
        staged = engine.score(spec, model, version="1", rows=waiting, target=filled.target("predictions", DAY, "spark"))
        assert killing.result()
    filled.publish(staged, {})
    assert filled.read("predictions").read_all().equals(filled.read("expected").read_all())
    written = {file.path for file in filled.tables.files("predictions").list() if file.path.endswith(".parquet")}
    assert written == set(staged.files), "of the copies one is left"
    cluster.wait(lambda: len(cluster.executors()) == 2, "the killed executor is replaced")


def test_an_executor_out_of_memory_is_said_with_the_setting_to_raise(cluster, engine, spec, rows, filled, tmp_path):
    model = trained(LocalEngine(), spec, rows).model
    started, never, done = tmp_path / "started", tmp_path / "never", threading.Event()
    started.mkdir()

    def starve() -> None:
        while not done.is_set():
            for path in list(started.iterdir()):
                path.unlink()
                cluster.out_of_memory(path.name)
            time.sleep(0.05)

    with ThreadPoolExecutor(1) as pool:
        starving = pool.submit(starve)
        try:
            with pytest.raises(OutOfMemory) as raised:
                scan = held_up(filled.scan(filled.pin("features")), started, never)
                engine.score(spec, model, version="1", rows=scan, target=filled.target("predictions", DAY, "starved"))
        finally:
            done.set()
        starving.result()
    assert "137" in str(raised.value)
    assert "TAILRACE_SPARK_EXECUTOR_MEMORY" in str(raised.value)
    with pytest.raises(StagingGone):
        filled.staged("predictions", DAY, "starved")
    assert not filled.exists("predictions") or not filled.days("predictions")


def held_up(scan: Any, started: Path, go_on: Path) -> Any:
    """The scan, whose parts say which executor reads them and wait for a file before they are read."""

    @dataclass(frozen=True)
    class HeldUp:  # defined here so that it travels by value: executors have no tests
        part: Any

        @property
        def rows(self) -> int:
            return self.part.rows

        def batches(self) -> Any:
            (started / os.environ["SPARK_EXECUTOR_POD_NAME"]).touch()
            while not go_on.exists():
                time.sleep(0.02)
            return self.part.batches()

    class Waiting:
        schema, rows, files, native = scan.schema, scan.rows, scan.files, getattr(scan, "native", None)

        def parts(self, rows: int) -> tuple[HeldUp, ...]:
            return tuple(HeldUp(part) for part in scan.parts(rows))

    return Waiting()
