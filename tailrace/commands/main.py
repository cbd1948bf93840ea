"""The `tailrace` command: the same stages that Airflow runs, by hand.

Exit codes: 0 it worked, 1 it was refused or failed, 2 what was asked for cannot be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

from tailrace.commands import backfill, decisions, nightly, output, stages, status, training, upkeep
from tailrace.errors import BadInput, TailraceError
from tailrace.operations import os_errors

COMMANDS: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "What there is": {"list": status.list_, "predictions": status.predictions, "history": status.history},
    "A night, by hand": {"warehouse": nightly.warehouse, "train": training.train, "predict": nightly.predict},
    "A range of days, by Airflow": {"backfill": backfill.backfill},
    "A person's decisions": {"promote": decisions.promote, "rollback": decisions.rollback},
    "Checks and upkeep": {"check": upkeep.check, "reproduce": training.reproduce, "maintain": upkeep.maintain},
    "One stage alone": {"run": stages.run},
}
"""Every command, in the groups and the order that `tailrace --help` shows."""

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Batch ML pipelines, by hand."
)
for group, commands in COMMANDS.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=group)(command)


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
