"""`tailrace stale`: published days and champions whose inputs or decisions have changed, and how to repair them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tailrace.commands import backfill, options, output
from tailrace.contracts import Services
from tailrace.errors import BadInput, TailraceError
from tailrace.lineage import dag_ids
from tailrace.lineage.dag_ids import WAREHOUSE
from tailrace.operations import limits, warehouse_days
from tailrace.spec import PipelineSpec, registry, zone

if TYPE_CHECKING:
    from tailrace.operations.stale import StaleFindings


def stale(
    pipeline: Annotated[str | None, typer.Argument(help="A pipeline; by default all of them.")] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Run the backfills that put the days right in a running Airflow.")
    ] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="With --repair: only show these backfills, and change nothing.")
    ] = False,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """List published days and champions whose inputs or decisions have changed since, each with why."""
    from tailrace.operations import stale as finding

    if as_json and repair:
        raise BadInput("--json lists what is stale; leave it out with --repair.")
    if not repair:
        options.only_with("--repair", preview=preview, reason=reason)
    services = options.services()
    names = [registry.get(pipeline).name] if pipeline else registry.names()
    specs, found, failed = {}, {}, False
    for name in names:
        try:
            specs[name] = registry.get(name)
            found[name] = finding.find(services, specs[name])
        except TailraceError as error:
            output.error(f"{name}: {error}")
            failed = True
    rows = [row for each in found.values() for row in _rows(each)]
    days, champions = (sum(len(getattr(each, part)) for each in found.values()) for part in ("days", "champions"))
    said = f"{days} published days and {champions} champions are stale." if rows else "Nothing is stale."
    if unknown := [name for name in names if name not in found]:
        not_known = f"What is stale of {', '.join(unknown)} is not known."
        said = f"{not_known} Of the others: {said}" if found else not_known
    output.table("stale", rows, as_json, sentence=said)
    for name, each in found.items() if repair else []:
        failed |= not _repair(services, specs[name], finding.repairs(each), preview=preview, reason=reason)
    if failed:
        raise typer.Exit(1)


def _rows(found: StaleFindings) -> list[dict[str, Any]]:
    """A row for each stale day and champion."""
    days = [
        {"pipeline": each.pipeline, "what": str(each.day), "why": each.why, "repair": each.repair}
        for each in found.days
    ]
    champions = [
        {"pipeline": each.pipeline, "what": f"version {each.version}", "why": (each.why,), "repair": "train"}
        for each in found.champions
    ]
    return [*days, *champions]


def _repair(services: Services, spec: PipelineSpec, steps: Any, *, preview: bool, reason: str) -> bool:
    """Run the backfills one after another, oldest first; whether all days came through."""
    from tailrace.commands.airflow import watch
    from tailrace.operations.preview import preview as previewed

    if not steps:
        return True
    if preview:
        predicted = [
            day for each in steps if each.kind == "predict" for day in previewed(services, spec, each.first, each.last)
        ]
        rows = [{"step": number + 1, **asdict(each)} for number, each in enumerate(steps)]
        output.table(f"repair {spec.name}: preview, nothing changed", rows, False)
        output.table("predictions, as the features are now", predicted, False)
        return True
    for each in steps:
        dag = WAREHOUSE if each.kind == "warehouse" else dag_ids.predict(spec.name)
        of_days = warehouse_days.zone() if each.kind == "warehouse" else zone(spec)
        only = {"pipelines": [spec.name]} if each.kind == "warehouse" else {}
        conf = {"reason": reason or "tailrace stale --repair", **only}
        api, at_once = backfill.airflow(of_days), limits.AT_ONCE[each.kind]
        of = WAREHOUSE if each.kind == "warehouse" else spec.name
        with backfill.going_on_in_airflow(api, dag, f"tailrace backfill {of} --cancel"):
            rows, problems = watch.run(api, dag, each.first, each.last, conf=conf, at_once=at_once)
        output.table(f"backfill {dag} {each.first} to {each.last}", rows, False)
        for problem in problems:
            output.error(problem)
        if problems:
            output.error(f"{spec.name}: the later backfills were not started, since they build on this one.")
            return False
    return True
