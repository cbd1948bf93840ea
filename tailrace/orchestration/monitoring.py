"""The task that follows published days: how they turned out, and how far they drifted."""

from __future__ import annotations

import datetime as dt
from typing import Any

from airflow.sdk import get_current_context, task

from tailrace.orchestration import assets, request, task_results
from tailrace.orchestration.tasks import services
from tailrace.spec import zone

DOC = """### How {pipeline} is doing

After a day's predictions are published, writes the lake table `performance/{pipeline}`: for the day, how far its
features and scores moved from those the model was trained on; for it and the days before, how the predictions turned
out, as soon as outcomes are known. It runs by itself for every day that is published, by schedule, form or backfill.

**Again for a day:** trigger it with *Day*. It rewrites that day and the days before whose outcomes may have become
known since, and changes nothing where nothing new is known.
"""


def monitor(pipeline: str) -> Any:
    """A task that writes the performance of the days."""
    outlet = assets.performance(pipeline)

    # A backfill of predictions is followed by as many of these: they take no slot that a night waits for.
    @task(
        task_id="monitor",
        outlets=[outlet],
        execution_timeout=dt.timedelta(hours=1),
        priority_weight=0,
        weight_rule="absolute",
    )
    def monitor() -> None:
        from tailrace.spec import registry
        from tailrace.stages import monitor as stage

        context = get_current_context()
        asked, wired, spec = request.read(context), services(), registry.get(pipeline)
        run, record = request.run_id(context), asked.record()
        made = [stage.run(wired, spec, day, run, asked=record) for day in asked.span]
        task_results.leave(context, made, {task_results.PUBLISHED_DAY: task_results.published_day(pipeline, asked.day)})
        extra = {"drift": made[-1].drift or "unknown", "outcomes": sum(one.outcomes for one in made)}
        pin = wired.lake.pin(spec.performance_table, first=asked.first, last=asked.last)
        assets.announce(context, outlet, asked.span, extra, zone=zone(spec), pin=pin)

    return monitor()
