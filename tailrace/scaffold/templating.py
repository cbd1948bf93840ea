"""Fills in the templates of projects and pipelines, whose marks leave those of dbt's own templates alone."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parents[1] / "templates"
SUFFIX = ".jinja"


@functools.cache
def templates() -> Any:
    """Jinja's, with `[[ value ]]` and `<% block %>`; an unknown value is an error."""
    from jinja2 import Environment, StrictUndefined

    return Environment(
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="[[",
        variable_end_string="]]",
        comment_start_string="<#",
        comment_end_string="#>",
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - no HTML
    )


def filled(template: str, **values: Any) -> str:
    """The text of `templates/<template>.jinja` with these values."""
    return str(templates().from_string((TEMPLATES / f"{template}{SUFFIX}").read_text()).render(values))
