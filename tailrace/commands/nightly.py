"""The two halves of a night, run here: load the lake, and publish predictions."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import typer

from tailrace import days
from tailrace.champions import model_versions
from tailrace.commands import options, output, stale_days
from tailrace.errors import SpecError
from tailrace.rows import scheduled_days
from tailrace.spec import registry
from tailrace.work import Work


def warehouse(
    date: options.Date,
    to: options.To = None,
    pipeline: Annotated[str | None, typer.Argument(help="Load only this pipeline's tables into the lake.")] = None,
    reason: options.Reason = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build and validate, but load nothing into the lake.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Load a day or a range of days into the lake: ingest, build, validate, snapshot."""
    from tailrace.stages import build, ingest, snapshot, validate

    request = options.request(reason=reason)
    services = options.services()
    specs, problems = registry.load(estimators=False) if pipeline is None else ((registry.get(pipeline),), ())
    first, last = options.day_range(date, to)
    # a pipeline that is named is loaded whatever its schedule says
    spans = [(spec, (first, last) if pipeline else scheduled_days.of(spec, first, last)) for spec in specs]
    if absent := [spec for spec, span in spans if span is None]:
        output.warn(scheduled_days.sentence(absent, first, last))
    concerned = [(spec, *span) for spec, span in spans if span is not None]
    with output.steps("warehouse", 2 + sum(2 + (ends - begins).days for _, begins, ends in concerned)) as advance:
        if services.settings.sources:
            ingest.run(services, first, last)
        advance(f"landed {first} to {last}" if services.settings.sources else "no sources to land from")
        others = [name for name in scheduled_days.absent(first, last) if name != pipeline]
        build.run(services, first, last, absent=others)
        advance("built")
        rows = []
        for spec, begins, ends in concerned:
            work = Work(services=services, spec=spec, run_id=options.new_run_id(), request=request)
            validated = validate.run(work, begins, ends)
            advance(f"{spec.name} validated")
            for warning in validated.warnings:
                output.warn(warning)
            for day in () if dry_run else days.span(begins, ends):
                taken = snapshot.run(work, day)
                rows.append(
                    {
                        "pipeline": spec.name,
                        "day": day,
                        "features": taken.features.rows,
                        "outcomes": taken.outcomes.rows,
                        "unchanged": taken.features.unchanged and taken.outcomes.unchanged,
                    }
                )
                advance(f"{spec.name} {day}")
    for spec, begins, ends in concerned:
        stale_days.warn("build", services, spec, first=begins, last=ends)
    output.table("Warehouse", rows, as_json)
    if problems:
        raise SpecError(
            "The warehouse is built, but nothing was loaded into the lake for pipelines with wrong specs:", problems
        )


def predict(
    pipeline: options.Pipeline,
    date: options.Date,
    to: options.To = None,
    model: options.ModelOption = model_versions.AS_OF,
    engine: options.EngineOption = None,
    reason: options.Reason = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Score and audit, but publish nothing.")] = False,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Score, audit and publish a day or a range of days. Days published from the same inputs are skipped."""
    services, spec = options.services(engine), registry.get(pipeline)
    model_versions.check_choice(model)
    request = options.request(reason=reason, engine=engine, model=model)
    first, last = options.day_range(date, to)
    stale_days.warn("score", services, spec, first=first, last=last)
    rows = []
    with output.steps("predict", (last - first).days + 1) as advance:
        for day in days.span(first, last):
            work = Work(services=services, spec=spec, run_id=options.new_run_id(), request=request)
            rows.append(_predict(work, day, model=model, force=force, dry_run=dry_run))
            advance(f"{'audited' if dry_run else 'published'} {day}")
    output.table(f"predictions/{pipeline}", rows, as_json)


def _predict(work: Work, day: dt.date, *, model: str, force: bool, dry_run: bool) -> dict[str, Any]:
    """Score, audit and publish one day; returns its row of the table."""
    from tailrace.stages import audit, publish, score

    scored = score.run(work, day, model=model, force=force, dry_run=dry_run)
    row: dict[str, Any] = {"day": day, "rows": scored.rows, "model": scored.model_version, "psi": None}
    if scored.already:
        commit = work.services.lake.days(work.spec.predictions_table)[day]
        return {**row, "version": commit.version, "unchanged": True}
    row["psi"] = audit.run(work, day).psi
    if dry_run:
        publish.discard(work, day)
        return {**row, "version": None, "unchanged": True}
    published = publish.run(work, day)
    return {**row, "version": published.commit.version, "unchanged": published.unchanged}
