"""Which estimators can train, and which of their parameters Tailrace sets itself."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tailrace import extras
from tailrace.errors import did_you_mean
from tailrace.problems import Problem
from tailrace.spec import lightgbm_parameters, xgboost_parameters
from tailrace.spec.columns import Features
from tailrace.spec.in_force import set_by_tailrace
from tailrace.spec.nested import TRANSFORMERS, Estimator, made, replaced
from tailrace.spec.one_machine import cluster_problems
from tailrace.spec.row_weights import weight_problems
from tailrace.spec.training import Candidate, SearchBudget

ESTIMATOR_PACKAGES = ("sklearn.", "xgboost.", "lightgbm.", "pyspark.")
CLUSTER_PACKAGES = ("xgboost.spark.", "pyspark.")
OWN_PARAMETERS = re.compile(
    r".*(Col|_col|_cols)|feature_names|feature_types|missing|early_stopping_rounds|.*repartition.*"
)
"""Parameters of those that Tailrace sets: what they read and predict, and how rows are dealt out."""

SPARK_SETS: Mapping[str, tuple[object, str]] = {
    **dict.fromkeys(("family", "variancePower"), (None, "outcome.problem says how labels are distributed")),
    **dict.fromkeys(("link", "linkPower"), (None, "outcome.problem.link is it")),
}
"""Parameters of Spark ML that Tailrace sets, and why."""


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
            yield f"{where}.estimator {candidate.estimator!r} is not of scikit-learn, XGBoost, LightGBM or Spark."
            continue
        if candidate.estimator.startswith(CLUSTER_PACKAGES):
            if faults := list(cluster_problems(candidate, problem, features)):
                yield from faults
                continue
            yield from _cluster_estimator(where, candidate, problem, metric)
            continue
        if sentence := extras.absent(f"{where}.estimator {candidate.estimator!r}", candidate.library):
            yield sentence
            continue
        estimator, fault = _imported(f"{where}.estimator", candidate.estimator)
        if fault:
            yield fault
            continue
        if faults := [fault for path, each in candidate.nested if (fault := _nested_class(candidate, path, each)[1])]:
            yield from faults
            continue  # what else is in there can be known only then
        if wrong := _unfit(estimator, candidate, problem, features):
            yield f"{where}.estimator: {estimator.__name__} {wrong}."
            continue
        for path, each in candidate.nested:
            yield from _nested_parameters(candidate, path, each)
        known = set(inspect.signature(estimator).parameters) | set(_parameters(estimator, candidate.parameters))
        if candidate.estimator.startswith("xgboost."):
            known |= set(xgboost_parameters.BY_KEYWORD)
            yield from xgboost_parameters.parameter_problems(candidate, features, problem, metric=metric, known=known)
        elif candidate.estimator.startswith("lightgbm."):
            known |= lightgbm_parameters.known_names()
            yield from lightgbm_parameters.parameter_problems(candidate, features, problem)
        yield from _unknown_parameters(where, candidate, known)
        yield from weight_problems(candidate, problem, features)


def _imported(where: str, path: str, methods: tuple[str, ...] = ("get_params",)) -> tuple[Any, str]:
    """The class with one of these methods, or a sentence that says why there is none."""
    module_name, _, class_name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, OSError) as error:  # OSError: a library of the system is absent, such as libgomp
        return None, f"{where} {path!r} does not import: {error}."

    def usable(it: Any) -> bool:
        return inspect.isclass(it) and any(hasattr(it, method) for method in methods)

    found = getattr(module, class_name, None)
    if usable(found):
        return found, ""
    nearest = did_you_mean(class_name, [name for name, it in vars(module).items() if usable(it)])
    return None, f"{where}: {module_name} has no estimator {class_name!r}.{nearest}"


def _nested_class(candidate: Candidate, path: str, each: Estimator) -> tuple[Any, str]:
    """The class of an estimator inside a candidate's parameters, or a sentence that says why there is none."""
    where = candidate.where_nested(path, each)
    if not each.path.startswith("sklearn."):
        return None, f"{where}: {each.path!r} is not of scikit-learn; only its estimators stand inside others."
    found, fault = _imported(where, each.path, ("get_params", "split"))
    prepares = path in {f"{TRANSFORMERS}__{column}" for column in candidate.transformers}
    if not fault and prepares and not hasattr(found, "transform"):
        return None, f"{where}: {found.__name__} is no transformer (it has no transform)."
    return found, fault


def _nested_parameters(candidate: Candidate, path: str, each: Estimator) -> Iterator[str]:
    """A sentence for each parameter that an estimator inside a candidate's parameters does not have."""
    where, estimator = candidate.where_nested(path, each), _nested_class(candidate, path, each)[0]
    known = set(inspect.signature(estimator).parameters) | set(_parameters(estimator, each.parameters))
    for name in sorted({*each.parameters, *each.search} - known):
        yield f"{where}: {estimator.__name__} has no parameter {name!r}.{did_you_mean(name, known)}"


def _unfit(estimator: Any, candidate: Candidate, problem: Problem, features: Features) -> str:
    """Why the class cannot answer the question, as the rest of a sentence; empty if it can."""
    from sklearn.base import ClassifierMixin, RegressorMixin

    if estimator.__name__.endswith("Ranker"):
        return f"ranks the rows of a group, which no outcome.problem asks for; use a {problem.estimators}"
    mixin = {"classifier": ClassifierMixin, "regressor": RegressorMixin}[problem.estimators]
    tags, why = _tags(candidate)
    if tags is None and not issubclass(estimator, mixin):
        return f"cannot be made with these parameters, so it is unknown whether it is a {problem.estimators} ({why})"
    if not issubclass(estimator, mixin) and tags.estimator_type != problem.estimators:
        return f"is no {problem.estimators}, and outcome.problem is {type(problem).__name__}; use one"
    if lacking := problem.lacks(estimator):
        return f"{lacking}; use another classifier"
    return "" if tags is None else _unlike_a_pipeline(tags, features)


def _unlike_a_pipeline(tags: Any, features: Features) -> str:
    """Why an estimator with these tags of scikit-learn cannot learn from what a pipeline has, as `_unfit`."""
    if not tags.target_tags.single_output:
        return "learns several labels at once, and a pipeline has one; use an estimator for one label"
    if tags.input_tags.one_d_array and (len(features.columns) > 1 or not features.of_kind("numeric")):
        return "reads one number alone; use an estimator for several features, or keep one numeric feature"
    if tags.input_tags.categorical and tags.input_tags.positive_only:
        return (
            "reads nothing but codes of categories, and fails on categories that it has not seen; use BernoulliNB or "
            "MultinomialNB, which receive a column for each category"
        )
    return ""


def _tags(candidate: Candidate) -> tuple[Any, str]:
    """scikit-learn's tags of the candidate with what is inside it, or None and why it cannot be made."""
    from sklearn.utils import get_tags

    own = {name: value for name, value in candidate.parameters.items() if "__" not in name}
    try:
        return get_tags(made(Estimator(candidate.estimator, own))), ""
    except (TypeError, AttributeError, ValueError, NotImplementedError) as error:
        return None, str(error).rstrip(".")


def _cluster_estimator(where: str, candidate: Candidate, problem: Problem, metric: str | None) -> Iterator[str]:
    """The class is looked at, never made: making one takes a JVM."""
    known_estimators = problem.spark_estimators
    if candidate.estimator not in known_estimators:
        if lacking := problem.spark_lacks.get(candidate.estimator):
            yield f"{where}.estimator: {candidate.estimator.rpartition('.')[2]} {lacking}."
            return
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
    yield from set_by_tailrace(candidate, SPARK_SETS, known)
    if candidate.estimator.startswith("xgboost."):
        yield from xgboost_parameters.set_elsewhere(candidate, problem, metric, known)


def _unknown_parameters(where: str, candidate: Candidate, known: set[str]) -> Iterator[str]:
    class_name = candidate.estimator.rpartition(".")[2]
    for part in ("parameters", "search"):
        for parameter in sorted(set(getattr(candidate, part)) - known):
            yield f"{where}.{part}: {class_name} has no parameter {parameter!r}.{did_you_mean(parameter, known)}"


def _parameters(estimator: Any, parameters: Mapping[str, Any]) -> list[str]:
    """The estimator's parameters, and those of the estimators that are put into it, such as estimator__C."""
    own = {name: value for name, value in parameters.items() if "__" not in name}
    names: list[str] = []
    for given in ({}, own):
        # A meta-estimator cannot be made without others; what is wrong with those is told when it is fitted.
        with contextlib.suppress(TypeError, AttributeError, ValueError, ImportError, NotImplementedError):
            found = estimator(**{name: replaced(value, made) for name, value in given.items()}).get_params()
            names += [name for name in found if "__" in name or not given]
    return names
