"""Constraints on boosted trees, by the names of features: the same whatever the order of the columns is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tailrace.errors import did_you_mean
from tailrace.spec.columns import Features
from tailrace.spec.training import Candidate

MONOTONE, INTERACTION = "monotone_constraints", "interaction_constraints"


def constraint_problems(candidate: Candidate, features: Features) -> Iterator[str]:
    """A sentence for each thing that is wrong with the two constraints of a candidate."""
    for name in {MONOTONE, INTERACTION} & set(candidate.search):
        yield f"{candidate.where}.search has {name!r}, which is no range and no choice; fix it in .parameters."
    if (rising := candidate.parameters.get(MONOTONE)) is not None:
        yield from _monotone(f"{candidate.where}.parameters[{MONOTONE!r}]", rising, features)
    if (groups := candidate.parameters.get(INTERACTION)) is not None:
        yield from _interaction(f"{candidate.where}.parameters[{INTERACTION!r}]", groups, features)


def _monotone(where: str, rising: Any, features: Features) -> Iterator[str]:
    if not isinstance(rising, Mapping):
        yield (
            f"{where} is {rising!r}; name the features, for example {{{_example(features)[0]!r}: 1}}: 1 where the "
            "prediction may only rise with the feature, -1 where it may only fall."
        )
        return
    yield from _unknown(where, list(rising), features)
    for name, direction in rising.items():
        if direction not in (-1, 0, 1):
            yield f"{where}[{name!r}] is {direction!r}; it must be 1 (only rising), -1 (only falling) or 0."
        elif direction and features.columns.get(name) == "categorical":
            yield f"{where} has {name!r}, which is categorical; only with a number can a prediction rise or fall."


def _interaction(where: str, groups: Any, features: Features) -> Iterator[str]:
    named = isinstance(groups, list | tuple) and all(
        isinstance(group, list | tuple) and all(isinstance(name, str) for name in group) for group in groups
    )
    if not named:
        yield (
            f"{where} is {groups!r}; write groups of features' names, for example {[_example(features)]!r}: only "
            "features of one group are used together on a path of a tree."
        )
        return
    yield from _unknown(where, list(dict.fromkeys(name for group in groups for name in group)), features)


def _unknown(where: str, names: list[Any], features: Features) -> Iterator[str]:
    for name in names:
        if name not in features.columns:
            yield f"{where} has {name!r}, which is no feature.{did_you_mean(str(name), features.columns)}"


def _example(features: Features) -> list[str]:
    return list(features.of_kind("numeric") or features.columns)[:2]
