"""Every parameter of XGBoost is in force in the fitted model, or a sentence says why it is not."""

# ruff: noqa: TID253 - XGBoost is what these tests are about.

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import xgboost

from tailrace.engines import dry_run, xgboost_fits
from tailrace.engines.estimators import fit, fit_watched
from tailrace.engines.fitting import TrialRows
from tailrace.engines.search import Job, run_job
from tailrace.errors import BadInput
from tailrace.spec import Choice, IntRange, problems_of
from tailrace.spec.xgboost_parameters import BY_KEYWORD
from tests.boosted import KINDS, NUMBERS, asking, fitted, rows_of

CLASSIFIER, REGRESSOR = "xgboost.XGBClassifier", "xgboost.XGBRegressor"
CLASSES = {
    CLASSIFIER: KINDS["binary"],
    "xgboost.XGBRFClassifier": KINDS["multiclass"],
    REGRESSOR: KINDS["identity"],
    "xgboost.XGBRFRegressor": KINDS["log"],
}

GIVEN = {
    "base_score": 0.4,
    "booster": "gblinear",
    "colsample_bylevel": 0.7,
    "colsample_bynode": 0.7,
    "colsample_bytree": 0.7,
    "gamma": 0.3,
    "grow_policy": "lossguide",
    "learning_rate": 0.2,
    "max_bin": 16,
    "interaction_constraints": [["age", "visits"]],
    "max_cat_threshold": 3,
    "max_cat_to_onehot": 2,
    "max_delta_step": 0.5,
    "max_depth": 2,
    "max_leaves": 3,
    "min_child_weight": 4.0,
    "n_estimators": 2,
    "monotone_constraints": {"age": 1},
    "multi_strategy": "multi_output_tree",
    "num_parallel_tree": 2,
    "random_state": 7,
    "reg_alpha": 0.3,
    "reg_lambda": 0.3,
    "scale_pos_weight": 2.0,
    "subsample": 0.6,
    "sampling_method": "gradient_based",
    "tree_method": "approx",
    "rate_drop": 0.3,
    "skip_drop": 0.3,
    "sample_type": "weighted",
    "normalize_type": "forest",
    "one_drop": True,
    "updater": "coord_descent",
    "feature_selector": "shuffle",
    "huber_slope": 0.7,
    "tweedie_variance_power": 1.3,
}
"""Another value than the default for each parameter that a fitted model shows in its configuration."""

REFUSED = {
    "callbacks": [1],
    "enable_categorical": False,
    "eval_metric": "error",
    "feature_types": ["q"],
    "n_jobs": 2,
    "feature_weights": [1.0],
    "importance_type": "gain",
    "kwargs": {"max_dept": 2},
    "missing": 0.0,
    "objective": "rank:pairwise",
    "validate_parameters": False,
}
OF_A_FOREST = {"num_parallel_tree": 2, "early_stopping_rounds": 2}
ELSEWHERE = {"verbosity", "device", "early_stopping_rounds"}
"""The log's, and those of the tests below."""

FITTED = {CLASSIFIER, "xgboost.XGBRFRegressor"}

UNSUITABLE = {"sampling_method": "gradient_based", "scale_pos_weight": "XGBoost does not use 'scale_pos_weight'"}
"""What XGBoost has no use for on a CPU, or with the objective of counts: the dry run says so."""

LINEAR = {"booster": "gblinear", "updater": "coord_descent"}
WITH = {
    "updater": {"booster": "gblinear"},
    "feature_selector": LINEAR,
    "tweedie_variance_power": {"objective": "reg:tweedie"},
    "huber_slope": {"objective": "reg:pseudohubererror"},
}
"""What a parameter needs beside it, where that is not what BY_KEYWORD says."""


def made(estimator):
    with warnings.catch_warnings(action="ignore"):  # newer releases want forests to be written otherwise
        return getattr(xgboost, estimator.rpartition(".")[2])()


def in_force(model) -> tuple:
    """Its configuration, and its content: gblinear does not write all of its parameters down."""
    return json.loads(model.booster.save_config())["learner"], model.digest()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", CLASSES)
def test_every_parameter_is_in_force_or_refused_by_a_sentence(spec, estimator):
    """Planted: rate_drop taken out of the settings; num_parallel_tree of a forest not refused."""
    problem, ignored = CLASSES[estimator], []
    refused = REFUSED | (OF_A_FOREST if "RF" in estimator else {})
    for name in sorted({*made(estimator).get_params(), "kwargs", *BY_KEYWORD} - (ELSEWHERE - refused.keys())):
        value = {**GIVEN, **refused}[name]
        beside = WITH.get(name, dict([BY_KEYWORD[name]]) if name in BY_KEYWORD else {})
        numbers = NUMBERS if beside.get("booster") == "gblinear" or name in ("booster", "multi_strategy") else None
        if beside.get("objective") not in (None, *problem.xgboost_objectives):
            continue  # another kind of question has it
        beside = {"n_estimators": 3, **beside}
        asked = asking(spec, problem, estimator, {**beside, name: value}, columns=numbers)
        found = problems_of(asked)
        if name in refused:
            assert any(name in each for each in found), name
        elif name in UNSUITABLE and (said := dry_run.problems(asked)):
            assert UNSUITABLE[name] in said[0]
        else:
            assert not found, name
            if estimator not in FITTED and name not in BY_KEYWORD:
                continue  # its signature is that of another class
            without = asking(spec, problem, estimator, beside, columns=numbers)
            if in_force(fitted(asked, count=100)) == in_force(fitted(without, count=100)):
                ignored.append(name)
    assert not ignored


SENTENCES = [
    (
        {"rate_drop": 0.1},
        {},
        "parameters: XGBoost uses 'rate_drop' with booster 'dart'; write that too, or leave 'rate_drop' out.",
    ),
    ({}, {"skip_drop": Choice((0.1, 0.2))}, "search: XGBoost uses 'skip_drop' with booster 'dart'; write"),
    ({"updater": "shotgun"}, {}, "XGBoost uses 'updater' with booster 'gblinear'"),
    (
        {"booster": "gblinear"},
        {},
        "XGBoost reads no categories with booster 'gblinear', and features.columns has 'plan'",
    ),
    ({}, {"booster": Choice(("gbtree", "gblinear"))}, "XGBoost reads no categories with booster 'gblinear'"),
    ({"tree_method": "exact"}, {}, "reads no categories with tree_method 'exact', and features.columns has 'plan'"),
    ({"monotone_constraints": {"agee": 1}}, {}, "has 'agee', which is no feature. Did you mean 'age'?"),
    ({"monotone_constraints": {"age": 2}}, {}, "['age'] is 2; it must be 1 (only rising), -1 (only falling) or 0."),
    ({"monotone_constraints": {"plan": 1}}, {}, "has 'plan', which is categorical; only with a number"),
    ({"monotone_constraints": (1, 0)}, {}, "is (1, 0); name the features, for example {'age': 1}"),
    ({"interaction_constraints": [["age", "visit"]]}, {}, "has 'visit', which is no feature. Did you mean 'visits'?"),
    ({"interaction_constraints": [[0, 1]]}, {}, "write groups of features' names, for example [['age', 'visits']]"),
    ({}, {"monotone_constraints": Choice((None,))}, "has 'monotone_constraints', which is no range and no choice"),
    ({"n_jobs": 4}, {}, "Tailrace sets 'n_jobs' (trials run in parallel"),
]


@pytest.mark.parametrize(("parameters", "search", "expected"), SENTENCES)
def test_what_xgboost_would_drop_or_refuse_is_one_sentence(spec, parameters, search, expected):
    (problem,) = problems_of(asking(spec, KINDS["binary"], CLASSIFIER, parameters, search=search))
    assert problem.startswith("churn: candidates['it']")
    assert expected in problem


def test_all_that_is_wrong_with_constraints_is_said_at_once(spec):
    wrong = {"monotone_constraints": {"agee": 1, "plan": -1}, "interaction_constraints": [["visit"]]}
    assert len(problems_of(asking(spec, KINDS["binary"], CLASSIFIER, wrong))) == 3


def test_a_ranker_is_refused(spec):
    (problem,) = problems_of(asking(spec, KINDS["identity"], "xgboost.XGBRanker"))
    assert "XGBRanker ranks the rows of a group, which no outcome.problem asks for; use a regressor." in problem


def test_the_order_of_the_columns_does_not_move_a_constraint(spec):
    parameters = {"monotone_constraints": {"age": -1}, "interaction_constraints": [["visits", "plan"], ["age"]]}
    names = list(spec.features.columns.items())
    asked = [
        asking(spec, KINDS["binary"], CLASSIFIER, parameters, columns=dict(order)) for order in (names, names[::-1])
    ]
    assert problems_of(asked[0]) == problems_of(asked[1]) == []
    one, other = (fitted(each) for each in asked)
    rows = rows_of(KINDS["binary"])[0].to_batches()[0]
    np.testing.assert_allclose(one.predict(rows)["score"], other.predict(rows)["score"], atol=1e-6)
    aged = rows.take(np.zeros(50, dtype=int)).set_column(1, "age", [*np.linspace(1, 99, 50)])
    assert (np.diff(one.predict(aged)["score"]) <= 0).all(), "age may only lower the score"


@pytest.mark.parametrize(
    "parameters",
    [
        {"booster": "dart", "rate_drop": 0.5, "learning_rate": 0.9},
        {"booster": "gblinear", "learning_rate": 0.9},
        {"learning_rate": 0.9},
        {"tree_method": "approx", "learning_rate": 0.9},
        {"tree_method": "exact", "learning_rate": 0.9},
    ],
)
def test_the_model_of_a_trial_is_the_one_that_is_fitted_with_the_rounds_it_found(spec, parameters):
    """Planted: early stopping cuts the rounds of dart instead of training them again."""
    asked = asking(spec, KINDS["binary"], CLASSIFIER, {"n_estimators": 30, **parameters}, columns=NUMBERS)
    (candidate,) = asked.candidates
    rows, labels = rows_of(asked.problem)
    data, reports = TrialRows(rows[:300], labels[:300], rows[300:], labels[300:]), []
    given = {**candidate.parameters, "early_stopping_rounds": 3}
    model, found = fit_watched(asked, candidate, given, data, seed=1, report=lambda *it: reports.append(it))
    assert found["n_estimators"] < 30
    again = fit(asked, candidate, {**given, **found}, rows=rows[:300], labels=labels[:300], seed=1, threads=2)
    assert again.predict(rows.to_batches()[0]).equals(model.predict(rows.to_batches()[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_learned_for_every_kind_and_their_sizes_are_the_importance(spec, kind):
    problem = KINDS[kind]
    linear = asking(spec, problem, f"xgboost.XGB{problem.estimators.title()}", {"booster": "gblinear"}, columns=NUMBERS)
    assert problems_of(linear) == dry_run.problems(linear) == []
    importance = fitted(linear).importance()
    assert importance.keys() == NUMBERS.keys()
    assert sum(importance.values()) == pytest.approx(1.0)
    assert min(importance.values()) > 0


def test_the_trees_of_a_forest_are_searched(spec):
    trees = {"n_estimators": IntRange(2, 9)}
    forest = asking(spec, KINDS["binary"], "xgboost.XGBRFClassifier", search=trees)
    assert problems_of(forest) == []
    assert len(fitted(forest, n_estimators=7).booster.get_dump()) == 7


def test_a_gpu_that_is_not_there_is_said_before_training(spec, monkeypatch):
    """XGBoost itself only warns, and trains on the CPU."""
    gpu = asking(spec, KINDS["binary"], CLASSIFIER, {"device": "cuda"})
    monkeypatch.setattr(xgboost, "build_info", lambda: {"USE_CUDA": True})
    with pytest.raises(BadInput, match="device is 'cuda', but XGBoost finds no such device on this machine"):
        fitted(gpu)
    monkeypatch.undo()
    with pytest.raises(BadInput, match="no support for GPUs"):
        fitted(gpu)
    assert fitted(asking(spec, KINDS["binary"], CLASSIFIER, {"device": "cpu", "n_estimators": 2}))


@pytest.mark.parametrize(("scale", "unit"), [(1e-6, "smaller"), (1e-3, ""), (1e12, ""), (1e20, "larger")])
def test_labels_by_which_xgboost_would_make_no_good_split_are_refused(spec, scale, unit):
    """It returns a model without splits, or with any splits, without a word."""
    asked = asking(spec, KINDS["identity"], REGRESSOR, {"n_estimators": 4}, columns=NUMBERS)
    rows, labels = rows_of(asked.problem)
    (candidate,) = asked.candidates
    scaled = TrialRows(rows, labels * scale, rows.slice(0, 9), labels[:9] * scale)
    for weight in (None, "visits"):
        weighing = replace(asked, features=replace(asked.features, weight=weight))
        ended = run_job(weighing, scaled, 1, Job(candidate, candidate.parameters))
        assert ended.state == ("failed" if unit else "complete")
        assert not unit or f"give the label a {unit} unit" in ended.found["error"]
    linear = run_job(asked, scaled, 1, Job(candidate, {"booster": "gblinear"}))
    assert linear.state == "complete"


def test_columns_are_read_as_bins_wherever_xgboost_can(spec):
    rows, labels = rows_of(KINDS["binary"], 20)
    for settings, expected in (
        ({}, xgboost.QuantileDMatrix),
        ({"tree_method": "hist", "booster": "dart"}, xgboost.QuantileDMatrix),
        ({"tree_method": "approx"}, xgboost.DMatrix),
        ({"booster": "gblinear"}, xgboost.DMatrix),
    ):
        made_of = xgboost_fits._training_matrix(
            rows, labels, features=NUMBERS, categories={}, settings={"nthread": 1, **settings}
        )
        assert type(made_of) is expected
