"""Fits a candidate of the spec on rows: one function per family of estimators."""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tailrace.engines.encoding import categories_of, matrix
from tailrace.engines.sklearn_models import SklearnModel, frame
from tailrace.engines.xgboost_models import XgboostModel
from tailrace.problems import Problem
from tailrace.problems.metrics import METRICS
from tailrace.spec import Candidate, PipelineSpec
from tailrace.spec.parameters import is_splitter

Fitted = XgboostModel | SklearnModel
Report = Callable[[int, float], None]
"""Called with (boosting rounds done, metric on the validation rows); may raise to stop the fit."""

REPORT_EVERY = 10
RISING = frozenset({"auc", "aucpr"})
"""XGBoost's metrics of which more is better."""

PATIENCE = 30
"""After how many boosting rounds without a better metric a trial stops, unless the candidate sets a number."""


@dataclass(frozen=True)
class TrialRows:
    """The rows that trials learn from, and the later rows on which they are compared; labels are encoded."""

    rows: pa.Table
    labels: np.ndarray
    watch: pa.Table
    watch_labels: np.ndarray


def is_xgboost(candidate: Candidate) -> bool:
    return candidate.estimator.startswith("xgboost.")


def is_distributed(candidate: Candidate) -> bool:
    """Whether it trains on all of Spark's executors together, without collecting its rows in one process."""
    return candidate.estimator.startswith(("xgboost.spark.", "pyspark."))


def barrier_workers(spec: PipelineSpec) -> int:
    """How many tasks, at least, must start together for the spec's candidates; 0 if no candidate needs this.

    XGBoost needs it; it uses all tasks there are, unless the candidate sets the number.
    """
    boosted = [each for each in spec.candidates if each.estimator.startswith("xgboost.spark.")]
    return max((int(candidate.parameters.get("num_workers", 1)) for candidate in boosted), default=0)


def fit(
    spec: PipelineSpec,
    candidate: Candidate,
    parameters: Mapping[str, Any],
    *,
    rows: pa.Table,
    labels: np.ndarray,
    seed: int,
    threads: int,
) -> Fitted:
    """The candidate with these parameters (fixed ones included), fitted on all rows."""
    if is_xgboost(candidate):
        rounds, settings = _xgboost_settings(spec.problem, candidate, parameters, seed=seed, threads=threads)
        features, categories = spec.features.columns, categories_of(rows, spec.features.of_kind("categorical"))
        import xgboost

        booster = xgboost.train(
            settings,
            _quantile_matrix(rows, labels, features=features, categories=categories, settings=settings),
            num_boost_round=rounds,
        )
        return XgboostModel(booster, features, categories, spec.problem)
    pipeline = _sklearn_pipeline(spec, candidate, parameters, seed=seed, threads=threads)
    pipeline.fit(frame(rows, spec.features.columns), labels)
    if lacking := spec.problem.lacks(pipeline):
        raise ValueError(f"{candidate.estimator.rpartition('.')[2]} {lacking}.")
    if "n_jobs" in pipeline[-1].get_params():
        # With threads, a forest adds its votes in random order, so that scores would differ in their last digits.
        pipeline[-1].set_params(n_jobs=None)
    return SklearnModel(pipeline, spec.features.columns, spec.problem)


def fit_watched(
    spec: PipelineSpec,
    candidate: Candidate,
    parameters: Mapping[str, Any],
    data: TrialRows,
    *,
    seed: int,
    report: Report,
) -> tuple[Fitted, dict[str, Any]]:
    """Fit on some rows while evaluating on others; also returns what early stopping found (XGBoost's n_estimators).

    `report` is called every few boosting rounds. It uses one thread, so that the result does not depend
    on how many trials run in parallel.
    """
    if not is_xgboost(candidate):
        return fit(spec, candidate, parameters, rows=data.rows, labels=data.labels, seed=seed, threads=1), {}
    import xgboost

    rounds, settings = _xgboost_settings(spec.problem, candidate, parameters, seed=seed, threads=1)
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
    return bool(_estimator_class(candidate)(n_estimators=2).get_num_boosting_rounds() == 2)


def _xgboost_settings(
    problem: Problem, candidate: Candidate, parameters: Mapping[str, Any], *, seed: int, threads: int
) -> tuple[int, dict[str, Any]]:
    """The boosting rounds, and the parameters under the names of XGBoost's native interface."""
    objective = parameters.get("objective", problem.xgboost_objectives[0])
    estimator = _estimator_class(candidate)(**{**parameters, "objective": objective})
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


def _sklearn_pipeline(
    spec: PipelineSpec, candidate: Candidate, parameters: Mapping[str, Any], *, seed: int, threads: int
) -> Any:
    """The preprocessing that the estimator needs, followed by the estimator."""
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    known = inspect.signature(_estimator_class(candidate)).parameters
    # scikit-learn is removing n_jobs from the other estimators, and warns if it is set.
    extra: dict[str, Any] = {}
    if "n_jobs" in known and candidate.estimator.startswith("sklearn.ensemble."):
        extra["n_jobs"] = threads
    numeric, categorical = spec.features.of_kind("numeric"), spec.features.of_kind("categorical")
    steps: list[tuple[str, Any, Any]] = []
    if "categorical_features" in known:
        # Histogram gradient boosting handles categories and nulls itself.
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
    estimator = _made(candidate, {**extra, **parameters}, seed)
    columns = ColumnTransformer(steps)
    makes_sparse = "categorical_features" not in known or spec.features.of_kind("text")
    if makes_sparse and not _takes_sparse(estimator):
        # Otherwise the estimator would receive sparse rows as soon as there are many categories.
        columns.set_params(sparse_threshold=0.0)
    return Pipeline([("columns", columns), ("estimator", estimator)])


def _made(candidate: Candidate, parameters: Mapping[str, Any], seed: int) -> Any:
    """The estimator, with seeds at every level. Nested estimators are copied: other trials use the spec's."""
    from sklearn.base import clone

    own = {name: value for name, value in parameters.items() if "__" not in name}
    estimator = clone(_estimator_class(candidate)(**own))
    estimator.set_params(**{name: value for name, value in parameters.items() if "__" in name})
    return estimator.set_params(**_seeds(estimator, seed))


def _seeds(estimator: Any, seed: int) -> dict[str, Any]:
    """Settings that make a fit repeatable: a seed for each random_state without one, and one thread for nested ones."""
    made: dict[str, Any] = {}
    for path, value in estimator.get_params(deep=True).items():
        name = path.rpartition("__")[2]
        if name == "random_state" and value is None:
            made[path] = _seed_at(path, seed)
        elif name == "n_jobs" and path != name:
            # With threads, a forest adds its votes in random order.
            made[path] = None
        elif is_splitter(value) and getattr(value, "random_state", 0) is None and getattr(value, "shuffle", True):
            value.random_state = _seed_at(path, seed)
    return made


def _seed_at(path: str, seed: int) -> int:
    """A seed for a nested estimator, different for each path; the outermost has the seed of the training."""
    if path == "random_state":
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} {path}".encode()).digest()[:4])


def _takes_sparse(estimator: Any) -> bool:
    from sklearn.utils import get_tags

    try:
        return bool(get_tags(estimator).input_tags.sparse)
    except AttributeError:
        # An estimator without the inner estimator that it needs; fitting it reports that.
        return True


def _estimator_class(candidate: Candidate) -> Any:
    module, _, name = candidate.estimator.rpartition(".")
    return getattr(importlib.import_module(module), name)
