"""What the command line prints: tables or JSON on standard output; progress, warnings and errors on standard error."""

from __future__ import annotations

import atexit
import datetime as dt
import itertools
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tailrace.problems.metrics import written

# Without a terminal, Rich uses 80 columns; a log or a pipe has no such limit.
_stdout = Console() if sys.stdout.isatty() else Console(width=200)
_stderr = Console(stderr=True)


def table(title: str, rows: Sequence[Any], as_json: bool, *, sentence: str = "") -> None:
    """Print rows (mappings or dataclasses) as one table, or as a JSON array. Without rows, a sentence says enough."""
    plain = [asdict(row) if is_dataclass(row) and not isinstance(row, type) else dict(row) for row in rows]
    if as_json:
        body: Any = plain if not sentence else {"sentence": sentence, "rows": plain}
        print(json.dumps(_finite(body), indent=1, default=str))
        return
    if plain:
        _stdout.print(_rich_table(title, plain))
    elif not sentence:
        _stdout.print(Text(f"{title}: nothing yet."))
    if sentence:
        _stdout.print(Text(sentence), soft_wrap=True)


def document(lines: Iterable[str], values: Any, as_json: bool) -> None:
    """Print text, or the values as JSON."""
    if as_json:
        print(json.dumps(_finite(values), indent=1, default=str))
        return
    for line in lines:
        _stdout.print(Text(line), soft_wrap=True)


def progress(step: str) -> None:
    """Print that a step is done, on standard error."""
    _stderr.print(Text(step, style="dim"), soft_wrap=True)


def error(message: str) -> None:
    """Print an error on standard error, without Rich's markup."""
    _stderr.print(Text(message, style="red"), soft_wrap=True)


def warn(message: str) -> None:
    """Print a warning on standard error, without Rich's markup."""
    _stderr.print(Text(message, style="yellow"), soft_wrap=True)


@contextmanager
def steps(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show progress on standard error: a bar on a terminal, else a line for each step. Yields what ends a step."""
    if not _stderr.is_terminal:
        done = itertools.count(1)
        yield lambda now: _stderr.print(Text(f"{what} {next(done)}/{total}: {now}"), soft_wrap=True)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}", style="dim"),
    )
    with Progress(*columns, console=_stderr, transient=True) as progress:
        task = progress.add_task(what, total=total, now="")
        yield lambda now: progress.update(task, advance=1, now=now)


class _LogHandler(logging.Handler):
    """Writes log records to standard error, above the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        _stderr.print(Text(self.format(record), style="dim"), soft_wrap=True)


def show_logs() -> None:
    """Write Tailrace's log (the progress of Spark, its full error reports) to standard error."""
    for name in ("tailrace", "pipelines"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addHandler(_LogHandler())


def quiet_exit() -> None:
    """Keep DuckDB's bindings from printing their reference counts when the interpreter exits.

    They do so whenever SQLAlchemy has used a connection; nothing else is printed that late.
    """
    standard_error = 2
    atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), standard_error))


def _finite(value: Any) -> Any:
    """JSON has neither NaN nor infinity: a metric that is not defined, or too large to be measured, is null."""
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rich_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """A table with a line for each row; a single row gets a line for each field, so that it fits."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if len(rows) == 1:
        rendered = Table(title=title, title_justify="left", box=box.SIMPLE, show_header=False)
        for name in columns:
            rendered.add_row(Text(name, style="dim"), Text(_cell(rows[0].get(name))))
        return rendered
    rendered = Table(title=title, title_justify="left", box=box.SIMPLE)
    for name in columns:
        number = any(isinstance(row.get(name), int | float) and not isinstance(row.get(name), bool) for row in rows)
        rendered.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        rendered.add_row(*(Text(_cell(row.get(name))) for name in columns))
    return rendered


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return written(value)
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_cell(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(_cell(item) for item in value) or "-"
    return str(value)
