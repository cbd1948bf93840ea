"""Weights mean the same to every estimator: a row of weight 2 is a row that is there twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tailrace.contracts import Trial
from tailrace.engines import dry_run
from tailrace.engines.estimators import fit
from tailrace.engines.search import Job, refit, run_job, trial_rows
from tailrace.engines.signatures import predictions
from tailrace.errors import TrainingFailed
from tailrace.problems.binary import Binary
from tailrace.problems.multiclass import Multiclass
from tailrace.problems.regression import Regression
from tailrace.spec import Candidate, Choice, Gate, SearchBudget, problems_of
from tailrace.spec.nested import Estimator
from tailrace.spec.pipeline import content_of
from tests.support import churn_rows

LOGISTIC = Candidate("logistic", "sklearn.linear_model.LogisticRegression", {"C": 1e6, "tol": 1e-8, "max_iter": 1000})
TREES = Candidate("trees", "xgboost.XGBClassifier", {"n_estimators": 10, "max_depth": 2, "learning_rate": 0.1})
LEAVES = {"min_child_samples": 1, "min_data_in_bin": 1}  # LightGBM counts rows there, whatever they weigh
LIGHT = Candidate("light", "lightgbm.LGBMClassifier", {"n_estimators": 5, "max_depth": 2, **LEAVES})
BEST = Trial(number=0, candidate="logistic", parameters={}, value=0.0, state="complete", seconds=0.0)
LIMIT = Gate(metric="mae", ceiling=1.0)
HEAVY = Binary(class_weight={True: 3.0, False: 1.0})


def asking(spec, problem, *candidates):
    return replace(spec, outcome=replace(spec.outcome, problem=problem), candidates=candidates or spec.candidates)


def rows_of(count=300):
    table, labels = churn_rows(count)
    # without nulls and categories: their medians, and what is rare, depend on how often a row is there
    return table.select(["visits"]), labels.to_numpy(zero_copy_only=False)


def predicted(spec, candidate, rows, labels):
    model = fit(spec, candidate, candidate.parameters, rows=rows, labels=labels, seed=1, threads=1)
    return predictions(model, rows_of()[0])


@pytest.mark.parametrize("candidate", [LOGISTIC, TREES, LIGHT], ids=["scikit-learn", "xgboost", "lightgbm"])
def test_a_class_of_weight_3_is_one_whose_rows_are_there_three_times(spec, candidate):
    plain = replace(spec, features=replace(spec.features, columns={"visits": "numeric"}))
    rows, labels = rows_of()
    weighted = predicted(asking(plain, HEAVY), candidate, rows, labels)
    thrice = np.repeat(np.arange(len(labels)), np.where(labels, 3, 1))
    assert weighted == pytest.approx(predicted(plain, candidate, rows.take(pa.array(thrice)), labels[thrice]), abs=1e-5)
    assert weighted.mean() > predicted(plain, candidate, rows, labels).mean() + 0.05


def test_balanced_classes_are_those_of_scikit_learn(spec):
    plain = replace(spec, features=replace(spec.features, columns={"visits": "numeric"}))
    own = replace(LOGISTIC, parameters={**LOGISTIC.parameters, "class_weight": "balanced"})
    ours = predicted(asking(plain, Binary(class_weight="balanced")), LOGISTIC, *rows_of())
    assert ours == pytest.approx(predicted(plain, own, *rows_of()), abs=1e-6)


def test_a_calibration_undoes_the_shift_of_weights(spec):
    table, labels = churn_rows(3000)
    rows = table, labels.to_numpy(zero_copy_only=False)
    shifted, repaired = (
        predictions(refit(asking(spec, problem), BEST, *rows, seed=1, threads=1), table).mean()
        for problem in (HEAVY, replace(HEAVY, calibration="sigmoid"))
    )
    assert shifted > rows[1].mean() + 0.1
    assert repaired == pytest.approx(rows[1].mean(), abs=0.03)


@pytest.mark.parametrize("candidate", [LOGISTIC, TREES, LIGHT], ids=["scikit-learn", "xgboost", "lightgbm"])
def test_trials_are_compared_with_the_weights_that_they_learned_with(spec, candidate):
    table, labels = churn_rows(400)
    data = trial_rows(spec, table, labels.to_numpy(zero_copy_only=False))
    job = Job(candidate, candidate.parameters)
    ended = run_job(asking(spec, HEAVY), data, 1, job)
    assert ended.state == "complete", ended.found
    model = fit(
        asking(spec, HEAVY),
        candidate,
        {**candidate.parameters, **ended.found},
        rows=data.rows,
        labels=data.labels,
        seed=1,
        threads=1,
    )
    if ended.reports:
        # what XGBoost watched, and stopped by, is weighted too
        assert ended.reports[-1][1] == pytest.approx(ended.value, abs=1e-5)
    weights = np.where(data.watch_labels, 3.0, 1.0)
    metric = spec.problem.weighted(spec.search.metric, data.watch_labels, predictions(model, data.watch))
    assert ended.value == pytest.approx(metric(weights), abs=1e-6)


@pytest.mark.parametrize(
    ("candidate", "sentence"),
    [
        (Candidate("it", "sklearn.neighbors.KNeighborsClassifier"), "KNeighborsClassifier learns without weights"),
        (
            Candidate(
                "it",
                "sklearn.ensemble.BaggingClassifier",
                {"estimator": Estimator("sklearn.neighbors.KNeighborsClassifier")},
            ),
            "KNeighborsClassifier learns without weights",
        ),
        (
            Candidate("it", "sklearn.linear_model.LogisticRegression", {"class_weight": "balanced"}),
            "parameters has 'class_weight', and outcome.problem.class_weight weighs the classes already",
        ),
        (
            Candidate("it", "sklearn.multiclass.OneVsRestClassifier", {"estimator": Estimator(LOGISTIC.estimator)}),
            "OneVsRestClassifier learns without weights of rows",
        ),
        (
            Candidate(
                "it",
                "sklearn.ensemble.BaggingClassifier",
                {"estimator": Estimator(LOGISTIC.estimator, {"class_weight": "balanced"})},
            ),
            "parameters has 'estimator__class_weight', and outcome.problem.class_weight weighs",
        ),
        (
            Candidate(
                "it",
                "sklearn.ensemble.BaggingClassifier",
                {"estimator": Estimator(LOGISTIC.estimator, {}, {"class_weight": Choice(("balanced",))})},
            ),
            "search has 'estimator__class_weight', and outcome.problem.class_weight weighs",
        ),
        (
            Candidate("it", "xgboost.XGBClassifier", {}, {"scale_pos_weight": Choice((1.0, 2.0))}),
            "search has 'scale_pos_weight', and outcome.problem.class_weight weighs",
        ),
        (
            Candidate("it", "pyspark.ml.classification.GBTClassifier"),
            "not possible with outcome.problem.class_weight; use",
        ),
    ],
)
def test_a_candidate_that_would_not_learn_with_the_weights_is_named(spec, candidate, sentence):
    (found,) = problems_of(asking(spec, HEAVY, candidate))
    assert sentence in found
    assert "'it'" in found


def test_weights_suit_these(spec):
    forest = Candidate("forest", "sklearn.ensemble.RandomForestClassifier")
    voting = Candidate(
        "voting",
        "sklearn.ensemble.VotingClassifier",
        {
            "voting": "soft",
            "estimators": [("one", Estimator(LOGISTIC.estimator)), ("other", Estimator(forest.estimator))],
        },
    )
    assert problems_of(asking(spec, HEAVY, LOGISTIC, TREES, forest, voting)) == []


def test_weights_by_class_name(spec):
    classes = Multiclass(classes=("a", "b"), class_weight={"b": 4.0, "a": 1.0})
    assert classes.row_weights(np.array([0, 1, 1], dtype=np.int32)).tolist() == [1.0, 4.0, 4.0]


def weighing(spec):
    return replace(spec, features=replace(spec.features, weight="importance"))


@pytest.mark.parametrize("candidate", [LOGISTIC, TREES], ids=["scikit-learn", "xgboost"])
def test_a_row_of_weight_2_is_one_that_is_there_twice(spec, candidate):
    plain = replace(spec, features=replace(spec.features, columns={"visits": "numeric"}))
    rows, labels = rows_of()
    times = np.arange(len(labels)) % 3
    weighted = rows.append_column("importance", pa.array(times))
    repeated = np.repeat(np.arange(len(labels)), times)
    # a row of weight 0 is one that is not there: scikit-learn's scaler has seen it
    assert predicted(weighing(plain), candidate, weighted, labels) == pytest.approx(
        predicted(plain, candidate, rows.take(pa.array(repeated)), labels[repeated]), abs=1e-4
    )


def test_a_weight_may_be_a_whole_number_that_float64_rounds(spec):
    """The snapshot takes it: a weight need not be exact, as a feature must."""
    rows, labels = rows_of()
    largest = rows.append_column("importance", pa.array([2**60 + 1] * len(labels)))
    plain = replace(spec, features=replace(spec.features, columns={"visits": "numeric"}))
    assert predicted(weighing(plain), LOGISTIC, largest, labels) == pytest.approx(
        predicted(plain, LOGISTIC, rows, labels), abs=1e-3
    )


def test_weights_of_a_column_are_checked_with_the_spec(spec):
    assert problems_of(replace(weighing(spec), candidates=(LOGISTIC, TREES))) == []
    features = spec.features
    for changed, sentence in (
        (replace(features, weight="customer"), "features.weight is 'customer', which is a key, a time or the label"),
        (replace(features, weight="plan"), "features.weight is 'plan', which features.columns says is no number"),
        (replace(features, weight=""), "features.weight is ''; a column needs a name"),
    ):
        (found,) = problems_of(replace(spec, features=changed, candidates=(LOGISTIC,)))
        assert sentence in found
    neighbours, cluster = (
        Candidate("it", path)
        for path in ("sklearn.neighbors.KNeighborsClassifier", "pyspark.ml.classification.GBTClassifier")
    )
    (found,) = problems_of(replace(weighing(spec), candidates=(neighbours,)))
    assert "so features.weight would not be in force" in found
    numbers = replace(asking(weighing(spec), Regression(), Candidate("it", "sklearn.linear_model.LarsCV")), gate=LIMIT)
    (found,) = problems_of(replace(numbers, search=SearchBudget(metric="mae")))
    assert "LarsCV learns without weights of rows" in found
    (found,) = problems_of(replace(weighing(spec), candidates=(cluster,)))
    assert "not possible with features.weight; use" in found


def test_a_spec_without_a_weight_keeps_its_digest(spec):
    assert "weight" not in content_of(spec.features)
    assert weighing(spec).digest() != spec.digest()


def test_rows_without_weight_teach_nothing(spec):
    rows, labels = churn_rows(100)
    labels = labels.to_numpy(zero_copy_only=False)
    weighted = rows.append_column("importance", pa.array(np.where(labels, 0.0, 1.0)))
    with pytest.raises(TrainingFailed, match="learning rows have only one class"):
        trial_rows(weighing(spec), weighted, labels)
    without = weighted.set_column(
        weighted.column_names.index("importance"), "importance", pa.array(np.zeros(len(labels)))
    )
    with pytest.raises(TrainingFailed, match="learning rows all have the weight 0, so nothing is learned of 'left'"):
        trial_rows(weighing(spec), without, labels)


def test_the_dry_run_has_weights(spec):
    assert dry_run.problems(replace(weighing(spec), candidates=(LOGISTIC,))) == []
