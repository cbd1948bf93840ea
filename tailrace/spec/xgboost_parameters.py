"""What `tailrace check` says of XGBoost's parameters: each one given is in force, or a sentence says why it is not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from tailrace.problems import Problem
from tailrace.spec.columns import Features
from tailrace.spec.constraints import constraint_problems
from tailrace.spec.in_force import objective_problems, set_by_tailrace, used_with, values_of
from tailrace.spec.training import Candidate

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
    defaults = {"booster": "gbtree", "objective": problem.xgboost_objectives[0]}
    yield from used_with(candidate, "XGBoost", BY_KEYWORD, defaults)
    yield from _categories(candidate, features)
    yield from constraint_problems(candidate, features)


def set_elsewhere(candidate: Candidate, problem: Problem, metric: str | None, known: set[str]) -> Iterator[str]:
    """A sentence for each parameter that other parts of the spec set; `metric` is the search's, in XGBoost's words."""
    sets = {**SETS, "eval_metric": (metric, SETS["eval_metric"][1])}
    yield from set_by_tailrace(candidate, sets, known | {"num_class"})
    yield from objective_problems(candidate, problem, problem.xgboost_objectives)


def _categories(candidate: Candidate, features: Features) -> Iterator[str]:
    categories = features.of_kind("categorical")
    for name, value in sorted(NUMBERS_ONLY):
        if categories and value in values_of(candidate, name, None):
            yield (
                f"{candidate.where}: XGBoost reads no categories with {name} {value!r}, and features.columns has "
                f"{', '.join(map(repr, categories))}; leave {name} out, or use an estimator of scikit-learn."
            )
