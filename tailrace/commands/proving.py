"""`tailrace prove`: whether the SQL of a pipeline's marts looks ahead."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import Annotated

import typer

from tailrace import days
from tailrace.commands import options, output
from tailrace.spec import registry


def prove(
    pipeline: options.Pipeline,
    date: Annotated[str | None, typer.Option("--date", help="The last day to prove, YYYY-MM-DD.")] = None,
    count: Annotated[int, typer.Option("--days", min=1, max=31, help="How many days to prove.")] = 1,
    as_json: options.Json = False,
) -> None:
    """Build past days twice in throw-away copies, with and without what came later: both must be equal.

    By default these are the last days after which a week of other days is landed. The exit code is 1 if a feature looks
    ahead. Nothing of the warehouse or the lake is changed.
    """
    from tailrace.proving import prove as proving
    from tailrace.proving import statistics

    services, spec = options.services(), registry.get(pipeline)
    if date is None:
        chosen = proving.last_provable(services, spec, count)
    else:
        last = days.parse(date, "--date")
        chosen = list(days.span(last - dt.timedelta(days=count - 1), last))
    with output.steps("proving", 2 * len(chosen)) as step:
        proofs = [proving.run(services, spec, day, step) for day in chosen]
    rows = [{"day": proof.day, **asdict(each)} for proof in proofs for each in proof.findings]
    doubts = statistics.suspicions(services, spec)
    rows += [
        {"kind": "leak" if each.leak else "look at it", "column": each.column, "because": each.why} for each in doubts
    ]
    leaking = sorted({each.column or "whole rows" for proof in proofs for each in proof.leaks})
    leaking += sorted({each.column for each in doubts if each.leak} - set(leaking))
    compared = sum(proof.rows for proof in proofs)
    sentence = (
        f"{pipeline} looks ahead: {', '.join(leaking)}."
        if leaking
        else f"{pipeline} does not look ahead: {compared:,} rows of {len(proofs)} days are the same without what came "
        f"after them."
    )
    output.table(f"prove {pipeline}", rows, as_json, sentence=sentence)
    if leaking:
        raise typer.Exit(1)
