"""The tasks: each reads its run's request, calls one stage and logs what came of it.

A heavy stage (it fits models, or holds many rows) runs where the setting TAILRACE_TASKS says. Stages
are imported when a task runs, because every task start and the dag processor parse this.
"""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import asdict, is_dataclass
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from pipelines.interfaces import Trial
from pipelines.orchestration import assets, request
from pipelines.orchestration.pods import heavy

log = logging.getLogger("tailrace")

WAREHOUSE_POOL = "warehouse"
"""One slot: the DuckDB file has one writer, and a writer keeps readers out."""


@task(execution_timeout=dt.timedelta(hours=1))
def ingest() -> None:
    """Land the source's extracts of the days."""
    from pipelines.stages import ingest as stage

    asked = request.read(get_current_context())
    _tell(stage.run(_services(), asked.first, asked.last))


@task(pool=WAREHOUSE_POOL, execution_timeout=dt.timedelta(hours=2))
def build() -> None:
    """Build and test the warehouse's tables of the days with dbt."""
    from pipelines.stages import build as stage

    asked = request.read(get_current_context())
    built = stage.run(_services(), asked.first, asked.last)
    log.info("dbt: %s", ", ".join(f"{count} {status}" for status, count in built.statuses.items()))
    for node in built.nodes:
        log.info("%-8s %-60s %6.2f s  %s", node.status, node.name, node.seconds, node.message)


@task(pool=WAREHOUSE_POOL, execution_timeout=dt.timedelta(hours=2))
def validate(pipeline: str) -> None:
    """Judge features and outcomes of the days by their expectation suites."""
    from pipelines import registry
    from pipelines.stages import validate as stage

    asked = request.read(get_current_context())
    _tell(stage.run(_services(), registry.get(pipeline), asked.first, asked.last))


def snapshot(pipeline: str) -> Any:
    """A task that takes features and outcomes of the days into the lake."""
    outlet = assets.features(pipeline)

    @task(task_id="snapshot", pool=WAREHOUSE_POOL, outlets=[outlet], execution_timeout=dt.timedelta(hours=2))
    def snapshot() -> None:
        from pipelines import registry
        from pipelines.stages import snapshot as stage

        context = get_current_context()
        asked, services, spec = request.read(context), _services(), registry.get(pipeline)
        taken = [stage.run(services, spec, day, request.run_id(context)) for day in asked.span]
        for one in taken:
            _tell(one)
        assets.announce(
            context,
            outlet,
            asked.span,
            {"rows": sum(one.features.rows for one in taken), "version": taken[-1].features.version},
        )

    return snapshot()


@heavy(execution_timeout=dt.timedelta(hours=6), returns="run_id")
def train(pipeline: str) -> Any:
    """Train a challenger as of the day; returns the training run's id."""
    from pipelines import registry, settings
    from pipelines.stages import train as stage

    asked, spec = request.read(get_current_context()), registry.get(pipeline, estimators=True)
    trained = stage.run(
        _services(),
        spec,
        asked.day,
        seed=settings.load().seed,
        trials=asked.params.get("trials"),
        on_trial=_tell_trial,
    )
    _tell(trained)
    return trained.run_id


@heavy(execution_timeout=dt.timedelta(hours=2))
def evaluate(pipeline: str, training_run: Any) -> None:
    """Judge the challenger against the champion on the same holdout."""
    from pipelines import registry
    from pipelines.stages import evaluate as stage

    _tell(stage.run(_services(), registry.get(pipeline), training_run))


def promote(pipeline: str, training_run: Any) -> Any:
    """A task that makes the challenger champion, or is skipped where the champion stays."""
    outlet = assets.model(pipeline)

    @task(task_id="promote", outlets=[outlet], execution_timeout=dt.timedelta(minutes=30))
    def promote(training_run: str) -> None:
        from pipelines import registry
        from pipelines.stages import promote as stage

        context = get_current_context()
        decided = stage.run(_services(), registry.get(pipeline), training_run, recorded_at=dt.datetime.now(dt.UTC))
        _tell(decided)
        if decided.outcome != "promoted":
            raise AirflowSkipException(
                f"Version {decided.version} is not champion ({decided.outcome}): {decided.reason}"
            )
        asked = request.read(context)
        assets.announce(context, outlet, [asked.day], {"model_version": decided.version, "run_id": training_run})

    return promote(training_run)


@heavy(execution_timeout=dt.timedelta(hours=2))
def score(pipeline: str) -> None:
    """Score the day's features, staging the predictions."""
    from pipelines import models, registry
    from pipelines.stages import score as stage

    context = get_current_context()
    asked = request.read(context)
    model = str(asked.params.get("model") or models.AS_OF)
    _tell(stage.run(_services(), registry.get(pipeline), asked.day, request.run_id(context), model))


@task(execution_timeout=dt.timedelta(hours=1))
def audit(pipeline: str) -> None:
    """Judge the staged predictions before anyone can read them."""
    from pipelines import registry
    from pipelines.stages import audit as stage

    context = get_current_context()
    _tell(stage.run(_services(), registry.get(pipeline), request.read(context).day, request.run_id(context)))


def publish(pipeline: str) -> Any:
    """A task that makes the audited predictions the day's predictions."""
    outlet = assets.predictions(pipeline)

    @task(task_id="publish", outlets=[outlet], execution_timeout=dt.timedelta(minutes=30))
    def publish() -> None:
        from pipelines import registry
        from pipelines.stages import publish as stage

        context = get_current_context()
        day = request.read(context).day
        published = stage.run(_services(), registry.get(pipeline), day, request.run_id(context))
        _tell(published)
        extra = {
            "rows": published.rows,
            "model_version": published.model_version,
            "version": published.commit.version,
            "unchanged": str(published.unchanged).lower(),
        }
        assets.announce(context, outlet, [day], extra)

    return publish()


def _services() -> Any:
    from pipelines import settings
    from pipelines.wiring import Wiring

    return Wiring(settings.load())


def _tell_trial(trial: Trial) -> None:
    outcome = trial.parameters.get("error", trial.value)
    log.info("trial %d %s: %s %s", trial.number, trial.candidate, trial.state, outcome)


def _tell(result: Any) -> None:
    """Log a stage's result, a line per field."""
    log.info("%s", type(result).__name__)
    for name, value in (asdict(result) if is_dataclass(result) and not isinstance(result, type) else {}).items():
        log.info("  %-18s %s", name, value)
