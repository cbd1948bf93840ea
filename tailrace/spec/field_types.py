"""Whether values have the types that a dataclass says: Python itself takes any."""

from __future__ import annotations

import datetime as dt
import functools
import math
import reprlib
import types
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a finite number",
    bool: "True or False",
    type(None): "None",
    dt.date: "a date, such as dt.date(2024, 1, 31)",
}
"""What each plain type is called, and with it all that may stand in a field of a spec."""


def wrong_fields(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """The fields of a dataclass whose values are of another type than it says, each with a sentence.

    A field is named by its path, such as search.trials; nested dataclasses, tuples and mappings are looked through.
    """
    for name, hint in _hints(type(value)).items():  # type: ignore[arg-type]
        yield from _wrong(getattr(value, name), hint, f"{where}.{name}" if where else name)


def _wrong(value: Any, hint: Any, where: str) -> Iterator[tuple[str, str]]:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        inside = {each: list(_wrong(value, each, where)) for each in inner}
        if all(inside.values()):
            # A value that is nearly right is told what is wrong inside it, not what else it might have been.
            near = [each for each in inner if _is_nearly_a(value, each)]
            yield from inside[near[0]] if len(near) == 1 else [(where, _sentence(value, hint, where))]
    elif origin is tuple and isinstance(value, tuple):
        for position, each in enumerate(value):
            yield from _wrong(each, inner[0], f"{where}[{position}]")
    elif origin is Mapping and isinstance(value, Mapping):
        for key, each in value.items():
            if not _is_a(key, inner[0]):
                yield where, f"{where} has the key {reprlib.repr(key)}; it must be {_words(inner[0])}."
            yield from _wrong(each, inner[1], f"{where}[{reprlib.repr(key)}]")
    elif isinstance(hint, type) and is_dataclass(hint) and isinstance(value, hint):
        yield from wrong_fields(value, where)
    elif hint is Any:
        yield from _inside(value, where)
    elif not _is_a(value, hint):
        yield where, _sentence(value, hint, where)


def _is_nearly_a(value: Any, hint: Any) -> bool:
    """Whether only what is inside the value can be wrong."""
    if get_origin(hint) in (Mapping, tuple):
        return isinstance(value, get_origin(hint))
    return type(value) is hint and is_dataclass(hint)


def _inside(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """The wrong fields of parts of a spec, such as nested estimators, inside a value that may be anything."""
    if is_dataclass(value) and type(value).__module__.startswith("tailrace.spec."):
        yield from wrong_fields(value, where)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _inside(each, f"{where}[{reprlib.repr(key)}]")
    elif isinstance(value, list | tuple):
        for position, each in enumerate(value):
            yield from _inside(each, f"{where}[{position}]")


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a value is of a plain type. True is no number, and a moment is no date, although Python has it so."""
    if hint is Any:
        return True
    if get_origin(hint) is Literal:
        # Which texts are allowed is another check's to say, with the nearest of them.
        return isinstance(value, str)
    if get_origin(hint):
        return False
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and _finite(value)
    if isinstance(value, bool | dt.datetime):
        return type(value) is hint
    return isinstance(value, hint)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False


def _sentence(value: Any, hint: Any, where: str) -> str:
    return f"{where} is {reprlib.repr(value)}; it must be {_words(hint)}."


def _words(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        *most, last = [_words(each) for each in inner]
        return f"{', '.join(most)} or {last}"
    if origin is tuple:
        return f"a tuple, each of whose values is {_words(inner[0])}"
    if origin is Mapping:
        return "a dict"
    if origin is Literal:
        return " or ".join(map(repr, inner))
    return WORDS.get(hint) or f"{'an' if hint.__name__[0] in 'AEIOU' else 'a'} {hint.__name__}"


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
