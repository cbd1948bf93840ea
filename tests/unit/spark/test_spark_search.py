"""Trials as Spark tasks: the same as in threads, and what happens when a task or its worker fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tailrace.engines.local import LocalEngine
from tailrace.engines.search import Job, best_of, refit, search
from tailrace.engines.spark.search import in_tasks
from tailrace.engines.spark.session import open_session
from tailrace.errors import TrainingFailed
from tailrace.settings import SparkSettings
from tailrace.spec import LABEL, Candidate, FloatRange, IntRange
from tailrace.training.arrow_rows import ArrowRows

TREES = Candidate(
    "trees",
    "xgboost.XGBClassifier",
    {"n_estimators": 80},
    {"learning_rate": FloatRange(1e-6, 0.5, log=True), "max_depth": IntRange(2, 5)},
)
HISTOGRAMS = Candidate(
    "histograms",
    "sklearn.ensemble.HistGradientBoostingClassifier",
    {"max_iter": 10},
    {"max_leaf_nodes": IntRange(4, 30)},
)
BROKEN = Candidate("broken", "sklearn.linear_model.LogisticRegression", {"C": -1.0})


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    log = tmp_path_factory.mktemp("spark") / "spark.log"
    session = open_session(SparkSettings(master="local[2,2]", driver_memory="512m", log=str(log)), "tests")
    yield session
    session.stop()


@pytest.fixture
def labels(rows) -> np.ndarray:
    return rows[1].to_numpy(zero_copy_only=False)


def searched(spec, run, trials):
    told = []
    found = search(spec, seed=3, trials=trials, run=run, on_trial=told.append)
    assert found == tuple(told)
    return found


def what_counts(trials):
    return [(trial.number, trial.candidate, trial.parameters, trial.value, trial.state) for trial in trials]


def test_the_same_trials_winner_and_model_as_on_one_machine(spark, spec, rows, labels):
    spec = replace(spec, candidates=(*spec.candidates[:2], TREES, HISTOGRAMS, BROKEN))
    held = ArrowRows(rows[0].append_column(LABEL, rows[1]), tuple(spec.features.columns))
    local = LocalEngine(cores=2).train(spec, held, seed=3, trials=24, on_trial=lambda trial: None)

    with in_tasks(spark, spec, rows[0], labels, seed=3, tell=lambda text: None) as run:
        trials = searched(spec, run, trials=24)

    assert what_counts(trials) == what_counts(local.trials)
    states = {name: {trial.state for trial in trials if trial.candidate == name} for name in ("trees", "broken")}
    assert states == {"trees": {"complete", "pruned"}, "broken": {"failed"}}
    best = best_of(spec, trials)
    assert (best.number, best.parameters) == (local.best.number, local.best.parameters)
    assert refit(spec, best, rows[0], labels, seed=3, threads=1).digest() == local.model.digest()


def test_each_job_is_a_task_and_progress_is_told(spark, spec, rows, labels):
    said: list[str] = []
    slow = replace(TREES, parameters={"n_estimators": 3000})
    with in_tasks(spark, replace(spec, candidates=(slow,)), rows[0], labels, seed=1, tell=said.append) as run:
        outcomes = run([Job(slow, {**slow.parameters, "learning_rate": 0.001, "max_depth": 4})] * 4)
    assert [outcome.state for outcome in outcomes] == ["complete"] * 4
    assert len({(outcome.value, outcome.reports) for outcome in outcomes}) == 1
    assert said
    assert all(text.startswith("Searching churn, ") and "of 4 tasks done" in text for text in said)


def test_rows_of_one_class_are_refused_before_anything_is_shipped(spark, spec, rows):
    alike = np.ones(rows[0].num_rows, dtype=bool)
    with (
        pytest.raises(TrainingFailed, match="one class"),
        in_tasks(spark, spec, rows[0], alike, seed=1, tell=lambda text: None),
    ):
        pass


@pytest.fixture
def faulty(spark, tmp_path):
    """A module of estimators that fail in a worker, put on the workers' path."""
    module = tmp_path / "faulty_estimators.py"
    module.write_text(FAULTY)
    spark.sparkContext.addPyFile(str(module))
    return lambda name: Candidate(
        name, f"faulty_estimators.{name}", {"strategy": "prior", "constant": str(tmp_path / "mark")}
    )


FAULTY = """
import os, pathlib, signal
from sklearn.dummy import DummyClassifier

class DiesOnce(DummyClassifier):
    def fit(self, rows, labels, sample_weight=None):
        mark = pathlib.Path(self.constant)
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(rows, labels)

class Wrong(DummyClassifier):
    def fit(self, rows, labels, sample_weight=None):
        raise TypeError("a fault in the estimator's own code")
"""


def test_a_trial_whose_worker_dies_is_run_again(spark, spec, rows, labels, faulty, tmp_path):
    dying = faulty("DiesOnce")
    jobs = [Job(dying, dying.parameters), Job(spec.candidates[0], spec.candidates[0].parameters)]
    with in_tasks(spark, spec, rows[0], labels, seed=1, tell=lambda text: None) as run:
        outcomes = run(jobs)
    assert (tmp_path / "mark").exists()
    assert [outcome.state for outcome in outcomes] == ["complete"] * 2
    assert outcomes[0].value == outcomes[1].value


def test_a_fault_in_an_estimators_code_ends_its_own_trial(spark, spec, rows, labels, faulty):
    wrong = faulty("Wrong")
    jobs = [Job(wrong, wrong.parameters), Job(spec.candidates[0], spec.candidates[0].parameters)]
    with in_tasks(spark, spec, rows[0], labels, seed=1, tell=lambda text: None) as run:
        failed, complete = run(jobs)
    assert (failed.state, complete.state) == ("failed", "complete")
    assert failed.found["error"] == "TypeError: a fault in the estimator's own code"
