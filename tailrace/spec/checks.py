"""Checks that several parts of a spec share. Each yields a sentence for what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tailrace.errors import did_you_mean

LATER: Mapping[str, bool] = {"left out while it has its default": True}
"""Marks a field that release 0.1 did not have: a spec that does not use it keeps its digest."""

MOST_DAYS = 36_525
"""A hundred years: further back no calendar goes."""


def one_of(where: str, value: str, allowed: tuple[str, ...]) -> Iterator[str]:
    if value not in allowed:
        yield f"{where} is {value!r}; it must be one of {', '.join(allowed)}.{did_you_mean(value, allowed)}"


def at_most(where: str, value: int, most: int) -> Iterator[str]:
    if value > most:
        yield f"{where} is {value}; at most {most:,} is possible."


def at_least(where: str, value: int, least: int) -> Iterator[str]:
    if value < least:
        yield f"{where} is {value}; it must be {least} or more."


def share(where: str, value: float) -> Iterator[str]:
    if not 0 <= value <= 1:
        yield f"{where} is {value}; it must be between 0 and 1."


def by_case(names: Iterable[str]) -> dict[str, list[str]]:
    """The names that are one name to a database, by that name in lower case."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.lower(), []).append(name)
    return found
