"""What `tailrace check` says of weights: every candidate learns with them, and none weighs its classes twice."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

from tailrace.problems import Problem
from tailrace.spec.columns import Features
from tailrace.spec.nested import Estimator, made
from tailrace.spec.training import Candidate

OWN = ("class_weight", "scale_pos_weight", "is_unbalance")
"""Parameters by which an estimator weighs classes itself."""

PASS_ON = re.compile(r"(Stacking|Voting)(Classifier|Regressor)|.*SearchCV|RFE|TransformedTargetRegressor")
"""Estimators whose fit names no sample_weight and gives it to those inside them; others raise an error for it."""


def weight_problems(candidate: Candidate, problem: Problem, features: Features) -> Iterator[str]:
    """A sentence if an estimator would learn without the weights, and for each parameter that weighs classes again."""
    asked = "features.weight" if features.weight else "outcome.problem.class_weight" if problem.weighs_classes else ""
    instance = _instance(candidate) if asked and candidate.library == "sklearn" else None
    if problem.weighs_classes:
        yield from _weighed_twice(candidate, instance)
    if without := _without_weights(instance):
        yield (
            f"{candidate.where}.estimator: {without} learns without weights of rows (its fit has no sample_weight), so "
            f"{asked} would not be in force; use another estimator, or leave the weights out."
        )


def _weighed_twice(candidate: Candidate, instance: Any) -> Iterator[str]:
    inside = {} if instance is None else instance.get_params(deep=True)
    given = {**inside, **candidate.parameters, **candidate.searched}
    for name in sorted(name for name, value in given.items() if name.rpartition("__")[2] in OWN and value is not None):
        part = "search" if name in candidate.searched else "parameters"
        yield (
            f"{candidate.where}.{part} has {name!r}, and outcome.problem.class_weight weighs the classes already; keep "
            "one of the two."
        )


def _instance(candidate: Candidate) -> Any:
    """The estimator with its fixed parameters; None if it cannot be made so, which the dry run tells."""
    with contextlib.suppress(TypeError, AttributeError, ValueError, NotImplementedError):
        return made(Estimator(candidate.estimator, candidate.parameters))
    return None


def _without_weights(estimator: Any) -> str:
    """The name of the first estimator, at any depth, that would learn without weights; empty if all learn with them."""
    if estimator is None:
        return ""
    named = "sample_weight" in inspect.signature(estimator.fit).parameters
    inner = list(_inner(estimator))
    if not named and not (inner and PASS_ON.fullmatch(type(estimator).__name__)):
        return type(estimator).__name__
    return next((name for each in inner if (name := _without_weights(each))), "")


def _inner(estimator: Any) -> Iterator[Any]:
    """The predictors in an estimator's parameters."""
    for value in estimator.get_params(deep=False).values():
        for each in value if isinstance(value, list | tuple) else (value,):
            found = each[1] if isinstance(each, tuple) and len(each) > 1 else each
            if hasattr(found, "fit") and hasattr(found, "predict") and not inspect.isclass(found):
                yield found
