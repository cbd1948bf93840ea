"""`tailrace impact`: what an edit touches, before it is merged."""

from __future__ import annotations

from typing import Annotated

import typer

from tailrace.commands import options, output

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
