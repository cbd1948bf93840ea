"""Finds the days that clearly pass with one query over all days of a range.

Great Expectations takes some hundredths of a second for each expectation and table, whatever the rows. So it judges
only what is not settled here: what may fail, and what is unknown here. A day is settled only if it passes by more
than any rounding could change.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import duckdb
from sqlalchemy.exc import DBAPIError

from tailrace.validation import judging
from tailrace.validation.suites import Expectation

MARGIN = 1e-9
"""How far inside its bounds, relative to their size, a mean, sum or median must be."""

_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "FLOAT", "DOUBLE")
_RANGE = {"min_value", "max_value", "strict_min", "strict_max"}

Query = Callable[[str], Sequence[Mapping[str, Any]]]

OWN_SQL = "unexpected_rows_expectation"


def clear(
    query: Query, expectations: Mapping[int, Expectation], views: Mapping[dt.date, str]
) -> Mapping[int, set[dt.date]]:
    """For each expectation's number, the days that clearly pass it."""
    types = column_types(query, judging.TABLE)
    found: dict[int, set[dt.date]] = {}
    for number, item in expectations.items():
        if item.type == OWN_SQL:
            found[number] = {day for day, view in views.items() if _finds_nothing(query, item, view)}
        else:
            found[number] = _days_passing(query, condition(item, types))
    return found


def column_types(query: Query, table: str) -> Mapping[str, str]:
    """DuckDB's types of a table's columns."""
    return {row["column_name"]: row["column_type"] for row in query(f"describe {table}")}


def can_be_judged(connection: duckdb.DuckDBPyConnection, items: Sequence[Expectation]) -> list[bool]:
    """Whether the SQL of each expectation is known here and runs on the rows."""
    types = {row[0]: row[1] for row in connection.execute(f"describe {judging.TABLE}").fetchall()}
    passes = [condition(item, types) for item in items]
    known = [each for each in passes if each is not None]
    all_run = bool(known) and _runs(connection, ", ".join(known))
    return [each is not None and (all_run or _runs(connection, each)) for each in passes]


def _runs(connection: duckdb.DuckDBPyConnection, selected: str) -> bool:
    try:
        connection.execute(f"select {selected} from {judging.TABLE}").fetchall()  # noqa: S608 - quoted
    except duckdb.Error:
        return False
    return True


def condition(item: Expectation, types: Mapping[str, str]) -> str | None:
    """SQL over a day's rows that is true only if they pass; None if it is unknown here."""
    build, allowed = _CONDITIONS.get(item.type, (None, set()))
    columns = {item.kwargs[name] for name in ("column", "column_A", "column_B") if name in item.kwargs}
    if build is None or set(item.kwargs) - allowed or not columns <= set(types):
        return None
    return build(item.kwargs, types)


def _days_passing(query: Query, passes: str | None) -> set[dt.date]:
    if passes is None:
        return set()
    try:
        found = query(f"select {judging.DAY} from {judging.TABLE} group by 1 having {passes}")  # noqa: S608 - quoted
    except DBAPIError:
        return set()
    return {row[judging.DAY] for row in found}


def _finds_nothing(query: Query, item: Expectation, view: str) -> bool:
    own = judging.own_query(item.kwargs["unexpected_rows_query"], view)
    try:
        return not query(f"select 1 from ({own}) limit 1")  # noqa: S608 - the suite's own SQL
    except DBAPIError:
        return False


def _share(bad: str, judged: str, kwargs: Mapping[str, Any]) -> str:
    mostly = 1.0 if kwargs.get("mostly") is None else float(kwargs["mostly"])
    count = f"count(*) filter (where {bad})"
    return f"({count} = 0 or 1 - {count}::double / {judged} > {mostly!r} + {MARGIN})"


def _not_null(kwargs: Mapping[str, Any], types: Mapping[str, str]) -> str:
    return _share(f"{judging.quoted(kwargs['column'])} is null", "count(*)", kwargs)


def _between(kwargs: Mapping[str, Any], types: Mapping[str, str]) -> str | None:
    column = judging.quoted(kwargs["column"])
    inside = _inside(f"{column}::double", kwargs) if types[kwargs["column"]] in _NUMBERS else None
    return inside and _share(f"{column} is not null and not ({inside})", f"count({column})", kwargs)


def _in_set(kwargs: Mapping[str, Any], types: Mapping[str, str]) -> str | None:
    column, values = judging.quoted(kwargs["column"]), _literals(kwargs["value_set"], types[kwargs["column"]])
    return values and _share(f"{column} is not null and {column} not in ({values})", f"count({column})", kwargs)


def _unique(kwargs: Mapping[str, Any], types: Mapping[str, str]) -> str:
    column = judging.quoted(kwargs["column"])
    return f"count(distinct {column}) = count({column})"


def _greater(kwargs: Mapping[str, Any], types: Mapping[str, str]) -> str | None:
    one, other = (judging.quoted(kwargs[name]) for name in ("column_A", "column_B"))
    if types[kwargs["column_A"]] != types[kwargs["column_B"]]:
        return None
    sign = ">=" if kwargs.get("or_equal") else ">"
    return _share(f"({one} {sign} {other}) is not true", "count(*)", {})


def _exactly(measure: str) -> Callable[[Mapping[str, Any], Mapping[str, str]], str | None]:
    return lambda kwargs, types: _measured(measure, kwargs, types, 0)


def _roughly(measure: str) -> Callable[[Mapping[str, Any], Mapping[str, str]], str | None]:
    return lambda kwargs, types: _measured(measure, kwargs, types, MARGIN)


def _measured(measure: str, kwargs: Mapping[str, Any], types: Mapping[str, str], margin: float) -> str | None:
    name = kwargs.get("column")
    if name is not None and "double" in measure and types[name] not in _NUMBERS:
        return None
    return _inside(measure.format(column=judging.quoted(name) if name is not None else ""), kwargs, margin)


def _inside(value: str, kwargs: Mapping[str, Any], margin: float = 0) -> str | None:
    """SQL for: the value is inside the bounds; None if they are not plain numbers."""
    parts = []
    for bound, strict, sign in (("min_value", "strict_min", ">"), ("max_value", "strict_max", "<")):
        limit = kwargs.get(bound)
        if limit is None:
            continue
        if isinstance(limit, bool) or not isinstance(limit, int | float):
            return None
        inwards = margin * (1 + abs(limit)) * (1 if sign == ">" else -1)
        parts.append(f"{value} {sign if kwargs.get(strict) else sign + '='} {float(limit) + inwards!r}::double")
    return " and ".join(parts) or None


def _literals(values: Sequence[Any], type_: str) -> str | None:
    """A list of values in SQL; None if they do not all have the column's own type."""
    if not values:
        return None
    if type_ == "VARCHAR" and all(isinstance(value, str) for value in values):
        return ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    if type_ == "BOOLEAN" and all(isinstance(value, bool) for value in values):
        return ", ".join(str(value).lower() for value in values)
    if type_ in _NUMBERS and all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return ", ".join(str(value) for value in values)
    return None


_ONE, _MOSTLY = {"column"}, {"column", "mostly"}
_CONDITIONS: Mapping[str, tuple[Callable[[Mapping[str, Any], Mapping[str, str]], str | None], set[str]]] = {
    "expect_column_values_to_not_be_null": (_not_null, _MOSTLY),
    "expect_column_values_to_be_between": (_between, _MOSTLY | _RANGE),
    "expect_column_values_to_be_in_set": (_in_set, _MOSTLY | {"value_set"}),
    "expect_column_values_to_be_unique": (_unique, _MOSTLY),
    "expect_column_pair_values_a_to_be_greater_than_b": (_greater, {"column_A", "column_B", "or_equal", "mostly"}),
    "expect_table_row_count_to_be_between": (_exactly("count(*)"), _RANGE),
    "expect_column_mean_to_be_between": (_roughly("avg({column}::double)"), _ONE | _RANGE),
    "expect_column_median_to_be_between": (_roughly("median({column}::double)"), _ONE | _RANGE),
    "expect_column_sum_to_be_between": (_roughly("sum({column}::double)"), _ONE | _RANGE),
    "expect_column_min_to_be_between": (_exactly("min({column}::double)"), _ONE | _RANGE),
    "expect_column_max_to_be_between": (_exactly("max({column}::double)"), _ONE | _RANGE),
    "expect_column_unique_value_count_to_be_between": (_exactly("count(distinct {column})"), _ONE | _RANGE),
    "expect_column_proportion_of_non_null_values_to_be_between": (
        _exactly("count({column}) / count(*)"),
        _ONE | _RANGE,
    ),
    "expect_column_proportion_of_unique_values_to_be_between": (
        # Without values DuckDB may return NaN, which it treats as greater than any bound.
        _exactly("count(distinct {column}) / nullif(count({column}), 0)"),
        _ONE | _RANGE,
    ),
}
