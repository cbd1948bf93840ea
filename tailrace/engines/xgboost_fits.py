"""Fits boosted trees of XGBoost, in its native interface: on native categories, with early stopping in trials."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tailrace.engines.classes import estimator_class
from tailrace.engines.encoding import categories_of, matrix
from tailrace.engines.fitting import Report, TrialRows
from tailrace.engines.xgboost_models import XgboostModel
from tailrace.problems import Problem
from tailrace.problems.metrics import METRICS
from tailrace.spec import Candidate, PipelineSpec

REPORT_EVERY = 10
RISING = frozenset({"auc", "aucpr"})
"""XGBoost's metrics of which more is better."""

PATIENCE = 30
"""After how many boosting rounds without a better metric a trial stops, unless the candidate sets a number."""


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
    booster = xgboost.train(
        settings,
        _quantile_matrix(rows, labels, features=features, categories=categories, settings=settings),
        num_boost_round=rounds,
    )
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
    # Trials that report another metric than they are compared by report it so that better is better in both.
    sign = 1 if METRICS[spec.search.metric].greater_is_better == (watched_by in RISING) else -1
    features, categories = spec.features.columns, categories_of(data.rows, spec.features.of_kind("categorical"))
    drawn = functools.partial(_quantile_matrix, features=features, categories=categories, settings=settings)
    training = drawn(data.rows, data.labels)
    watched = drawn(data.watch, data.watch_labels, ref=training)
    booster = xgboost.train(
        settings,
        training,
        num_boost_round=rounds,
        evals=[(watched, "watch")],
        verbose_eval=False,
        callbacks=[*_early_stopping(parameters), _reporter(lambda step, value: report(step, sign * value))],
    )
    found = {"n_estimators": booster.num_boosted_rounds()} if _counts_rounds(candidate) else {}
    return XgboostModel(booster, features, categories, spec.problem), found


def _early_stopping(parameters: Mapping[str, Any]) -> list[Any]:
    import xgboost

    rounds = parameters.get("early_stopping_rounds", PATIENCE)
    return [xgboost.callback.EarlyStopping(rounds=rounds, save_best=True)] if rounds else []


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
    seed = settings.pop("random_state", seed)
    settings |= {"seed": seed, "nthread": threads, **problem.xgboost_settings()}
    return estimator.get_num_boosting_rounds(), settings


def _quantile_matrix(
    rows: pa.Table,
    labels: np.ndarray,
    *,
    features: Mapping[str, str],
    categories: Mapping[str, list[str]],
    settings: Mapping[str, Any],
    ref: Any = None,
) -> Any:
    import xgboost

    return xgboost.QuantileDMatrix(
        matrix(rows, list(features), categories),
        label=labels,
        feature_names=list(features),
        feature_types=["c" if name in categories else "q" for name in features],
        enable_categorical=True,
        nthread=settings["nthread"],
        max_bin=settings.get("max_bin"),
        ref=ref,
    )


def _reporter(report: Report) -> Any:
    import xgboost

    class Reporter(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            if epoch % REPORT_EVERY == REPORT_EVERY - 1:
                (history,) = evals_log["watch"].values()
                report(epoch + 1, history[-1])
            return False

    return Reporter()
