"""`tailrace exposures`: the pipelines in dbt's own docs."""

from __future__ import annotations

from typing import Annotated

import typer

from tailrace.commands import options, output
from tailrace.errors import BadInput, SpecError
from tailrace.spec import registry


def exposures(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; the exit code is 1 if the file is out of date.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Write the pipelines as exposures of type ml into the dbt project, so that dbt's own docs show them."""
    from tailrace.operations import exposures as written

    warehouse = options.services().warehouse
    specs, wrong = registry.load(estimators=False)
    if wrong:
        raise SpecError("The exposures are made from all specs, and some of these are wrong:", list(wrong))
    if not (warehouse.project / "dbt_project.yml").exists():
        raise BadInput(f"There is no dbt project in {warehouse.project}: it has no dbt_project.yml.")
    manifest = written.manifest_of(warehouse)
    text, file = written.text_of(manifest, specs), written.file_of(manifest.project)
    same = file.exists() and file.read_text(encoding="utf-8") == text
    if not (same or check):
        file.write_text(text, encoding="utf-8")
    state = "up to date" if same else "out of date" if check else "written"
    output.table("exposures", [{"file": str(file), "pipelines": len(specs), "state": state}], as_json)
    if check and not same:
        raise typer.Exit(1)
