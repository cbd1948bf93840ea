"""Missed nights: days that were not landed, and without which every later build is refused."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

LOOK_BACK_DAYS = 28
"""How many days before its own day a build depends on."""


class Gaps(Protocol):
    """The part of the landing zone that this module needs."""

    def gaps(self, first: dt.date, last: dt.date) -> tuple[dt.date, ...]:
        """Which of the days first..last lack the file of a table. Raises LakeUnavailable."""
        ...


def missed(
    landing: Gaps, day: dt.date, look_back: dt.timedelta = dt.timedelta(days=LOOK_BACK_DAYS)
) -> tuple[dt.date, ...]:
    """The days that must be landed before `day` can be built, in order: its look-back days, and in turn theirs.

    Raises LakeUnavailable.
    """
    begins = day
    found: tuple[dt.date, ...] = ()
    while missing := landing.gaps(begins - look_back, begins - dt.timedelta(days=1)):
        begins, found = missing[0], (*missing, *found)
    return found
