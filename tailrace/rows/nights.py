"""Missed nights: days that were not landed, and without which every later build is refused."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

LOOK_BACK_DAYS = 28
"""How many days before its own day a build depends on, unless a source says otherwise."""


class Gaps(Protocol):
    """The part of the landing zone that this module needs."""

    def gaps_before(self, day: dt.date) -> tuple[dt.date, ...]:
        """Which of the days that a build of `day` looks back on lack a table's file. Raises LakeUnavailable."""
        ...


def missed(landing: Gaps, day: dt.date) -> tuple[dt.date, ...]:
    """The days that must be landed before `day` can be built, in order: its look-back days, and in turn theirs.

    Raises LakeUnavailable.
    """
    begins = day
    found: tuple[dt.date, ...] = ()
    while missing := landing.gaps_before(begins):
        begins, found = missing[0], (*missing, *found)
    return found
