"""The task that waits for marts that are built elsewhere: between looks it holds no worker's slot."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout

from tailrace.orchestration import upstream_events
from tailrace.orchestration.task_run import TaskRun
from tailrace.settings import DbtSettings

log = logging.getLogger("tailrace")

POKE = dt.timedelta(minutes=1)


class MartsWait(BaseSensorOperator):
    """Waits for the marts of the run's pipelines, for [dbt] wait_minutes at most.

    It waits for what `wait_for` names: events of assets and runs of DAGs of the run's last day. If it names nothing,
    it waits until the marts have that day; if some have it when the time is over, it succeeds, and the build stops the
    pipelines that need the others.
    """

    def __init__(self, *, wait: dt.timedelta, wait_for: Sequence[str] = (), **options: Any) -> None:
        super().__init__(
            task_id="wait",
            mode="reschedule",
            poke_interval=POKE.total_seconds(),
            timeout=wait.total_seconds(),
            doc_md="Wait for the marts that are built elsewhere.",
            **options,
        )
        self.wait_for = tuple(wait_for)

    def execute(self, context: Any) -> None:
        """See BaseSensorOperator. Fails for good, with a sentence, if nothing came in time."""
        try:
            super().execute(context)
        except AirflowSensorTimeout:
            if self.wait_for:
                raise AirflowFailException(self._late(context, _lacking(self.wait_for, context))) from None
            found = _awaited(context)
            if found.nothing_came:
                raise AirflowFailException(found.sentence) from None
            log.warning("%s", found.sentence)

    def poke(self, context: Any) -> bool:
        """Whether all are there."""
        if self.wait_for:
            lacking = _lacking(self.wait_for, context)
            for upstream, seen in lacking.items():
                log.info("%s: %s.", upstream, seen)
            return not lacking
        found = _awaited(context)
        if found.late:
            log.info("%s", found.sentence)
        return not found.late

    def _late(self, context: Any, lacking: Mapping[str, str]) -> str:
        day = TaskRun(context).request.last
        listed = "\n".join(f"  - {upstream}: {seen}" for upstream, seen in lacking.items())
        return (
            f"What builds the marts elsewhere has not built {day}:\n{listed}\n"
            f"Waited for up to {self.timeout / 60:.4g} minutes ([dbt] wait_minutes) for all that [dbt] wait_for names. "
            f"See what builds them, then run {day} again."
        )


def wait(settings: DbtSettings) -> MartsWait:
    """The task, for the present DAG."""
    return MartsWait(wait=dt.timedelta(minutes=settings.wait_minutes), wait_for=settings.wait_for)


def _lacking(wait_for: Sequence[str], context: Any) -> dict[str, str]:
    zone = getattr(context["dag"], "timezone", None) or dt.UTC
    return upstream_events.lacking(wait_for, TaskRun(context).request.last, zone)


def _awaited(context: Any) -> Any:
    from tailrace.rows import scheduled_days
    from tailrace.stages import build

    run = TaskRun(context)
    requested = run.request
    absent = () if requested.pipelines else scheduled_days.absent(requested.first, requested.last)
    without, only = build.scope(absent, requested.pipelines)
    warehouse: Any = run.services.warehouse
    return warehouse.awaited(requested.last, without=without, only=only)
