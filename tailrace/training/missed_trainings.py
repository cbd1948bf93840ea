"""Trainings that were scheduled but did not run, for example after an outage."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from croniter import croniter

from tailrace.contracts import LakeReader, RunRecord, Services
from tailrace.lineage import run_tags
from tailrace.spec import PipelineSpec, zone


def missed(services: Services, spec: PipelineSpec) -> dt.date | None:
    """The last scheduled day that could have been trained on, if no training as of it or of a later day exists.

    Raises TrackerUnavailable, LakeUnavailable.
    """
    day = due(services.lake, spec)
    return None if day is None or made(services.tracker.runs(spec.name), day) else day


def due(lake: LakeReader, spec: PipelineSpec) -> dt.date | None:
    """The last scheduled day that can be trained on: its outcomes are published.

    None for a pipeline without a schedule, and before its first day; days before the schedule's start or after its end
    are not scheduled. Raises LakeUnavailable.
    """
    outcomes = lake.days(spec.outcomes_table)
    schedule = spec.schedule
    if schedule.train is None or not outcomes:
        return None
    last = min(max(outcomes), schedule.end or dt.date.max)
    day_after = dt.datetime.combine(last + dt.timedelta(days=1), dt.time(), zone(spec))
    scheduled: dt.date = croniter(schedule.train, day_after).get_prev(dt.datetime).date()
    if scheduled <= min(outcomes) or scheduled < (schedule.start or dt.date.min):
        return None
    return scheduled


def made(runs: Iterable[RunRecord], day: dt.date) -> bool:
    """Whether one of the training runs was as of the day, or of a later one."""
    return any(
        dt.date.fromisoformat(run.tags[run_tags.DAY]) >= day
        for run in runs
        if run.status == "finished"
        and run_tags.DAY in run.tags
        and run.tags.get(run_tags.MODEL_KIND) != run_tags.BASELINE
    )
