"""Models whose predictions are adjusted: fitted, stored, loaded and compared as others are."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tailrace.contracts import Trial
from tailrace.engines import models
from tailrace.engines.adjusted import Adjusted
from tailrace.engines.scoring import check_question
from tailrace.engines.search import refit, trial_rows
from tailrace.engines.signatures import DESCRIPTION, predictions
from tailrace.errors import SignatureMismatch, TrainingFailed
from tailrace.problems.binary import Binary
from tailrace.problems.regression import Regression
from tailrace.spec import Candidate, problems_of
from tests.support import churn_rows

INTERVALS = Regression(intervals=(0.1, 0.9))
NUMBERS = (
    Candidate("linear", "sklearn.linear_model.LinearRegression"),
    Candidate("trees", "xgboost.XGBRegressor", {"n_estimators": 5}),
)


def asking(spec, problem, candidates):
    return replace(
        spec,
        outcome=replace(spec.outcome, problem=problem),
        candidates=candidates,
        search=replace(spec.search, metric=problem.search_metric),
        gate=replace(spec.gate, metric=problem.gate_metric, floor=None, ceiling=100.0),
    )


def rows_of(count=400, seed=0):
    table, _ = churn_rows(count, seed)
    visits, random = table["visits"].to_numpy(), np.random.default_rng(seed)
    return table, visits * 2.0 + random.normal(0, 1, count)


def fitted(spec, rows, candidate="linear"):
    best = Trial(number=0, candidate=candidate, parameters={}, value=0.0, state="complete", seconds=0.0)
    named = next(each for each in spec.candidates if each.name == candidate)
    return refit(spec, replace(best, parameters=named.parameters), *rows, seed=1, threads=1)


@pytest.fixture
def numbers(spec):
    return asking(spec, INTERVALS, NUMBERS)


@pytest.mark.parametrize("candidate", ["linear", "trees"])
def test_a_model_with_intervals_is_the_same_once_stored(numbers, tmp_path, candidate):
    model = fitted(numbers, rows_of(), candidate)
    model.save(tmp_path)
    loaded = models.load(tmp_path)
    batch = rows_of(50, seed=3)[0].to_batches()[0]
    assert loaded.predict(batch).equals(model.predict(batch))
    assert loaded.predict(batch.slice(0, 0)).num_rows == 0
    assert loaded.digest() == model.digest()
    assert (loaded.problem, loaded.importance(), loaded.kind) == (INTERVALS, model.importance(), model.kind)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_a_calibrated_model_is_the_same_once_stored(spec, tmp_path, method):
    calibrated = replace(spec, outcome=replace(spec.outcome, problem=Binary(calibration=method)))
    assert problems_of(calibrated) == []
    table, labels = churn_rows(400)
    rows = table, labels.to_numpy(zero_copy_only=False)
    model = fitted(calibrated, rows, "logistic")
    model.save(tmp_path)
    loaded = models.load(tmp_path)
    assert loaded.predict(table.to_batches()[0]).equals(model.predict(table.to_batches()[0]))
    assert (loaded.digest(), loaded.problem) == (model.digest(), calibrated.problem)
    assert model.digest() != fitted(spec, rows, "logistic").digest()


def test_the_digest_names_the_interval(numbers, spec):
    other = asking(spec, Regression(intervals=(0.2, 0.9)), NUMBERS)
    plain = asking(spec, Regression(), NUMBERS)
    digests = {fitted(each, rows_of()).digest() for each in (numbers, other, plain)}
    assert len(digests) == 3


def test_the_digest_names_the_numbers_of_the_adjustment(numbers):
    model = fitted(numbers, rows_of())
    wider = replace(model.adjustment, high=model.adjustment.high * 2)
    assert Adjusted(model.model, wider, model.problem).digest() != model.digest()


def test_the_values_are_those_of_the_model_without_intervals(numbers, spec):
    plain = fitted(asking(spec, Regression(), NUMBERS), rows_of())
    table = rows_of(50, seed=3)[0]
    assert np.array_equal(predictions(fitted(numbers, rows_of()), table)[:, 0], predictions(plain, table))


def test_new_labels_are_inside_as_often_as_asked(numbers):
    model, (table, labels) = fitted(numbers, rows_of(2000)), rows_of(2000, seed=5)
    assert numbers.problem.measure(labels, predictions(model, table))["coverage"] == pytest.approx(0.8, abs=0.05)


def test_a_model_that_knows_its_rows_by_heart_has_wide_intervals_all_the_same(spec):
    """Its errors on the rows that it was fitted on are all 0."""
    asked = asking(spec, INTERVALS, (Candidate("tree", "sklearn.tree.DecisionTreeRegressor"),))
    model, (table, labels) = fitted(asked, rows_of(1000), "tree"), rows_of(1000, seed=5)
    assert asked.problem.measure(labels, predictions(model, table))["coverage"] == pytest.approx(0.8, abs=0.06)


def test_too_few_rows_for_the_quantiles_are_refused_before_the_search(numbers):
    spec = replace(numbers, outcome=replace(numbers.outcome, problem=Regression(intervals=(0.001, 0.9))))
    with pytest.raises(TrainingFailed, match=r"the 80 comparison rows, .* are fewer than the 999 that intervals"):
        trial_rows(spec, *rows_of())


def test_a_model_without_intervals_is_not_published_as_one_that_has_them(numbers, spec):
    plain = fitted(asking(spec, Regression(), NUMBERS), rows_of())
    with pytest.raises(SignatureMismatch, match=r"version 3 was trained for .* does not predict low, high"):
        check_question(numbers, plain, "3")


def test_a_damaged_description_is_one_sentence(numbers, tmp_path):
    fitted(numbers, rows_of()).save(tmp_path)
    path = tmp_path / DESCRIPTION
    description = json.loads(path.read_text())
    path.write_text(json.dumps({**description, "adjustment": {"lower": 1}}))
    with pytest.raises(SignatureMismatch, match="cannot be loaded"):
        models.load(tmp_path)


def test_trials_are_not_compared_by_intervals(numbers):
    (found,) = problems_of(replace(numbers, search=replace(numbers.search, metric="pinball")))
    assert "only the best trial's model gets them; use one of mae, rmse, r2" in found
