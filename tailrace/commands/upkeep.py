"""Check the project, and clean up its lake tables."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer

from tailrace import extras, settings
from tailrace.commands import options, output
from tailrace.errors import SettingsError
from tailrace.spec import MOST_DAYS, registry


def check(as_json: options.Json = False) -> None:
    """Check settings, specs, marts, expectation suites and champions, and list all problems with file and line."""
    from tailrace.operations.checks import check_all

    services = options.services()
    problems = [*services.problems(), *extras.problems_of(services.settings), *settings.unusable(services.settings)]
    if problems:
        _, wrong_specs = registry.load()
        raise SettingsError("Tailrace is not ready to run:", [*problems, *wrong_specs])
    title = f"Checks, environment {services.settings.env}" if services.settings.env else "Checks"
    output.table(title, check_all(services, output.warn, services.settings), as_json)


def maintain(
    pipeline: options.Pipeline,
    keep_days: Annotated[
        int, typer.Option(min=1, max=MOST_DAYS, help="Keep the files of versions younger than this many days.")
    ] = 30,
    as_json: options.Json = False,
) -> None:
    """Compact a pipeline's lake tables, and delete files that no version, pin or staging run needs."""
    from tailrace.operations.maintenance import maintain as maintain_tables

    services, spec = options.services(), registry.get(pipeline)
    rows = maintain_tables(services, spec, dt.timedelta(days=keep_days))
    if swept := services.landing.sweep():
        rows.append({"table": "landing", "deleted": swept})
    output.table(f"maintain {pipeline}", rows, as_json)
