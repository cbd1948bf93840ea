"""The options that several commands share, and how their values are read."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Annotated

import typer

from tailrace import days, settings
from tailrace.errors import BadInput, did_you_mean
from tailrace.operations import people
from tailrace.spec import MOST_TRIALS
from tailrace.wiring import Wiring, open_services

Pipeline = Annotated[str, typer.Argument(help="A pipeline: the name of a file in pipelines/.")]
Date = Annotated[str, typer.Option("--date", help="The day to work on, YYYY-MM-DD.")]
To = Annotated[str | None, typer.Option("--to", help="The last day of a range that begins with --date.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
MODEL = "The model that scores: as-of (that day's champion), current (today's champion), or a version number."
ModelOption = Annotated[str, typer.Option("--model", help=MODEL)]
Trials = Annotated[
    int | None, typer.Option("--trials", min=1, max=MOST_TRIALS, help="Number of search trials; overrides the spec.")
]
EngineOption = Annotated[
    str | None,
    typer.Option("--engine", help="local, spark, or the import path of your own; overrides TAILRACE_ENGINE."),
]
Reason = Annotated[
    str, typer.Option("--reason", parser=people.plain_text, metavar="TEXT", help="The reason; it is recorded.")
]
Force = Annotated[bool, typer.Option("--force", help="Re-run even if a result from the same inputs exists.")]

CLI_RUN = "cli"
"""The staging run of stages that are run by hand."""


def services(engine: str | None = None, on_spark: Callable[[str], None] = lambda application: None) -> Wiring:
    """The configured services. `engine` overrides TAILRACE_ENGINE. Raises BadInput, SettingsError."""
    if engine is not None and engine not in settings.ENGINES and ":" not in engine:
        known = ", ".join(settings.ENGINES)
        raise BadInput(
            f"--engine is {engine!r}; it must be one of {known}, or the import path of your own."
            f"{did_you_mean(engine, settings.ENGINES)}"
        )
    return open_services(engine, on_spark)


def day_range(date: str, to: str | None) -> tuple[dt.date, dt.date]:
    """The days of --date and --to. Raises BadInput."""
    first = days.parse(date, "--date")
    last = days.parse(to, "--to") if to is not None else first
    if last < first:
        raise BadInput(f"--to is {last}, before --date {first}; name the first day first.")
    return first, last


def request(**options: str | None) -> dict[str, str]:
    """The user and the options of a command, as they are recorded with its results."""
    return {"triggered_by": people.user(), **{name: value for name, value in options.items() if value}}


def reason_given(reason: str) -> str:
    """The reason of a decision. Raises BadInput if it is empty."""
    if not reason:
        raise BadInput("--reason is empty; give the reason in a few words: it is recorded.")
    return reason


def only_with(needed: str, **given: object) -> None:
    """Raises BadInput naming the options that were given, which mean nothing without `needed`."""
    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if named:
        raise BadInput(f"Without {needed}, {' and '.join(named)} would change nothing: give both, or neither.")


def new_run_id() -> str:
    """A staging run of its own."""
    return f"{CLI_RUN}-{uuid.uuid4().hex[:12]}"


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
