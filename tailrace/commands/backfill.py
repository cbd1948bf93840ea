"""`tailrace backfill`: run a range of days in a running Airflow."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from tailrace import days, settings
from tailrace.champions import model_versions
from tailrace.commands import options, output
from tailrace.errors import BadInput, did_you_mean
from tailrace.lineage import dag_ids
from tailrace.lineage.dag_ids import WAREHOUSE
from tailrace.operations import limits, warehouse_days
from tailrace.spec import registry, zone

if TYPE_CHECKING:
    from tailrace.commands.airflow.api import AirflowApi

TAKEN = {
    "predict": ("model", "engine", "reason", "dry_run", "force"),
    "train": ("trials", "engine", "reason", "dry_run", "force"),
    WAREHOUSE: ("reason", "dry_run"),
}
"""The options that a backfill hands on to its runs, by the kind of DAG."""


def backfill(
    pipeline: Annotated[str, typer.Argument(help="A pipeline, or warehouse.")],
    first: Annotated[str | None, typer.Option("--from", help="The first day, YYYY-MM-DD.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="The last day, YYYY-MM-DD.")] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Backfill the scheduled trainings instead of predictions.")
    ] = False,
    model: Annotated[str | None, typer.Option("--model", help=options.MODEL)] = None,
    trials: options.Trials = None,
    engine: Annotated[str | None, typer.Option("--engine", help="local or spark; overrides TAILRACE_ENGINE.")] = None,
    reason: options.Reason = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Run everything, but publish nothing.")] = False,
    force: options.Force = False,
    at_once: Annotated[
        int | None,
        typer.Option(
            "--at-once",
            min=1,
            max=max(limits.AT_ONCE.values()),
            help="Number of days at once; by default 4 for predictions, else 1.",
        ),
    ] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel the running backfill.")] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show what would become of each day of predictions, and change nothing.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Run every day of a range in a running Airflow, and show the progress. The exit code is 1 if a day failed."""
    from tailrace.commands.airflow import watch

    dag, zone = _backfilled(pipeline, train)
    if cancel:
        if first or last or preview:
            raise BadInput("--cancel takes neither days nor --preview: it cancels the backfill that is running.")
        _cancel(airflow(zone), dag, as_json)
        return
    if engine is not None and engine not in settings.ENGINES:
        raise BadInput(
            f"--engine is {engine!r}; a backfill takes {' or '.join(settings.ENGINES)}, as Airflow's form does. "
            "Leave it out to use TAILRACE_ENGINE."
            f"{did_you_mean(engine, settings.ENGINES)}"
        )
    begin, end = _days(first, last, zone)
    conf = _conf(
        dag,
        {
            "model": None if model is None else model_versions.check_choice(model),
            "trials": trials,
            "engine": engine,
            "reason": reason or None,
            "dry_run": dry_run,
            "force": force,
        },
    )
    if preview:
        _preview(dag, begin, end, model=model, force=force, as_json=as_json)
        return
    if dag == WAREHOUSE and (at_once or 1) > 1:
        raise BadInput(
            "The warehouse is backfilled one day at a time, because features depend on earlier days. "
            "Leave --at-once out."
        )
    api = airflow(zone)
    with going_on_in_airflow(api, dag, f"tailrace backfill {pipeline}{' --train' if train else ''} --cancel"):
        at_once = at_once or limits.AT_ONCE[dag_ids.kind_of(dag)]
        rows, problems = watch.run(api, dag, begin, end, conf=conf, at_once=at_once)
    output.table(f"backfill {dag} {begin} to {end}", rows, as_json)
    for problem in problems:
        output.error(problem)
    if problems:
        raise typer.Exit(1)


def _preview(dag: str, first: dt.date, last: dt.date, *, model: str | None, force: bool, as_json: bool) -> None:
    """Raises BadInput for a DAG of other things than predictions."""
    from tailrace.operations.preview import preview

    if dag_ids.kind_of(dag) != "predict":
        raise BadInput(f"{dag} cannot be previewed: --preview shows what would become of predictions.")
    spec = registry.get(dag_ids.pipeline_of(dag))
    found = preview(options.services(), spec, first, last, model=model or model_versions.AS_OF, force=force)
    run = [each for each in found if each.outcome == "runs"]
    seconds = [each.seconds for each in run if each.seconds is not None]
    about = f" About {sum(seconds):.0f} s, one after another." if seconds else ""
    sentence = (
        f"{len(run)} of {len(found)} days would run; {sum(bool(each.overwrites) for each in run)} of these are "
        f"published and would be replaced.{about} Nothing was changed."
    )
    output.table(f"backfill {dag} {first} to {last}: preview", found, as_json, sentence=sentence)


@contextmanager
def going_on_in_airflow(api: AirflowApi, dag: str, cancel: str) -> Iterator[None]:
    """Ctrl+C ends this command, but not the backfill: say so, and which command does."""
    try:
        yield
    except KeyboardInterrupt as interrupted:
        output.warn(f"The backfill goes on in Airflow ({api.url}/dags/{dag}/backfills). Cancel it with: {cancel}")
        raise typer.Exit(130) from interrupted


def airflow(zone: ZoneInfo) -> AirflowApi:
    from tailrace.commands.airflow.api import AirflowApi
    from tailrace.commands.airflow.connection import login

    return AirflowApi(*login(settings.load()), zone)


def _cancel(api: AirflowApi, dag: str, as_json: bool) -> None:
    running = api.unfinished_backfill(dag)
    if running is None:
        raise BadInput(f"No backfill of {dag} is running.")
    api.cancel_backfill(running)
    output.table(f"backfill {dag}", [{"cancelled": running.id}], as_json)


def _days(first: str | None, last: str | None, zone: ZoneInfo) -> tuple[dt.date, dt.date]:
    """The first and the last day. Raises BadInput if they are missing, in the wrong order or in the future."""
    if first is None or last is None:
        raise BadInput("Name the days: --from YYYY-MM-DD --to YYYY-MM-DD.")
    begin, end = days.parse(first, "--from"), days.parse(last, "--to")
    if end < begin:
        raise BadInput(f"--to is {end}, before --from {begin}; name the first day first.")
    if end > (today := options.now().astimezone(zone).date()):
        raise BadInput(f"--to is {end}, in the future ({zone} has {today}): its run would wait until then.")
    return begin, end


def _backfilled(pipeline: str, train: bool) -> tuple[str, ZoneInfo]:
    """The DAG that a backfill runs, and the time zone of its days. Raises UnknownName, BadInput."""
    if pipeline != WAREHOUSE:
        spec = registry.get(pipeline)
        return (dag_ids.train if train else dag_ids.predict)(spec.name), zone(spec)
    if train:
        raise BadInput("The warehouse is not trained; name a pipeline, or leave --train out.")
    return WAREHOUSE, warehouse_days.zone()


def _conf(dag: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, as the DAG's parameters; Airflow's form has the defaults. Raises BadInput."""
    taken = TAKEN[dag_ids.kind_of(dag)]
    conf = {name: value for name, value in chosen.items() if value}
    refused = [_option(name) for name in conf if name not in taken]
    if refused:
        raise BadInput(f"{dag} does not take {' or '.join(refused)}; it takes {', '.join(map(_option, taken))}.")
    return conf


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
