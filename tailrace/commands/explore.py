"""`tailrace explore`: what is in a table before there is a spec."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from tailrace.commands import options, output


def explore(
    table: Annotated[str, typer.Argument(help="A table as dbt names it: model, schema.name, database.schema.name.")],
    label: Annotated[str, typer.Option(help="A column that might be predicted: what is associated with it?")] = "",
    kind: Annotated[str, typer.Option(help="binary, multiclass or regression. Default: as the label says.")] = "",
    day: Annotated[str, typer.Option(help="The column with a row's day. Default: ds, or the only date.")] = "",
    rows: Annotated[int, typer.Option(min=100, max=1_000_000, help="Read at most so many rows.")] = 100_000,
    out: Annotated[
        Path | None, typer.Option(help="The HTML file to write. Default: explore/<table>.html in the project's home.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Show what is in a table, column by column, and write a page with charts, which needs no network."""
    from tailrace.operations import explored
    from tailrace.profiling import page

    services = options.services()
    file = out or services.settings.home / "explore" / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', table)}.html"
    with output.steps("explore", 2) as advance:
        found = explored.run(
            services.mart_reader, table, day=day, label=label, kind=kind, rows=rows, today=options.now().date()
        )
        advance(f"{table} read")
        explored.write(found, file)
        advance("charts drawn")
    for sentence in found.left_out:
        output.warn(sentence)
    for column, why in found.unread.items():
        output.warn(f"{table}: column {column!r} cannot be read: {why}.")
    output.table(table, page.table_rows(found), as_json, sentence=f"{found.words} The page: {file}")
