"""Pages made from the library: classes of a spec, errors, and the command line."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import typer

from tailrace import errors

_PAGE = re.compile(r"docs/([\w/]+\.md)(#[\w-]+)?")
WHAT_TO_DO = "What to do: "
"""How the part of an error's docstring begins that says what to do."""


def generated(name: str) -> str:
    """What stands on a page in place of the line `::: name`."""
    if name == "errors":
        return _errors(errors)
    if name == "commands":
        return _commands()
    module, _, attribute = name.rpartition(".")
    return dataclass_reference(getattr(importlib.import_module(module), attribute))


def dataclass_reference(kind: type) -> str:
    """A class of a spec: what it is for, and each field with its type, default and meaning."""
    parts = [f"## {kind.__name__}", _docstring(kind)]
    annotations = field_annotations(kind)
    for field in dataclasses.fields(kind):
        facts = f"`{annotations[field.name]}`, {_default(field)}"
        meaning = field_docstrings(kind).get(field.name, "")
        parts += [f"### {kind.__name__}.{field.name} {{ #{kind.__name__.lower()}-{field.name} }}", facts, meaning]
    return "\n\n".join(parts)


def field_docstrings(kind: type) -> Mapping[str, str]:
    """The docstring below each field of a dataclass, its bases' included."""
    return {name: text for name, (_, text) in _fields_in_source(kind).items() if text}


def field_annotations(kind: type) -> Mapping[str, str]:
    """The type of each field, as the source has it."""
    return {name: annotation for name, (annotation, _) in _fields_in_source(kind).items()}


@functools.cache
def _fields_in_source(kind: type) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for each in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(each):
            continue
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(node, ast.ClassDef)  # noqa: S101
        for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                found[statement.target.id] = (ast.unparse(statement.annotation), _text(after))
    return found


def _text(statement: ast.stmt | None) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return " ".join(str(statement.value.value).split())
    return ""


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return f"default `{field.default_factory()!r}`"
    if field.default is dataclasses.MISSING:
        return "required"
    if dataclasses.is_dataclass(field.default):
        return f"default `{type(field.default).__name__}()`"
    return f"default `{field.default!r}`"


def _docstring(described: Any) -> str:
    return inspect.cleandoc(described.__doc__ or "")


def _errors(module: ModuleType) -> str:
    """Each error, below the kind it belongs to: what it means and what to do."""
    parts: list[str] = []
    for kind, depth in _error_tree(errors.TailraceError, 0):
        if kind.__module__ != module.__name__ or depth == 0:
            continue
        meaning, to_do = meaning_and_advice(kind)
        if not to_do:
            continue  # a base that is never raised itself
        parts += [f"{'##' if depth == 1 else '###'} {kind.__name__}", meaning, f"**What to do.** {_linked(to_do)}"]
    return "\n\n".join(parts)


def meaning_and_advice(kind: type) -> tuple[str, str]:
    """The two parts of an error's docstring: what it means, and what to do; the second may be empty."""
    meaning, _, advice = _docstring(kind).partition(WHAT_TO_DO)
    return meaning.strip(), advice.strip()[:1].upper() + advice.strip()[1:]


def _linked(text: str) -> str:
    """The text with its names of pages, such as docs/roles.md, as links from a page in docs/reference."""
    return _PAGE.sub(r"[\1](../\1\2)", text)


def _error_tree(kind: type, depth: int) -> Iterator[tuple[type, int]]:
    yield kind, depth
    for below in kind.__subclasses__():
        yield from _error_tree(below, depth + 1)


def commands(group: Any = None, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every command of `tailrace` with its whole name, such as `train`, as typer sees it."""
    from tailrace.commands import main

    group = group or typer.main.get_command(main.app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def options(command: Any) -> set[str]:
    """The options of a command, such as --date."""
    return {name for each in command.params for name in (*each.opts, *each.secondary_opts) if name.startswith("-")}


def _commands() -> str:
    parts = []
    for name, command in commands():
        arguments = [_shown(each) for each in command.params if not each.opts[0].startswith("-")]
        usage = " ".join(["tailrace", name, *arguments, "[OPTIONS]"])
        parts += [f"## tailrace {name}", inspect.cleandoc(command.help or ""), f"```text\n{usage}\n```"]
        if rows := [_parameter(each) for each in command.params if not each.hidden]:
            parts.append("\n".join(["| | | default |", "|---|---|---|", *rows]))
    return "\n\n".join(parts)


def _shown(parameter: Any) -> str:
    """An argument, or an option's names."""
    if parameter.opts[0].startswith("-"):
        return ", ".join([*parameter.opts, *parameter.secondary_opts])
    name = parameter.opts[0].upper()
    return name if parameter.required else f"[{name}]"


def _parameter(parameter: Any) -> str:
    default = parameter.default
    plain = isinstance(default, str | int | float) and default not in ("", False)
    cells = (
        f"`{_shown(parameter)}`",
        parameter.help or "",
        "required" if parameter.required else f"`{default}`" if plain else "",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
