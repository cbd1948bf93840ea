"""Check the project, and clean up its lake tables."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Annotated

import typer

from tailrace import extras, settings
from tailrace.commands import options, output
from tailrace.errors import SettingsError, SpecError
from tailrace.operations import collector
from tailrace.spec import MOST_DAYS, registry
from tailrace.wiring import Wiring


def check(as_json: options.Json = False) -> None:
    """Check settings, specs, marts, expectation suites and champions, and list all problems with file and line."""
    with collector.paused():
        services = options.services()
        problems = [*services.problems(), *extras.problems_of(services.settings), *settings.unusable(services.settings)]
        if problems:
            _, wrong_specs = registry.load()
            raise SettingsError("Tailrace is not ready to run:", [*problems, *wrong_specs])
        title = f"Checks, environment {services.settings.env}" if services.settings.env else "Checks"
        rows = _checked(services)
    output.table(title, rows, as_json)


def _checked(services: Wiring) -> list[dict[str, object]]:
    from tailrace.operations.checks import check_all
    from tailrace.operations.parse_ahead import parse_ahead

    with parse_ahead(services.warehouse) as parsing:
        return check_all(services, output.warn, services.settings, parsing)


def maintain(
    pipeline: Annotated[
        str | None, typer.Argument(help="A pipeline, of which only the lake's tables are taken. Default: everything.")
    ] = None,
    keep_days: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_DAYS,
            help="Keep the files of versions younger than this many days. Default: the setting upkeep.lake_days.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")] = False,
    as_json: options.Json = False,
) -> None:
    """Compact the lake's tables, and delete what nothing needs any more. docs/upkeep.md says what is kept how long."""
    from tailrace.operations import maintenance

    services = options.services()
    configured = services.settings
    kept = configured.upkeep if keep_days is None else replace(configured.upkeep, lake_days=keep_days)
    if pipeline is None:
        specs, wrong = registry.load(estimators=False)
        if wrong:
            raise SpecError("Upkeep has to know every pipeline, and some specs are wrong:", list(wrong))
        rows = list(maintenance.everything(services, specs, kept, configured.data_docs, dry_run=dry_run))
    else:
        keep = dt.timedelta(days=kept.lake_days)
        rows = maintenance.maintain(services, registry.get(pipeline), keep, dry_run=dry_run)
        if swept := services.landing.sweep(dry_run=dry_run):
            rows.append(maintenance.Upkept(table="landing", deleted=len(swept), bytes=sum(swept)))
    title = f"maintain {pipeline}" if pipeline else "maintain"
    output.table(title, rows, as_json, sentence="" if as_json else maintenance.sentence(rows, dry_run=dry_run))
