"""A candidate of the spec, fitted on rows: one function per family of estimators."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.engines.encoding import categories_of, matrix
from pipelines.engines.models import SklearnModel, XgboostModel, frame
from pipelines.spec import Candidate, PipelineSpec

Fitted = XgboostModel | SklearnModel
Report = Callable[[int, float], None]
"""Told (boosting rounds done, metric on the validation rows); may raise to stop the fit."""

XGBOOST_METRICS = {"log_loss": "logloss", "roc_auc": "auc", "pr_auc": "aucpr", "brier": "rmse"}
REPORT_EVERY = 10
PATIENCE = 30


def is_xgboost(candidate: Candidate) -> bool:
    return candidate.estimator.startswith("xgboost.")


def is_distributed(candidate: Candidate) -> bool:
    """Whether it trains on Spark's executors together, its rows never in one process."""
    return candidate.estimator.startswith(("xgboost.spark.", "pyspark."))


def barrier_workers(spec: PipelineSpec) -> int:
    """How many tasks must start at once for the spec's candidates, at least; 0 if none trains so.

    XGBoost does; it takes as many as there are, unless the candidate fixes how many.
    """
    boosted = [each for each in spec.candidates if each.estimator.startswith("xgboost.spark.")]
    return max((int(candidate.parameters.get("num_workers", 1)) for candidate in boosted), default=0)


def fit(
    spec: PipelineSpec,
    candidate: Candidate,
    parameters: Mapping[str, Any],
    rows: pa.Table,
    labels: np.ndarray,
    *,
    seed: int,
    threads: int,
) -> Fitted:
    """The candidate with these parameters (fixed ones included), fitted on all rows."""
    if is_xgboost(candidate):
        rounds, settings = _xgboost_settings(candidate, parameters, seed, threads)
        features, categories = spec.features.columns, categories_of(rows, spec.features.of_kind("categorical"))
        import xgboost

        booster = xgboost.train(
            settings, _quantile_matrix(rows, labels, features, categories, threads), num_boost_round=rounds
        )
        return XgboostModel(booster, features, categories)
    pipeline = _sklearn_pipeline(spec, candidate, parameters, seed, threads)
    pipeline.fit(frame(rows, spec.features.columns), labels)
    if "n_jobs" in pipeline[-1].get_params():
        # Threads add a forest's votes in any order, so that scores would differ in their last bits.
        pipeline[-1].set_params(n_jobs=None)
    return SklearnModel(pipeline, spec.features.columns)


def fit_watched(
    spec: PipelineSpec,
    candidate: Candidate,
    parameters: Mapping[str, Any],
    rows: pa.Table,
    labels: np.ndarray,
    watch: pa.Table,
    watch_labels: np.ndarray,
    *,
    seed: int,
    report: Report,
) -> tuple[Fitted, dict[str, Any]]:
    """Fit on rows while watching others; also what early stopping found (XGBoost's n_estimators).

    `report` is called every few boosting rounds. One thread, so that the result does not depend
    on how many trials run beside this one.
    """
    if not is_xgboost(candidate):
        return fit(spec, candidate, parameters, rows, labels, seed=seed, threads=1), {}
    import xgboost

    rounds, settings = _xgboost_settings(candidate, parameters, seed, threads=1)
    settings["eval_metric"] = XGBOOST_METRICS[spec.search.metric]
    features, categories = spec.features.columns, categories_of(rows, spec.features.of_kind("categorical"))
    training = _quantile_matrix(rows, labels, features, categories, 1)
    watched = _quantile_matrix(watch, watch_labels, features, categories, 1, ref=training)
    booster = xgboost.train(
        settings,
        training,
        num_boost_round=rounds,
        evals=[(watched, "watch")],
        verbose_eval=False,
        callbacks=[xgboost.callback.EarlyStopping(rounds=PATIENCE, save_best=True), _reporter(report)],
    )
    return XgboostModel(booster, features, categories), {"n_estimators": booster.num_boosted_rounds()}


def _xgboost_settings(
    candidate: Candidate, parameters: Mapping[str, Any], seed: int, threads: int
) -> tuple[int, dict[str, Any]]:
    """Boosting rounds, and the parameters in the native interface's names."""
    estimator = _estimator_class(candidate)(**parameters)
    settings = {name: value for name, value in estimator.get_xgb_params().items() if value is not None}
    settings |= {"objective": "binary:logistic", "seed": seed, "nthread": threads}
    return estimator.get_num_boosting_rounds(), settings


def _quantile_matrix(
    rows: pa.Table,
    labels: np.ndarray,
    features: Mapping[str, str],
    categories: Mapping[str, list[str]],
    threads: int,
    ref: Any = None,
) -> Any:
    import xgboost

    return xgboost.QuantileDMatrix(
        matrix(rows, list(features), categories),
        label=labels,
        feature_names=list(features),
        feature_types=["c" if name in categories else "q" for name in features],
        enable_categorical=True,
        nthread=threads,
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


def _sklearn_pipeline(
    spec: PipelineSpec, candidate: Candidate, parameters: Mapping[str, Any], seed: int, threads: int
) -> Any:
    """Preprocessing that the estimator needs, and the estimator."""
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    estimator = _estimator_class(candidate)()
    known = estimator.get_params()
    extra: dict[str, Any] = {"random_state": seed} if "random_state" in known else {}
    # Elsewhere scikit-learn is dropping n_jobs, and warns when it is given.
    if "n_jobs" in known and candidate.estimator.startswith("sklearn.ensemble."):
        extra["n_jobs"] = threads
    numeric, categorical = spec.features.of_kind("numeric"), spec.features.of_kind("categorical")
    steps: list[tuple[str, Any, Any]] = []
    if "categorical_features" in known:
        # Histogram gradient boosting splits on categories and nulls itself.
        steps.append(
            (
                "categorical",
                OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, max_categories=254),
                list(categorical),
            )
        )
        steps.append(("numeric", "passthrough", list(numeric)))
        extra["categorical_features"] = list(range(len(categorical)))
    else:
        steps.append(
            (
                "categorical",
                OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20),
                list(categorical),
            )
        )
        imputer = SimpleImputer(strategy="median", keep_empty_features=True)
        steps.append(("numeric", make_pipeline(imputer, StandardScaler()), list(numeric)))
    steps += [
        (f"text_{name}", TfidfVectorizer(min_df=2, max_features=50_000), name) for name in spec.features.of_kind("text")
    ]
    estimator.set_params(**{**extra, **parameters})
    return Pipeline([("columns", ColumnTransformer(steps)), ("estimator", estimator)])


def _estimator_class(candidate: Candidate) -> Any:
    module, _, name = candidate.estimator.rpartition(".")
    return getattr(importlib.import_module(module), name)
