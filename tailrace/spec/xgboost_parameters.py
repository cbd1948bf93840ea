"""What `tailrace check` says of XGBoost's parameters: each one given is in force, or a sentence says why it is not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from tailrace.problems import Problem
from tailrace.spec.columns import Features
from tailrace.spec.constraints import constraint_problems
from tailrace.spec.training import Candidate, Choice

SETS: Mapping[str, tuple[object, str]] = {
    "eval_metric": (None, "search.metric says what trials are compared by"),
    "num_class": (None, "outcome.problem says which classes there are"),
    "missing": (math.nan, "nulls are what is missing; make such values null in dbt"),
    "enable_categorical": (True, "features.columns says which columns are categories"),
    "feature_types": (None, "features.columns says which columns are categories"),
    "feature_weights": (None, "all features are drawn alike"),
    "importance_type": ("total_gain", "importance is the share of the total gain"),
    "callbacks": (None, "the search watches the trials"),
    "n_jobs": (None, "trials run in parallel, each on one thread; the winner is fitted on all cores"),
    "validate_parameters": (True, "the dry run says which parameters XGBoost does not use"),
    "kwargs": (None, "write each parameter by its own name"),
}
"""Parameters that Tailrace sets, with what they are and why: others would be recorded and not in force."""

OF_A_FOREST: Mapping[str, tuple[object, str]] = {
    "num_parallel_tree": (None, "n_estimators is the number of trees"),
    "early_stopping_rounds": (None, "a random forest grows all of its trees in one round"),
}
"""The same, for XGBRFClassifier and XGBRFRegressor."""

BY_KEYWORD: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("rate_drop", "skip_drop", "sample_type", "normalize_type", "one_drop"), ("booster", "dart")),
    **dict.fromkeys(("updater", "feature_selector"), ("booster", "gblinear")),
    "tweedie_variance_power": ("objective", "reg:tweedie"),
    "huber_slope": ("objective", "reg:pseudohubererror"),
}
"""Parameters that the classes take besides those of their signatures, and the one setting with which each is used."""

NUMBERS_ONLY = {("booster", "gblinear"), ("tree_method", "exact")}
"""Settings with which XGBoost reads no categories."""


def parameter_problems(
    candidate: Candidate, features: Features, problem: Problem, *, metric: str | None, known: set[str]
) -> Iterator[str]:
    """A sentence for each parameter that would not be in force, or not as it says."""
    yield from set_elsewhere(candidate, problem, metric, known)
    if "XGBRF" in candidate.estimator:
        yield from set_by_tailrace(candidate, OF_A_FOREST, known)
    yield from _used_with(candidate, problem)
    yield from _categories(candidate, features)
    yield from constraint_problems(candidate, features)


def set_elsewhere(candidate: Candidate, problem: Problem, metric: str | None, known: set[str]) -> Iterator[str]:
    """A sentence for each parameter that other parts of the spec set; `metric` is the search's, in XGBoost's words."""
    yield from set_by_tailrace(candidate, {**SETS, "eval_metric": (metric, SETS["eval_metric"][1])}, known)
    yield from _objective(candidate, problem)


def set_by_tailrace(candidate: Candidate, sets: Mapping[str, tuple[object, str]], known: set[str]) -> Iterator[str]:
    """A sentence for each given parameter that Tailrace sets itself, unless it is given the same value."""
    where, given = candidate.where, {*candidate.parameters, *candidate.search}
    for parameter in sorted(set(sets) & (known | {"num_class"}) & given):
        value, reason = sets[parameter]
        if parameter in candidate.search or repr(candidate.parameters[parameter]) != repr(value):
            part = "search" if parameter in candidate.search else "parameters"
            instead = "" if value is None else f" to {value!r}"
            yield f"{where}.{part}: Tailrace sets {parameter!r}{instead} ({reason}); leave it out."


def _objective(candidate: Candidate, problem: Problem) -> Iterator[str]:
    where = candidate.where
    if "objective" in candidate.search:
        yield f"{where}.search has 'objective'; name a candidate for each objective, so that the winner's is plain."
    objective, allowed = (
        candidate.parameters.get("objective", problem.xgboost_objectives[0]),
        problem.xgboost_objectives,
    )
    if objective not in allowed:
        yield (
            f"{where}.parameters: objective is {objective!r}; for outcome.problem {problem!r} it is one of "
            f"{', '.join(allowed)}, by default the first."
        )


def _used_with(candidate: Candidate, problem: Problem) -> Iterator[str]:
    defaults = {"booster": "gbtree", "objective": problem.xgboost_objectives[0]}
    for parameter, (name, value) in BY_KEYWORD.items():
        part = next((each for each in ("parameters", "search") if parameter in getattr(candidate, each)), "")
        if part and value not in values_of(candidate, name, defaults[name]):
            yield (
                f"{candidate.where}.{part}: XGBoost uses {parameter!r} with {name} {value!r}; write that too, or leave "
                f"{parameter!r} out."
            )


def _categories(candidate: Candidate, features: Features) -> Iterator[str]:
    categories = features.of_kind("categorical")
    for name, value in sorted(NUMBERS_ONLY):
        if categories and value in values_of(candidate, name, None):
            yield (
                f"{candidate.where}: XGBoost reads no categories with {name} {value!r}, and features.columns has "
                f"{', '.join(map(repr, categories))}; leave {name} out, or use an estimator of scikit-learn."
            )


def values_of(candidate: Candidate, name: str, default: Any) -> tuple[Any, ...]:
    """Every value that trials may use for a parameter, if it is fixed or one of some options."""
    domain = candidate.search.get(name)
    if isinstance(domain, Choice):
        return domain.options
    return (candidate.parameters.get(name, default),)
