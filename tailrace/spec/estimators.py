"""Which estimators can train, and which of their parameters Tailrace sets itself."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

from tailrace import extras
from tailrace.errors import did_you_mean
from tailrace.problems import Problem
from tailrace.spec import xgboost_parameters
from tailrace.spec.columns import Features
from tailrace.spec.training import Candidate, SearchBudget

ESTIMATOR_PACKAGES = ("sklearn.", "xgboost.", "pyspark.")
CLUSTER_PACKAGES = ("xgboost.spark.", "pyspark.")
OWN_PARAMETERS = re.compile(
    r".*(Col|_col|_cols)|family|feature_names|feature_types|missing|objective|early_stopping_rounds|.*repartition.*"
)
"""Parameters of those that Tailrace sets: what they read and predict, and how rows are dealt out."""


def estimator_problems(
    candidates: tuple[Candidate, ...], search: SearchBudget, problem: Problem, features: Features
) -> Iterator[str]:
    """A sentence for each estimator that cannot train, and for each parameter that it does not have or Tailrace sets.

    Imports the estimators' libraries, which takes seconds.
    """
    metric = problem.xgboost_metric(search.metric) if search.metric in problem.metrics else None
    for candidate in candidates:
        where = candidate.where
        if not candidate.estimator.startswith(ESTIMATOR_PACKAGES):
            yield f"{where}.estimator {candidate.estimator!r} is not of scikit-learn, XGBoost or Spark."
            continue
        if candidate.estimator.startswith(CLUSTER_PACKAGES):
            yield from _cluster_estimator(where, candidate, problem, metric)
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
        if wrong := _unfit(estimator, problem):
            yield f"{where}.estimator: {class_name} {wrong}."
            continue
        known = set(inspect.signature(estimator).parameters) | set(_parameters(estimator, candidate))
        if candidate.estimator.startswith("xgboost."):
            known |= set(xgboost_parameters.BY_KEYWORD)
            yield from xgboost_parameters.parameter_problems(candidate, features, problem, metric=metric, known=known)
        yield from _unknown_parameters(where, candidate, known)


def _unfit(estimator: Any, problem: Problem) -> str:
    """Why the class cannot answer the question, as the rest of a sentence; empty if it can."""
    from sklearn.base import ClassifierMixin, RegressorMixin

    if estimator.__name__.endswith("Ranker"):
        return f"ranks the rows of a group, which no outcome.problem asks for; use a {problem.estimators}"
    mixin = {"classifier": ClassifierMixin, "regressor": RegressorMixin}[problem.estimators]
    if not issubclass(estimator, mixin):
        return f"is no {problem.estimators}, and outcome.problem is {type(problem).__name__}; use one"
    if problem.lacks(estimator):
        return "gives no probabilities; use a classifier with predict_proba"
    return ""


def _cluster_estimator(where: str, candidate: Candidate, problem: Problem, metric: str | None) -> Iterator[str]:
    """The class is looked at, never made: making one takes a JVM."""
    if problem.adjusted_by:
        yield (
            f"{where}.estimator {candidate.estimator!r} trains on a cluster's executors together, and "
            f"outcome.problem.{problem.adjusted_by} needs a model that trains on one machine; use an estimator of "
            "scikit-learn or xgboost.XGBClassifier or XGBRegressor, or leave it out."
        )
        return
    known_estimators = problem.spark_estimators
    if not known_estimators:
        yield (
            f"{where}.estimator {candidate.estimator!r} trains on a cluster's executors together, which is possible "
            f"for yes/no questions only, and outcome.problem is {type(problem).__name__}; use an estimator of "
            "scikit-learn or xgboost.XGBClassifier or XGBRegressor."
        )
        return
    if candidate.estimator not in known_estimators:
        yield (
            f"{where}.estimator {candidate.estimator!r} is none of those that train on a cluster for outcome.problem "
            f"{type(problem).__name__}: {', '.join(known_estimators)}."
            f"{did_you_mean(candidate.estimator, known_estimators)}"
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
        yield from xgboost_parameters.set_elsewhere(candidate, problem, metric, known)


def _unknown_parameters(where: str, candidate: Candidate, known: set[str]) -> Iterator[str]:
    class_name = candidate.estimator.rpartition(".")[2]
    for part in ("parameters", "search"):
        for parameter in sorted(set(getattr(candidate, part)) - known):
            yield f"{where}.{part}: {class_name} has no parameter {parameter!r}.{did_you_mean(parameter, known)}"


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
