"""Sentences on parameters that would be recorded with a model and not be in force in it, for every boosting library."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tailrace.problems import Problem
from tailrace.spec.domains import Choice
from tailrace.spec.training import Candidate


def set_by_tailrace(
    candidate: Candidate, sets: Mapping[str, tuple[object, str]], known: Collection[str]
) -> Iterator[str]:
    """A sentence for each given parameter that Tailrace sets itself, unless it is given the same value.

    `sets` maps parameters to their value, None for no fixed one, and to the reason.
    """
    where, given = candidate.where, {*candidate.parameters, *candidate.search}
    for parameter in sorted(set(sets) & set(known) & given):
        value, reason = sets[parameter]
        if parameter in candidate.search or repr(candidate.parameters[parameter]) != repr(value):
            part = "search" if parameter in candidate.search else "parameters"
            instead = "" if value is None else f" to {value!r}"
            yield f"{where}.{part}: Tailrace sets {parameter!r}{instead} ({reason}); leave it out."


def objective_problems(candidate: Candidate, problem: Problem, allowed: tuple[str, ...]) -> Iterator[str]:
    """A sentence if the objective is searched, or is none of those that answer the question."""
    where = candidate.where
    if "objective" in candidate.search:
        yield f"{where}.search has 'objective'; name a candidate for each objective, so that the winner's is plain."
    objective = candidate.parameters.get("objective", allowed[0])
    if objective not in allowed:
        yield (
            f"{where}.parameters: objective is {objective!r}; for outcome.problem {problem!r} it is one of "
            f"{', '.join(allowed)}, by default the first."
        )


def used_with(
    candidate: Candidate, library: str, needs: Mapping[str, tuple[str, Any]], defaults: Mapping[str, Any]
) -> Iterator[str]:
    """A sentence for each given parameter that the library uses only with another setting, which no trial has."""
    for parameter, (name, value) in needs.items():
        part = next((each for each in ("parameters", "search") if parameter in getattr(candidate, each)), "")
        if part and value not in values_of(candidate, name, defaults.get(name)):
            yield (
                f"{candidate.where}.{part}: {library} uses {parameter!r} with {name} {value!r}; write that too, or "
                f"leave {parameter!r} out."
            )


def values_of(candidate: Candidate, name: str, default: Any) -> tuple[Any, ...]:
    """Every value that trials may use for a parameter, if it is fixed or one of some options."""
    domain = candidate.search.get(name)
    if isinstance(domain, Choice):
        return domain.options
    return (candidate.parameters.get(name, default),)
