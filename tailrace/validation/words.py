"""Expectations and results, in sentences for an operator."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Mapping, Sequence
from typing import Any

VALUES_LISTED = 8

_NOUNS = {
    "expect_column_values_to_not_be_null": "null",
    "expect_column_values_to_be_null": "not null",
    "expect_column_values_to_be_unique": "repeated",
    "expect_compound_columns_to_be_unique": "repeated",
    "expect_column_values_to_be_between": "outside",
    "expect_column_values_to_be_in_set": "other values",
}
_SUBJECTS = {
    "expect_table_row_count_to_be_between": "row count ",
    "expect_column_mean_to_be_between": "mean ",
    "expect_column_min_to_be_between": "minimum ",
    "expect_column_max_to_be_between": "maximum ",
    "expect_column_median_to_be_between": "median ",
    "expect_column_sum_to_be_between": "sum ",
    "expect_column_stdev_to_be_between": "standard deviation ",
    "expect_column_unique_value_count_to_be_between": "number of distinct values ",
    "expect_column_proportion_of_non_null_values_to_be_between": "share of values that are not null ",
    "expect_column_proportion_of_unique_values_to_be_between": "share of values that are unique ",
    "expect_column_values_to_be_between": "",
}


def expected(expectation: str, kwargs: Mapping[str, Any], description: str | None = None) -> str:
    """What an expectation requires, such as 'at least 99 % between 0 and 1'; its own description is preferred."""
    if description:
        return description
    mostly = kwargs.get("mostly", 1)
    share = "" if mostly in (None, 1) else f"at least {percent(mostly)} "
    return share + _asked(expectation, kwargs)


def observed_share(expectation: str, bad: int, judged: int) -> str:
    """How many of the judged values are bad, such as '31.2 % null (281 of 901)'."""
    if judged == 0:
        return "no values"
    return f"{percent(bad / judged)} {_NOUNS.get(expectation, 'not as expected')} ({bad} of {judged})"


def observed_value(value: Any) -> str:
    """A measured number or list; 'no values' if there was nothing to measure."""
    if isinstance(value, Mapping) and "values" in value:
        # quantiles
        return observed_value(None if all(item is None for item in value["values"]) else value["values"])
    return "no values" if value is None else plain(value)


def observed_columns(missing: Sequence[str], unexpected: Sequence[str]) -> str:
    """Which columns are missing and which should not be there."""
    parts = []
    if missing:
        parts.append(f"missing {', '.join(sorted(missing))}")
    if unexpected:
        parts.append(f"unexpected {', '.join(sorted(unexpected))}")
    return "; ".join(parts) or "those columns"


def missing_columns(columns: Sequence[str]) -> str:
    """The sentence for columns that an expectation needs and that are missing."""
    if len(columns) == 1:
        return f"column {columns[0]!r} is missing"
    return f"columns {', '.join(repr(column) for column in columns)} are missing"


def judged_columns(kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns that an expectation uses, in the order in which it names them."""
    single = [kwargs[name] for name in ("column", "column_A", "column_B") if name in kwargs]
    return (*single, *kwargs.get("column_list", ()))


def percent(share: float) -> str:
    """A share as a percentage of up to four significant digits; a share above 0 is never shown as 0."""
    return f"{100 * share:.4g} %"


def plain(value: Any) -> str:
    """A value as text: floats without noise, times in UTC."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple | set):
        return ", ".join(plain(item) for item in value)
    return str(json_friendly(value))


def json_friendly(value: Any) -> Any:
    """The value in a form for JSON; a time becomes ISO 8601 in UTC, other types their text."""
    if isinstance(value, dt.datetime):
        return (value.astimezone(dt.UTC) if value.tzinfo else value).isoformat()
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _asked(expectation: str, kwargs: Mapping[str, Any]) -> str:
    match expectation:
        case "expect_column_values_to_not_be_null":
            return "not null"
        case "expect_column_values_to_be_null":
            return "null"
        case "expect_column_values_to_be_unique":
            return "unique"
        case "expect_compound_columns_to_be_unique":
            return f"unique together: {', '.join(kwargs['column_list'])}"
        case "expect_column_values_to_be_in_set" | "expect_column_distinct_values_to_be_in_set":
            return f"one of {_listed(kwargs['value_set'])}"
        case "expect_column_pair_values_a_to_be_greater_than_b":
            or_equal = " or equal to" if kwargs.get("or_equal") else ""
            return f"{kwargs['column_A']} greater than{or_equal} {kwargs['column_B']}"
        case "expect_column_to_exist":
            return f"column {kwargs['column']!r}"
        case "expect_table_columns_to_match_set":
            extent = "exactly" if kwargs.get("exact_match", True) else "at least"
            return f"{extent} the columns {', '.join(kwargs['column_set'])}"
    if expectation in _SUBJECTS:
        return _SUBJECTS[expectation] + _range(kwargs)
    arguments = {name: value for name, value in kwargs.items() if name not in ("column", "mostly")}
    return ", ".join(f"{name} {plain(value)}" for name, value in arguments.items()) or "to hold"


def _range(kwargs: Mapping[str, Any]) -> str:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    above = "more than" if kwargs.get("strict_min") else "at least"
    below = "less than" if kwargs.get("strict_max") else "at most"
    if low is None and high is None:
        return "of any size"
    if high is None:
        return f"{above} {plain(low)}"
    if low is None:
        return f"{below} {plain(high)}"
    if kwargs.get("strict_min") or kwargs.get("strict_max"):
        return f"{above} {plain(low)} and {below} {plain(high)}"
    return f"between {plain(low)} and {plain(high)}"


def _listed(values: Sequence[Any]) -> str:
    shown = ", ".join(plain(value) for value in values[:VALUES_LISTED])
    return shown if len(values) <= VALUES_LISTED else f"{shown} ... ({len(values)} values)"
