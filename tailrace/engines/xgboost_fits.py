"""Fits boosted trees of XGBoost, in its native interface: on native categories, with early stopping in trials."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tailrace.engines.classes import estimator_class
from tailrace.engines.encoding import categories_of, matrix
from tailrace.engines.fitting import PATIENCE, REPORT_EVERY, Report, TrialRows, row_weights, sign_of
from tailrace.engines.xgboost_models import LINEAR, XgboostModel
from tailrace.errors import BadInput
from tailrace.problems import Problem
from tailrace.spec import Candidate, PipelineSpec

RISING = frozenset({"auc", "aucpr"})
"""XGBoost's metrics of which more is better."""

CPU = "cpu"

BINNED = frozenset({"auto", "hist"})
"""The tree methods that read columns as bins, which take a quarter of the memory."""

LEAST_GAIN, LARGEST_GAIN = 1e-6, 3.4e38
"""XGBoost makes no split that gains less (`kRtEps` in its base.h), and computes gains in float32."""

SQUARED = "reg:squarederror"

DROPPING = frozenset({"rate_drop", "one_drop"})
"""Parameters that let a round drop earlier trees; from XGBoost 3.4 on they need no booster "dart"."""


def fit(
    spec: PipelineSpec,
    candidate: Candidate,
    parameters: Mapping[str, Any],
    *,
    rows: pa.Table,
    labels: np.ndarray,
    seed: int,
    threads: int,
) -> XgboostModel:
    """The candidate with these parameters (fixed ones included), fitted on all rows."""
    import xgboost

    rounds, settings = _settings(spec.problem, candidate, parameters, seed=seed, threads=threads)
    features, categories = spec.features.columns, categories_of(rows, spec.features.of_kind("categorical"))
    drawn = functools.partial(_training_matrix, features=features, categories=categories, settings=settings)
    training = drawn(rows, labels, weights=row_weights(spec, rows, labels))
    booster = xgboost.train(settings, training, num_boost_round=rounds)
    return XgboostModel(booster, features, categories, spec.problem)


def fit_watched(
    spec: PipelineSpec,
    candidate: Candidate,
    parameters: Mapping[str, Any],
    data: TrialRows,
    *,
    seed: int,
    report: Report,
) -> tuple[XgboostModel, dict[str, Any]]:
    """As `estimators.fit_watched`; what early stopping finds is n_estimators."""
    import xgboost

    rounds, settings = _settings(spec.problem, candidate, parameters, seed=seed, threads=1)
    settings["eval_metric"] = watched_by = spec.problem.xgboost_metric(spec.search.metric)
    sign = sign_of(spec.search.metric, rises=watched_by in RISING)
    features, categories = spec.features.columns, categories_of(data.rows, spec.features.of_kind("categorical"))
    drawn = functools.partial(_training_matrix, features=features, categories=categories, settings=settings)
    weights = row_weights(spec, data.rows, data.labels)
    # Before the matrix is made, which costs time and memory.
    if splits_by_squares(settings):
        refuse_beyond_gains(_squares(data.labels, weights))
    training = drawn(data.rows, data.labels, weights=weights)
    watch_weights = row_weights(spec, data.watch, data.watch_labels)
    watched = drawn(data.watch, data.watch_labels, weights=watch_weights, ref=training)
    rounds_can_be_cut = settings.get("booster", "gbtree") == "gbtree" and DROPPING.isdisjoint(settings)
    booster = xgboost.train(
        settings,
        training,
        num_boost_round=rounds,
        evals=[(watched, "watch")],
        verbose_eval=False,
        callbacks=[
            *_early_stopping(parameters, save_best=rounds_can_be_cut),
            _reporter(lambda step, value: report(step, sign * value)),
        ],
    )
    if not rounds_can_be_cut:
        booster = _best_rounds(booster, settings, training)
    found = {"n_estimators": booster.num_boosted_rounds()} if _counts_rounds(candidate) else {}
    return XgboostModel(booster, features, categories, spec.problem), found


def _early_stopping(parameters: Mapping[str, Any], save_best: bool) -> list[Any]:
    import xgboost

    rounds = parameters.get("early_stopping_rounds", PATIENCE)
    return [xgboost.callback.EarlyStopping(rounds=rounds, save_best=save_best)] if rounds else []


def _best_rounds(booster: Any, settings: Mapping[str, Any], training: Any) -> Any:
    """The model of the best round: trained again where later rounds changed what earlier ones had made.

    Each round of dart may scale earlier trees anew, and each round of gblinear moves the same weights.
    """
    import xgboost

    best = booster.attr("best_iteration")
    if best is None or int(best) + 1 == booster.num_boosted_rounds():
        return booster
    return xgboost.train(dict(settings), training, num_boost_round=int(best) + 1)


def _counts_rounds(candidate: Candidate) -> bool:
    """Whether n_estimators is the number of boosting rounds; a random forest grows all of its trees in one round."""
    return bool(estimator_class(candidate.estimator)(n_estimators=2).get_num_boosting_rounds() == 2)


def _settings(
    problem: Problem, candidate: Candidate, parameters: Mapping[str, Any], *, seed: int, threads: int
) -> tuple[int, dict[str, Any]]:
    """The boosting rounds, and the parameters under the names of XGBoost's native interface."""
    objective = parameters.get("objective", problem.xgboost_objectives[0])
    estimator = estimator_class(candidate.estimator)(**{**parameters, "objective": objective})
    settings = {name: value for name, value in estimator.get_xgb_params().items() if value is not None}
    settings.pop("n_jobs", None)
    _check_device(settings.get("device", CPU))
    if settings.get("booster") == LINEAR:
        threads = 1  # with more, each thread moves the weights without waiting for the others
    seed = settings.pop("random_state", seed)
    settings |= {"seed": seed, "nthread": threads, **problem.xgboost_settings()}
    rounds = estimator.get_num_boosting_rounds()
    if rounds < 1:
        # XGBoost would return a model without trees.
        raise ValueError(f"n_estimators is {rounds}; at least 1 boosting round is needed")
    return rounds, settings


def splits_by_squares(settings: Mapping[str, Any]) -> bool:
    """Whether trees are grown whose splits gain by the labels' squared errors."""
    return bool(settings["objective"] == SQUARED and settings.get("booster") != LINEAR)


def _squares(labels: np.ndarray, weights: np.ndarray | None) -> float:
    """The (weighted) sum of the labels' squared distances from their mean."""
    squares = (labels - np.average(labels, weights=weights)) ** 2
    return float(squares.sum() if weights is None else (weights * squares).sum())


def refuse_beyond_gains(most: float) -> None:
    """Raises ValueError if the labels are so small, or so large, that no split can be told to be a good one.

    `most` is the sum of their squared distances from their mean: what a split by squared errors gains at most.
    """
    if not LEAST_GAIN < most < LARGEST_GAIN:
        raise ValueError(
            f"XGBoost makes splits that gain from {LEAST_GAIN:g} to {LARGEST_GAIN:g}, and by these labels (or weights) "
            f"one gains at most {most:.3g}, the sum of their squared distances from their mean; give the label a "
            f"{'smaller' if most <= LEAST_GAIN else 'larger'} unit in dbt, or use another estimator"
        )


def _check_device(device: str) -> None:
    """Raises BadInput if XGBoost would train on the CPU instead, which it does with a warning only."""
    import xgboost

    if device == CPU:
        return
    if not xgboost.build_info().get("USE_CUDA"):
        raise BadInput(
            f"device is {device!r}, but the XGBoost that is installed here has no support for GPUs (xgboost-cpu); "
            "leave device out, or install the package xgboost in its place (docs/kubernetes.md)."
        )
    two_rows = xgboost.DMatrix(np.array([[0.0], [1.0]]), label=np.array([0.0, 1.0]))
    config = json.loads(xgboost.train({"device": device, "verbosity": 0}, two_rows, num_boost_round=1).save_config())
    if config["learner"]["generic_param"]["device"] == CPU:
        raise BadInput(f"device is {device!r}, but XGBoost finds no such device on this machine; leave device out.")


def _training_matrix(
    rows: pa.Table,
    labels: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    features: Mapping[str, str],
    categories: Mapping[str, list[str]],
    settings: Mapping[str, Any],
    ref: Any = None,
) -> Any:
    """Rows as XGBoost reads them; those of a trial's comparison take the histogram's bins of `ref`."""
    import xgboost

    described = {
        "label": labels,
        "weight": weights,
        "feature_names": list(features),
        "feature_types": ["c" if name in categories else "q" for name in features],
        "enable_categorical": True,
        "nthread": settings["nthread"],
    }
    encoded = matrix(rows, list(features), categories)
    binned = settings.get("tree_method", "auto") in BINNED and settings.get("booster") != LINEAR
    if not binned:
        return xgboost.DMatrix(encoded, **described)
    return xgboost.QuantileDMatrix(encoded, **described, max_bin=settings.get("max_bin"), ref=ref)


def _reporter(report: Report) -> Any:
    import xgboost

    class Reporter(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            if epoch % REPORT_EVERY == REPORT_EVERY - 1:
                (history,) = evals_log["watch"].values()
                report(epoch + 1, history[-1])
            return False

    return Reporter()


def not_in_force(model: XgboostModel, parameters: Mapping[str, Any]) -> list[str]:
    """Parameters that XGBoost reports as unused in the fitted model, or as used with another value.

    With gblinear it reports defaults, whatever the values are.
    """
    in_force = dict(_in_force(json.loads(model.booster.save_config())))
    found = []
    for name, value in parameters.items():
        if value is None or name in ELSEWHERE:
            continue
        if name not in in_force:
            found.append(f"XGBoost does not use {name!r} with these other parameters.")
        elif not model.linear and not _same(value, in_force[name]):
            found.append(f"{name!r} is {value!r} in the spec and {in_force[name]!r} in the fitted model.")
    return found


def _same(value: Any, in_force: str) -> bool:
    """Whether a parameter has this value in the configuration, where numbers are texts."""
    if isinstance(value, int | float):
        return bool(np.isclose(float(value), _as_number(in_force), rtol=1e-5))
    return value == in_force if isinstance(value, str) else True


ELSEWHERE = frozenset(
    {
        *("n_estimators", "early_stopping_rounds", "num_parallel_tree"),  # visible in the number of trees
        *("objective", "eval_metric", "missing", "enable_categorical", "importance_type", "feature_types"),  # the spec
        *("feature_weights", "callbacks", "n_jobs", "verbosity", "device", "validate_parameters"),
        "booster",  # XGBoost 3.4 calls dart gbtree, which drops trees too
    }
)
"""Parameters that are not in the model's own configuration, or that depend on the machine."""


def _in_force(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _in_force(value)
        elif isinstance(value, str):
            yield name, value


def _as_number(text: str) -> float:
    try:
        return float(text.strip("[]"))
    except ValueError:
        return float("nan")
