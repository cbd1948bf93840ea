"""A spec as a person would write it: Python, without what is the default."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from tailrace.spec import PipelineSpec

WIDTH = 120


def text_of(spec: PipelineSpec) -> str:
    """`PipelineSpec(...)`, with `__doc__` as the description."""
    return _written(spec, 0, len("SPEC = "))


def names_of(spec: PipelineSpec) -> list[str]:
    """The public names that the text uses, sorted."""
    return sorted(set(_names(spec)))


def quoted(text: str) -> str:
    """A text in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def _names(value: Any) -> Iterator[str]:
    if is_dataclass(value) and not isinstance(value, type):
        yield type(value).__name__
        for _, inside in _said(value):
            yield from _names(inside)
    elif isinstance(value, Mapping):
        for inside in value.values():
            yield from _names(inside)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inside in value:
            yield from _names(inside)


def _said(value: Any) -> list[tuple[str, Any]]:
    """The fields of a dataclass that are not the default."""
    said = [(each.name, getattr(value, each.name)) for each in fields(value) if each.init]
    defaults = {each.name: _default(each) for each in fields(value)}
    return [(name, it) for name, it in said if defaults[name] is MISSING or it != defaults[name]]


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _written(value: Any, indent: int, before: int) -> str:
    """The value as Python: in one line if it fits after `before` letters, else a line for each part."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dt.date):
        return f"dt.date({value.year}, {value.month}, {value.day})"
    opening, parts, closing = _parts(value)
    if parts is None:
        return repr(value)
    line = f"{opening}{', '.join(f'{name}{_written(it, indent, 0)}' for name, it in parts)}{closing}"
    if isinstance(value, tuple) and len(value) == 1:
        line = f"{line[:-1]},)"
    if indent + before + len(line) + 1 <= WIDTH and "\n" not in line and not isinstance(value, PipelineSpec):
        return line
    inner = indent + 4
    lines = [f"{' ' * inner}{name}{_written(it, inner, len(name))}," for name, it in parts]
    return "\n".join([opening, *lines, f"{' ' * indent}{closing}"])


def _parts(value: Any) -> tuple[str, list[tuple[str, Any]] | None, str]:
    """The opening, the named parts and the closing of a value that has parts."""
    if isinstance(value, PipelineSpec):
        own = [(f"{name}=", _Doc() if name == "description" else it) for name, it in _said(value)]
        return "PipelineSpec(", own, ")"
    if is_dataclass(value) and not isinstance(value, type):
        return f"{type(value).__name__}(", [(f"{name}=", it) for name, it in _said(value)], ")"
    if isinstance(value, Mapping):
        return "{", [(f"{_written(name, 0, 0)}: ", it) for name, it in value.items()], "}"
    if isinstance(value, tuple):
        return "(", [("", it) for it in value], ")"
    return "", None, ""


class _Doc:
    """The module's own docstring, as the description."""

    def __repr__(self) -> str:
        return "__doc__"
