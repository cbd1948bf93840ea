"""`tailrace impact` and `tailrace diff`: what an edit touches and does to predictions, before it is merged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tailrace.commands import options, output
from tailrace.errors import BadInput

BaseOption = Annotated[
    str | None,
    typer.Option(
        "--base",
        metavar="REV",
        help="The git revision to compare with. Default: HEAD if there are uncommitted edits, else where this branch "
        "left main.",
    ),
]


def impact(base: BaseOption = None, as_json: options.Json = False) -> None:
    """Show what the edits since a git revision touch: models, columns, pipelines, champions, owners, cost."""
    from tailrace.impact import finding, words

    services = options.services()
    found = finding.find(services, services.settings, base)
    output.document(words.lines(found), words.values(found), as_json)


def diff(
    pipelines: Annotated[
        list[str] | None, typer.Argument(help="The pipelines to compare; by default all that the edit touches.")
    ] = None,
    base: BaseOption = None,
    days: Annotated[int, typer.Option(min=1, max=366, help="So many of the last published days are compared.")] = 7,
    html: Annotated[Path | None, typer.Option(help="Also write a page with charts to this file.")] = None,
    comment: Annotated[
        Path | None, typer.Option(help="Also write a comment for a pull request (Markdown) to this file.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Show what the edits since a git revision do to the predictions; both sides are built in throw-away copies.

    Exit code 1 if an edit is beyond the review policy of a spec, or could not be compared.
    """
    from tailrace.impact import diff_words, diffing

    for name, file in (("--html", html), ("--comment", comment)):
        if file and not file.absolute().parent.is_dir():
            raise BadInput(f"{name} is {str(file)!r}, but there is no folder {str(file.absolute().parent)!r}.")
    services = options.services()
    found = diffing.run(
        services, services.settings, revision=base, days=days, names=pipelines or (), note=output.progress
    )
    if html:
        from tailrace.impact import diff_page

        html.write_text(diff_page.html(found), encoding="utf-8")
    if comment:
        from tailrace.impact import diff_comment

        comment.write_text(diff_comment.markdown(found), encoding="utf-8")
    output.document(diff_words.lines(found), diff_words.values(found), as_json)
    if found.failed:
        raise typer.Exit(1)
