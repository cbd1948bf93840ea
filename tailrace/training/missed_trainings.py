"""Trainings that the schedule would have made and nobody did, as after an outage."""

from __future__ import annotations

import datetime as dt

from croniter import croniter

from tailrace.contracts import Services
from tailrace.lineage import run_tags
from tailrace.spec import PipelineSpec, zone


def missed(services: Services, spec: PipelineSpec) -> dt.date | None:
    """The last scheduled day that could have been trained on, if nothing was trained as of it or of a later day.

    A day can be trained on once its outcomes are published. None too for a pipeline without a schedule, and before its
    first day; days before the schedule's start or after its end are not scheduled.
    Raises TrackerUnavailable, LakeUnavailable.
    """
    outcomes = services.lake.days(spec.outcomes_table)
    schedule = spec.schedule
    if schedule.train is None or not outcomes:
        return None
    last = min(max(outcomes), schedule.end or dt.date.max)
    day_after = dt.datetime.combine(last + dt.timedelta(days=1), dt.time(), zone(spec))
    scheduled: dt.date = croniter(schedule.train, day_after).get_prev(dt.datetime).date()
    if scheduled <= min(outcomes) or scheduled < (schedule.start or dt.date.min):
        return None
    trained = (
        dt.date.fromisoformat(record.tags[run_tags.DAY])
        for record in services.tracker.runs(spec.name)
        if record.status == "finished" and run_tags.DAY in record.tags
    )
    return None if max(trained, default=dt.date.min) >= scheduled else scheduled
