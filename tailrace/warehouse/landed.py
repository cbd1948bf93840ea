"""What a build needs to know of the landing zone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Protocol


class Landed(Protocol):
    """The part of the landing zone that every build needs."""

    @property
    def location(self) -> str:
        """Path or URL of the tables' folders."""
        ...

    def check(self, first: dt.date, last: dt.date) -> None:
        """Raises UpstreamMissing, LandingRefused, LakeUnavailable."""
        ...

    # `lacking`, and `check` with tables that are left out, are needed only where the extracts of a table are missing.

    @property
    def look_back_days(self) -> int:
        """How many days before its own day a build depends on, at most."""
        ...

    def gaps_before(self, day: dt.date) -> tuple[dt.date, ...]:
        """Which of the days that a build of `day` looks back on were not landed; none before the first landed day.

        Raises LakeUnavailable.
        """
        ...

    def marks(self, first: dt.date, last: dt.date) -> Mapping[tuple[str, dt.date], str]:
        """For each landed table and day, a mark that changes when it is landed again. Raises LakeUnavailable."""
        ...

    def digests(self, first: dt.date, last: dt.date) -> Mapping[tuple[str, dt.date], str]:
        """SHA-256 of the landed rows of each table and day. Raises LandingRefused, LakeUnavailable."""
        ...

    def empty(self, first: dt.date, last: dt.date) -> Mapping[dt.date, tuple[str, ...]]:
        """The tables landed without rows, by day. Raises LandingRefused, LakeUnavailable."""
        ...
