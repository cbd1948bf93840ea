"""`tailrace new pipeline`: make a pipeline from a table."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tailrace.commands import options, output

app = typer.Typer(no_args_is_help=True, help="Make something new in this project.")

_Columns = list[str] | None


@app.command("pipeline")
def pipeline(
    name: Annotated[str, typer.Argument(help="The pipeline's name, which is also that of its file: churn.")],
    from_table: Annotated[
        str,
        typer.Option(help="The table with the features, as dbt names it: model, schema.name, database.schema.name."),
    ] = "",
    key: Annotated[_Columns, typer.Option(help="A column of the key that identifies a row; may be repeated.")] = None,
    time: Annotated[str, typer.Option(help="The column with the moment that the row is about.")] = "",
    label: Annotated[str, typer.Option(help="The column that is to be predicted.")] = "",
    outcomes_table: Annotated[
        str, typer.Option(help="The table with the label, with the same key. Default: the same table.")
    ] = "",
    day: Annotated[str, typer.Option(help="The column with a row's day. Default: ds, or the only date.")] = "",
    known_at: Annotated[
        str, typer.Option(help="The column that says when a row became known. Default: known_at, if there is one.")
    ] = "",
    outcome_day: Annotated[str, typer.Option(help="The same as --day, for the outcomes' table.")] = "",
    outcome_known_at: Annotated[
        str, typer.Option(help="The column that says when the label became known, in the table that has the label.")
    ] = "",
    kind: Annotated[str, typer.Option(help="binary, multiclass or regression. Default: as the label says.")] = "",
    zone: Annotated[str, typer.Option(help="The time zone of the pipeline's days. Default: the project's zone.")] = "",
    owner: Annotated[str, typer.Option(help="Who answers for the predictions. Default: you.")] = "",
    description: Annotated[str, typer.Option(help="What is predicted, in a sentence.")] = "",
    lag_days: Annotated[
        int | None, typer.Option(help="After how many days outcomes are known. Default: as the rows say.")
    ] = None,
    days_back: Annotated[
        int | None, typer.Option(help="After how many days a row may be used. Default: as known_at says, else 0.")
    ] = None,
    include: Annotated[
        _Columns, typer.Option(help="A column to use though it looks like a leak; may be repeated.")
    ] = None,
    exclude: Annotated[_Columns, typer.Option(help="A column that must be no feature; may be repeated.")] = None,
    marts: Annotated[
        bool | None,
        typer.Option(
            "--marts/--no-marts",
            help="Write dbt models that select from the tables, or let the spec name the tables themselves. Default: "
            "models, if the dbt project lies in this project.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    as_json: options.Json = False,
) -> None:
    """Propose a pipeline from a table's rows, and write its files: spec, marts, suites, DAG and test.

    On a terminal it asks for what is missing. Files that exist are never touched: all is written, or nothing.
    """
    from tailrace.operations import new_pipeline, people
    from tailrace.scaffold.requests import NewPipeline

    asks = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    from_table = from_table or _asked(asks, "Table with the features, as dbt names it")
    key = key or [_asked(asks, "Columns of the key, with commas between them")]
    time = time or _asked(asks, "Column with the moment that a row is about")
    label = label or _asked(asks, "Column that is to be predicted")
    services = options.services()
    request = NewPipeline(
        name=name,
        table=from_table,
        key=tuple(part.strip() for each in key for part in each.split(",") if part.strip()),
        time=time,
        label=label,
        outcomes_table="" if outcomes_table == from_table else outcomes_table,
        day=day,
        known_at=known_at,
        outcome_day=outcome_day,
        outcome_known_at=outcome_known_at,
        kind=kind,
        zone=zone or services.settings.zone or "UTC",
        owner=owner or people.user(),
        description=description,
        lag_days=lag_days,
        days_back=days_back,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
    )
    with output.steps("new pipeline", 1 if dry_run else 2) as advance:
        made = new_pipeline.proposed(
            request,
            project=services.settings.project,
            warehouse=services.warehouse,
            reader=services.mart_reader,
            marts=marts,
            today=options.now().date(),
        )
        advance("proposed")
        if not dry_run:
            new_pipeline.write(made, services.warehouse)
            advance("written")
    for warning in made.warnings:
        output.warn(warning)
    output.table(f"Columns of {from_table}", made.columns, as_json, sentence=made.summary(written=not dry_run))


def _asked(asks: bool, question: str) -> str:
    return str(typer.prompt(question)) if asks else ""
