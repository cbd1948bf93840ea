"""`tailrace run`: one stage of a pipeline, run by hand or as the command of a pod."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tailrace.commands import options, output, stage_call, stale_days
from tailrace.errors import BadInput, TailraceError
from tailrace.operations import os_errors, people, stage_result_file
from tailrace.spec import registry
from tailrace.stages import STAGES
from tailrace.work import Work

Stage = StrEnum("Stage", STAGES)  # type: ignore[misc]

StageModelOption = Annotated[str | None, typer.Option("--model", help=f"score: {options.MODEL} The default is as-of.")]
TrainingRunOption = Annotated[
    str | None,
    typer.Option("--run", help="evaluate, promote: the training run; by default the last one as of the day."),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="train: do not name the version challenger. score: score even if the day is published."
    ),
]
RunIdOption = Annotated[
    str | None, typer.Option("--run-id", help="The staging run: later stages find the staged rows by it.")
]
RequestOption = Annotated[
    str, typer.Option("--request", help="What was requested, as a JSON object; it is recorded with the results.")
]
ResultOption = Annotated[
    Path | None, typer.Option(help="Also write the result or the error to this file, in at most 4096 bytes.")
]


def run(
    stage: Stage,
    pipeline: options.Pipeline,
    date: options.Date,
    to: options.To = None,
    model: StageModelOption = None,
    trials: options.Trials = None,
    training_run: TrainingRunOption = None,
    force: options.Force = False,
    dry_run: DryRunOption = False,
    run_id: RunIdOption = None,
    engine: options.EngineOption = None,
    request: RequestOption = "{}",
    result: ResultOption = None,
    as_json: options.Json = False,
) -> None:
    """Run one stage of a pipeline for a day or a range of days. ingest and build work for all pipelines.

    --model, --trials, --run, --force and --dry-run are for some stages only; the others refuse them.
    """
    if result and not result.parent.is_dir():
        raise BadInput(f"--result is {str(result)!r}, but there is no folder {str(result.parent)!r}.")
    chosen = {"model": model, "trials": trials, "training_run": training_run, "force": force, "dry_run": dry_run}
    given = {name: value for name, value in chosen.items() if value is not None and value is not False}
    applications: list[str] = []
    with _errors_also_in(result, applications):
        stage_call.check(stage, given)
        work = Work(
            services=options.services(engine, applications.append),
            spec=registry.get(pipeline, estimators=stage == "train"),
            run_id=_run_id(run_id),
            request=_request(request),
        )
        first, last = options.day_range(date, to)
        rows = _rows(stage_call.call_for_days(stage, work, first=first, last=last, chosen=given))
    if result:
        stage_result_file.write_result(result, rows, "".join(applications[-1:]))
    stale_days.warn(stage, work.services, work.spec, first=first, last=last)
    output.table(f"{stage.value} {pipeline}", rows, as_json)


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


def _rows(results: Sequence[Any]) -> list[Any]:
    """The rows that show the results: those of the result's own `summary`, else the result itself."""
    return [row for result in results for row in (result.summary() if hasattr(result, "summary") else [result])]


def _request(text: str) -> dict[str, str]:
    try:
        request = json.loads(text)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise BadInput(f"--request is {text!r}; it must be a JSON object.")
    return {people.plain_text(name): people.plain_text(value) for name, value in request.items()}


def _run_id(given: str | None) -> str:
    """The name of the staging run. Raises BadInput if logs and pages could not show it."""
    if given is None:
        return options.CLI_RUN
    if not given.strip() or not given.isprintable() or len(given) > people.REASON_LENGTH:
        raise BadInput(f"--run-id is {given[:60]!r}; use printable characters, at most {people.REASON_LENGTH}.")
    return given
