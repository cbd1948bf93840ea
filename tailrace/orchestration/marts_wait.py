"""The task that waits for marts that are built elsewhere: between looks it holds no worker's slot."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout

from tailrace.orchestration.task_run import TaskRun
from tailrace.settings import DbtSettings

log = logging.getLogger("tailrace")

POKE = dt.timedelta(minutes=1)


class MartsWait(BaseSensorOperator):
    """Waits until the marts of the run's pipelines have its last day, for [dbt] wait_minutes at most.

    If some have it by then, it succeeds, and the build stops the pipelines that need the others.
    """

    def __init__(self, *, wait: dt.timedelta, **options: Any) -> None:
        super().__init__(
            task_id="wait",
            mode="reschedule",
            poke_interval=POKE.total_seconds(),
            timeout=wait.total_seconds(),
            doc_md="Wait for the marts that are built elsewhere.",
            **options,
        )

    def execute(self, context: Any) -> None:
        """See BaseSensorOperator. Fails for good, with a sentence, if no mart came in time."""
        try:
            super().execute(context)
        except AirflowSensorTimeout:
            found = _awaited(context)
            if found.nothing_came:
                raise AirflowFailException(found.sentence) from None
            log.warning("%s", found.sentence)

    def poke(self, context: Any) -> bool:
        """Whether all are there."""
        found = _awaited(context)
        if found.late:
            log.info("%s", found.sentence)
        return not found.late


def wait(settings: DbtSettings) -> MartsWait:
    """The task, for the present DAG."""
    return MartsWait(wait=dt.timedelta(minutes=settings.wait_minutes))


def _awaited(context: Any) -> Any:
    from tailrace.rows import scheduled_days
    from tailrace.stages import build

    run = TaskRun(context)
    requested = run.request
    absent = () if requested.pipelines else scheduled_days.absent(requested.first, requested.last)
    without, only = build.scope(absent, requested.pipelines)
    warehouse: Any = run.services.warehouse
    return warehouse.awaited(requested.last, without=without, only=only)
