"""The `tailrace` command: the same stages that Airflow runs, by hand.

Exit codes: 0 it worked, 1 it was refused or failed, 2 what was asked for cannot be.
"""

from __future__ import annotations

import datetime as dt
import getpass
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines import days, handover, models, output, registry, settings
from pipelines.errors import BadInput, TailraceError
from pipelines.interfaces import Services, Trial
from pipelines.spec import PipelineSpec
from pipelines.wiring import Wiring

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Batch ML pipelines, by hand."
)

Pipeline = Annotated[str, typer.Argument(help="A pipeline of pipelines/catalog/.")]
Date = Annotated[str, typer.Option("--date", help="The day to work on, YYYY-MM-DD.")]
To = Annotated[str | None, typer.Option("--to", help="Work on every day from --date to this one.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Model = Annotated[str, typer.Option("--model", help="as-of, current, or a version number.")]
Trials = Annotated[int | None, typer.Option("--trials", min=1, help="Search trials, instead of the spec's.")]
RunId = Annotated[str | None, typer.Option("--run-id", help="Names what is staged, so that later stages find it.")]

CLI_RUN = "cli"


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


class DataChoice(StrEnum):
    """What `tailrace reproduce` trains on."""

    pinned = "pinned"
    current = "current"


def main() -> None:
    """Entry point: errors become one message on standard error and an exit code."""
    output.quiet_exit()
    output.show_logs()
    try:
        app()
    except TailraceError as error:
        output.error(str(error))
        raise SystemExit(2 if isinstance(error, BadInput) else 1) from error


@app.command("list")
def list_(as_json: Json = False) -> None:
    """The pipelines, their champions and their last published day."""
    services = _services()
    output.table("Pipelines", [_overview(services, registry.get(name)) for name in registry.names()], as_json)


@app.command()
def run(
    stage: Stage,
    pipeline: Pipeline,
    date: Date,
    to: To = None,
    model: Model = models.AS_OF,
    trials: Trials = None,
    run_id: RunId = None,
    training_run: Annotated[str | None, typer.Option("--run", help="For evaluate and promote.")] = None,
    result: Annotated[Path | None, typer.Option(help="Also write the result or the error here, in 4096 bytes.")] = None,
    as_json: Json = False,
) -> None:
    """Run one stage of a pipeline for a day (ingest and build: for all pipelines)."""
    with _handing_over_errors(result):
        services, spec = _services(), registry.get(pipeline)
        first, last = _range(date, to)
        rows = _run_stage(stage, services, spec, first, last, model, trials, run_id or CLI_RUN, training_run)
    if result:
        handover.write_result(result, rows)
    output.table(f"{stage.value} {pipeline}", rows, as_json)


@app.command()
def warehouse(
    date: Date,
    to: To = None,
    pipeline: Annotated[str | None, typer.Argument(help="Only this pipeline's tables into the lake.")] = None,
    as_json: Json = False,
) -> None:
    """Land, build, validate and snapshot a day or a range of days."""
    from pipelines.stages import build, ingest, snapshot, validate

    services = _services()
    specs = [registry.get(name) for name in ([pipeline] if pipeline else registry.names())]
    first, last = _range(date, to)
    with output.steps("warehouse", 2 + len(specs) * ((last - first).days + 2)) as advance:
        ingest.run(services, first, last)
        advance(f"landed {first} to {last}")
        build.run(services, first, last)
        advance("built")
        rows = []
        for spec in specs:
            validated = validate.run(services, spec, first, last)
            advance(f"{spec.name} validated")
            for warning in validated.warnings:
                output.warn(warning)
            for day in days.span(first, last):
                taken = snapshot.run(services, spec, day, _new_run_id())
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
    output.table("Warehouse", rows, as_json)


@app.command()
def train(pipeline: Pipeline, date: Date, trials: Trials = None, as_json: Json = False) -> None:
    """Train as of a day, judge the challenger, and promote it if the gate says so."""
    from pipelines.stages import evaluate, promote

    services, spec = _services(), registry.get(pipeline, estimators=True)
    trained = _train(services, spec, days.parse(date), trials)
    evaluated = evaluate.run(services, spec, trained.run_id)
    decided = promote.run(services, spec, trained.run_id, recorded_at=_now())
    output.table(
        f"train {pipeline} as of {date}",
        [
            {
                "run": trained.run_id,
                "version": trained.version,
                "candidate": trained.candidate,
                spec.gate.metric: evaluated.metrics[spec.gate.metric],
                f"champion {spec.gate.metric}": (evaluated.champion_metrics or {}).get(spec.gate.metric),
                "outcome": decided.outcome,
                "why": decided.reason,
            }
        ],
        as_json,
    )


@app.command()
def predict(pipeline: Pipeline, date: Date, to: To = None, model: Model = models.AS_OF, as_json: Json = False) -> None:
    """Score, audit and publish a day or a range of days."""
    from pipelines.stages import audit, publish, score

    services, spec = _services(), registry.get(pipeline)
    models.check_choice(model)
    first, last = _range(date, to)
    rows = []
    with output.steps("predict", (last - first).days + 1) as advance:
        for day in days.span(first, last):
            run_id = _new_run_id()
            score.run(services, spec, day, run_id, model)
            audited = audit.run(services, spec, day, run_id)
            published = publish.run(services, spec, day, run_id)
            rows.append(
                {
                    "day": day,
                    "rows": published.rows,
                    "model": published.model_version,
                    "psi": audited.psi,
                    "version": published.commit.version,
                    "unchanged": published.unchanged,
                }
            )
            advance(f"published {day}")
    output.table(f"predictions/{pipeline}", rows, as_json)


@app.command()
def promote(
    pipeline: Pipeline,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")],
    training_run: Annotated[str | None, typer.Option("--run", help="A training run.")] = None,
    version: Annotated[str | None, typer.Option("--version", help="A model version.")] = None,
    takes_over: Annotated[
        str | None, typer.Option("--from", help="The day from which on it is champion; its training day by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a trained model champion, as a person's decision."""
    from pipelines.stages import promote as stage

    services, spec = _services(), registry.get(pipeline)
    if (training_run is None) == (version is None):
        raise BadInput("Name the model by either --run or --version.")
    decided = stage.run(
        services,
        spec,
        training_run or _run_of_version(services, spec, version or ""),
        recorded_at=_now(),
        decided_by=getpass.getuser(),
        reason=reason,
        takes_over=days.parse(takes_over, "--from") if takes_over else None,
    )
    output.table(f"promote {pipeline}", [decided], as_json)


@app.command()
def history(pipeline: Pipeline, as_json: Json = False) -> None:
    """Which version was champion from when, and who decided."""
    from pipelines import promotions

    spec = registry.get(pipeline)
    output.table(f"Promotions of {pipeline}", list(promotions.history(_services().lake, spec.name)), as_json)


@app.command()
def predictions(pipeline: Pipeline, date: Date, to: To = None, as_json: Json = False) -> None:
    """What was published for a day, by which model, and how it turned out."""
    from pipelines import performance

    services, spec = _services(), registry.get(pipeline)
    reports = [performance.day_report(services.lake, spec, day) for day in days.span(*_range(date, to))]
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


@app.command()
def reproduce(
    run: Annotated[str, typer.Argument(help="A training run's id.")],
    data: Annotated[
        DataChoice, typer.Option(help="The pinned bytes, or what these days hold now.")
    ] = DataChoice.pinned,
    as_json: Json = False,
) -> None:
    """Train a run again and say whether model and metrics are the same; exit 1 if they are not."""
    from pipelines import reproduce as reproduction

    services = _services()
    record = services.tracker.run(run)
    spec = registry.get(record.pipeline)
    with _trial_progress("reproduce", int(record.params.get("trials", 0))) as on_trial:
        found = reproduction.run(services, spec, run, data=data.value, on_trial=on_trial)
    rows = [
        {"what": compared.name, "recorded": compared.recorded, "now": compared.now, "same": compared.same}
        for compared in (*found.inputs, *found.results)
    ]
    output.table(f"reproduce {run}", rows, as_json, sentence=found.sentence())
    if not found.same:
        raise typer.Exit(1)


@app.command()
def check(as_json: Json = False) -> None:
    """Check the settings, every spec and every expectation suite; say all that is wrong."""
    from pipelines.checks import check_all

    output.table("Checks", check_all(_services()), as_json)


@app.command()
def maintain(
    pipeline: Pipeline,
    keep_days: Annotated[int, typer.Option(min=1, help="Keep files of versions younger than this many days.")] = 30,
    as_json: Json = False,
) -> None:
    """Compact a pipeline's lake tables and delete files that no version, pin or staging needs."""
    from pipelines.maintenance import maintain as maintain_tables

    spec = registry.get(pipeline)
    output.table(f"maintain {pipeline}", maintain_tables(_services(), spec, dt.timedelta(days=keep_days)), as_json)


def _run_stage(
    stage: Stage,
    services: Services,
    spec: PipelineSpec,
    first: dt.date,
    last: dt.date,
    model: str,
    trials: int | None,
    run_id: str,
    training_run: str | None,
) -> list[Any]:
    from pipelines.stages import audit, build, evaluate, ingest, promote, publish, score, snapshot, validate

    if stage is Stage.ingest:
        return [ingest.run(services, first, last)]
    if stage is Stage.build:
        return list(build.run(services, first, last).nodes)
    if stage is Stage.validate:
        return [validate.run(services, spec, first, last)]
    each_day: dict[Stage, Callable[[dt.date], Any]] = {
        Stage.snapshot: lambda day: snapshot.run(services, spec, day, run_id),
        Stage.train: lambda day: _train(services, spec, day, trials),
        Stage.evaluate: lambda day: evaluate.run(services, spec, training_run or _latest_run(services, spec, day)),
        Stage.promote: lambda day: promote.run(
            services, spec, training_run or _latest_run(services, spec, day), recorded_at=_now()
        ),
        Stage.score: lambda day: score.run(services, spec, day, run_id, model),
        Stage.audit: lambda day: audit.run(services, spec, day, run_id),
        Stage.publish: lambda day: publish.run(services, spec, day, run_id),
    }
    return [each_day[stage](day) for day in days.span(first, last)]


@contextmanager
def _handing_over_errors(file: Path | None) -> Iterator[None]:
    """Errors are also written to the file, where one is given."""
    try:
        yield
    except Exception as error:
        if file:
            handover.write_error(file, error)
        raise


def _train(services: Services, spec: PipelineSpec, day: dt.date, trials: int | None) -> Any:
    from pipelines.stages import train as stage

    with _trial_progress(f"train {spec.name}", trials or spec.search.trials) as on_trial:
        return stage.run(services, spec, day, seed=settings.load().seed, trials=trials, on_trial=on_trial)


def _latest_run(services: Services, spec: PipelineSpec, day: dt.date) -> str:
    """The last finished training run as of a day."""
    for record in services.tracker.runs(spec.name):
        if record.status == "finished" and record.tags.get("tailrace.day") == str(day):
            return record.run_id
    raise BadInput(
        f"{spec.name} has no finished training run as of {day}; "
        f"run one with: tailrace run train {spec.name} --date {day}."
    )


def _run_of_version(services: Services, spec: PipelineSpec, version: str) -> str:
    return models.record_of(services, spec, version).run_id


@contextmanager
def _trial_progress(what: str, trials: int) -> Iterator[Callable[[Trial], None]]:
    with output.steps(what, trials) as advance:
        yield lambda trial: advance(
            f"trial {trial.number} {trial.candidate}: {trial.state}"
            + (f" {trial.value:.4f}" if trial.value is not None else f" {trial.parameters.get('error', '')}")
        )


def _overview(services: Services, spec: PipelineSpec) -> dict[str, Any]:
    from pipelines import promotions

    champion = promotions.current(promotions.history(services.lake, spec.name))
    published = services.lake.days(spec.predictions_table)
    return {
        "pipeline": spec.name,
        "owner": spec.owner,
        "champion": champion.version if champion else None,
        "since": champion.effective_from if champion else None,
        "last day": max(published, default=None),
        "train": spec.schedule.train,
        "predict": spec.schedule.predict,
    }


def _services() -> Wiring:
    return Wiring(settings.load())


def _range(date: str, to: str | None) -> tuple[dt.date, dt.date]:
    first = days.parse(date, "--date")
    last = days.parse(to, "--to") if to else first
    if last < first:
        raise BadInput(f"--to is {last}, before --date {first}; name the first day first.")
    return first, last


def _new_run_id() -> str:
    return f"{CLI_RUN}-{uuid.uuid4().hex[:12]}"


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
