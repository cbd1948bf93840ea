"""The options that several commands take, and what they are read into."""

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

Pipeline = Annotated[str, typer.Argument(help="A pipeline of pipelines/.")]
Date = Annotated[str, typer.Option("--date", help="The day to work on, YYYY-MM-DD.")]
To = Annotated[str | None, typer.Option("--to", help="Work on every day from --date to this one.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Model = Annotated[str, typer.Option("--model", help="as-of, current, or a version number.")]
Trials = Annotated[
    int | None, typer.Option("--trials", min=1, max=MOST_TRIALS, help="Search trials, instead of the spec's.")
]
Engine = Annotated[str | None, typer.Option("--engine", help="local or spark, instead of TAILRACE_ENGINE.")]
Reason = Annotated[str, typer.Option("--reason", parser=people.plain_text, metavar="TEXT", help="Why, for the record.")]
Force = Annotated[bool, typer.Option("--force", help="Do again what was done from the same inputs.")]

CLI_RUN = "cli"


def services(engine: str | None = None, on_spark: Callable[[str], None] = lambda application: None) -> Wiring:
    if engine is not None and engine not in settings.ENGINES:
        known = ", ".join(settings.ENGINES)
        raise BadInput(f"--engine is {engine!r}; it must be one of {known}.{did_you_mean(engine, settings.ENGINES)}")
    return open_services(engine, on_spark)


def day_range(date: str, to: str | None) -> tuple[dt.date, dt.date]:
    first = days.parse(date, "--date")
    last = days.parse(to, "--to") if to is not None else first
    if last < first:
        raise BadInput(f"--to is {last}, before --date {first}; name the first day first.")
    return first, last


def request(**said: str | None) -> dict[str, str]:
    """What a command was asked for, and by whom, as it is recorded beside what it makes."""
    return {"triggered_by": people.user(), **{name: value for name, value in said.items() if value}}


def reason_given(reason: str) -> str:
    """The reason of a decision. Raises BadInput if nothing readable was given."""
    if not reason:
        raise BadInput("--reason is empty; say in a few words why, for the record.")
    return reason


def new_run_id() -> str:
    return f"{CLI_RUN}-{uuid.uuid4().hex[:12]}"


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
