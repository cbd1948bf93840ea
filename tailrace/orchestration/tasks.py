"""The tasks of the warehouse, of training and of prediction: each calls one stage.

Stages are imported when a task runs, because every task start and the dag processor parse this.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tailrace.contracts import Trial
from tailrace.errors import ExtractsMissing, ExtractsRefused, ExtractsUnavailable, OutOfCalendar
from tailrace.lineage import xcom_keys
from tailrace.operations import limits
from tailrace.orchestration import assets, task_results
from tailrace.orchestration.stage_task import stage_task
from tailrace.orchestration.task_run import Links, Rows, TaskRun

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


@stage_task(execution_timeout=dt.timedelta(hours=1), max_active_tis_per_dag=AT_ONCE["ingest"])
def ingest(run: TaskRun) -> Sequence[Any]:
    """Land the sources' extracts of the days; one source that fails does not keep the others from being landed."""
    from tailrace.orchestration import build_results
    from tailrace.stages import ingest as stage

    build_results.require_all_cleared(run)
    first, last = run.request.first, run.request.last
    try:
        return [stage.run(run.services, first, last)]
    except (ExtractsMissing, ExtractsRefused, ExtractsUnavailable) as error:
        run.context["ti"].xcom_push(xcom_keys.NOT_LANDED, dict(error.tables))
        raise
    except OutOfCalendar as error:
        run.context["ti"].xcom_push(xcom_keys.NO_DAY, str(error))
        raise


def _reports(run: TaskRun, rows: Rows) -> Links:
    """The Data Docs of features and of outcomes."""
    pages = (task_results.data_docs(report, run.services.settings.data_docs) for report in rows[0]["reports"])
    return dict(zip((task_results.DATA_DOCS, task_results.OUTCOMES_DOCS), pages, strict=False))


@stage_task(links=_reports, pool=WAREHOUSE_POOL, execution_timeout=dt.timedelta(hours=2))
def validate(run: TaskRun) -> Sequence[Any]:
    """Judge features and outcomes of the days by their expectation suites; skipped if none of them concerns it.

    It fails if the task `build` failed on a node that the pipeline needs.
    """
    from tailrace.orchestration import build_results
    from tailrace.stages import validate as stage

    concerned = _concerned_days(run)
    build_results.require_built(run)
    return [stage.run(run.work, *concerned)]


def _concerned_days(run: TaskRun) -> tuple[dt.date, dt.date]:
    """The first and last of the run's days that concern the pipeline; the task is skipped if none does.

    A form that names pipelines concerns these, on all of its days, and no others.
    """
    from tailrace.rows import scheduled_days

    requested = run.request
    if requested.pipelines and run.pipeline not in requested.pipelines:
        run.skip(f"This run was started for {' and '.join(requested.pipelines)} only.")
    if requested.pipelines:
        return requested.first, requested.last
    concerned = scheduled_days.of(run.spec, requested.first, requested.last)
    if concerned is None:
        run.skip(scheduled_days.sentence([run.spec], requested.first, requested.last))
    return concerned


def _lake_page(run: TaskRun, rows: Rows) -> Links:
    return {task_results.FEATURES: task_results.features_of(run.pipeline, run.request.day)}


@stage_task(links=_lake_page, outlet=assets.features, pool=WAREHOUSE_POOL, execution_timeout=dt.timedelta(hours=2))
def snapshot(run: TaskRun) -> Sequence[Any]:
    """Take features and outcomes of the days into the lake."""
    from tailrace import days
    from tailrace.rows import staleness
    from tailrace.rows import taken as moments
    from tailrace.stages import snapshot as stage

    first, last = _concerned_days(run)
    if run.request.dry_run:
        run.skip(f"Dry run: {first} to {last} is built and valid, and not in the lake.")
    taken = [stage.run(run.work, day) for day in days.span(first, last)]
    _warn(staleness.warning_after(run.services, run.spec, last))
    _warn(moments.warning(run.spec, moments.late(run.services.lake, run.spec, first, last)))
    run.announce(
        [one.day for one in taken],
        {"rows": sum(one.features.rows for one in taken), "version": taken[-1].features.version},
        pin=run.services.lake.pin(run.spec.features_table, first=first, last=last),
    )
    return [
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


def _training_run(rows: Rows) -> str:
    return str(rows[0]["training_run"])


def _training_run_page(run: TaskRun, rows: Rows) -> Links:
    return {task_results.MLFLOW_RUN: rows[0].get("url")}


@stage_task(
    heavy=True,
    returns=_training_run,
    links=_training_run_page,
    execution_timeout=dt.timedelta(hours=6),
    max_active_tis_per_dag=AT_ONCE["train"],
)
def train(run: TaskRun) -> Sequence[Any]:
    """Train a challenger as of the day; returns the training run's id."""
    from tailrace import settings
    from tailrace.rows import staleness
    from tailrace.spec import registry
    from tailrace.stages import train as stage
    from tailrace.training import training_set

    requested = run.request
    # Only a training needs its estimators to be right.
    work = replace(run.work, spec=registry.get(run.pipeline, estimators=True))
    _warn(staleness.warning(work.services, work.spec, training_set.window(work.spec, requested.day)[0], requested.day))
    trained = stage.run(
        work,
        requested.day,
        seed=settings.load().seed,
        trials=requested.trials,
        on_trial=_log_trial,
        force=requested.force,
        dry_run=requested.dry_run,
    )
    return [trained]


def _evaluation_pages(run: TaskRun, rows: Rows) -> Links:
    training_run_page = xcom_keys.LINK + task_results.MLFLOW_RUN
    return {
        task_results.MLFLOW_RUN: run.context["ti"].xcom_pull(task_ids="train", key=training_run_page),
        task_results.REPORT: task_results.evaluation_report(str(rows[0]["training_run"])),
    }


@stage_task(
    heavy=True,
    links=_evaluation_pages,
    execution_timeout=dt.timedelta(hours=2),
    max_active_tis_per_dag=AT_ONCE["evaluate"],
)
def evaluate(run: TaskRun, training_run: str) -> Sequence[Any]:
    """Judge the challenger against the champion on the same holdout."""
    from tailrace.stages import evaluate as stage

    return [stage.run(run.work, training_run)]


def _staged(rows: Rows) -> dict[str, Any]:
    """The days that the next tasks work on, and why there may be none; `own`: what this run has published before."""
    return {
        "days": [str(row["day"]) for row in rows if not row.get("already")],
        "own": [str(row["day"]) for row in rows if row.get("own")],
        "already": [str(row["already"]) for row in rows if row.get("already")],
    }


def _days(staged: Mapping[str, Any], which: str) -> list[dt.date]:
    return [dt.date.fromisoformat(day) for day in staged.get(which, ())]


def _model_and_published_day(run: TaskRun, rows: Rows) -> Links:
    published = [row for row in rows if row.get("already")]
    last = task_results.published_day(published[-1]["pipeline"], published[-1]["day"]) if published else None
    return {task_results.MLFLOW_RUN: rows[-1].get("model_url"), task_results.PUBLISHED_DAY: last}


@stage_task(
    heavy=True,
    returns=_staged,
    links=_model_and_published_day,
    execution_timeout=dt.timedelta(hours=2),
    max_active_tis_per_dag=AT_ONCE["score"],
)
def score(run: TaskRun) -> Sequence[Any]:
    """Score the features of the days, oldest first, staging the predictions; published days are left alone."""
    from tailrace.rows import staleness
    from tailrace.stages import score as stage

    requested, work = run.request, run.work
    _warn(staleness.warning(work.services, work.spec, requested.first, requested.last))
    return [
        stage.run(work, day, model=requested.model, force=requested.force, dry_run=requested.dry_run)
        for day in requested.span
    ]


def _last_report(run: TaskRun, rows: Rows) -> Links:
    """The Data Docs of the last day, if days were judged."""
    report = rows[-1].get("report")
    return {task_results.DATA_DOCS: task_results.data_docs(report, run.services.settings.data_docs)} if report else {}


@stage_task(links=_last_report, execution_timeout=dt.timedelta(hours=1))
def audit(run: TaskRun, staged: Mapping[str, Any]) -> Sequence[Any]:
    """Judge the staged predictions before anyone can read them; if one day is refused, none is published."""
    from tailrace.stages import audit as stage

    days = _days(staged, "days")
    if not days and not _days(staged, "own"):
        run.skip(" ".join(staged["already"]))
    if not days:
        # A run that was cleared after it had published: the audit passed then, and the event may be missing.
        return [{"audited before": " ".join(staged["already"])}]
    return stage.run_all(run.work, days, dry_run=run.request.dry_run)


def _published_page(run: TaskRun, rows: Rows) -> Links:
    last = rows[-1]
    return {task_results.PUBLISHED_DAY: task_results.published_day(run.pipeline, last["day"], last["version"])}


@stage_task(
    outlet=assets.predictions,
    reads_own_events=True,
    execution_timeout=dt.timedelta(minutes=30),
)
def publish(run: TaskRun, staged: Mapping[str, Any]) -> Sequence[Any]:
    """Make the audited predictions of each day its predictions."""
    from tailrace.stages import publish as stage

    work, days = run.work, _days(staged, "days")
    if run.request.dry_run:
        passed = sum(stage.discard(work, day) for day in days)
        run.skip(f"Dry run: {passed:,} predictions passed the audit and were discarded.")
    made = [stage.run(work, day) for day in days]
    made += [stage.published(work, day) for day in _days(staged, "own")]
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
    last, page = made[-1], _published_page(run, rows)
    if run.announced(last.commit.recorded_at, version=last.commit.version):
        run.skip(
            f"Version {last.commit.version} of {work.spec.predictions_table} is announced by this run already. "
            "No second event is made.",
            page,
        )
    # Before the event: if that fails, the failed task still leads to the day that it published.
    run.link(page)
    run.announce(
        [one.day for one in made],
        {
            "rows": sum(one.rows for one in made),
            "model_version": ", ".join(dict.fromkeys(one.model_version for one in made)),
            "version": last.commit.version,
            "unchanged": str(all(one.unchanged for one in made)).lower(),
        },
        pin=work.services.lake.pin(work.spec.predictions_table, first=made[0].day, last=last.day),
    )
    return rows


def _warn(sentence: str) -> None:
    if sentence:
        log.warning("%s", sentence)


def _log_trial(trial: Trial) -> None:
    outcome = trial.parameters.get("error", trial.value)
    log.info("trial %d %s: %s %s", trial.number, trial.candidate, trial.state, outcome)
