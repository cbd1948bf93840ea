"""Which days of a warehouse run concern a pipeline: those of its schedule, and those on which its outcomes come."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from tailrace import days
from tailrace.spec import PipelineSpec, registry


def of(spec: PipelineSpec, first: dt.date, last: dt.date) -> tuple[dt.date, dt.date] | None:
    """The first and last of the days first..last that concern the pipeline; None if none does.

    The days begin with `schedule.start`, and end when the outcomes of `schedule.end` have come.
    """
    start, end = spec.schedule.start, spec.schedule.end
    begins = max(first, start) if start else first
    ends = min(last, _last_outcomes(spec, end)) if end else last
    return (begins, ends) if begins <= ends else None


def absent(first: dt.date, last: dt.date) -> tuple[str, ...]:
    """The project's pipelines that none of the days concerns. One whose spec is wrong is not among them."""
    specs, _ = registry.load(estimators=False)
    return tuple(spec.name for spec in specs if of(spec, first, last) is None)


def sentence(specs: Sequence[PipelineSpec], first: dt.date, last: dt.date) -> str:
    """Says that these pipelines have no part in a run of the days, why, and how to load them nevertheless."""
    named = " and ".join(f"{spec.name} ({_bounds(spec)})" for spec in specs)
    to = f" --to {last}" if last > first else ""
    return (
        f"The schedule of {named} has no part in {days.ranges(list(days.span(first, last)), ' to ')}. To load its "
        f"tables of these days nevertheless, name it: tailrace warehouse {specs[0].name} --date {first}{to}."
    )


def _bounds(spec: PipelineSpec) -> str:
    start, end = spec.schedule.start, spec.schedule.end
    if start and end:
        return f"{start} to {end}"
    return f"from {start}" if start else f"until {end}"


def _last_outcomes(spec: PipelineSpec, end: dt.date) -> dt.date:
    return end + dt.timedelta(days=spec.outcome.last_lag)
