"""What every engine keeps to for every kind of question; tests/contracts/test_engine.py has more for yes/no."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from tailrace.contracts import Engine, Trained
from tailrace.engines.local import LocalEngine
from tailrace.engines.memory import MemoryEngine
from tailrace.engines.spark.engine import SparkEngine
from tailrace.errors import SignatureMismatch, TrainingFailed
from tailrace.lake.memory import MemoryLake
from tailrace.problems import as_array
from tailrace.settings import SparkSettings
from tailrace.spec import LABEL, PipelineSpec, problems_of
from tailrace.training.arrow_rows import ArrowRows
from tests.contracts.kinds import KINDS, Kind
from tests.support import keyed

DAY = dt.date(2013, 3, 1)
SPARK = SparkSettings(master="local[2]", driver_memory="1g", conf={"spark.sql.shuffle.partitions": "2"})
ENGINES = {"local": LocalEngine, "memory": MemoryEngine, "spark": lambda: SparkEngine(SPARK)}
ENGINES["cluster"] = ENGINES["spark"]
"""The engine `spark` with candidates that train on all executors together."""


@dataclass(frozen=True)
class Answered:
    """A kind, and what an engine trained for it."""

    engine: Engine
    kind: Kind
    spec: PipelineSpec
    trained: Trained


def train(engine: Engine, spec: PipelineSpec, rows: tuple[pa.Table, pa.Array]) -> Trained:
    table, labels = rows
    held = ArrowRows(table.append_column(LABEL, labels), tuple(spec.features.columns))
    return engine.train(spec, held, seed=1, trials=len(spec.candidates), on_trial=lambda trial: None)


ANSWERED: dict[tuple[str, str], Answered] = {}
"""Trained once: nothing changes what is here."""


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.spark if name in ("spark", "cluster") else ()) for name in ENGINES]
)
def answered(request, spec, kind) -> Answered:
    place = (request.param, repr(kind.problem))
    if place not in ANSWERED:
        engine = ENGINES[request.param]()
        own = kind.spec(spec, kind.on_cluster if request.param == "cluster" else ())
        ANSWERED[place] = Answered(engine, kind, own, train(engine, own, kind.rows()))
    return ANSWERED[place]


def batch_of(rows: tuple[pa.Table, pa.Array]) -> pa.RecordBatch:
    return rows[0].combine_chunks().to_batches()[0]


def score(answered: Answered, features: pa.Table) -> pa.Table:
    """What is published of scoring a day of features."""
    lake = MemoryLake()
    lake.publish(lake.stage("features", DAY, "r", keyed(features, DAY).to_reader()), {})
    scan = lake.scan(lake.pin("features", first=DAY, last=DAY))
    target = lake.target("predictions", DAY, "p")
    lake.publish(
        answered.engine.score(answered.spec, answered.trained.model, version="3", rows=scan, target=target), {}
    )
    return lake.read("predictions").read_all()


def test_the_candidates_can_be_in_a_spec(spec, kind):
    for candidates in (kind.candidates, kind.on_cluster):
        assert problems_of(kind.spec(spec, candidates)) == []


def test_every_trial_completes_and_a_second_training_gives_the_same_model(answered):
    again = train(answered.engine, answered.spec, answered.kind.rows())
    assert {trial.state for trial in again.trials} == {"complete"}
    assert again.model.digest() == answered.trained.model.digest()
    assert [trial.value for trial in again.trials] == [trial.value for trial in answered.trained.trials]


@pytest.mark.parametrize("answered", ["local", "memory"], indirect=True)
def test_other_rows_give_another_model(answered):
    other = train(answered.engine, answered.spec, answered.kind.rows(seed=5))
    assert other.model.digest() != answered.trained.model.digest()


def test_a_saved_model_predicts_the_problems_columns_alike(answered, tmp_path):
    model, batch = answered.trained.model, batch_of(answered.kind.rows(seed=4, count=20))
    predicted = model.predict(batch)
    assert predicted.schema.names == list(answered.kind.problem.raw_columns)
    assert set(predicted.schema.types) == {pa.float64()}
    assert np.isfinite(as_array(predicted)).all()
    model.save(tmp_path)
    loaded = answered.engine.load(tmp_path)
    assert loaded.predict(batch).equals(predicted)
    assert (loaded.digest(), loaded.problem) == (model.digest(), answered.kind.problem)
    assert not list(tmp_path.glob("*.pkl"))


def test_the_published_columns_are_the_problems_in_its_order(answered):
    features, _ = answered.kind.rows(seed=4, count=20)
    problem, columns = answered.kind.problem, answered.spec.predictions
    scored = score(answered, features)
    names = [name for _, name in problem.published_names(columns)]
    assert scored.schema.names == ["customer", "event_time", *names, "model_version", "ds"]
    assert scored["customer"].equals(keyed(features, DAY)["customer"])
    expected = problem.published(columns, answered.trained.model.predict(batch_of((features, pa.array([])))))
    for name, values in zip(names, expected, strict=True):
        assert scored[name].combine_chunks().equals(values), name
    assert set(scored["model_version"].to_pylist()) == {"3"}


def test_no_rows_give_no_predictions(answered):
    features, _ = answered.kind.rows(count=5)
    assert score(answered, features.slice(0, 0)).num_rows == 0
    empty = answered.trained.model.predict(batch_of((features, pa.array([]))).slice(0, 0))
    assert (empty.num_rows, empty.schema.names) == (0, list(answered.kind.problem.raw_columns))


def test_unseen_categories_and_missing_values_are_predicted(answered):
    odd = pa.record_batch(
        {"plan": pa.array(["gold", None]), "age": pa.array([None, float("nan")]), "visits": pa.array([3, None])}
    )
    assert np.isfinite(as_array(answered.trained.model.predict(odd))).all()


def test_rows_that_no_model_accepts_are_refused(answered):
    features, _ = answered.kind.rows(count=5)
    with pytest.raises(SignatureMismatch, match="'age' is missing"):
        score(answered, features.drop_columns("age"))
    infinite = features.set_column(1, "age", pa.array([1.0, 2.0, float("inf"), None, 5.0]))
    with pytest.raises(SignatureMismatch, match=r"inf \(customer 2013-03-01-00002\)"):
        score(answered, infinite)


def test_labels_that_teach_nothing_are_refused(answered):
    features, labels = answered.kind.rows()
    with pytest.raises(TrainingFailed, match=r"only one class|never have the class|only one value"):
        train(answered.engine, answered.spec, (features, pa.repeat(labels[0], len(labels))))


def test_what_is_learned_beats_the_baseline(answered):
    """On rows that no trial has seen."""
    features, labels = answered.kind.rows(seed=4)
    problem, truth = answered.kind.problem, labels.to_numpy(zero_copy_only=False)
    predicted = as_array(answered.trained.model.predict(batch_of((features, labels))))
    (baseline, *_), metric = problem.baselines, problem.search_metric
    without = problem.value(metric, truth, problem.baseline(baseline, truth, features))
    if isinstance(answered.engine, MemoryEngine):
        assert problem.value(metric, truth, predicted) == pytest.approx(without, rel=0.1)
    else:
        assert problem.value(metric, truth, predicted) < 0.97 * without


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda: LocalEngine(cores=2), id="two cores"),
        pytest.param(ENGINES["spark"], id="spark", marks=pytest.mark.spark),
    ],
)
def test_neither_cores_nor_the_engine_change_the_model(spec, kind, other):
    own = kind.spec(spec)
    one, many = (train(engine, own, kind.rows()) for engine in (LocalEngine(cores=1), other()))
    found = [[(each.candidate, each.parameters, each.value) for each in trained.trials] for trained in (one, many)]
    assert found[0] == found[1]
    assert one.model.digest() == many.model.digest()
