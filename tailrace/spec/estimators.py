"""Which estimators can train, and which of their parameters Tailrace sets itself."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tailrace import extras
from tailrace.errors import did_you_mean
from tailrace.spec.training import Candidate

ESTIMATOR_PACKAGES = ("sklearn.", "xgboost.", "pyspark.")
CLUSTER_PACKAGES = ("xgboost.spark.", "pyspark.")
CLUSTER_ESTIMATORS = (
    "xgboost.spark.SparkXGBClassifier",
    "pyspark.ml.classification.LogisticRegression",
    "pyspark.ml.classification.RandomForestClassifier",
    "pyspark.ml.classification.GBTClassifier",
)
"""What can train on a cluster's executors together; its models score without Spark."""

OWN_PARAMETERS = re.compile(
    r".*(Col|_col|_cols)|family|feature_names|feature_types|missing|objective|early_stopping_rounds|.*repartition.*"
)
"""Parameters of those that Tailrace sets: what they read and predict, and how rows are dealt out."""

XGBOOST_METRICS = {"log_loss": "logloss", "roc_auc": "auc", "pr_auc": "aucpr", "brier": "rmse"}
"""XGBoost's names for the metrics of a search."""

XGBOOST_SETS: Mapping[str, tuple[object, str]] = {
    "objective": ("binary:logistic", "the predictions are probabilities"),
    "eval_metric": (XGBOOST_METRICS, "search.metric says what trials are compared by"),
    "missing": (math.nan, "nulls are what is missing; make such values null in dbt"),
    "enable_categorical": (True, "features.columns says which columns are categories"),
    "feature_types": (None, "features.columns says which columns are categories"),
    "feature_weights": (None, "all features are drawn alike"),
    "importance_type": ("total_gain", "importance is the share of the total gain"),
    "callbacks": (None, "the search watches the trials"),
    "kwargs": (None, "write each parameter by its own name"),
}
"""Parameters of XGBoost that Tailrace sets, with what they are and why: others would be recorded and not in force."""


def estimator_problems(candidates: tuple[Candidate, ...], metric: str) -> Iterator[str]:
    """A sentence for each estimator that cannot train, and for each parameter that it does not have or Tailrace sets.

    Imports the estimators' libraries, which takes seconds.
    """
    for candidate in candidates:
        where = candidate.where
        if not candidate.estimator.startswith(ESTIMATOR_PACKAGES):
            yield f"{where}.estimator {candidate.estimator!r} is not of scikit-learn, XGBoost or Spark."
            continue
        if candidate.estimator.startswith(CLUSTER_PACKAGES):
            yield from _cluster_estimator(where, candidate, metric)
            continue
        module_name, _, class_name = candidate.estimator.rpartition(".")
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            yield f"{where}.estimator {candidate.estimator!r} does not import: {error}."
            continue
        estimator = getattr(module, class_name, None)
        if not inspect.isclass(estimator) or not hasattr(estimator, "get_params"):
            classes = [name for name, value in vars(module).items() if inspect.isclass(value)]
            yield (
                f"{where}.estimator: {module_name} has no estimator {class_name!r}.{did_you_mean(class_name, classes)}"
            )
            continue
        if not hasattr(estimator, "predict_proba"):
            yield f"{where}.estimator: {class_name} gives no probabilities; use a classifier with predict_proba."
            continue
        known = set(inspect.signature(estimator).parameters) | set(_parameters(estimator, candidate))
        yield from _unknown_parameters(where, candidate, known)
        if candidate.estimator.startswith("xgboost."):
            yield from _not_in_force(where, candidate, metric, known)


def _cluster_estimator(where: str, candidate: Candidate, metric: str) -> Iterator[str]:
    """The class is looked at, never made: making one takes a JVM."""
    if candidate.estimator not in CLUSTER_ESTIMATORS:
        yield (
            f"{where}.estimator {candidate.estimator!r} is none of those that train on a cluster: "
            f"{', '.join(CLUSTER_ESTIMATORS)}.{did_you_mean(candidate.estimator, CLUSTER_ESTIMATORS)}"
        )
        return
    if sentence := extras.absent(f"{where}.estimator {candidate.estimator!r}", "pyspark"):
        yield sentence
        return
    from pyspark.ml.param import Param

    module_name, _, class_name = candidate.estimator.rpartition(".")
    estimator = getattr(importlib.import_module(module_name), class_name)
    known = {name for name in dir(estimator) if isinstance(getattr(estimator, name), Param)}
    known = {name for name in known if not OWN_PARAMETERS.fullmatch(name)}
    yield from _unknown_parameters(where, candidate, known)
    if candidate.estimator.startswith("xgboost."):
        yield from _not_in_force(where, candidate, metric, known)


def _unknown_parameters(where: str, candidate: Candidate, known: set[str]) -> Iterator[str]:
    class_name = candidate.estimator.rpartition(".")[2]
    for part in ("parameters", "search"):
        for parameter in sorted(set(getattr(candidate, part)) - known):
            yield f"{where}.{part}: {class_name} has no parameter {parameter!r}.{did_you_mean(parameter, known)}"


def _not_in_force(where: str, candidate: Candidate, metric: str, known: set[str]) -> Iterator[str]:
    """Parameters of the estimator that Tailrace would override in silence."""
    for parameter in sorted(set(XGBOOST_SETS) & known & {*candidate.parameters, *candidate.search}):
        value, reason = XGBOOST_SETS[parameter]
        if value is XGBOOST_METRICS:
            value = XGBOOST_METRICS.get(metric)
        if parameter in candidate.search or repr(candidate.parameters[parameter]) != repr(value):
            part = "search" if parameter in candidate.search else "parameters"
            instead = "" if value is None else f" to {value!r}"
            yield f"{where}.{part}: Tailrace sets {parameter!r}{instead} ({reason}); leave it out."


def _parameters(estimator: Any, candidate: Candidate) -> list[str]:
    """The estimator's parameters, and those of the estimators that the candidate puts into it, such as estimator__C."""
    given = {name: value for name, value in candidate.parameters.items() if "__" not in name}
    names: list[str] = []
    for parameters in ({}, given):
        # A meta-estimator cannot be made without others; what is wrong with those is told when it is fitted.
        with contextlib.suppress(TypeError, AttributeError, ValueError):
            made = estimator(**parameters).get_params()
            names += [name for name in made if "__" in name or not parameters]
    return names
