"""`tailrace explore`: what is in a table of the warehouse, as a page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

from tailrace.errors import BadInput
from tailrace.profiling import page
from tailrace.profiling.exploration import Exploration, explore
from tailrace.scaffold import samples
from tailrace.warehouse.reader import MartReader


def run(
    reader: MartReader,
    table: str,
    *,
    day: str = "",
    label: str = "",
    kind: str = "",
    rows: int = samples.ROWS,
    today: dt.date,
    progress: Callable[[str], None] = lambda name: None,
) -> Exploration:
    """What a sample of the table says. Raises BadInput, and what `MartReader` raises."""
    column = samples.day_column(reader.columns(table), day, table=table)
    sample = samples.read(reader, table, day=column, rows=rows, today=today)
    return explore(
        table,
        sample.rows,
        words=sample.words,
        day=column,
        days=sample.days,
        left_out=sample.left_out,
        unread=sample.unread,
        label=label,
        kind=kind,
        progress=progress,
    )


def write(found: Exploration, file: Path) -> None:
    """Write the page. Raises BadInput if it cannot be written."""
    text = page.html(found)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{file} cannot be written: {error.strerror}. Name another file with --out.") from error
