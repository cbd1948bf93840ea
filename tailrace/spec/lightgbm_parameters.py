"""What `tailrace check` says of LightGBM's parameters: each one given is in force, or a sentence says why it is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tailrace.problems import Problem
from tailrace.spec.columns import Features
from tailrace.spec.constraints import constraint_problems
from tailrace.spec.in_force import objective_problems, set_by_tailrace, used_with, values_of
from tailrace.spec.training import Candidate

OBJECTIVES: Mapping[str, tuple[str, ...]] = {
    "bernoulli": ("binary",),
    "categorical": ("multiclass",),
    "gaussian": ("regression", "regression_l1", "huber", "fair", "mape"),
    "poisson": ("poisson", "tweedie", "gamma"),
}
"""For each distribution of labels the objectives that a candidate may choose from; the first is the default."""

SETS: Mapping[str, tuple[object, str]] = {
    "class_weight": (None, "outcome.problem says how much a class counts"),
    "importance_type": ("gain", "importance is the share of the total gain"),
    "n_jobs": (None, "trials run in parallel, each on one thread; the winner is fitted on all cores"),
    "metric": (None, "search.metric says what trials are compared by"),
    "num_class": (None, "outcome.problem says which classes there are"),
    "categorical_feature": (None, "features.columns says which columns are categories"),
    "deterministic": (True, "the model is the same for any number of cores"),
    "force_col_wise": (True, "the model is the same for any number of cores"),
    "device_type": ("cpu", "the model is the same for any number of cores"),
    "kwargs": (None, "write each parameter by its own name"),
}
"""Parameters that Tailrace sets, with what they are and why: others would be recorded and not in force."""

FREE = frozenset(
    {
        *("early_stopping_rounds", "max_bin", "min_data_in_bin", "extra_trees", "path_smooth", "max_delta_step"),
        *("feature_fraction_bynode", "boost_from_average", "data_sample_strategy", "linear_tree"),
        *("cat_l2", "cat_smooth", "max_cat_threshold", "max_cat_to_onehot", "min_data_per_group"),
        *("monotone_constraints", "monotone_constraints_method", "monotone_penalty", "interaction_constraints"),
    }
)
"""Parameters that the classes take besides those of their signatures."""

BY_KEYWORD: Mapping[str, tuple[str, Any]] = {
    **dict.fromkeys(
        ("drop_rate", "skip_drop", "max_drop", "uniform_drop", "xgboost_dart_mode"), ("boosting_type", "dart")
    ),
    **dict.fromkeys(("top_rate", "other_rate"), ("data_sample_strategy", "goss")),
    **dict.fromkeys(("scale_pos_weight", "is_unbalance"), ("objective", "binary")),
    "linear_lambda": ("linear_tree", True),
    "poisson_max_delta_step": ("objective", "poisson"),
    "tweedie_variance_power": ("objective", "tweedie"),
    "alpha": ("objective", "huber"),
    "fair_c": ("objective", "fair"),
}
"""More of them, each with the one setting with which LightGBM uses it."""

NOT_WITH: Mapping[str, tuple[str, str]] = {
    "early_stopping_rounds": ("dart", "later rounds change earlier trees, so it grows all of them"),
    "learning_rate": ("rf", "the trees of a random forest count alike"),
}
"""Parameters that LightGBM does not use with this boosting_type, and why."""


def known_names() -> set[str]:
    """The parameters besides those of the classes' signatures."""
    return {*FREE, *BY_KEYWORD, *SETS} - {"kwargs"}


def parameter_problems(candidate: Candidate, features: Features, problem: Problem) -> Iterator[str]:
    """A sentence for each parameter that would not be in force, or not as it says."""
    allowed = OBJECTIVES[problem.distribution]
    yield from set_by_tailrace(candidate, SETS, SETS)
    yield from objective_problems(candidate, problem, allowed)
    yield from used_with(candidate, "LightGBM", BY_KEYWORD, {"boosting_type": "gbdt", "objective": allowed[0]})
    yield from _idle(candidate)
    yield from constraint_problems(candidate, features)


def _idle(candidate: Candidate) -> Iterator[str]:
    given = {**candidate.search, **candidate.parameters}
    if "subsample" in given and not given.get("subsample_freq"):
        yield (
            f"{candidate.where}: LightGBM uses 'subsample' with a subsample_freq of 1 or more; write that too, or "
            "leave 'subsample' out."
        )
    for parameter, (boosting, why) in NOT_WITH.items():
        if given.get(parameter) is not None and boosting in values_of(candidate, "boosting_type", "gbdt"):
            yield (
                f"{candidate.where}: LightGBM does not use {parameter!r} with boosting_type {boosting!r} ({why}); "
                "leave it out."
            )
