"""Finds arguments of expectations that are wrong for any rows but that Great Expectations would accept silently.

It reads `true` as the number 1, "0.9" as 0.9, and integers as floating point numbers.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

EXACT = 2**53
"""From this integer on, floating point numbers cannot represent every integer."""

CONDITION = (
    '{"type": "comparison", "column": {"name": "origin"}, "operator": "==", "parameter": "JFK"} '
    'or, with "condition_parser": "great_expectations", col("origin") == "JFK"'
)

_NEEDED = {
    "expect_table_columns_to_match_ordered_list": ("column_list",),
    "expect_table_columns_to_match_set": ("column_set",),
    "unexpected_rows_expectation": ("unexpected_rows_query",),
}
_OF_THE_EXPECTATION = ("severity", "description", "meta", "notes", "id")
_NOT_TAKEN = ("batch_id", "catch_exceptions", "rendered_content", "result_format", "windows")
_VALUES = ("column_values", "column_min", "column_max")
_COUNTS = ("row_count", "column_count", "unique_value_count", "value_lengths")


def problems(expectation: str, kwargs: Mapping[str, Any]) -> Iterator[str]:
    """The problems with the arguments, one phrase each."""
    for name, value in kwargs.items():
        if name in _OF_THE_EXPECTATION:
            yield f"{name!r} belongs to the expectation itself, next to 'kwargs', not inside it"
        elif name in _NOT_TAKEN:
            yield f"argument {name!r} has no effect here; leave it out"
        elif isinstance(value, Mapping) and "$PARAMETER" in value:
            yield f"argument {name!r} is a suite parameter, but nothing sets suite parameters here"
        elif name in _RULES:
            yield from (f"argument {name!r} {problem}" for problem in _RULES[name](value))
        if name not in ("value_set", "value_pairs_set"):
            yield from _inexact(name, value)
    yield from (f"argument {name!r} is missing" for name in _NEEDED.get(expectation, ()) if name not in kwargs)
    if expectation.endswith("_to_be_between") and "quantile" not in expectation:
        yield from _bounds(expectation, kwargs)
    if "{batch}" not in str(kwargs.get("unexpected_rows_query", "{batch}")):
        yield "argument 'unexpected_rows_query' does not read from {batch}, so it does not check the rows"
    yield from _condition(kwargs)


def repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError if it has a name twice: only the last one would count."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} appears twice in one object")
    return found


def no_number(text: str) -> Any:
    """Raise ValueError for NaN and Infinity, which Python's JSON reader accepts."""
    raise ValueError(f"{text} is not a number in JSON")


def _bounds(expectation: str, kwargs: Mapping[str, Any]) -> Iterator[str]:
    limits = {name: kwargs[name] for name in ("min_value", "max_value") if kwargs.get(name) is not None}
    if not limits:
        yield "it has no limits: give min_value, max_value or both"
    before = len(limits)
    for name, value in limits.items():
        if (problem := _bound(expectation, value)) is not None:
            yield f"argument {name!r} {problem}"
            before = 0
    if before < 2:
        return
    low, high = limits["min_value"], limits["max_value"]
    if isinstance(low, str) != isinstance(high, str):
        yield f"min_value {low!r} and max_value {high!r} have different types"
        return
    strict = bool(kwargs.get("strict_min") or kwargs.get("strict_max"))
    order: tuple[Any, Any] = (_moment(low), _moment(high)) if isinstance(low, str) else (low, high)
    if order[0] > order[1] or (strict and order[0] == order[1]):
        yield f"no value is between min_value {low} and max_value {high}"


def _bound(expectation: str, value: Any) -> str | None:
    if any(part in expectation for part in _COUNTS):
        return None if _is_count(value) else f"must be an integer, 0 or more, not {value!r}"
    if isinstance(value, str) and any(part in expectation for part in _VALUES):
        wrong = f"must be a number, or a date or time such as '2013-03-01', not {value!r}"
        return None if _moment(value) and "-" in value else wrong
    return None if _is_number(value) else f"must be a number, not {value!r}"


def _moment(text: str) -> dt.datetime | None:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _condition(kwargs: Mapping[str, Any]) -> Iterator[str]:
    condition = kwargs.get("row_condition")
    if condition is None:
        if kwargs.get("condition_parser") is not None:
            yield "there is a condition_parser but no row_condition"
    elif isinstance(condition, str):
        if not str(kwargs.get("condition_parser")).startswith("great_expectations"):
            yield f"row_condition {condition!r} is in the syntax of pandas or Spark, not of SQL; write {CONDITION}"
    elif not isinstance(condition, Mapping):
        yield f"row_condition must be written as {CONDITION}, not {condition!r}"


def _inexact(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for part in value.values():
            yield from _inexact(name, part)
    elif isinstance(value, list):
        for part in value:
            yield from _inexact(name, part)
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) >= EXACT:
        yield (
            f"argument {name!r}: integers from 2^53 on, such as {value}, are compared as floating point numbers, "
            "not exactly. Write unexpected_rows_expectation, whose SQL compares exactly, or write the number as "
            f"{float(value)!r} if that is exact enough"
            if abs(value) < 10**300
            else f"argument {name!r} is too large"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _text(value: Any) -> Iterator[str]:
    if not isinstance(value, str) or not value.strip():
        yield f"must be text, not {json.dumps(value)}"


def _flag(value: Any) -> Iterator[str]:
    if not isinstance(value, bool):
        yield f"must be true or false, not {json.dumps(value)}"


def _mostly(value: Any) -> Iterator[str]:
    if value is not None and not (_is_number(value) and 0 <= value <= 1):
        yield f"must be a number from 0 to 1, not {json.dumps(value)}"


def _count(value: Any) -> Iterator[str]:
    if not _is_count(value):
        yield f"must be an integer, 0 or more, not {json.dumps(value)}"


def _texts(value: Any) -> Iterator[str]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item.strip() for item in value):
        yield f"must be a list of texts, not {json.dumps(value)}"
    elif len(set(value)) < len(value):
        yield f"names {next(item for item in value if value.count(item) > 1)!r} twice"


def _values(value: Any) -> Iterator[str]:
    if not isinstance(value, list) or not value:
        yield f"must be a list of values, not {json.dumps(value)}"
    elif len({_kind(item) for item in value}) > 1 or _kind(value[0]) is None:
        yield f"must be texts, numbers, or booleans, all of one type, not {json.dumps(value)}"


def _kind(value: Any) -> type | None:
    return next((kind for kind in (bool, str) if isinstance(value, kind)), float if _is_number(value) else None)


_RULES: Mapping[str, Callable[[Any], Iterable[str]]] = {
    **dict.fromkeys(("column", "column_A", "column_B", "regex", "like_pattern", "type_"), _text),
    **dict.fromkeys(("unexpected_rows_query", "strftime_format"), _text),
    **dict.fromkeys(("column_list", "column_set", "type_list", "regex_list", "like_pattern_list"), _texts),
    **dict.fromkeys(("strict_min", "strict_max", "or_equal", "exact_match"), _flag),
    "mostly": _mostly,
    "value": _count,
    "value_set": _values,
}
