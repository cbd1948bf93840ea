"""`tailrace init`: write a new project."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tailrace.commands import options, output
from tailrace.operations import new_project

ZONE = "UTC"


def init(
    name: Annotated[str, typer.Argument(help="The project's name, which is also that of its folder: shop_nights.")],
    folder: Annotated[
        Path | None, typer.Option(help="The folder to write it into; by default one named as the project, here.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option(help="The time zone of the warehouse's days, such as Europe/Berlin. Default: UTC.")
    ] = None,
    dbt_project: Annotated[
        Path | None,
        typer.Option(help="The folder of the dbt project that builds your tables. Default: a new one, on DuckDB."),
    ] = None,
    target: Annotated[
        str, typer.Option(help="The target of that dbt project's profile; by default the profile's own.")
    ] = "",
    landing: Annotated[
        bool | None,
        typer.Option(
            "--landing/--no-landing", help="Land files of a source each night, before dbt builds. Default: no."
        ),
    ] = None,
    example: Annotated[
        bool, typer.Option("--example/--no-example", help="Write an example of a pipeline, on made-up rows.")
    ] = True,
    as_json: options.Json = False,
) -> None:
    """Write a new project into a folder of its own. On a terminal it asks for what no option says."""
    if sys.stdin.isatty() and sys.stdout.isatty() and not as_json:
        zone = zone if zone is not None else typer.prompt("Time zone of the days", default=os.environ.get("TZ") or ZONE)
        if dbt_project is None and landing is None:
            asked = typer.prompt("Folder of the dbt project that builds your tables (empty: a new one)", default="")
            dbt_project = Path(asked) if asked else None
            if dbt_project and not target:
                target = typer.prompt("Target of its profile (empty: the profile's own)", default="")
        if dbt_project is None and landing is None and example:
            landing = typer.confirm("Land files of a source each night, before dbt builds?", default=False)
    new = new_project.NewProject(
        name=name,
        folder=folder or Path(name),
        zone=zone or ZONE,
        landing=bool(landing),
        example=example,
        dbt_project=dbt_project and dbt_project.expanduser(),
        target=target,
    )
    files = new_project.write(new)
    output.table(f"New project {new.folder}", [{"file": file} for file in files], as_json, sentence=_next(new))


def _next(new: new_project.NewProject) -> str:
    """What to do now."""
    if new.has_example:
        return f"Next: cd {new.folder}, then: make night. It publishes the example's first predictions."
    return f"Next: cd {new.folder}, then: tailrace new pipeline --help. It makes a pipeline of one of your tables."
