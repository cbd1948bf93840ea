"""The tasks: each reads its run's request, calls one stage and leaves what came of it.

A heavy stage (it fits models, or holds many rows) runs where the setting TAILRACE_TASKS says. Stages
are imported when a task runs, because every task start and the dag processor parse this.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import get_current_context, task

from tailrace.contracts import Trial
from tailrace.errors import AuditFailed
from tailrace.operations import limits
from tailrace.orchestration import assets, request, task_results
from tailrace.orchestration.pods import Rows, heavy
from tailrace.spec import zone

log = logging.getLogger("tailrace")

WAREHOUSE_POOL = "warehouse"
"""One slot: the DuckDB file has one writer, and a writer keeps readers out."""
AT_ONCE = {
    "ingest": limits.AT_ONCE["warehouse"],
    "train": limits.AT_ONCE["train"],
    "evaluate": limits.AT_ONCE["train"],
    "score": limits.AT_ONCE["predict"],
}
"""Tasks of one DAG at once, over all its runs: what a backfill may take of the workers, whoever started it."""


@task(execution_timeout=dt.timedelta(hours=1), max_active_tis_per_dag=AT_ONCE["ingest"])
def ingest() -> None:
    """Land the source's extracts of the days."""
    from tailrace.stages import ingest as stage

    context = get_current_context()
    asked = request.read(context)
    task_results.leave(context, stage.run(services(), asked.first, asked.last))


@task(pool=WAREHOUSE_POOL, execution_timeout=dt.timedelta(hours=2))
def validate(pipeline: str) -> None:
    """Judge features and outcomes of the days by their expectation suites."""
    from tailrace.spec import registry
    from tailrace.stages import validate as stage

    context = get_current_context()
    asked, wired = request.read(context), services()
    judged = stage.run(wired, registry.get(pipeline), asked.first, asked.last)
    pages = (task_results.data_docs(report, wired.settings.data_docs) for report in judged.reports)
    task_results.leave(
        context, judged, dict(zip((task_results.DATA_DOCS, task_results.OUTCOMES_DOCS), pages, strict=False))
    )


def snapshot(pipeline: str) -> Any:
    """A task that takes features and outcomes of the days into the lake."""
    outlet = assets.features(pipeline)

    @task(task_id="snapshot", pool=WAREHOUSE_POOL, outlets=[outlet], execution_timeout=dt.timedelta(hours=2))
    def snapshot() -> None:
        from tailrace.rows import staleness
        from tailrace.spec import registry
        from tailrace.stages import snapshot as stage

        context = get_current_context()
        asked, wired, spec = request.read(context), services(), registry.get(pipeline)
        if asked.dry_run:
            task_results.skip(
                context, f"Dry run: {asked.first} to {asked.last} is built and valid, and not in the lake."
            )
        taken = [stage.run(wired, spec, day, request.run_id(context), asked=asked.record()) for day in asked.span]
        _warn(staleness.warning_after(wired, spec, asked.last))
        rows = [
            {
                "day": one.day,
                "features": one.features.rows,
                "features version": one.features.version,
                "outcomes": one.outcomes.rows,
                "outcomes version": one.outcomes.version,
                "unchanged": one.features.unchanged and one.outcomes.unchanged,
            }
            for one in taken
        ]
        task_results.leave(context, rows, {task_results.FEATURES: task_results.features_of(pipeline, asked.day)})
        assets.announce(
            context,
            outlet,
            [one.day for one in taken],
            {"rows": sum(one.features.rows for one in taken), "version": taken[-1].features.version},
            zone=zone(spec),
            pin=wired.lake.pin(spec.features_table, first=asked.first, last=asked.last),
        )

    return snapshot()


def _warn(sentence: str) -> None:
    if sentence:
        log.warning("%s", sentence)


def _run_id(rows: Rows) -> str:
    return str(rows[0]["run_id"])


def _run_page(context: Any, rows: Rows) -> dict[str, str | None]:
    return {task_results.MLFLOW_RUN: rows[0].get("url")}


@heavy(
    execution_timeout=dt.timedelta(hours=6),
    max_active_tis_per_dag=AT_ONCE["train"],
    returns=_run_id,
    links=_run_page,
)
def train(pipeline: str) -> Sequence[Any]:
    """Train a challenger as of the day; returns the training run's id."""
    from tailrace import settings
    from tailrace.rows import staleness
    from tailrace.spec import registry
    from tailrace.stages import train as stage
    from tailrace.training import training_set

    context = get_current_context()
    asked, spec = request.read(context), registry.get(pipeline, estimators=True)
    wired = services(asked.engine, context)
    _warn(staleness.warning(wired, spec, training_set.window(spec, asked.day)[0], asked.day))
    trained = stage.run(
        wired,
        spec,
        asked.day,
        seed=settings.load().seed,
        trials=asked.trials,
        on_trial=_tell_trial,
        force=asked.force,
        challenge=not asked.dry_run,
        asked=asked.record(),
    )
    return [trained]


def _report_page(context: Any, rows: Rows) -> dict[str, str | None]:
    return {
        task_results.MLFLOW_RUN: context["ti"].xcom_pull(
            task_ids="train", key=task_results.LINK + task_results.MLFLOW_RUN
        ),
        task_results.REPORT: task_results.evaluation_report(str(rows[0]["run_id"])),
    }


@heavy(execution_timeout=dt.timedelta(hours=2), max_active_tis_per_dag=AT_ONCE["evaluate"], links=_report_page)
def evaluate(pipeline: str, training_run: Any) -> Sequence[Any]:
    """Judge the challenger against the champion on the same holdout."""
    from tailrace.spec import registry
    from tailrace.stages import evaluate as stage

    context = get_current_context()
    wired = services(request.read(context).engine, context)
    return [stage.run(wired, registry.get(pipeline), training_run)]


def _staged(rows: Rows) -> dict[str, Any]:
    """The days that the next tasks work on, and why there may be none; `own`: what this run has published before."""
    return {
        "days": [str(row["day"]) for row in rows if not row.get("already")],
        "own": [str(row["day"]) for row in rows if row.get("own")],
        "already": [str(row["already"]) for row in rows if row.get("already")],
    }


def _days(staged: Mapping[str, Any], which: str) -> list[dt.date]:
    return [dt.date.fromisoformat(day) for day in staged.get(which, ())]


def _model_and_held_days(context: Any, rows: Rows) -> dict[str, str | None]:
    held = [row for row in rows if row.get("already")]
    return {
        task_results.MLFLOW_RUN: rows[-1].get("model_url"),
        task_results.PUBLISHED_DAY: task_results.published_day(held[-1]["pipeline"], held[-1]["day"]) if held else None,
    }


@heavy(
    execution_timeout=dt.timedelta(hours=2),
    max_active_tis_per_dag=AT_ONCE["score"],
    returns=_staged,
    links=_model_and_held_days,
)
def score(pipeline: str) -> Sequence[Any]:
    """Score the features of the days, oldest first, staging the predictions; published days are left alone."""
    from tailrace.rows import staleness
    from tailrace.spec import registry
    from tailrace.stages import score as stage

    context = get_current_context()
    asked, spec = request.read(context), registry.get(pipeline)
    wired, run = services(asked.engine, context), request.run_id(context)
    record = asked.record()
    _warn(staleness.warning(wired, spec, asked.first, asked.last))
    return [
        stage.run(wired, spec, day, run, asked.model, force=asked.force or asked.dry_run, asked=record)
        for day in asked.span
    ]


@task(execution_timeout=dt.timedelta(hours=1))
def audit(pipeline: str, staged: Mapping[str, Any]) -> None:
    """Judge the staged predictions before anyone can read them; if one day is refused, none is published."""
    from tailrace.spec import registry
    from tailrace.stages import audit as stage
    from tailrace.stages import publish

    context = get_current_context()
    wired, spec, run = services(), registry.get(pipeline), request.run_id(context)
    chosen = _days(staged, "days")
    if not chosen and not _days(staged, "own"):
        task_results.skip(context, " ".join(staged["already"]))
    if not chosen:
        # A run that was cleared after it had published: the audit passed then, and the event may be missing.
        task_results.leave(context, {"audited before": " ".join(staged["already"])})
        return
    judged, refused = [], []
    for day in chosen:
        try:
            judged.append(stage.run(wired, spec, day, run))
        except AuditFailed as refusal:
            refused.append(str(refusal))
    if refused:
        for one in judged:
            publish.discard(wired, spec, one.day, run)
        raise AuditFailed("\n".join(refused))
    task_results.leave(
        context, judged, {task_results.DATA_DOCS: task_results.data_docs(judged[-1].report, wired.settings.data_docs)}
    )


def publish(pipeline: str, staged: Any) -> Any:
    """A task that makes the audited predictions of each day its predictions."""
    outlet = assets.predictions(pipeline)

    # Its own events are an inlet, so that a run that is cleared sees what it has announced.
    @task(task_id="publish", inlets=[outlet], outlets=[outlet], execution_timeout=dt.timedelta(minutes=30))
    def publish(staged: Mapping[str, Any]) -> None:
        from tailrace.spec import registry
        from tailrace.stages import publish as stage

        context = get_current_context()
        asked, run = request.read(context), request.run_id(context)
        wired, spec = services(), registry.get(pipeline)
        chosen = _days(staged, "days")
        if asked.dry_run:
            passed = sum(stage.discard(wired, spec, day, run) for day in chosen)
            task_results.skip(context, f"Dry run: {passed:,} predictions passed the audit and were discarded.")
        made = [stage.run(wired, spec, day, run) for day in chosen]
        made += [stage.published(wired, spec, day) for day in _days(staged, "own")]
        made.sort(key=lambda one: one.day)
        rows = [
            {
                "pipeline": one.pipeline,
                "day": one.day,
                "rows": one.rows,
                "model_version": one.model_version,
                "version": one.commit.version,
                "unchanged": one.unchanged,
            }
            for one in made
        ]
        last = made[-1]
        page = task_results.published_day(spec.name, last.day, last.commit.version)
        if assets.announced(context, outlet, last.commit.recorded_at, version=last.commit.version):
            said = f"Version {last.commit.version} of {spec.predictions_table} is announced by this run already."
            task_results.skip(context, f"{said} No second event is made.", {task_results.PUBLISHED_DAY: page})
        task_results.leave(context, rows, {task_results.PUBLISHED_DAY: page})
        assets.announce(
            context,
            outlet,
            [one.day for one in made],
            {
                "rows": sum(one.rows for one in made),
                "model_version": ", ".join(dict.fromkeys(one.model_version for one in made)),
                "version": last.commit.version,
                "unchanged": str(all(one.unchanged for one in made)).lower(),
            },
            zone=zone(spec),
            pin=wired.lake.pin(spec.predictions_table, first=made[0].day, last=last.day),
        )

    return publish(staged)


def services(engine: str | None = None, context: Any = None) -> Any:
    """The installation's services; with another engine than its setting's, where one is named.

    Given the task's context, the task links to its Spark application from the moment in which that runs.
    """
    from tailrace.wiring import open_services

    if context is None:
        return open_services(engine)
    return open_services(
        engine,
        lambda application: task_results.keep_links(
            context, {task_results.SPARK: task_results.spark_page(application)}
        ),
    )


def _tell_trial(trial: Trial) -> None:
    outcome = trial.parameters.get("error", trial.value)
    log.info("trial %d %s: %s %s", trial.number, trial.candidate, trial.state, outcome)
