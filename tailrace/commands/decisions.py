"""A person's decisions: which version is champion, and from which day."""

from __future__ import annotations

from typing import Annotated

import typer

from tailrace import days
from tailrace.champions import model_versions
from tailrace.commands import options, output
from tailrace.contracts import Services
from tailrace.errors import BadInput
from tailrace.operations import people
from tailrace.spec import PipelineSpec, registry
from tailrace.work import Work


def promote(
    pipeline: options.Pipeline,
    reason: options.Reason,
    training_run: Annotated[
        str | None, typer.Option("--run", help="The training run whose model becomes champion.")
    ] = None,
    version: Annotated[str | None, typer.Option("--version", help="The model version that becomes champion.")] = None,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", help="A baseline of the spec: it is registered first, and needs no labels."),
    ] = None,
    takes_over: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="The first day it is champion; by default its training day, of a baseline the last day with features.",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Make a trained model, or a baseline of the spec, the champion by hand."""
    from tailrace.operations import baselines
    from tailrace.stages import promote as stage

    services, spec = options.services(), registry.get(pipeline)
    if [training_run, version, baseline].count(None) != 2:
        raise BadInput("Name the model with one of --run, --version and --baseline.")
    work = Work(services=services, spec=spec, run_id=options.new_run_id())
    why, first_day = options.reason_given(reason), days.parse(takes_over, "--from") if takes_over is not None else None
    now, who = options.now(), people.user()
    if baseline is not None:
        decided = baselines.make_champion(
            work, baseline, recorded_at=now, decided_by=who, reason=why, takes_over=first_day
        )
    else:
        named = training_run or _run_of_version(services, spec, version or "")
        decided = stage.run(work, named, recorded_at=now, decided_by=who, reason=why, takes_over=first_day)
    output.table(f"promote {pipeline}", [decided], as_json)


def rollback(
    pipeline: options.Pipeline,
    reason: options.Reason,
    version: Annotated[str, typer.Option("--version", help="The model version of a former champion.")],
    takes_over: Annotated[
        str | None,
        typer.Option("--from", help="The first day it is champion again; by default the first unpublished day."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    as_json: options.Json = False,
) -> None:
    """Make a former champion the champion again."""
    from tailrace.stages import promote as stage

    decided = stage.roll_back(
        Work(services=options.services(), spec=registry.get(pipeline), run_id=options.new_run_id()),
        version,
        recorded_at=options.now(),
        decided_by=people.user(),
        reason=options.reason_given(reason),
        takes_over=days.parse(takes_over, "--from") if takes_over is not None else None,
        dry_run=dry_run,
    )
    output.table(f"rollback {pipeline}" + (": dry run, nothing changed" if dry_run else ""), [decided], as_json)


def threshold(
    pipeline: options.Pipeline,
    value: Annotated[
        float | None, typer.Argument(help="The threshold, 0 to 1. Leave it out to list those that were set.")
    ] = None,
    reason: options.Reason = "",
    first_day: Annotated[
        str | None, typer.Option("--from", help="The first day it counts for; by default the first unpublished day.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    as_json: options.Json = False,
) -> None:
    """Set the threshold of a pipeline's decisions from a day on, without a deploy; or list those that were set."""
    from tailrace.champions import policies
    from tailrace.operations import thresholds

    work = Work(services=options.services(), spec=registry.get(pipeline), run_id=options.new_run_id())
    if value is None:
        options.only_with("a threshold", reason=reason, **{"from": first_day}, dry_run=dry_run)
        output.table(f"Policies of {pipeline}", policies.history(work.services.lake, work.spec.name), as_json)
        return
    decided = thresholds.run(
        work,
        value,
        recorded_at=options.now(),
        decided_by=people.user(),
        reason=options.reason_given(reason),
        effective_from=days.parse(first_day, "--from") if first_day is not None else None,
        dry_run=dry_run,
    )
    output.table(f"threshold {pipeline}" + (": dry run, nothing changed" if dry_run else ""), [decided], as_json)


def _run_of_version(services: Services, spec: PipelineSpec, version: str) -> str:
    return model_versions.record_of(services, spec, version).training_run
