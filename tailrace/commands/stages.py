"""`tailrace run`: one stage of a pipeline, run by hand or as the command of a pod."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tailrace import days
from tailrace.champions import model_versions
from tailrace.commands import options, output, stale_days, training
from tailrace.errors import BadInput, TailraceError
from tailrace.lineage import run_tags
from tailrace.operations import os_errors, people, stage_result_file
from tailrace.spec import registry
from tailrace.work import Work

RunId = Annotated[
    str | None, typer.Option("--run-id", help="The staging run: later stages find the staged rows by it.")
]
Asked = Annotated[str, typer.Option("--asked", help="What was requested, as a JSON object; it is recorded.")]


class Stage(StrEnum):
    """The stages `tailrace run` takes."""

    ingest = "ingest"
    build = "build"
    validate = "validate"
    snapshot = "snapshot"
    train = "train"
    evaluate = "evaluate"
    promote = "promote"
    score = "score"
    audit = "audit"
    publish = "publish"
    monitor = "monitor"


def run(
    stage: Stage,
    pipeline: options.Pipeline,
    date: options.Date,
    to: options.To = None,
    model: options.ModelOption = model_versions.AS_OF,
    trials: options.Trials = None,
    run_id: RunId = None,
    training_run: Annotated[
        str | None,
        typer.Option("--run", help="The training run to evaluate or promote; by default the last one as of the day."),
    ] = None,
    engine: options.EngineOption = None,
    force: options.Force = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Train without naming the version challenger; score even if the day is published."
        ),
    ] = False,
    asked: Asked = "{}",
    result: Annotated[
        Path | None, typer.Option(help="Also write the result or the error to this file, in at most 4096 bytes.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Run one stage of a pipeline for a day or a range of days. ingest and build work for all pipelines."""
    if result and not result.parent.is_dir():
        raise BadInput(f"--result is {str(result)!r}, but there is no folder {str(result.parent)!r}.")
    applications: list[str] = []
    with _errors_also_in(result, applications):
        services, spec = options.services(engine, applications.append), registry.get(pipeline)
        first, last = options.day_range(date, to)
        work = Work(services=services, spec=spec, run_id=_run_id(run_id), request=_asked(asked))
        chosen = Chosen(model=model, trials=trials, training_run=training_run, force=force, dry_run=dry_run)
        rows = _run_stage(stage, work, first, last, chosen=chosen)
    if result:
        stage_result_file.write_result(result, rows, "".join(applications[-1:]))
    stale_days.warn(stage, services, spec, first, last)
    output.table(f"{stage.value} {pipeline}", rows, as_json)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What `tailrace run` was asked for besides the stage, the pipeline and the days."""

    model: str
    trials: int | None
    training_run: str | None
    force: bool
    dry_run: bool


def _run_stage(stage: Stage, work: Work, first: dt.date, last: dt.date, *, chosen: Chosen) -> list[Any]:
    from tailrace.stages import audit, build, evaluate, ingest, monitor, promote, publish, score, snapshot, validate

    if stage is Stage.ingest:
        return [ingest.run(work.services, first, last)]
    if stage is Stage.build:
        return [build.brief(node) for node in build.run(work.services, first, last).nodes]
    if stage is Stage.validate:
        return [validate.run(work, first, last)]

    def training_run(day: dt.date) -> str:
        return _latest_run(work, day) if chosen.training_run is None else chosen.training_run

    each_day: dict[Stage, Callable[[dt.date], Any]] = {
        Stage.snapshot: lambda day: snapshot.run(work, day),
        Stage.train: lambda day: training.train_with_progress(
            work, day, trials=chosen.trials, force=chosen.force, challenge=not chosen.dry_run
        ),
        Stage.evaluate: lambda day: evaluate.run(work, training_run(day)),
        Stage.promote: lambda day: promote.run(work, training_run(day), recorded_at=options.now()),
        Stage.score: lambda day: score.run(work, day, model=chosen.model, force=chosen.force or chosen.dry_run),
        Stage.audit: lambda day: audit.run(work, day),
        Stage.publish: lambda day: publish.run(work, day),
        Stage.monitor: lambda day: monitor.run(work, day),
    }
    return [each_day[stage](day) for day in days.span(first, last)]


@contextmanager
def _errors_also_in(file: Path | None, applications: Sequence[str]) -> Iterator[None]:
    """Also write an error to the file, if there is one, with the last Spark application's id."""
    try:
        yield
    except Exception as error:
        ours = os_errors.in_words(error) if file and not isinstance(error, TailraceError) else None
        if file:
            stage_result_file.write_error(file, ours or error, "".join(applications[-1:]))
        raise


def _asked(text: str) -> dict[str, str]:
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        held = None
    if not isinstance(held, dict):
        raise BadInput(f"--asked is {text!r}; it must be a JSON object.")
    return {people.plain_text(name): people.plain_text(value) for name, value in held.items()}


def _latest_run(work: Work, day: dt.date) -> str:
    """The last finished training run as of a day. Raises BadInput if there is none."""
    spec = work.spec
    for record in work.services.tracker.runs(spec.name):
        if record.status == "finished" and record.tags.get(run_tags.DAY) == str(day):
            return record.run_id
    raise BadInput(
        f"{spec.name} has no finished training run as of {day}; "
        f"run one with: tailrace run train {spec.name} --date {day}."
    )


def _run_id(given: str | None) -> str:
    """The name of the staging run. Raises BadInput if logs and pages could not show it."""
    if given is None:
        return options.CLI_RUN
    if not given.strip() or not given.isprintable() or len(given) > people.REASON_LENGTH:
        raise BadInput(f"--run-id is {given[:60]!r}; use printable characters, at most {people.REASON_LENGTH}.")
    return given
