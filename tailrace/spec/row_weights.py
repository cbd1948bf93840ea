"""What `tailrace check` says of weights: every candidate learns with them, and none weighs its classes twice."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

from tailrace.problems import Problem
from tailrace.spec.columns import Features
from tailrace.spec.nested import Estimator, made
from tailrace.spec.training import Candidate

OWN = ("class_weight", "scale_pos_weight", "is_unbalance")
"""Parameters by which an estimator weighs classes itself."""


def weight_problems(candidate: Candidate, problem: Problem, features: Features) -> Iterator[str]:
    """A sentence if an estimator would learn without the weights, and for each parameter that weighs classes again."""
    if problem.weighs_classes:
        yield from _weighed_twice(candidate)
    asked = "features.weight" if features.weight else "outcome.problem.class_weight" if problem.weighs_classes else ""
    if asked and candidate.estimator.startswith("sklearn.") and (without := _without_weights(_instance(candidate))):
        yield (
            f"{candidate.where}.estimator: {without} learns without weights of rows (its fit has no sample_weight), so "
            f"{asked} would not be in force; use another estimator, or leave the weights out."
        )


def _weighed_twice(candidate: Candidate) -> Iterator[str]:
    for part in ("parameters", "search"):
        for name, value in getattr(candidate, part).items():
            if name.rpartition("__")[2] in OWN and value is not None:
                yield (
                    f"{candidate.where}.{part} has {name!r}, and outcome.problem.class_weight weighs the classes "
                    "already; keep one of the two."
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
    parameters = inspect.signature(estimator.fit).parameters.values()
    inner = list(_inner(estimator))
    passed_on = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters) and not _is_pipeline(estimator)
    if not (passed_on and inner) and "sample_weight" not in {each.name for each in parameters}:
        return type(estimator).__name__
    return next((name for each in inner if (name := _without_weights(each))), "")


def _is_pipeline(estimator: Any) -> bool:
    """A Pipeline takes weights for one of its steps by the step's name only, which no outer estimator knows."""
    return hasattr(estimator, "named_steps")


def _inner(estimator: Any) -> Iterator[Any]:
    """The predictors in an estimator's parameters."""
    for value in estimator.get_params(deep=False).values():
        for each in value if isinstance(value, list | tuple) else (value,):
            found = each[1] if isinstance(each, tuple) and len(each) > 1 else each
            if hasattr(found, "fit") and hasattr(found, "predict") and not inspect.isclass(found):
                yield found
