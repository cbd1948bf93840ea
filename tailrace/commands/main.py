"""The `tailrace` command: runs by hand the stages that Airflow runs, and shows their results.

Exit codes: 0 success, 1 a stage refused or failed, 2 wrong input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

from tailrace.commands import (
    backfill,
    decisions,
    evolving,
    explore,
    exposing,
    init,
    new,
    nightly,
    output,
    proving,
    reviewing,
    stages,
    stale,
    status,
    training,
    upkeep,
)
from tailrace.errors import BadInput, TailraceError
from tailrace.operations import os_errors

COMMANDS: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "Start a project": {"init": init.init, "explore": explore.explore},
    "Status": {"list": status.list_, "predictions": status.predictions, "history": status.history},
    "Run a night here": {"warehouse": nightly.warehouse, "train": training.train, "predict": nightly.predict},
    "Run days in Airflow": {"backfill": backfill.backfill},
    "Choose the champion": {
        "promote": decisions.promote,
        "rollback": decisions.rollback,
        "threshold": decisions.threshold,
    },
    "Review an edit": {"impact": reviewing.impact, "diff": reviewing.diff},
    "Check and maintain": {
        "check": upkeep.check,
        "evolve": evolving.evolve,
        "exposures": exposing.exposures,
        "prove": proving.prove,
        "stale": stale.stale,
        "reproduce": training.reproduce,
        "maintain": upkeep.maintain,
    },
    "Run one stage": {"run": stages.run},
}
"""Every command, in the groups and the order of `tailrace --help`."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run and inspect batch ML pipelines.",
)
for group, commands in COMMANDS.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=group)(command)
app.add_typer(new.app, name="new", rich_help_panel="Start a project")


def main() -> None:
    """Entry point of the process."""
    output.quiet_exit()
    output.show_logs()
    call()


def call(arguments: Sequence[str] | None = None) -> None:
    """Run a command, by default the one of the process; an error becomes one message on standard error.

    Always raises SystemExit, with the exit code.
    """
    try:
        app(arguments)
    except Exception as error:
        ours = error if isinstance(error, TailraceError) else os_errors.in_words(error)
        if ours is None:
            raise
        output.error(str(ours))
        raise SystemExit(2 if isinstance(ours, BadInput) else 1) from error
