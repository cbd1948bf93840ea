"""The task that follows published days: how they turned out, and how far they drifted."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from tailrace.orchestration import assets, task_results
from tailrace.orchestration.stage_task import stage_task
from tailrace.orchestration.task_run import Links, Rows, TaskRun

DOC = """### How {pipeline} is doing

After a day's predictions are published, writes the lake table `performance/{pipeline}`: for the day, how far its
features and scores moved from those the model was trained on; for it and the days before, how the predictions turned
out, as soon as outcomes are known. It runs by itself for every day that is published, by schedule, form or backfill.

**Again for a day:** trigger it with *Day*. It rewrites that day and the days before whose outcomes may have become
known since, and changes nothing where nothing new is known.
"""


def _day_page(run: TaskRun, rows: Rows) -> Links:
    return {task_results.PUBLISHED_DAY: task_results.published_day(run.pipeline, run.request.day)}


# A backfill of predictions is followed by as many of these: they take no slot that a night waits for.
@stage_task(
    links=_day_page,
    outlet=assets.performance,
    execution_timeout=dt.timedelta(hours=1),
    priority_weight=0,
    weight_rule="absolute",
)
def monitor(run: TaskRun) -> Sequence[Any]:
    """Write the performance of the days."""
    from tailrace.stages import monitor as stage

    requested, work = run.request, run.work
    made = [stage.run(work, day) for day in requested.span]
    extra = {"drift": made[-1].drift or "unknown", "outcomes": sum(one.outcomes for one in made)}
    pin = work.services.lake.pin(work.spec.performance_table, first=requested.first, last=requested.last)
    run.announce(requested.span, extra, pin=pin)
    return made
