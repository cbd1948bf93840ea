"""Looks for nights and trainings that were missed during an outage."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from tailrace.errors import TailraceError
from tailrace.pages.activity import Night
from tailrace.pages.caching import Tracked
from tailrace.pages.missed_work import LandedDays, MissedNights
from tailrace.pages.sources import Sources
from tailrace.rows import nights
from tailrace.spec import PipelineSpec
from tailrace.training import missed_trainings


def look_for_nights(sources: Sources) -> None:
    """Find the missed nights and keep them for the pages. Raises LakeUnavailable."""
    found = sources.missed
    found.nights = of_landing(found.landing(), sources.activity.night()) if found.landing else None


def look_for_trainings(sources: Sources, specs: Sequence[PipelineSpec]) -> None:
    """Find the missed trainings and keep them; the tracker is read only if one may be missed. Raises LakeUnavailable.

    If the tracker does not answer, the earlier result is kept.
    """
    found = sources.missed
    for spec in specs:
        due = missed_trainings.due(sources.lake, spec)
        if due is None or found.made.get(spec.name) == due:
            found.trainings.pop(spec.name, None)
            continue
        tracked = sources.tracker.of(spec.name)
        if tracked.problem:
            return
        if training(sources, spec, tracked) is None:
            found.made[spec.name] = due
            found.trainings.pop(spec.name, None)
        else:
            found.trainings[spec.name] = due


def nights_now(sources: Sources) -> MissedNights | None:
    """The missed nights. If there were any, they are looked for again: somebody may have caught up since."""
    if sources.missed.nights is not None:
        try:
            look_for_nights(sources)
        except TailraceError:
            # the cache warmer logs it; the last result is still the best answer
            return sources.missed.nights
    return sources.missed.nights


def of_landing(landing: LandedDays, night: Night) -> MissedNights | None:
    """The nights without which the next one is refused, by the same rule as in the build. Raises LakeUnavailable.

    If there is no next night, for example after the end of the schedule, only days between landed ones are missed.
    """
    landed = landing.last()
    if landed is None:
        return None
    missed = nights.missed(landing, night.day or landed + dt.timedelta(days=1))
    return MissedNights(missed, max(missed[-1], landed), night.building) if missed else None


def training(sources: Sources, spec: PipelineSpec, tracked: Tracked) -> dt.date | None:
    """The day of a missed training, as in `tailrace list`; also None if the tracker did not answer.

    Raises LakeUnavailable.
    """
    due = missed_trainings.due(sources.lake, spec)
    if due is None or tracked.problem or missed_trainings.made((tracked.runs or {}).values(), due):
        return None
    return due
