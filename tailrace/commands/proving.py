"""`tailrace prove`: whether the SQL of a pipeline's marts looks ahead."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tailrace import days
from tailrace.commands import options, output
from tailrace.commands.reviewing import BaseOption
from tailrace.contracts import Services
from tailrace.errors import BadInput
from tailrace.spec import PipelineSpec, registry

if TYPE_CHECKING:
    from tailrace.proving.prove import DayProof
    from tailrace.proving.statistics import Suspicion


def prove(
    pipeline: Annotated[str | None, typer.Argument(help="A pipeline; leave it out with --changed.")] = None,
    date: Annotated[str | None, typer.Option("--date", help="The last day to prove, YYYY-MM-DD.")] = None,
    count: Annotated[int, typer.Option("--days", min=1, max=31, help="How many days to prove.")] = 1,
    changed: Annotated[
        bool, typer.Option("--changed", help="Prove the pipelines whose marts the edits since --base touch.")
    ] = False,
    base: BaseOption = None,
    as_json: options.Json = False,
) -> None:
    """Build past days twice in throw-away copies, with and without what came later: both must be equal.

    By default these are the last days after which a week of other days is there. The exit code is 1 if a feature looks
    ahead. With --changed, a pipeline that cannot be proven is named, and the others are proven. Nothing of warehouse or
    lake is changed.
    """
    if (pipeline is None) != changed:
        raise BadInput("Name a pipeline, or use --changed for those whose marts an edit touches.")
    if not changed:
        options.only_with("--changed", base=base)
    services = options.services()
    names = [pipeline] if pipeline else _touched(services, base)
    rows: list[dict[str, Any]] = []
    sentences, failed = [], False
    for spec in map(registry.get, names):
        try:
            proofs, doubts = _of(services, spec, date, count)
        except BadInput as error:
            if not changed:
                raise
            # In CI there may be no rows yet, or a source without a time: the others are proven all the same.
            sentences.append(f"{spec.name} is not proven: {error}")
            continue
        rows += _rows(spec.name, proofs, doubts)
        leaking = _leaking(proofs, doubts)
        failed |= bool(leaking)
        sentences.append(_sentence(spec.name, proofs, leaking))
    said = " ".join(sentences) or "The edits touch no mart of a pipeline, so there is nothing to prove."
    output.table("prove", rows, as_json, sentence=said)
    if failed:
        raise typer.Exit(1)


def _touched(services: Any, base: str | None) -> list[str]:
    """The pipelines whose marts have other values or rows by the edits since a revision."""
    from tailrace.impact import finding

    found = finding.find(services, services.settings, base)
    return [each.pipeline for each in found.pipelines if each.rebuilds]


def _of(
    services: Services, spec: PipelineSpec, date: str | None, count: int
) -> tuple[Sequence[DayProof], Sequence[Suspicion]]:
    from tailrace.proving import prove as proving
    from tailrace.proving import statistics

    if date is None:
        chosen = proving.last_provable(services, spec, count)
    else:
        last = days.parse(date, "--date")
        chosen = list(days.span(last - dt.timedelta(days=count - 1), last))
    with output.steps(f"proving {spec.name}", 2 * len(chosen)) as step:
        proofs = [proving.run(services, spec, day, step) for day in chosen]
    return proofs, statistics.suspicions(services, spec)


def _rows(pipeline: str, proofs: Sequence[DayProof], doubts: Sequence[Suspicion]) -> Iterator[dict[str, Any]]:
    for proof in proofs:
        for each in proof.findings:
            yield {"pipeline": pipeline, "day": proof.day, **asdict(each)}
    for doubt in doubts:
        kind = "leak" if doubt.leak else "look at it"
        yield {"pipeline": pipeline, "kind": kind, "column": doubt.column, "because": doubt.why}


def _leaking(proofs: Sequence[DayProof], doubts: Sequence[Suspicion]) -> list[str]:
    """The columns that look ahead."""
    found = {each.column or "whole rows" for proof in proofs for each in proof.leaks}
    return sorted(found | {each.column for each in doubts if each.leak})


def _sentence(pipeline: str, proofs: Sequence[DayProof], leaking: Sequence[str]) -> str:
    if leaking:
        return f"{pipeline} looks ahead: {', '.join(leaking)}."
    rows = sum(proof.rows for proof in proofs)
    of_days = "1 day" if len(proofs) == 1 else f"{len(proofs)} days"
    return f"{pipeline} does not look ahead: {rows:,} rows of {of_days} are the same without what came after them."
