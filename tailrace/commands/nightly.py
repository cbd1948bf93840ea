"""The two halves of a night, run here: load the lake, and publish predictions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from tailrace import days
from tailrace.champions import model_versions
from tailrace.commands import options, output, stale_days
from tailrace.errors import (
    ExtractsMissing,
    ExtractsRefused,
    ExtractsUnavailable,
    PipelinesStopped,
    PublishConflict,
    Refused,
    SpecError,
    TailraceError,
    UpstreamMissing,
)
from tailrace.rows import scheduled_days
from tailrace.spec import PipelineSpec, registry
from tailrace.wiring import Wiring
from tailrace.work import Work


def warehouse(
    date: options.Date,
    to: options.To = None,
    pipeline: Annotated[str | None, typer.Argument(help="The same as --pipeline, for one pipeline.")] = None,
    pipelines: Annotated[
        list[str] | None,
        typer.Option(
            "--pipeline",
            help="Build only what this pipeline needs, and load only its tables; may be repeated. By default all.",
        ),
    ] = None,
    reason: options.Reason = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build and validate, but load nothing into the lake.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Load a day or a range of days into the lake: ingest, build, validate, snapshot.

    A pipeline that fails does not keep the others from being loaded. The failures are printed last.
    """
    chosen = tuple(dict.fromkeys([*([pipeline] if pipeline else []), *(pipelines or [])]))
    request = options.request(reason=reason)
    services = options.services()
    specs, problems = _chosen(chosen) if chosen else registry.load(estimators=False)
    first, last = options.day_range(date, to)
    # pipelines that are named are loaded whatever their schedules say
    spans = [(spec, (first, last) if chosen else scheduled_days.of(spec, first, last)) for spec in specs]
    if absent := [spec for spec, span in spans if span is None]:
        output.warn(scheduled_days.sentence(absent, first, last))
    concerned = [(spec, *span) for spec, span in spans if span is not None]
    rows: list[dict[str, Any]] = []
    failures: list[TailraceError] = []
    with output.steps("warehouse", 2 + sum(2 + (ends - begins).days for _, begins, ends in concerned)) as advance:
        stopped = _land_and_build(services, first, last, only=chosen, failures=failures, advance=advance)
        for spec, begins, ends in concerned:
            not_loaded = {"pipeline": spec.name, "day": None, "state": "stopped"}
            if spec.name in stopped:
                rows.append(not_loaded)
                continue
            work = Work(services=services, spec=spec, run_id=options.new_run_id(), request=request)
            try:
                _load(work, () if dry_run else days.span(begins, ends), begins, ends, rows=rows, advance=advance)
            except _OF_ONE_PIPELINE as error:
                failures.append(error)
                rows.append(not_loaded)
    for spec, begins, ends in concerned:
        stale_days.warn("build", services, spec, first=begins, last=ends)
    output.table("Warehouse", rows, as_json)
    if problems:
        heading = "The warehouse is built, but nothing was loaded into the lake for pipelines with wrong specs:"
        failures.append(SpecError(heading, problems))
    _raise(failures)


_OF_ONE_PIPELINE = (Refused, UpstreamMissing, PublishConflict)
"""What may be wrong with one pipeline and not with the next; all else ends the command."""


def _chosen(pipelines: Sequence[str]) -> tuple[tuple[PipelineSpec, ...], tuple[str, ...]]:
    """The specs of these pipelines. Raises UnknownName, SpecError."""
    return tuple(registry.get(pipeline) for pipeline in pipelines), ()


def _land_and_build(
    services: Wiring,
    first: dt.date,
    last: dt.date,
    *,
    only: Sequence[str],
    failures: list[TailraceError],
    advance: Callable[[str], None],
) -> Mapping[str, str]:
    """Land the days and build them; returns the pipelines that are stopped, and adds the error to `failures`."""
    from tailrace.stages import build, ingest

    not_landed: Mapping[str, str] = {}
    if services.settings.sources:
        try:
            ingest.run(services, first, last)
        except (ExtractsMissing, ExtractsRefused, ExtractsUnavailable) as error:
            failures.append(error)
            not_landed = error.tables
    landed = "landed in part" if not_landed else f"landed {first} to {last}"
    advance(landed if services.settings.sources else "no sources to land from")
    absent = () if only else scheduled_days.absent(first, last)
    try:
        build.run(services, first, last, absent=absent, only=only, not_landed=not_landed)
    except PipelinesStopped as error:
        failures.append(error)
        advance("built in part")
        return error.stopped
    advance("built")
    return {}


def _load(
    work: Work,
    to_load: Iterable[dt.date],
    first: dt.date,
    last: dt.date,
    *,
    rows: list[dict[str, Any]],
    advance: Callable[[str], None],
) -> None:
    """Validate the days first..last of a pipeline and load some of them; each loaded day is added to `rows`."""
    from tailrace.stages import snapshot, validate

    validated = validate.run(work, first, last)
    advance(f"{work.spec.name} validated")
    for warning in validated.warnings:
        output.warn(warning)
    for day in to_load:
        taken = snapshot.run(work, day)
        rows.append(
            {
                "pipeline": work.spec.name,
                "day": day,
                "state": "loaded",
                "features": taken.features.rows,
                "outcomes": taken.outcomes.rows,
                "unchanged": taken.features.unchanged and taken.outcomes.unchanged,
            }
        )
        advance(f"{work.spec.name} {day}")


def _raise(failures: Sequence[TailraceError]) -> None:
    """Raise the error, or one that says what all of them say."""
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise PipelinesStopped("\n".join(str(error) for error in failures))


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
    """Score, audit and publish a day or a range of days. Days published from the same inputs are skipped.

    A day that is refused does not keep the others from being published. The reasons are printed last.
    """
    services, spec = options.services(engine), registry.get(pipeline)
    model_versions.check_choice(model)
    request = options.request(reason=reason, engine=engine, model=model)
    first, last = options.day_range(date, to)
    stale_days.warn("score", services, spec, first=first, last=last)
    rows: list[dict[str, Any]] = []
    failures: list[TailraceError] = []
    with output.steps("predict", (last - first).days + 1) as advance:
        for day in days.span(first, last):
            work = Work(services=services, spec=spec, run_id=options.new_run_id(), request=request)
            try:
                rows.append(_predict(work, day, model=model, force=force, dry_run=dry_run))
                done = "audited" if dry_run else "published"
            except TailraceError as error:
                failures.append(error)
                if not isinstance(error, _OF_ONE_DAY):
                    break
                rows.append(_not_published(services, spec, day, error))
                done = rows[-1]["state"]
            advance(f"{done} {day}")
    if rows or not failures:
        output.table(f"predictions/{pipeline}", rows, as_json)
    if failures:
        for failure in failures[:-1]:
            output.error(str(failure))
        raise failures[-1]


_OF_ONE_DAY = (Refused, UpstreamMissing, PublishConflict)
"""What may be wrong with one day and not with the next; all else ends the command."""


def _predict(work: Work, day: dt.date, *, model: str, force: bool, dry_run: bool) -> dict[str, Any]:
    """Score, audit and publish one day; returns its row of the table."""
    from tailrace.stages import audit, publish, score

    scored = score.run(work, day, model=model, force=force, dry_run=dry_run)
    row = {**_row(day, "audited" if dry_run else "published"), "rows": scored.rows, "model": scored.model_version}
    if scored.already:
        commit = work.services.lake.days(work.spec.predictions_table, first=day, last=day)[day]
        return {**row, "version": commit.version}
    row["psi"] = audit.run(work, day, dry_run=dry_run).psi
    if dry_run:
        publish.discard(work, day)
        return row
    published = publish.run(work, day)
    return {**row, "version": published.commit.version, "unchanged": published.unchanged}


def _row(day: dt.date, state: str) -> dict[str, Any]:
    """A day's row of the table of `predict`, before anything is known of it."""
    return {
        "day": day,
        "state": state,
        "rows": None,
        "model": None,
        "psi": None,
        "version": None,
        "unchanged": True,
        "why": "",
    }


def _not_published(services: Wiring, spec: PipelineSpec, day: dt.date, error: TailraceError) -> dict[str, Any]:
    """The row of a day that failed: why, and what was published of it before, which stays."""
    row = {**_row(day, "refused" if isinstance(error, Refused) else "not published"), "why": _in_a_line(error)}
    before = services.lake.days(spec.predictions_table).get(day)
    if before is None:
        return row
    return {**row, "rows": before.rows, "model": before.metadata.get("model_version"), "version": before.version}


def _in_a_line(error: TailraceError) -> str:
    """The problems that an error lists, or its first line: the rest is the same for every day."""
    lines = str(error).splitlines()
    listed = [line.removeprefix("  - ") for line in lines if line.startswith("  - ")]
    return " ".join(listed or lines[:1])
