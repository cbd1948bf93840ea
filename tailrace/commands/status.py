"""The state of the pipelines: champions, published predictions, decisions."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from tailrace import days
from tailrace.commands import options, output
from tailrace.contracts import Services
from tailrace.errors import TailraceError
from tailrace.spec import PipelineSpec, registry

if TYPE_CHECKING:
    from tailrace.champions.promotions import Promotion
    from tailrace.rows.refused_days import Refusal


def list_(as_json: options.Json = False) -> None:
    """List the pipelines with their champion, last published day, refused days and missed training."""
    services = options.services()
    specs, problems = registry.load(estimators=False)
    rows, failed = [], []
    for spec in specs:
        try:
            rows.append(_overview(services, spec))
        except TailraceError as error:
            failed.append(f"Not listed: {spec.name}: {error}")
    output.table("Pipelines", rows, as_json)
    for problem in problems:
        output.warn(f"Not listed: {problem}")
    for sentence in failed:
        output.error(sentence)
    if failed:
        raise typer.Exit(1)


def predictions(
    pipeline: options.Pipeline, date: options.Date, to: options.To = None, as_json: options.Json = False
) -> None:
    """Show what was published for a day: rows, model version, and metrics once outcomes are known."""
    from tailrace.monitoring import performance

    services, spec = options.services(), registry.get(pipeline)
    reports, failed = [], False
    for day in days.span(*options.day_range(date, to)):
        try:
            reports.append(performance.day_report(services.lake, spec, day))
        except TailraceError as error:
            # the other days are shown all the same
            output.error(str(error))
            failed = True
    rows = [
        {
            "day": report.day,
            "rows": report.commit.rows,
            "model": report.commit.metadata.get("model_version"),
            "choice": report.commit.metadata.get("model_choice"),
            "version": report.commit.version,
            "published": report.commit.recorded_at,
            "outcomes": report.known_outcomes,
            **report.metrics,
        }
        for report in reports
    ]
    output.table(f"predictions/{pipeline}", rows, as_json)
    if failed:
        raise typer.Exit(1)


def history(pipeline: options.Pipeline, as_json: options.Json = False) -> None:
    """Show the decisions on model versions, and then the days that the audit refused: what, when, by whom, and why."""
    from tailrace.champions import promotions
    from tailrace.rows import refused_days

    spec, lake = registry.get(pipeline), options.services().lake
    decided = [_decided(each) for each in promotions.decisions(lake, spec.name)]
    refused = [_refused(spec, each) for each in reversed(refused_days.history(lake, spec))]
    output.table(f"Promotions and refused days of {pipeline}", [*decided, *refused], as_json)


def _decided(decision: Promotion) -> dict[str, Any]:
    """A decision without the digest of the model's files, which is for scoring and not for readers."""
    return {name: value for name, value in asdict(decision).items() if name != "digest"}


def _refused(spec: PipelineSpec, refusal: Refusal) -> dict[str, Any]:
    """A refused day in the columns of a decision; `effective_from` is the day."""
    return {
        "pipeline": spec.name,
        "version": refusal.model_version,
        "effective_from": refusal.day,
        "recorded_at": refusal.recorded_at,
        "decided_by": "audit",
        "reason": refusal.reason,
        "decision": "day_refused" if refusal.stands else "day_refused_then_published",
    }


def _overview(services: Services, spec: PipelineSpec) -> dict[str, Any]:
    from tailrace.champions import promotions
    from tailrace.rows import refused_days
    from tailrace.training import missed_trainings

    refused = [each.day for each in refused_days.history(services.lake, spec) if each.stands]
    champion = promotions.current(promotions.history(services.lake, spec.name))
    published = services.lake.days(spec.predictions_table)
    return {
        "pipeline": spec.name,
        "owner": spec.owner,
        "champion": champion.version if champion else None,
        "since": champion.effective_from if champion else None,
        "last day": max(published, default=None),
        "refused days": f"{len(refused)}, the last {refused[-1]}" if refused else None,
        "train": spec.schedule.train,
        "missed training": missed_trainings.missed(services, spec),
        "predict": spec.schedule.predict,
    }
