"""The `tailrace` command: the same stages that Airflow runs, by hand.

Exit codes: 0 it worked, 1 it was refused or failed, 2 what was asked for cannot be.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from tailrace import days, settings
from tailrace.champions import model_versions
from tailrace.commands import output
from tailrace.contracts import Services, Trial
from tailrace.errors import BadInput, SettingsError, SpecError, TailraceError, did_you_mean
from tailrace.operations import limits, os_errors, people, stage_result_file
from tailrace.spec import MOST_DAYS, MOST_TRIALS, PipelineSpec, registry, zone
from tailrace.wiring import Wiring, open_services

if TYPE_CHECKING:
    from tailrace.commands.airflow_api import AirflowApi

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Batch ML pipelines, by hand."
)

Pipeline = Annotated[str, typer.Argument(help="A pipeline of pipelines/.")]
Date = Annotated[str, typer.Option("--date", help="The day to work on, YYYY-MM-DD.")]
To = Annotated[str | None, typer.Option("--to", help="Work on every day from --date to this one.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Model = Annotated[str, typer.Option("--model", help="as-of, current, or a version number.")]
Trials = Annotated[
    int | None, typer.Option("--trials", min=1, max=MOST_TRIALS, help="Search trials, instead of the spec's.")
]
RunId = Annotated[str | None, typer.Option("--run-id", help="Names what is staged, so that later stages find it.")]

Engine = Annotated[str | None, typer.Option("--engine", help="local or spark, instead of TAILRACE_ENGINE.")]
Reason = Annotated[str, typer.Option("--reason", parser=people.plain_text, metavar="TEXT", help="Why, for the record.")]
Force = Annotated[bool, typer.Option("--force", help="Do again what was done from the same inputs.")]
Asked = Annotated[str, typer.Option("--asked", help="What a run was asked for, as a JSON object, for the record.")]

CLI_RUN = "cli"
WAREHOUSE = "warehouse"


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


class DataChoice(StrEnum):
    """What `tailrace reproduce` trains on."""

    pinned = "pinned"
    current = "current"


def main() -> None:
    """Entry point: errors become one message on standard error and an exit code."""
    output.quiet_exit()
    output.show_logs()
    call()


def call(arguments: Sequence[str] | None = None) -> None:
    """Run a command, that of the process by default. Raises SystemExit with the exit code, also where all went well."""
    try:
        app(arguments)
    except Exception as error:
        ours = error if isinstance(error, TailraceError) else os_errors.in_words(error)
        if ours is None:
            raise
        output.error(str(ours))
        raise SystemExit(2 if isinstance(ours, BadInput) else 1) from error


@app.command("list")
def list_(as_json: Json = False) -> None:
    """The pipelines, their champions, their last published day, and the day of a training that was missed."""
    services = _services()
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


@app.command()
def run(
    stage: Stage,
    pipeline: Pipeline,
    date: Date,
    to: To = None,
    model: Model = model_versions.AS_OF,
    trials: Trials = None,
    run_id: RunId = None,
    training_run: Annotated[str | None, typer.Option("--run", help="For evaluate and promote.")] = None,
    engine: Engine = None,
    force: Force = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Train without naming the version challenger.")] = False,
    asked: Asked = "{}",
    result: Annotated[Path | None, typer.Option(help="Also write the result or the error here, in 4096 bytes.")] = None,
    as_json: Json = False,
) -> None:
    """Run one stage of a pipeline for a day (ingest and build: for all pipelines)."""
    if result and not result.parent.is_dir():
        raise BadInput(f"--result is {str(result)!r}, and there is no folder {str(result.parent)!r}.")
    applications: list[str] = []
    with _handing_over_errors(result, applications):
        services, spec = _services(engine, applications.append), registry.get(pipeline)
        first, last = _range(date, to)
        chosen = Chosen(model, trials, _run_id(run_id), training_run, force, dry_run, _asked(asked))
        rows = _run_stage(stage, services, spec, first, last, chosen)
    if result:
        stage_result_file.write_result(result, rows, "".join(applications[-1:]))
    _warn_of_stale(stage, services, spec, first, last)
    output.table(f"{stage.value} {pipeline}", rows, as_json)


@app.command()
def warehouse(
    date: Date,
    to: To = None,
    pipeline: Annotated[str | None, typer.Argument(help="Only this pipeline's tables into the lake.")] = None,
    reason: Reason = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Take nothing into the lake.")] = False,
    as_json: Json = False,
) -> None:
    """Land, build, validate and snapshot a day or a range of days."""
    from tailrace.stages import build, ingest, snapshot, validate

    asked = _recorded(reason=reason)
    services = _services()
    specs, problems = registry.load(estimators=False) if pipeline is None else ((registry.get(pipeline),), ())
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
            for day in () if dry_run else days.span(first, last):
                taken = snapshot.run(services, spec, day, _new_run_id(), asked=asked)
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
    for spec in specs:
        _warn_of_stale(Stage.build, services, spec, first, last)
    output.table("Warehouse", rows, as_json)
    if problems:
        raise SpecError("All was built, but the lake took nothing for pipelines whose specs are wrong:", problems)


@app.command()
def train(
    pipeline: Pipeline,
    date: Date,
    trials: Trials = None,
    engine: Engine = None,
    reason: Reason = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Evaluate, but do not promote.")] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train as of a day, judge the challenger, and promote it if the gate says so."""
    from tailrace.stages import evaluate, promote

    day = days.parse(date, "--date")
    services, spec = _services(engine), registry.get(pipeline, estimators=True)
    asked = _recorded(reason=reason, engine=engine)
    _warn_of_stale(Stage.train, services, spec, day, day)
    trained = _train(services, spec, day, trials, force, not dry_run, asked)
    evaluated = evaluate.run(services, spec, trained.run_id)
    if dry_run:
        outcome, why = "dry run", "Nothing was promoted."
    else:
        decided = promote.run(services, spec, trained.run_id, recorded_at=_now())
        outcome, why = decided.outcome, decided.reason
    output.table(
        f"train {pipeline} as of {date}",
        [
            {
                "run": trained.run_id,
                "version": trained.version,
                "candidate": trained.candidate,
                spec.gate.metric: evaluated.metrics[spec.gate.metric],
                f"champion {spec.gate.metric}": (evaluated.champion_metrics or {}).get(spec.gate.metric),
                "outcome": outcome,
                "why": why,
            }
        ],
        as_json,
    )


@app.command()
def predict(
    pipeline: Pipeline,
    date: Date,
    to: To = None,
    model: Model = model_versions.AS_OF,
    engine: Engine = None,
    reason: Reason = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Discard what passed the audit.")] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Score, audit and publish a day or a range of days; days published from the same inputs are left alone."""
    services, spec = _services(engine), registry.get(pipeline)
    model_versions.check_choice(model)
    asked = _recorded(reason=reason, engine=engine, model=model)
    first, last = _range(date, to)
    _warn_of_stale(Stage.score, services, spec, first, last)
    rows = []
    with output.steps("predict", (last - first).days + 1) as advance:
        for day in days.span(first, last):
            rows.append(_predict(services, spec, day, model, asked, force=force, dry_run=dry_run))
            advance(f"{'audited' if dry_run else 'published'} {day}")
    output.table(f"predictions/{pipeline}", rows, as_json)


@app.command()
def backfill(
    pipeline: Annotated[str, typer.Argument(help="A pipeline of pipelines/, or warehouse.")],
    first: Annotated[str | None, typer.Option("--from", help="The first day, YYYY-MM-DD.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="The last day, YYYY-MM-DD.")] = None,
    train: Annotated[bool, typer.Option("--train", help="Backfill trainings, on the days they are scheduled.")] = False,
    model: Annotated[str | None, typer.Option("--model", help="as-of, current, or a version number.")] = None,
    trials: Trials = None,
    engine: Engine = None,
    reason: Reason = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but what others would see.")] = False,
    force: Force = False,
    at_once: Annotated[
        int | None,
        typer.Option(
            "--at-once", min=1, max=max(limits.AT_ONCE.values()), help="Days at once; 4 for predictions, else 1."
        ),
    ] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel the backfill that runs.")] = False,
    as_json: Json = False,
) -> None:
    """Run every day of a range through a running Airflow, and watch; exit 1 if a day failed."""
    from tailrace.commands import airflow_api, backfills

    dag, zone = _backfilled(pipeline, train)
    if cancel:
        _cancel_backfill(airflow_api.AirflowApi(*airflow_api.login(settings.load()), zone), dag, as_json)
        return
    if first is None or last is None:
        raise BadInput("Name the days: --from YYYY-MM-DD --to YYYY-MM-DD.")
    begin, end = days.parse(first, "--from"), days.parse(last, "--to")
    if end < begin:
        raise BadInput(f"--to is {end}, before --from {begin}; name the first day first.")
    if end > (today := _now().astimezone(zone).date()):
        raise BadInput(f"--to is {end}, in the future ({zone} has {today}): its run would wait for that day.")
    conf = _conf(
        dag,
        {
            "model": None if model is None else model_versions.check_choice(model),
            "trials": trials,
            "engine": engine,
            "reason": reason or None,
        },
        {"dry_run": dry_run, "force": force},
    )
    if dag == WAREHOUSE and (at_once or 1) > 1:
        raise BadInput("Features look back: the warehouse is backfilled one day at a time. Leave --at-once out.")
    api = airflow_api.AirflowApi(*airflow_api.login(settings.load()), zone)
    try:
        rows, why = backfills.run(api, dag, begin, end, conf, at_once or limits.AT_ONCE[limits.kind_of(dag)])
    except KeyboardInterrupt as interrupted:
        what = f"{pipeline}{' --train' if train else ''}"
        output.warn(
            f"The backfill goes on in Airflow ({api.url}/dags/{dag}/backfills). "
            f"Cancel it with: tailrace backfill {what} --cancel"
        )
        raise typer.Exit(130) from interrupted
    output.table(f"backfill {dag} {begin} to {end}", rows, as_json)
    for sentence in why:
        output.error(sentence)
    if why:
        raise typer.Exit(1)


@app.command()
def promote(
    pipeline: Pipeline,
    reason: Reason,
    training_run: Annotated[str | None, typer.Option("--run", help="A training run.")] = None,
    version: Annotated[str | None, typer.Option("--version", help="A model version.")] = None,
    takes_over: Annotated[
        str | None, typer.Option("--from", help="The day from which on it is champion; its training day by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a trained model champion, as a person's decision."""
    from tailrace.stages import promote as stage

    services, spec = _services(), registry.get(pipeline)
    if (training_run is None) == (version is None):
        raise BadInput("Name the model by either --run or --version.")
    decided = stage.run(
        services,
        spec,
        _run_of_version(services, spec, version or "") if training_run is None else training_run,
        recorded_at=_now(),
        decided_by=people.user(),
        reason=_why(reason),
        takes_over=days.parse(takes_over, "--from") if takes_over is not None else None,
    )
    output.table(f"promote {pipeline}", [decided], as_json)


@app.command()
def rollback(
    pipeline: Pipeline,
    reason: Reason,
    version: Annotated[str, typer.Option("--version", help="A former champion's model version.")],
    takes_over: Annotated[
        str | None,
        typer.Option("--from", help="The day from which on it is champion; the first unpublished by default."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Make a former champion champion again, as a person's decision."""
    from tailrace.stages import promote as stage

    decided = stage.roll_back(
        _services(),
        registry.get(pipeline),
        version,
        recorded_at=_now(),
        decided_by=people.user(),
        reason=_why(reason),
        takes_over=days.parse(takes_over, "--from") if takes_over is not None else None,
        dry_run=dry_run,
    )
    output.table(f"rollback {pipeline}" + (": dry run, nothing changed" if dry_run else ""), [decided], as_json)


@app.command()
def history(pipeline: Pipeline, as_json: Json = False) -> None:
    """What was decided on which version, when, and by whom."""
    from tailrace.champions import promotions

    spec = registry.get(pipeline)
    output.table(f"Promotions of {pipeline}", list(promotions.decisions(_services().lake, spec.name)), as_json)


@app.command()
def predictions(pipeline: Pipeline, date: Date, to: To = None, as_json: Json = False) -> None:
    """What was published for a day, by which model, and how it turned out."""
    from tailrace.monitoring import performance

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
    from tailrace.operations import reproduce as reproduction

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
    from tailrace.operations.checks import check_all

    services = _services()
    if problems := settings.unusable(services.settings):
        raise SettingsError("The installation cannot be written to:", problems)
    output.table("Checks", check_all(services), as_json)


@app.command()
def maintain(
    pipeline: Pipeline,
    keep_days: Annotated[
        int, typer.Option(min=1, max=MOST_DAYS, help="Keep files of versions younger than this many days.")
    ] = 30,
    as_json: Json = False,
) -> None:
    """Compact a pipeline's lake tables, and delete files that no version, pin, staging or writer needs."""
    from tailrace.operations.maintenance import maintain as maintain_tables

    services, spec = _services(), registry.get(pipeline)
    rows = maintain_tables(services, spec, dt.timedelta(days=keep_days))
    if swept := services.landing.sweep():
        rows.append({"table": "landing", "deleted": swept})
    output.table(f"maintain {pipeline}", rows, as_json)


@dataclass(frozen=True)
class Chosen:
    """What `tailrace run` was asked for besides the stage, the pipeline and the days."""

    model: str
    trials: int | None
    run_id: str
    training_run: str | None
    force: bool
    dry_run: bool
    asked: Mapping[str, str]


def _run_stage(
    stage: Stage, services: Services, spec: PipelineSpec, first: dt.date, last: dt.date, chosen: Chosen
) -> list[Any]:
    from tailrace.stages import audit, build, evaluate, ingest, monitor, promote, publish, score, snapshot, validate

    if stage is Stage.ingest:
        return [ingest.run(services, first, last)]
    if stage is Stage.build:
        return [build.brief(node) for node in build.run(services, first, last).nodes]
    if stage is Stage.validate:
        return [validate.run(services, spec, first, last)]
    run_id, asked = chosen.run_id, chosen.asked

    def training_run(day: dt.date) -> str:
        return _latest_run(services, spec, day) if chosen.training_run is None else chosen.training_run

    each_day: dict[Stage, Callable[[dt.date], Any]] = {
        Stage.snapshot: lambda day: snapshot.run(services, spec, day, run_id, asked=asked),
        Stage.train: lambda day: _train(
            services, spec, day, chosen.trials, chosen.force, not chosen.dry_run, chosen.asked
        ),
        Stage.evaluate: lambda day: evaluate.run(services, spec, training_run(day)),
        Stage.promote: lambda day: promote.run(services, spec, training_run(day), recorded_at=_now()),
        Stage.score: lambda day: score.run(
            services, spec, day, run_id, chosen.model, force=chosen.force or chosen.dry_run, asked=asked
        ),
        Stage.audit: lambda day: audit.run(services, spec, day, run_id),
        Stage.publish: lambda day: publish.run(services, spec, day, run_id),
        Stage.monitor: lambda day: monitor.run(services, spec, day, run_id),
    }
    return [each_day[stage](day) for day in days.span(first, last)]


def _warn_of_stale(stage: Stage, services: Services, spec: PipelineSpec, first: dt.date, last: dt.date) -> None:
    """Warn of the days that the stage uses, or leaves as they are, which were made from other rows than are landed."""
    from tailrace.rows import staleness
    from tailrace.training import training_set

    if stage in (Stage.build, Stage.snapshot):
        found = staleness.warning_after(services, spec, last)
    elif stage is Stage.train:
        found = staleness.warning(services, spec, training_set.window(spec, first)[0], last)
    elif stage is Stage.score:
        found = staleness.warning(services, spec, first, last)
    else:
        return
    if found:
        output.warn(found)


def _predict(
    services: Services,
    spec: PipelineSpec,
    day: dt.date,
    model: str,
    asked: Mapping[str, str],
    *,
    force: bool,
    dry_run: bool,
) -> dict[str, Any]:
    """Score, audit and publish one day; the row that tells of it."""
    from tailrace.stages import audit, publish, score

    run_id = _new_run_id()
    scored = score.run(services, spec, day, run_id, model, force=force or dry_run, asked=asked)
    row: dict[str, Any] = {"day": day, "rows": scored.rows, "model": scored.model_version, "psi": None}
    if scored.already:
        held = services.lake.days(spec.predictions_table)[day]
        return {**row, "version": held.version, "unchanged": True}
    row["psi"] = audit.run(services, spec, day, run_id).psi
    if dry_run:
        publish.discard(services, spec, day, run_id)
        return {**row, "version": None, "unchanged": True}
    published = publish.run(services, spec, day, run_id)
    return {**row, "version": published.commit.version, "unchanged": published.unchanged}


def _cancel_backfill(api: AirflowApi, dag: str, as_json: bool) -> None:
    running = api.running_backfill(dag)
    if running is None:
        raise BadInput(f"No backfill of {dag} runs.")
    api.cancel_backfill(running)
    output.table(f"backfill {dag}", [{"cancelled": running.id}], as_json)


def _backfilled(pipeline: str, train: bool) -> tuple[str, ZoneInfo]:
    """The DAG that a backfill runs, and the time zone of its days. Raises UnknownName, BadInput."""
    if pipeline != WAREHOUSE:
        spec = registry.get(pipeline)
        return f"{'train' if train else 'predict'}__{spec.name}", zone(spec)
    if train:
        raise BadInput("The warehouse is not trained; name a pipeline, or leave --train out.")
    specs, problems = registry.load(estimators=False)
    if not specs:
        raise SpecError("No pipeline says in which time zone the warehouse's days are:", problems)
    return WAREHOUSE, min({zone(spec) for spec in specs}, key=str)


def _conf(dag: str, chosen: Mapping[str, Any], switches: Mapping[str, bool]) -> dict[str, Any]:
    """What was chosen, as the DAG's parameters; Airflow's form has the defaults. Raises BadInput."""
    known = {
        "predict": {"model", "engine", "reason", "dry_run", "force"},
        "train": {"trials", "engine", "reason", "dry_run", "force"},
        WAREHOUSE: {"reason", "dry_run"},
    }[limits.kind_of(dag)]
    conf = {name: value for name, value in {**chosen, **switches}.items() if value}
    unknown = [f"--{name.replace('_', '-')}" for name in conf if name not in known]
    if unknown:
        raise BadInput(f"{dag} takes no {' and no '.join(unknown)}.")
    return conf


@contextmanager
def _handing_over_errors(file: Path | None, applications: Sequence[str]) -> Iterator[None]:
    """Errors are also written to the file, where one is given, with the last of the Spark applications."""
    try:
        yield
    except Exception as error:
        ours = os_errors.in_words(error) if file and not isinstance(error, TailraceError) else None
        if file:
            stage_result_file.write_error(file, ours or error, "".join(applications[-1:]))
        raise


def _train(
    services: Services,
    spec: PipelineSpec,
    day: dt.date,
    trials: int | None,
    force: bool,
    challenge: bool,
    asked: Mapping[str, str],
) -> Any:
    from tailrace.stages import train as stage

    seed = settings.load().seed
    with _trial_progress(f"train {spec.name}", trials or spec.search.trials) as on_trial:
        return stage.run(
            services,
            spec,
            day,
            seed=seed,
            trials=trials,
            on_trial=on_trial,
            force=force,
            challenge=challenge,
            asked=asked,
        )


def _recorded(**said: str | None) -> dict[str, str]:
    """What a command was asked for, and by whom, as it is recorded beside what it makes."""
    return {"triggered_by": people.user(), **{name: value for name, value in said.items() if value}}


def _asked(text: str) -> dict[str, str]:
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        held = None
    if not isinstance(held, dict):
        raise BadInput(f"--asked is {text!r}; it must be a JSON object.")
    return {people.plain_text(name): people.plain_text(value) for name, value in held.items()}


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
    return model_versions.record_of(services, spec, version).run_id


@contextmanager
def _trial_progress(what: str, trials: int) -> Iterator[Callable[[Trial], None]]:
    with output.steps(what, trials) as advance:
        yield lambda trial: advance(
            f"trial {trial.number} {trial.candidate}: {trial.state}"
            + (f" {trial.value:.4f}" if trial.value is not None else f" {trial.parameters.get('error', '')}")
        )


def _overview(services: Services, spec: PipelineSpec) -> dict[str, Any]:
    from tailrace.champions import promotions
    from tailrace.training import missed_trainings

    champion = promotions.current(promotions.history(services.lake, spec.name))
    published = services.lake.days(spec.predictions_table)
    return {
        "pipeline": spec.name,
        "owner": spec.owner,
        "champion": champion.version if champion else None,
        "since": champion.effective_from if champion else None,
        "last day": max(published, default=None),
        "train": spec.schedule.train,
        "missed training": missed_trainings.missed(services, spec),
        "predict": spec.schedule.predict,
    }


def _services(engine: str | None = None, on_spark: Callable[[str], None] = lambda application: None) -> Wiring:
    if engine is not None and engine not in settings.ENGINES:
        known = ", ".join(settings.ENGINES)
        raise BadInput(f"--engine is {engine!r}; it must be one of {known}.{did_you_mean(engine, settings.ENGINES)}")
    return open_services(engine, on_spark)


def _why(reason: str) -> str:
    """The reason of a decision. Raises BadInput if nothing readable was given."""
    if not reason:
        raise BadInput("--reason is empty; say in a few words why, for the record.")
    return reason


def _range(date: str, to: str | None) -> tuple[dt.date, dt.date]:
    first = days.parse(date, "--date")
    last = days.parse(to, "--to") if to is not None else first
    if last < first:
        raise BadInput(f"--to is {last}, before --date {first}; name the first day first.")
    return first, last


def _run_id(given: str | None) -> str:
    """What names the staged rows. Raises BadInput if it has letters that no log or page shows as they are."""
    if given is None:
        return CLI_RUN
    if not given.strip() or not given.isprintable() or len(given) > people.REASON_LENGTH:
        raise BadInput(f"--run-id is {given[:60]!r}; write a name of printable letters.")
    return given


def _new_run_id() -> str:
    return f"{CLI_RUN}-{uuid.uuid4().hex[:12]}"


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
