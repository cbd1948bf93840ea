"""Missed nights, which were not landed, and missed trainings, which did not run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tailrace import days
from tailrace.rows import nights


class LandedDays(nights.Gaps, Protocol):
    """The part of the landing zone that the pages need."""

    def last(self) -> dt.date | None:
        """The last day landed of any table. Raises LakeUnavailable."""
        ...


@dataclass(frozen=True)
class MissedNights:
    """Nights that must be caught up, in order, and the last day to build. `building`: a run is in progress."""

    missed: tuple[dt.date, ...]
    last: dt.date
    building: bool = False

    @property
    def first(self) -> dt.date:
        return self.missed[0]

    @property
    def sentence(self) -> str:
        one = len(self.missed) == 1
        subject = f"The night {self.first} was" if one else f"The nights {days.ranges(self.missed, ' to ')} were"
        return (
            f"{subject} missed: {'its' if one else 'their'} extracts were not landed. Features look back, so every "
            f"later night is refused until somebody catches up from {self.first} to {self.last}."
        )


@dataclass
class Found:
    """What was missed at the last look. `made`: by pipeline, a due training that exists."""

    landing: Callable[[], LandedDays] | None = None
    nights: MissedNights | None = None
    trainings: dict[str, dt.date] = field(default_factory=dict)
    made: dict[str, dt.date] = field(default_factory=dict)
