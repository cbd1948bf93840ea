"""Makes the DAGs: `warehouse` for all pipelines, `train__` and `predict__` for each."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import (
    DAG,
    Context,
    CronPartitionTimetable,
    ExceptionRetryPolicy,
    PartitionedAssetTimetable,
    RetryAction,
    RetryDecision,
    RetryRule,
    TaskGroup,
)

from tailrace import settings
from tailrace.errors import UpstreamMissing
from tailrace.lineage import dag_ids
from tailrace.operations import limits, warehouse_days
from tailrace.orchestration import assets, dbt, decision_forms, decisions, forms, monitoring, task_results, tasks
from tailrace.orchestration.priority import nights_first
from tailrace.spec import PipelineSpec, Schedule, registry

DAY_FORMAT = "%Y-%m-%d"
UPSTREAM_DELAY = dt.timedelta(minutes=40)
"""With three retries, a night's later tasks wait two hours for its earlier ones."""
SCHEDULED = "scheduled"
TRAININGS_ACTIVE = 4
"""So many runs of a training may be active: its tasks run one at a time anyway, and one that waits holds nobody up."""


class NightsWait(ExceptionRetryPolicy):
    """Only a scheduled run waits for an earlier stage: what a person or a backfill asks for too early fails at once."""

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """See RetryPolicy."""
        run_type = getattr(context and context.get("dag_run"), "run_type", SCHEDULED)
        if isinstance(exception, UpstreamMissing) and run_type != SCHEDULED:
            return RetryDecision.fail("only scheduled runs wait for what is not published yet")
        return super().evaluate(exception, try_number, max_tries, context)


RETRIES = NightsWait(
    rules=[
        RetryRule(
            exception="tailrace.errors.UpstreamMissing",
            action=RetryAction.RETRY,
            retry_delay=UPSTREAM_DELAY,
            reason="what this task reads is not published yet",
        ),
        RetryRule(
            exception="tailrace.errors.Unavailable", action=RetryAction.RETRY, reason="a service does not answer"
        ),
        RetryRule(
            exception="tailrace.errors.TailraceError", action=RetryAction.FAIL, reason="trying again changes nothing"
        ),
    ]
)
"""A lost connection is retried; bad input, refused data and conflicts are not."""

BACKFILLS = """

#### Backfills

Start one from *Trigger, Run backfill*, by REST, or with `tailrace backfill {pipeline}`, which shows how far it is. In
Airflow's form **tick "Override parameters on existing runs"**: without it Airflow drops what the form was filled in
with, and every run is refused. {rules} Nights go first: Airflow starts their runs before a backfill's, a free worker
takes their tasks before a backfill's, and of one DAG at most {at_once} at a time use the workers. A day that cannot be
made fails by itself, at once, and says why.
"""
ANY_ORDER = (
    "Days published already from the same features by the same version under the same policy are recognised and left "
    "alone, unless *Force* is ticked; at most four days at a time are sensible."
)
TRAININGS = "It trains on the days on which the schedule would have; a training whose inputs are the same stands."
OLDEST_FIRST = (
    "Features look back, so it runs **oldest first, one day at a time**: leave *Run backwards* off. To take many days "
    "at once, trigger one run with *First day* and *Day* instead."
)


def warehouse_dag(doc: str | None, nightly: str | Schedule) -> DAG:
    """The DAG that lands, builds, validates and snapshots a day, for every pipeline of the catalog.

    It runs at the cron expression `nightly`, in the zone of tailrace.toml, from the first to the last day of any
    pipeline's schedule; or at the `predict` time of a schedule of its own. A project without sources lands nothing.
    Raises BadInput, SpecError if it is not clear in which zone it runs.
    """
    schedule = warehouse_days.schedule(nightly) if isinstance(nightly, str) else nightly
    with DAG(
        "warehouse",
        schedule=daily(schedule.predict, schedule),
        doc_md=_doc(doc, "warehouse", OLDEST_FIRST, tasks.AT_ONCE["ingest"]),
        tags=["tailrace"],
        max_active_runs=1,
        params=forms.warehouse(registry.names()),
        **common("tailrace", schedule),
    ) as dag:
        landed = [tasks.ingest()] if settings.load().sources else []
        built = dbt.build_tasks(landed)
        for name in registry.names():
            # By name only: a pipeline whose spec is broken fails in its own tasks.
            with TaskGroup(name):
                validated = tasks.validate(name, trigger_rule=built.rule)
                built.before(name) >> validated >> tasks.snapshot(name)
    return dag


def pipeline_dags(name: str, doc: str | None = None) -> tuple[DAG, DAG, DAG, DAG, DAG]:
    """A pipeline's DAGs: train, approve, rollback, predict, monitor. Raises SpecError if its spec is wrong.

    If its question has a threshold, there is one more, `threshold__<pipeline>`; if its spec has baselines,
    `baseline__<pipeline>`. Airflow finds them without a name in the file, so that files which name five need no edit.
    Without a `doc` Airflow shows the spec's description.
    """
    spec = registry.get(name)
    if spec.problem.uses_threshold:
        _threshold_dag(spec)
    if spec.baselines:
        _baseline_dag(spec)
    doc = doc or f"### {name}\n\n{spec.description}"
    return _train_dag(spec, doc), _approve_dag(spec), _rollback_dag(spec), _predict_dag(spec, doc), _monitor_dag(spec)


def _train_dag(spec: PipelineSpec, doc: str | None) -> DAG:
    with DAG(
        dag_ids.train(spec.name),
        schedule=daily(spec.schedule.train, spec.schedule),
        doc_md=_doc(doc, f"{spec.name} --train", TRAININGS, tasks.AT_ONCE["train"]),
        tags=["tailrace", spec.name],
        max_active_runs=TRAININGS_ACTIVE,
        params=forms.train(spec),
        **common(spec.owner, spec.schedule),
    ) as dag:
        training_run = tasks.train(spec.name)
        # What waits for a person is no champion yet: the approval announces it.
        announces = spec.gate.approval == "auto"
        promoted = decisions.promote(spec.name, announces=announces, training_run=training_run)
        tasks.evaluate(spec.name, training_run=training_run) >> promoted
    return dag


def _approve_dag(spec: PipelineSpec) -> DAG:
    """A DAG of its own: a waiting approval would hold the runs of another one up."""
    doc = decisions.APPROVE_DOC.format(pipeline=spec.name, days=spec.gate.approval_days)
    with _by_hand(
        dag_ids.approve(spec.name), spec, doc=doc, form=decision_forms.approve(), at_once=decisions.WAITING
    ) as dag:
        decisions.decide(spec.name, answer=decisions.ask(spec))
    return dag


def _rollback_dag(spec: PipelineSpec) -> DAG:
    doc = decisions.ROLLBACK_DOC.format(pipeline=spec.name)
    with _by_hand(dag_ids.rollback(spec.name), spec, doc=doc, form=decision_forms.rollback()) as dag:
        decisions.roll_back(spec.name)
    return dag


def _threshold_dag(spec: PipelineSpec) -> DAG:
    doc = decisions.THRESHOLD_DOC.format(pipeline=spec.name)
    with _by_hand(dag_ids.threshold(spec.name), spec, doc=doc, form=decision_forms.threshold(spec)) as dag:
        decisions.set_threshold(spec.name)
    return dag


def _baseline_dag(spec: PipelineSpec) -> DAG:
    doc = decisions.BASELINE_DOC.format(pipeline=spec.name)
    with _by_hand(dag_ids.baseline(spec.name), spec, doc=doc, form=decision_forms.baseline(spec)) as dag:
        decisions.promote_baseline(spec.name)
    return dag


def _by_hand(dag_id: str, spec: PipelineSpec, *, doc: str, form: dict[str, Any], at_once: int = 1) -> DAG:
    """A DAG that runs only when a person, or another DAG, starts it with its form."""
    return DAG(
        dag_id,
        schedule=None,
        doc_md=doc,
        tags=["tailrace", spec.name],
        max_active_runs=at_once,
        params=form,
        **common(spec.owner, spec.schedule),
    )


def _monitor_dag(spec: PipelineSpec) -> DAG:
    """Day by day after the predictions, however they came: by schedule, form or backfill."""
    with DAG(
        dag_ids.monitor(spec.name),
        schedule=PartitionedAssetTimetable(assets=assets.predictions(spec.name)),
        doc_md=monitoring.DOC.format(pipeline=spec.name),
        tags=["tailrace", spec.name],
        max_active_runs=1,
        params=forms.monitor(),
        **common(spec.owner, spec.schedule),
    ) as dag:
        monitoring.monitor(spec.name)
    return dag


def _predict_dag(spec: PipelineSpec, doc: str | None) -> DAG:
    with DAG(
        dag_ids.predict(spec.name),
        schedule=daily(spec.schedule.predict, spec.schedule),
        doc_md=_doc(doc, spec.name, ANY_ORDER, tasks.AT_ONCE["score"]),
        tags=["tailrace", spec.name],
        max_active_runs=limits.AT_ONCE["predict"],
        params=forms.predict(),
        **common(spec.owner, spec.schedule),
    ) as dag:
        staged = tasks.score(spec.name)
        tasks.audit(spec.name, staged=staged) >> tasks.publish(spec.name, staged=staged)
    return dag


def _doc(doc: str | None, pipeline: str, rules: str, at_once: int) -> str:
    return (doc or "").rstrip() + BACKFILLS.format(pipeline=pipeline, rules=rules, at_once=at_once)


def daily(cron: str | None, schedule: Schedule) -> CronPartitionTimetable | None:
    """Runs whose partition key is the day on which they fire, in the pipeline's own time zone."""
    if cron is None:
        return None
    return CronPartitionTimetable(cron, timezone=schedule.timezone, run_offset=0, key_format=DAY_FORMAT)


def common(owner: str, schedule: Schedule) -> dict[str, Any]:
    """The arguments that all DAGs have: first and last day, no catch-up, retries."""
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
            "weight_rule": nights_first(),
            "on_failure_callback": task_results.say_why,
            "on_retry_callback": task_results.say_why,
        },
    }
