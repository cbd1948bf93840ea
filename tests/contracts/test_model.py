"""What every stored model keeps to, for every kind of question that it answers."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa
import pytest

from tailrace.contracts import Model, Trial
from tailrace.engines import models
from tailrace.engines.baseline_models import BaselineModel
from tailrace.engines.distributed_models import LinearModel, Trees, TreesModel
from tailrace.engines.estimators import fit
from tailrace.engines.memory import BaseRate, MemoryEngine
from tailrace.engines.search import refit
from tailrace.engines.vectors import VectorEncoding
from tailrace.errors import SignatureMismatch
from tailrace.problems import Problem, as_array
from tailrace.problems.binary import Binary
from tailrace.problems.regression import Regression
from tailrace.spec import Baseline, Candidate, PipelineSpec
from tests.contracts.kinds import KINDS, Kind

FEATURES = {"plan": "categorical", "age": "numeric", "visits": "numeric"}
COUNTS, IDENTITY = KINDS["regression"], Regression()


@dataclass(frozen=True)
class Made:
    """A model, and what reads it back."""

    model: Model
    load: Callable[..., Model] = models.load


def fitted(kind: Kind, place: int, spec: PipelineSpec) -> Made:
    """By the place of its candidate in the kind's."""
    candidate, (table, labels) = kind.candidates[place], kind.rows(count=120)
    few = {"n_estimators": 3} if candidate.name == "trees" else {}
    numbers = labels.to_numpy(zero_copy_only=False)
    return Made(fit(kind.spec(spec), candidate, few, rows=table, labels=numbers, seed=1, threads=1))


def boosted(kind: Kind, estimator: str, parameters: dict, spec: PipelineSpec) -> Made:
    """By an estimator whose class begins so, such as lightgbm.LGBM."""
    (table, labels), role = kind.rows(count=120), kind.problem.estimators.title()
    candidate = Candidate("it", f"{estimator}{role}", {"n_estimators": 3, **parameters})
    numbers = labels.to_numpy(zero_copy_only=False)
    return Made(fit(kind.spec(spec), candidate, candidate.parameters, rows=table, labels=numbers, seed=1, threads=1))


def base_rate(kind: Kind, spec: PipelineSpec) -> Made:
    shares = np.full(len(kind.problem.raw_columns), 1 / len(kind.problem.raw_columns))
    return Made(BaseRate(kind.problem, shares.tolist(), FEATURES), MemoryEngine().load)


def adjusted(kind: Kind, asked: Problem, spec: PipelineSpec) -> Made:
    """The linear candidate of the kind, as a training adjusts it."""
    own = replace(kind.spec(spec), outcome=replace(spec.outcome, problem=asked))
    best = Trial(number=0, candidate="linear", parameters={}, value=0.0, state="complete", seconds=0.0)
    table, labels = kind.rows(count=120)
    return Made(refit(own, best, table, labels.to_numpy(zero_copy_only=False), seed=1, threads=1))


def rule(kind: Kind, spec: PipelineSpec, **given) -> Made:
    """A baseline of the spec's own."""
    return Made(BaselineModel(Baseline(name="rule", **given), kind.problem, FEATURES))


def encoding(*, one_hot: bool) -> VectorEncoding:
    numbers = ("age", "visits")
    scaled = dict.fromkeys(numbers, 30.0), dict.fromkeys(numbers, 10.0)
    return VectorEncoding(
        features=FEATURES,
        categories={"plan": ["free", "plus"]},
        medians=dict.fromkeys(numbers, 20.0),
        one_hot=one_hot,
        centres=scaled[0] if one_hot else {},
        scales=scaled[1] if one_hot else {},
    )


def linear(problem, link: str, spec: PipelineSpec) -> Made:
    """As Spark ML fits it: four positions, and as many rows as there are classes."""
    shape = (len(problem.raw_columns), 4) if link == "softmax" else (4,)
    coefficients = np.linspace(-0.5, 1, int(np.prod(shape))).reshape(shape)
    intercept = np.linspace(0.1, 0.2, len(coefficients)) if link == "softmax" else 0.1
    return Made(LinearModel(encoding(one_hot=True), problem, coefficients, intercept, link=link))


def trees(problem, link: str, spec: PipelineSpec) -> Made:
    """One tree that asks for the plan, then for the age; one that is a leaf."""
    value = np.array([0.5, 0.1, 0.5, 0.2, 0.3, 0.4])
    if len(problem.raw_columns) > 1:
        value = np.column_stack([value, value / 2, 1 - 1.5 * value])
    laid_out = Trees(
        roots=np.array([0, 5]),
        scale=np.array([1.0, 1.0]),
        feature=np.array([0, -1, 1, -1, -1, -1]),
        threshold=np.array([0.0, 0.0, 40.0, 0.0, 0.0, 0.0]),
        left=np.array([1, -1, 3, -1, -1, -1]),
        right=np.array([2, -1, 4, -1, -1, -1]),
        value=value,
        subset=np.array([0, -1, -1, -1, -1, -1]),
        subsets=np.array([[True, False, False]]),
    )
    return Made(TreesModel(encoding(one_hot=False), problem, laid_out, link=link, decreases=np.array([2.0, 1.0, 1.0])))


MADE = {
    **{f"baseline {name}": partial(base_rate, kind) for name, kind in KINDS.items()},
    "constant": partial(rule, KINDS["binary"], constant=0.3),
    "constant of intervals": partial(rule, KINDS["intervals"], constant=3),
    "constant class": partial(rule, KINDS["multiclass"], constant="some"),
    "column": partial(rule, KINDS["regression"], column="visits", otherwise=2.5),
    "column of probabilities": partial(rule, KINDS["binary"], column="age", otherwise=0.5),
    "column of classes": partial(rule, KINDS["multiclass"], column="plan", otherwise="few"),
    "sql": partial(rule, KINDS["binary"], sql="plan = 'free' and age > 40 -- a guess", otherwise=False),
    "sql of intervals": partial(rule, KINDS["intervals"], sql="visits * 2", otherwise=0),
    "sql of classes": partial(
        rule, KINDS["multiclass"], sql="case when visits > 6 then 'many' when visits > 2 then plan end", otherwise="few"
    ),
    **{f"scikit-learn {name}": partial(fitted, kind, 1) for name, kind in KINDS.items()},
    **{f"xgboost {name}": partial(fitted, kind, 2) for name, kind in KINDS.items()},
    "intervals": partial(adjusted, COUNTS, replace(COUNTS.problem, intervals=(0.1, 0.9))),
    "sigmoid": partial(adjusted, KINDS["binary"], Binary(calibration="sigmoid")),
    "isotonic": partial(adjusted, KINDS["binary"], Binary(calibration="isotonic")),
    **{f"lightgbm {name}": partial(boosted, kind, "lightgbm.LGBM", {}) for name, kind in KINDS.items()},
    "dart": partial(boosted, KINDS["multiclass"], "xgboost.XGB", {"booster": "dart", "rate_drop": 0.5}),
    "linear trees": partial(boosted, KINDS["regression"], "lightgbm.LGBM", {"linear_tree": True}),
    "linear log odds": partial(linear, KINDS["binary"].problem, "log_odds"),
    "linear softmax": partial(linear, KINDS["multiclass"].problem, "softmax"),
    "linear identity": partial(linear, IDENTITY, "identity"),
    "linear log": partial(linear, COUNTS.problem, "log"),
    "trees share": partial(trees, KINDS["binary"].problem, "share"),
    "trees log odds": partial(trees, KINDS["binary"].problem, "log_odds"),
    "trees share of classes": partial(trees, KINDS["multiclass"].problem, "share"),
    "trees mean": partial(trees, COUNTS.problem, "mean"),
    "trees sum": partial(trees, IDENTITY, "sum"),
}


@pytest.fixture(params=MADE)
def made(request, spec) -> Made:
    return MADE[request.param](spec)


@pytest.fixture
def batch() -> pa.RecordBatch:
    return KINDS["binary"].rows(seed=4, count=40)[0].to_batches()[0]


def test_it_predicts_the_problems_columns(made, batch):
    model = made.model
    predicted = model.predict(batch)
    assert predicted.schema.names == list(model.problem.raw_columns)
    assert set(predicted.schema.types) == {pa.float64()}
    numbers = as_array(predicted)
    assert np.isfinite(numbers).all()
    if model.problem.estimators == "classifier":
        assert ((numbers >= 0) & (numbers <= 1)).all()
        if numbers.ndim == 2:
            np.testing.assert_allclose(numbers.sum(axis=1), 1, atol=1e-6)
    elif numbers.ndim == 2:
        value, low, high = numbers.T
        assert ((low <= value) & (value <= high)).all()
    assert np.array_equal(model.problem.bounded(numbers), numbers)


def test_each_row_is_predicted_by_itself(made, batch):
    model = made.model
    one_by_one = [model.predict(batch.slice(row, 1)) for row in range(3)]
    together = as_array(model.predict(batch))[:3]
    np.testing.assert_allclose(as_array(pa.Table.from_batches(one_by_one)), together, rtol=1e-9)
    assert model.predict(batch.slice(0, 0)).schema.names == list(model.problem.raw_columns)


def test_predictions_stay_when_others_are_made(made, batch):
    first = made.model.predict(batch)
    kept = first.to_pydict()
    made.model.predict(batch.take(pa.array(range(batch.num_rows - 1, -1, -1))))
    assert first.to_pydict() == kept


def test_it_travels_to_executors(made, batch):
    expected = made.model.predict(batch)
    assert pickle.loads(pickle.dumps(made.model)).predict(batch).equals(expected)


def test_once_stored_it_is_the_same_model(made, batch, tmp_path):
    made.model.save(tmp_path)
    loaded = made.load(tmp_path)
    assert loaded.predict(batch).equals(made.model.predict(batch))
    assert (loaded.digest(), loaded.problem) == (made.model.digest(), made.model.problem)
    assert loaded.importance() == made.model.importance()
    assert loaded.features == made.model.features
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".pkl", ".pickle", ".joblib")]


def test_importance_is_a_share_of_each_feature(made):
    shares = made.model.importance()
    if shares:  # a baseline has none
        assert set(shares) == set(FEATURES)
        assert sum(shares.values()) == pytest.approx(1)


def test_rows_that_it_cannot_read_are_refused(made, batch):
    with pytest.raises(SignatureMismatch, match="'age' is missing"):
        made.model.predict(batch.drop_columns(["age"]))
    infinite = batch.set_column(1, "age", pa.array([float("inf")] * batch.num_rows))
    with pytest.raises(SignatureMismatch, match=r"column 'age': 40 of 40 values, for example inf"):
        made.model.predict(infinite)


def test_unseen_categories_and_missing_values_are_predicted(made):
    odd = pa.record_batch(
        {"plan": pa.array(["gold", None]), "age": pa.array([None, float("nan")]), "visits": pa.array([3, None])}
    )
    assert np.isfinite(as_array(made.model.predict(odd))).all()


def test_the_kind_of_question_is_part_of_the_digest():
    problems = (KINDS["binary"].problem, IDENTITY, COUNTS.problem)
    digests = {LinearModel(encoding(one_hot=True), each, np.ones(4), 0.0).digest() for each in problems}
    assert len(digests) == len(problems)


def test_models_of_a_cluster_predict_without_spark(tmp_path, spec):
    names = ("linear softmax", "linear log", "trees share of classes", "trees sum")
    for name in names:
        (tmp_path / name).mkdir()
        MADE[name](spec).model.save(tmp_path / name)
    code = f"""
import sys
from pathlib import Path
from tailrace.engines import models
for name in {names!r}:
    models.load(Path({str(tmp_path)!r}, name))
assert "pyspark" not in sys.modules and "sklearn" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
