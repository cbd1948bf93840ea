"""Fits boosted trees of LightGBM, in its native interface: on native categories, with early stopping in trials."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tailrace.engines.classes import estimator_class
from tailrace.engines.encoding import categories_of, matrix
from tailrace.engines.fitting import PATIENCE, REPORT_EVERY, Report, TrialRows, row_weights, sign_of
from tailrace.engines.lightgbm_models import LightgbmModel
from tailrace.problems import Problem
from tailrace.spec import Candidate, PipelineSpec
from tailrace.spec.constraints import INTERACTION, MONOTONE
from tailrace.spec.lightgbm_parameters import OBJECTIVES

WATCHED: Mapping[str, Mapping[str, str]] = {
    "bernoulli": {"log_loss": "binary_logloss", "roc_auc": "auc", "pr_auc": "average_precision", "brier": "rmse"},
    "categorical": {"accuracy": "multi_error", "roc_auc_ovr": "auc_mu"},
    "gaussian": {"rmse": "rmse", "r2": "rmse"},
    "poisson": {"rmse": "rmse", "r2": "rmse", "poisson_deviance": "poisson"},
}
"""LightGBM's metric for one of ours, or the nearest that it has, for each distribution of labels."""

OTHERWISE: Mapping[str, str] = {"bernoulli": "binary_logloss", "categorical": "multi_logloss"}
"""Its metric for the others of ours; the mean absolute error where there is none here."""

RISING = frozenset({"auc", "average_precision", "auc_mu"})
"""LightGBM's metrics of which more is better."""

NATIVE: Mapping[str, str] = {
    "boosting_type": "boosting",
    "min_split_gain": "min_gain_to_split",
    "min_child_weight": "min_sum_hessian_in_leaf",
    "min_child_samples": "min_data_in_leaf",
    "subsample": "bagging_fraction",
    "subsample_freq": "bagging_freq",
    "subsample_for_bin": "bin_construct_sample_cnt",
    "colsample_bytree": "feature_fraction",
    "reg_alpha": "lambda_l1",
    "reg_lambda": "lambda_l2",
    "random_state": "seed",
}
"""Parameters of its classes that have another name in its native interface."""

ELSEWHERE = frozenset(
    {"n_estimators", "early_stopping_rounds", "objective", "class_weight", "importance_type", "n_jobs"}
)
"""Parameters that are no settings of the trees, or that the spec sets."""

LARGEST_LABEL = 1e38
"""LightGBM learns from greater labels as if they were this number (`AvoidInf` in its utils/common.h)."""

BY_THREAD = {"linear_tree": True, "data_sample_strategy": "goss", "boosting": "goss"}
"""Settings with which the model depends on the number of threads: these are fitted on one."""


def fit(
    spec: PipelineSpec,
    candidate: Candidate,
    parameters: Mapping[str, Any],
    *,
    rows: pa.Table,
    labels: np.ndarray,
    seed: int,
    threads: int,
) -> LightgbmModel:
    """The candidate with these parameters (fixed ones included), fitted on all rows."""
    import lightgbm

    rounds, settings = _settings(spec, candidate, parameters, seed=seed, threads=threads)
    categories = categories_of(rows, spec.features.of_kind("categorical"))
    training = _dataset(spec, rows, labels, categories=categories, settings=settings)
    booster = lightgbm.train(settings, training, num_boost_round=rounds)
    return LightgbmModel(booster, spec.features.columns, categories, spec.problem)


def fit_watched(
    spec: PipelineSpec,
    candidate: Candidate,
    parameters: Mapping[str, Any],
    data: TrialRows,
    *,
    seed: int,
    report: Report,
) -> tuple[LightgbmModel, dict[str, Any]]:
    """As `estimators.fit_watched`; what early stopping finds is n_estimators."""
    import lightgbm

    rounds, settings = _settings(spec, candidate, parameters, seed=seed, threads=1)
    settings["metric"] = watched_by = metric_of(spec.problem, spec.search.metric)
    sign = sign_of(spec.search.metric, rises=watched_by in RISING)
    categories = categories_of(data.rows, spec.features.of_kind("categorical"))
    training = _dataset(spec, data.rows, data.labels, categories=categories, settings=settings)
    watched = training.create_valid(
        _encoded(spec, data.watch, categories),
        label=_numbers(data.watch_labels),
        weight=row_weights(spec, data.watch, data.watch_labels),
    )

    def tell(env: Any) -> None:
        if env.iteration % REPORT_EVERY == REPORT_EVERY - 1:
            report(env.iteration + 1, sign * env.evaluation_result_list[0][2])

    booster = lightgbm.train(
        settings,
        training,
        num_boost_round=rounds,
        valid_sets=[watched],
        valid_names=["watch"],
        callbacks=[*_early_stopping(parameters, settings), tell],
    )
    # The booster that train returns has only the rounds up to the best one, and no training rows.
    found = {"n_estimators": booster.current_iteration()}
    return LightgbmModel(booster, spec.features.columns, categories, spec.problem), found


def metric_of(problem: Problem, metric: str) -> str:
    """LightGBM's metric that trials report."""
    distribution = problem.distribution
    return WATCHED[distribution].get(metric, OTHERWISE.get(distribution, "l1"))


def not_in_force(model: LightgbmModel, parameters: Mapping[str, Any]) -> list[str]:
    """Parameters that the fitted model does not have among its own, or has with another value."""
    in_force = dict(re.findall(r"^\[(\w+): (.*)\]$", model.booster.model_to_string(), re.MULTILINE))
    found = []
    for name, value in parameters.items():
        own = NATIVE.get(name, name)
        if value is None or name in ELSEWHERE or name in (MONOTONE, INTERACTION):
            continue
        if own not in in_force:
            found.append(f"LightGBM does not use {name!r} with these other parameters.")
        elif not _same(value, in_force[own]):
            found.append(f"{name!r} is {value!r} in the spec and {in_force[own]!r} in the fitted model.")
    return found


def _same(value: Any, in_force: str) -> bool:
    if isinstance(value, int | float):
        return bool(np.isclose(float(value), float(in_force), rtol=1e-5))
    return bool(str(value) == in_force)


def _early_stopping(parameters: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Any]:
    import lightgbm

    rounds = parameters.get("early_stopping_rounds", PATIENCE)
    if not rounds or settings.get("boosting") == "dart":
        return []
    return [lightgbm.early_stopping(rounds, verbose=False)]


def _settings(
    spec: PipelineSpec, candidate: Candidate, parameters: Mapping[str, Any], *, seed: int, threads: int
) -> tuple[int, dict[str, Any]]:
    """The boosting rounds, and the parameters under the names of LightGBM's native interface."""
    estimator = estimator_class(candidate.estimator)(**parameters)
    given = {name: value for name, value in estimator.get_params().items() if value is not None}
    settings = {NATIVE.get(name, name): value for name, value in given.items() if name not in ELSEWHERE}
    if any(settings.get(name) == value for name, value in BY_THREAD.items()):
        threads = 1
    settings |= {
        "objective": parameters.get("objective", OBJECTIVES[spec.problem.distribution][0]),
        "seed": settings.get("seed", seed),
        "num_threads": threads,
        "deterministic": True,
        "force_col_wise": True,
        "verbosity": -1,
        **_constraints(spec, settings),
    }
    if len(spec.problem.raw_columns) > 1:
        settings["num_class"] = len(spec.problem.raw_columns)
    return int(given["n_estimators"]), settings


def _constraints(spec: PipelineSpec, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Constraints by the places of the features, as LightGBM takes them."""
    names = list(spec.features.columns)
    found: dict[str, Any] = {}
    if MONOTONE in settings:
        found[MONOTONE] = [int(settings[MONOTONE].get(name, 0)) for name in names]
    if INTERACTION in settings:
        found[INTERACTION] = [[names.index(name) for name in group] for group in settings[INTERACTION]]
    return found


def _dataset(
    spec: PipelineSpec,
    rows: pa.Table,
    labels: np.ndarray,
    *,
    categories: Mapping[str, list[str]],
    settings: Mapping[str, Any],
) -> Any:
    import lightgbm

    places = [place for place, name in enumerate(spec.features.columns) if name in categories]
    return lightgbm.Dataset(
        _encoded(spec, rows, categories),
        label=_numbers(labels),
        weight=row_weights(spec, rows, labels),
        categorical_feature=places,
        params={name: value for name, value in settings.items() if name != "metric"},
    )


def _encoded(spec: PipelineSpec, rows: pa.Table, categories: Mapping[str, list[str]]) -> np.ndarray:
    return matrix(rows, list(spec.features.columns), categories)


def _numbers(labels: np.ndarray) -> np.ndarray:
    """The labels as LightGBM keeps them. Raises ValueError for one that it would replace by a smaller one."""
    largest = np.abs(labels * 1.0).max()
    if largest > LARGEST_LABEL:
        raise ValueError(
            f"LightGBM learns from labels up to {LARGEST_LABEL:g}, and one is {largest:g}; give the label a larger "
            "unit in dbt, or use another estimator"
        )
    return np.asarray(labels, dtype=np.float32)
