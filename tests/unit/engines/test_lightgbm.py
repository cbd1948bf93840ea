"""Every parameter of LightGBM is in force in the fitted model, or a sentence says why it is not."""

# ruff: noqa: TID253 - LightGBM is what these tests are about.

from __future__ import annotations

import inspect
from dataclasses import replace

import lightgbm
import numpy as np
import optuna
import pyarrow as pa
import pytest
from lightgbm.basic import _ConfigAliases

from tailrace.engines.estimators import fit, fit_watched
from tailrace.engines.fitting import TrialRows
from tailrace.engines.lightgbm_fits import RISING, metric_of, not_in_force
from tailrace.engines.lightgbm_models import PARAMETERS
from tailrace.engines.local import LocalEngine
from tailrace.engines.search import Job, run_job
from tailrace.problems.regression import Regression
from tailrace.spec import LABEL, Candidate, Choice, IntRange, problems_of
from tailrace.spec.lightgbm_parameters import BY_KEYWORD, FREE, OBJECTIVES, SETS
from tailrace.training.arrow_rows import ArrowRows
from tests.boosted import KINDS, NUMBERS, asking, fitted, rows_of

CLASSIFIER, REGRESSOR = "lightgbm.LGBMClassifier", "lightgbm.LGBMRegressor"

GIVEN = {
    "boosting_type": "rf",
    "num_leaves": 5,
    "max_depth": 2,
    "learning_rate": 0.3,
    "n_estimators": 2,
    "subsample_for_bin": 50,
    "min_split_gain": 1.0,
    "min_child_weight": 3.0,
    "min_child_samples": 40,
    "subsample": 0.5,
    "subsample_freq": 2,
    "colsample_bytree": 0.5,
    "reg_alpha": 0.5,
    "reg_lambda": 5.0,
    "random_state": 7,
    "max_bin": 8,
    "min_data_in_bin": 30,
    "extra_trees": True,
    "path_smooth": 2.0,
    "max_delta_step": 0.1,
    "feature_fraction_bynode": 0.5,
    "boost_from_average": False,
    "linear_lambda": 9.0,
    "data_sample_strategy": "goss",
    "linear_tree": True,
    "cat_l2": 1.0,
    "cat_smooth": 1.0,
    "max_cat_threshold": 1,
    "max_cat_to_onehot": 1,
    "min_data_per_group": 10,
    "monotone_constraints": {"age": -1},
    "interaction_constraints": [["age"], ["visits", "plan"]],
    "monotone_constraints_method": "advanced",
    "monotone_penalty": 1.5,
    "drop_rate": 0.9,
    "skip_drop": 0.0,
    "max_drop": 1,
    "uniform_drop": True,
    "xgboost_dart_mode": True,
    "top_rate": 0.4,
    "other_rate": 0.3,
    "scale_pos_weight": 3.0,
    "is_unbalance": True,
    "poisson_max_delta_step": 0.1,
    "tweedie_variance_power": 1.2,
    "alpha": 0.5,
    "fair_c": 3.0,
}
"""Another value than the default for each parameter that a fitted model writes among its own."""

WITH = {
    "boosting_type": {"subsample": 0.5, "subsample_freq": 1},
    "subsample": {"subsample_freq": 1},
    "subsample_freq": {"subsample": 0.5},
    "monotone_constraints_method": {"monotone_constraints": {"age": -1}},
    "monotone_penalty": {"monotone_constraints": {"age": -1}},
}
"""What a parameter needs beside it, where that is not what BY_KEYWORD says."""


def with_it(spec, name, value=None):
    """Two specs, one without the parameter, of a kind of question that uses it."""
    beside = {"n_estimators": 3, **WITH.get(name, {}), **dict([BY_KEYWORD[name]] if name in BY_KEYWORD else [])}
    kind = next(each for each in KINDS.values() if beside.get("objective") in (None, *OBJECTIVES[each.distribution]))
    estimator = {"classifier": CLASSIFIER, "regressor": REGRESSOR}[kind.estimators]
    columns = NUMBERS if name in ("linear_tree", "linear_lambda") else None
    return (
        asking(spec, kind, estimator, {**beside, name: value}, columns=columns),
        asking(spec, kind, estimator, beside, columns=columns),
    )


@pytest.mark.filterwarnings("ignore")
def test_every_parameter_is_in_force_or_refused_by_a_sentence(spec):
    """Planted: reg_alpha and max_bin taken out of the settings."""
    ignored = []
    names = {*inspect.signature(lightgbm.LGBMClassifier).parameters, *FREE, *BY_KEYWORD, *SETS}
    for name in sorted(names - {"early_stopping_rounds", "objective"}):
        asked, without = with_it(spec, name, GIVEN.get(name, 3))
        found = problems_of(asked)
        if name in SETS:
            assert any(repr(name) in each for each in found), name
            continue
        assert found == [], name
        there, absent = fitted(asked, count=100), fitted(without, count=100)
        assert not_in_force(there, asked.candidates[0].parameters) == [], name
        texts = [each.booster.model_to_string().partition(PARAMETERS)[2] for each in (there, absent)]
        if texts[0] == texts[1]:
            ignored.append(name)
    assert not ignored


def test_the_names_are_lightgbms_own(spec):
    """A parameter that LightGBM does not know, it ignores with a warning."""
    native = {*_ConfigAliases._get_all_param_aliases()} - {"categorical_feature"}
    assert {*FREE, *BY_KEYWORD, *SETS} - native == {
        *("early_stopping_rounds", "class_weight", "importance_type", "n_jobs", "kwargs", "categorical_feature")
    }
    (problem,) = problems_of(asking(spec, KINDS["binary"], CLASSIFIER, {"num_leafs": 7}))
    assert "LGBMClassifier has no parameter 'num_leafs'. Did you mean 'num_leaves'?" in problem


@pytest.mark.parametrize(
    ("parameters", "search", "expected"),
    [
        ({"drop_rate": 0.1}, {}, "LightGBM uses 'drop_rate' with boosting_type 'dart'; write that too, or leave"),
        ({}, {"subsample": Choice((0.5, 0.9))}, "LightGBM uses 'subsample' with a subsample_freq of 1 or more"),
        (
            {"boosting_type": "dart", "early_stopping_rounds": 5},
            {},
            "does not use 'early_stopping_rounds' with boosting_t",
        ),
        (
            {"boosting_type": "rf", "subsample": 0.5, "subsample_freq": 1, "learning_rate": 0.1},
            {},
            "does not use 'learning_rate' with boosting_type 'rf' (the trees of a random forest count alike)",
        ),
        ({"monotone_constraints": {"agee": 1}}, {}, "has 'agee', which is no feature. Did you mean 'age'?"),
        ({"monotone_constraints": [0, 1, 0]}, {}, "name the features, for example {'age': 1}"),
        ({"objective": "cross_entropy"}, {}, "objective is 'cross_entropy'; for outcome.problem Binary("),
        ({"n_jobs": 4}, {}, "Tailrace sets 'n_jobs' (trials run in parallel"),
        ({"device_type": "gpu"}, {}, "Tailrace sets 'device_type' to 'cpu' (the model is the same for any number of"),
    ],
)
def test_what_lightgbm_would_drop_is_one_sentence(spec, parameters, search, expected):
    (problem,) = problems_of(asking(spec, KINDS["binary"], CLASSIFIER, parameters, search=search))
    assert problem.startswith("churn: candidates['it']")
    assert expected in problem


def test_a_ranker_and_texts_are_refused(spec):
    (problem,) = problems_of(asking(spec, KINDS["identity"], "lightgbm.LGBMRanker"))
    assert "LGBMRanker ranks the rows of a group" in problem
    texts = asking(spec, KINDS["identity"], REGRESSOR, columns={"note": "text"})
    assert any("LightGBM does not read texts" in each for each in problems_of(texts))


def test_a_constraint_holds_whatever_the_order_of_the_columns_is(spec):
    rows = rows_of(KINDS["binary"])[0].to_batches()[0]
    aged = rows.take(np.zeros(50, dtype=int)).set_column(1, "age", [*np.linspace(1, 99, 50)])
    for names in (("plan", "age", "visits"), ("visits", "age", "plan"), ("age", "visits", "plan")):
        columns = {name: spec.features.columns[name] for name in names}
        free, rising = (
            np.diff(fitted(asking(spec, KINDS["binary"], CLASSIFIER, given, columns=columns)).predict(aged)["score"])
            for given in ({"n_estimators": 9}, {"n_estimators": 9, "monotone_constraints": {"age": 1}})
        )
        assert free.min() < 0
        assert rising.min() == 0 < rising.max()


def watched(spec, parameters, kind="binary", report=lambda step, value: None):
    estimator = {"classifier": CLASSIFIER, "regressor": REGRESSOR}[KINDS[kind].estimators]
    asked = asking(spec, KINDS[kind], estimator, parameters)
    (candidate,) = asked.candidates
    rows, labels = rows_of(asked.problem)
    data = TrialRows(rows[:300], labels[:300], rows[300:], labels[300:])
    model, found = fit_watched(asked, candidate, parameters, data, seed=1, report=report)
    again = fit(asked, candidate, {**parameters, **found}, rows=rows[:300], labels=labels[:300], seed=1, threads=2)
    return model, found, again


@pytest.mark.parametrize("parameters", [{"linear_tree": True}, {"data_sample_strategy": "goss", "learning_rate": 1.0}])
def test_what_depends_on_the_number_of_threads_is_fitted_on_one(spec, parameters):
    """Planted: two threads with linear_tree; two threads with goss."""
    asked = asking(spec, KINDS["identity"], REGRESSOR, {"n_estimators": 4, **parameters}, columns=NUMBERS)
    one, two = (fitted(asked, count=6000, threads=threads) for threads in (1, 2))
    assert one.digest() == two.digest()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("boosting", ["gbdt", "dart", "rf"])
def test_the_model_of_a_trial_is_the_one_that_is_fitted_with_the_rounds_it_found(spec, boosting):
    """Planted: n_estimators is the number of rounds that the trial was allowed."""
    few = {"early_stopping_rounds": 3, "learning_rate": 0.9} if boosting == "gbdt" else {}
    sampled = {"subsample": 0.5, "subsample_freq": 1}
    model, found, again = watched(spec, {"boosting_type": boosting, "n_estimators": 40, **sampled, **few})
    assert boosting != "gbdt" or found["n_estimators"] < 40
    assert model.digest() == again.digest()
    assert model.booster.num_trees() == found["n_estimators"]


@pytest.mark.parametrize("kind", KINDS)
def test_trials_report_a_metric_of_the_question_and_may_be_stopped(spec, kind):
    reports = []
    watched(spec, {"n_estimators": 20, "early_stopping_rounds": None}, kind, lambda *each: reports.append(each))
    assert [step for step, _ in reports] == [10, 20]
    assert all(np.isfinite(value) for _, value in reports)

    def prune(step, value):
        raise optuna.TrialPruned

    with pytest.raises(optuna.TrialPruned):
        watched(spec, {"n_estimators": 20}, kind, prune)


@pytest.mark.parametrize("kind", KINDS)
def test_every_metric_of_a_search_has_one_of_lightgbm_that_is_better_in_a_known_direction(kind):
    problem = KINDS[kind]
    rows, labels = rows_of(problem, 60)
    classes = {"num_class": 3} if problem.distribution == "categorical" else {}
    for name in {metric_of(problem, metric) for metric in problem.search_metrics}:
        data, found = lightgbm.Dataset(rows.select(["visits"]).to_pandas(), label=labels.astype(float)), []
        settings = {"objective": OBJECTIVES[problem.distribution][0], "metric": name, "verbosity": -1, **classes}
        told = [lambda env, found=found: found.extend(env.evaluation_result_list)]
        lightgbm.train(settings, data, 1, valid_sets=[data], valid_names=["it"], callbacks=told)
        assert [each[3] for each in found] == [name in RISING], name


@pytest.mark.parametrize("sign", [1, -1])
def test_labels_that_lightgbm_would_cut_off_are_refused(spec, sign):
    """It learns from 1e38 instead, without a word."""
    asked = asking(spec, KINDS["identity"], REGRESSOR, {"n_estimators": 2}, columns=NUMBERS)
    rows, labels = rows_of(asked.problem)
    for largest, refused in ((1e37, False), (1e39, True)):
        data = TrialRows(rows, sign * labels / labels.max() * largest, rows.slice(0, 9), labels[:9])
        ended = run_job(asked, data, 1, Job(asked.candidates[0], asked.candidates[0].parameters))
        assert ("LightGBM learns from labels up to 1e+38, and one is 1e+39" in ended.found.get("error", "")) is refused


def test_trials_beside_each_other_end_as_one_after_the_other_and_the_best_is_fitted_on_all_cores(spec, rows):
    """LightGBM keeps the number of threads for the whole process."""
    candidates = (
        Candidate("light", CLASSIFIER, {"n_estimators": 30}, {"num_leaves": IntRange(3, 31)}),
        Candidate("trees", "xgboost.XGBClassifier", {"n_estimators": 15}, {"max_depth": IntRange(2, 5)}),
    )
    asked = replace(asking(spec, KINDS["binary"], CLASSIFIER), candidates=candidates)
    held = ArrowRows(rows[0].append_column(LABEL, rows[1]), tuple(spec.features.columns))
    one, two = (
        LocalEngine(cores).train(asked, held, seed=1, trials=6, on_trial=lambda trial: None) for cores in (1, 2)
    )
    assert [trial.value for trial in one.trials] == [trial.value for trial in two.trials]
    assert {trial.state for trial in one.trials} <= {"complete", "pruned"}
    assert one.model.digest() == two.model.digest()


def test_its_intervals_and_its_calibration_are_stored_with_it(spec, tmp_path):
    from tailrace.engines import models

    asked = asking(spec, Regression(intervals=(0.1, 0.9)), REGRESSOR, {"n_estimators": 5})
    rows, labels = rows_of(asked.problem)
    held = ArrowRows(rows.append_column(LABEL, pa.array(labels)), tuple(spec.features.columns))
    model = LocalEngine(1).train(asked, held, seed=1, trials=1, on_trial=lambda trial: None).model
    model.save(tmp_path)
    loaded = models.load(tmp_path)
    assert loaded.digest() == model.digest()
    predicted = loaded.predict(rows.to_batches()[0])
    assert predicted.equals(model.predict(rows.to_batches()[0]))
    assert predicted.schema.names == ["score", "low", "high"]
