"""Makes the DAGs: `warehouse` for all pipelines, `train__` and `predict__` for each."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import (
    DAG,
    CronPartitionTimetable,
    ExceptionRetryPolicy,
    Param,
    RetryAction,
    RetryRule,
    TaskGroup,
)

from pipelines import registry
from pipelines.orchestration import tasks
from pipelines.spec import PipelineSpec, Schedule

DAY_FORMAT = "%Y-%m-%d"
UPSTREAM_DELAY = dt.timedelta(minutes=40)
"""With three retries, a night's later tasks wait two hours for its earlier ones."""

RETRIES = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception="pipelines.errors.UpstreamMissing",
            action=RetryAction.RETRY,
            retry_delay=UPSTREAM_DELAY,
            reason="what this task reads is not published yet",
        ),
        RetryRule(
            exception="pipelines.errors.Unavailable", action=RetryAction.RETRY, reason="a service does not answer"
        ),
        RetryRule(
            exception="pipelines.errors.TailraceError", action=RetryAction.FAIL, reason="trying again changes nothing"
        ),
    ]
)
"""A lost connection is retried; bad input, refused data and conflicts are not."""


def warehouse_dag(doc: str | None, schedule: Schedule) -> DAG:
    """The DAG that lands, builds, validates and snapshots a day, for every pipeline of the catalog.

    It runs at the schedule's `predict` time: before the pipelines' own.
    """
    with DAG(
        "warehouse",
        schedule=_daily(schedule.predict, schedule),
        doc_md=doc,
        tags=["tailrace"],
        max_active_runs=1,
        params={"day": _day_param(), "first_day": _first_day_param()},
        **_common("tailrace", schedule),
    ) as dag:
        built = tasks.ingest() >> tasks.build()
        for name in registry.names():
            # By name only: a pipeline whose spec is broken fails in its own tasks.
            with TaskGroup(name):
                built >> tasks.validate(name) >> tasks.snapshot(name)
    return dag


def pipeline_dags(name: str, doc: str | None) -> tuple[DAG, DAG]:
    """A pipeline's training and prediction DAGs. Raises SpecError if its spec is wrong."""
    spec = registry.get(name)
    return _train_dag(spec, doc), _predict_dag(spec, doc)


def _train_dag(spec: PipelineSpec, doc: str | None) -> DAG:
    with DAG(
        f"train__{spec.name}",
        schedule=_daily(spec.schedule.train, spec.schedule),
        doc_md=doc,
        tags=["tailrace", spec.name],
        max_active_runs=1,
        params={"day": _day_param(), "trials": _trials_param(spec)},
        **_common(spec.owner, spec.schedule),
    ) as dag:
        training_run = tasks.train(spec.name)
        tasks.evaluate(spec.name, training_run=training_run) >> tasks.promote(spec.name, training_run)
    return dag


def _predict_dag(spec: PipelineSpec, doc: str | None) -> DAG:
    with DAG(
        f"predict__{spec.name}",
        schedule=_daily(spec.schedule.predict, spec.schedule),
        doc_md=doc,
        tags=["tailrace", spec.name],
        max_active_runs=2,
        params={"day": _day_param(), "model": _model_param()},
        **_common(spec.owner, spec.schedule),
    ) as dag:
        tasks.score(spec.name) >> tasks.audit(spec.name) >> tasks.publish(spec.name)
    return dag


def _daily(cron: str | None, schedule: Schedule) -> CronPartitionTimetable | None:
    """Runs whose partition key is the day on which they fire, in the pipeline's own time zone."""
    if cron is None:
        return None
    return CronPartitionTimetable(cron, timezone=schedule.timezone, run_offset=0, key_format=DAY_FORMAT)


def _common(owner: str, schedule: Schedule) -> dict[str, Any]:
    zone = ZoneInfo(schedule.timezone)
    return {
        "start_date": schedule.start and dt.datetime.combine(schedule.start, dt.time(), zone),
        "end_date": schedule.end and dt.datetime.combine(schedule.end, dt.time.max, zone),
        "catchup": False,
        "default_args": {
            "owner": owner,
            "retries": 3,
            "retry_delay": dt.timedelta(minutes=1),
            "retry_exponential_backoff": True,
            "max_retry_delay": dt.timedelta(minutes=15),
            "retry_policy": RETRIES,
        },
    }


def _day_param() -> Param:
    return Param(
        None,
        type=["null", "string"],
        format="date",
        title="Day",
        description="The day to work on. Scheduled runs and backfills know theirs; leave it empty there.",
    )


def _first_day_param() -> Param:
    return Param(
        None,
        type=["null", "string"],
        format="date",
        title="First day",
        description="Work on every day from this one to the day, in one run. Empty: the day alone.",
    )


def _model_param() -> Param:
    return Param(
        "as-of",
        type="string",
        pattern=r"^(as-of|current|[1-9][0-9]*)$",
        title="Model",
        description="as-of: the champion of that day. current: today's champion. Or a version number.",
    )


def _trials_param(spec: PipelineSpec) -> Param:
    return Param(
        spec.search.trials,
        type="integer",
        minimum=1,
        maximum=1000,
        title="Search trials",
        description="How many sets of parameters to try.",
    )
