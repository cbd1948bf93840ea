"""Add the columns that a mart gained to its tables."""

from __future__ import annotations

from typing import Annotated

import typer

from tailrace.commands import options, output
from tailrace.operations import people
from tailrace.spec import registry


def evolve(
    pipeline: options.Pipeline,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only show what would be done.")] = False,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Add columns that a mart gained to its table in the warehouse and to the lake's; null in rows that are there."""
    from tailrace.operations import evolve as evolving

    if not yes:
        options.only_with("--yes", reason=reason)
    services, spec = options.services(), registry.get(pipeline)
    if yes:
        found = evolving.run(services, spec, decided_by=people.user(), reason=reason, now=options.now())
    else:
        found = evolving.plan(services, spec)
    for note in found.notes:
        output.warn(note)
    rows = evolving.as_rows(found.columns, "added" if yes else "to add")
    sentence = "" if yes or not rows else f"Nothing was changed. Do it with: tailrace evolve {pipeline} --yes"
    if not rows and not as_json:
        sentence = f"{pipeline} has no column to add."
    output.table(f"evolve {pipeline}", rows, as_json, sentence=sentence)
