"""Fills in the templates of this package."""

from __future__ import annotations

import functools
import math
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from tailrace.problems.metrics import FLOAT_DIGITS, written


def render(template: str, **values: Any) -> str:
    """A template of `templates/` with these values; HTML is escaped, and an unknown value is an error."""
    return _environment().get_template(template).render(**values)


def number(value: float | None, digits: int = 4) -> str:
    """1,234 for numbers of 1 or more in size that are integers, 0.1234 for others, a dash for None and NaN."""
    if value is None or math.isnan(value):
        return "–"
    if float(value).is_integer() and 1 < abs(value) < FLOAT_DIGITS:
        return f"{int(value):,}"
    return written(value, digits)


def between(low: float, high: float) -> str:
    """0.1 to 0.2; a range without an end is below 0.1, or 0.2 and more."""
    if math.isinf(low):
        return f"below {high:.4g}" if math.isfinite(high) else "all"
    return f"{low:.4g} to {high:.4g}" if math.isfinite(high) else f"{low:.4g} and more"


def cell(value: object) -> str:
    """Text that stays inside one cell of a Markdown table and contains no active markup."""
    text = " ".join(str(value).split())
    for character in "\\`*[]<>|":
        text = text.replace(character, "\\" + character)
    return text


def address(url: str) -> str:
    """A link's address that cannot end the link or contain active markup."""
    return quote(url, safe="/:?#@!$&=+,;%~.-_")


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tailrace.reporting"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "between": between, "cell": cell, "address": address}
    return environment
