"""A day that the screening dismisses passes for certain."""

from __future__ import annotations

import datetime as dt
import math
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tailrace.validation import screening
from tailrace.validation.suites import Expectation

DAYS = [dt.date(2013, 1, 1), dt.date(2013, 1, 2), dt.date(2013, 1, 3)]
VIEWS = {day: f"day_{day:%Y%m%d}" for day in DAYS}
Values = list[float | None]

VALUES = st.lists(st.one_of(st.none(), st.sampled_from([-1.0, 0.0, 0.1, 0.2, 0.3, 1.0, 1e300])), max_size=6)
BOUND = st.sampled_from([None, -1, 0, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 1e300])


def present(values: Values) -> list[float]:
    return [value for value in values if value is not None]


def inside(value: float | None, kwargs: Mapping[str, Any]) -> bool:
    if value is None:
        return False
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    above = low is None or (value > low if kwargs.get("strict_min") else value >= low)
    below = high is None or (value < high if kwargs.get("strict_max") else value <= high)
    return above and below


def enough(good: int, judged: int, kwargs: Mapping[str, Any]) -> bool:
    return judged == 0 or good / judged >= kwargs.get("mostly", 1)


def measured(measure: Callable[[list[float]], float]) -> Callable[[Values, Mapping[str, Any]], bool]:
    return lambda values, kwargs: bool(present(values)) and inside(measure(present(values)), kwargs)


JUDGES: Mapping[str, Callable[[Values, Mapping[str, Any]], bool]] = {
    "expect_column_values_to_not_be_null": lambda values, kwargs: enough(len(present(values)), len(values), kwargs),
    "expect_column_values_to_be_between": lambda values, kwargs: enough(
        sum(inside(value, kwargs) for value in present(values)), len(present(values)), kwargs
    ),
    "expect_column_values_to_be_unique": lambda values, kwargs: enough(
        sum(values.count(value) == 1 for value in present(values)), len(present(values)), kwargs
    ),
    "expect_table_row_count_to_be_between": lambda values, kwargs: inside(len(values), kwargs),
    "expect_column_mean_to_be_between": measured(statistics.fmean),
    "expect_column_median_to_be_between": measured(statistics.median),
    "expect_column_sum_to_be_between": measured(math.fsum),
    "expect_column_min_to_be_between": measured(min),
    "expect_column_max_to_be_between": measured(max),
    "expect_column_unique_value_count_to_be_between": lambda values, kwargs: inside(len({*present(values)}), kwargs),
    "expect_column_proportion_of_non_null_values_to_be_between": lambda values, kwargs: (
        bool(values) and inside(len(present(values)) / len(values), kwargs)
    ),
    "expect_column_proportion_of_unique_values_to_be_between": measured(lambda values: len({*values}) / len(values)),
}
SHARES = {name for name in JUDGES if "column_values_to" in name}


@st.composite
def expectations(draw: st.DrawFn) -> Expectation:
    name = draw(st.sampled_from(sorted(JUDGES)))
    kwargs: dict[str, Any] = {} if "row_count" in name else {"column": "x"}
    if "between" in name:
        kwargs |= {"min_value": draw(BOUND), "max_value": draw(BOUND)}
        kwargs |= {} if name in SHARES else {"strict_min": draw(st.booleans()), "strict_max": draw(st.booleans())}
    if name in SHARES:
        kwargs["mostly"] = draw(st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]))
    return Expectation(name, kwargs, "critical", None)


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    with duckdb.connect() as opened:
        yield opened


def clear(
    connection: duckdb.DuckDBPyConnection, values: list[Values], item: Expectation
) -> dict[dt.date, set[dt.date]]:
    rows = [(day, value) for day, of_day in zip(DAYS, values, strict=True) for value in of_day]
    schema = pa.schema({"ds": pa.date32(), "x": pa.float64()})
    connection.register("rows", pa.table([[day for day, _ in rows], [value for _, value in rows]], schema=schema))

    def query(sql: str) -> list[dict[str, Any]]:
        found = connection.execute(sql)
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    return dict(screening.clear(query, {0: item}, VIEWS))[0]


UNIQUE = "expect_column_proportion_of_unique_values_to_be_between"


@given(st.lists(VALUES, min_size=3, max_size=3), expectations())
@example([[None], [], []], Expectation(UNIQUE, {"column": "x", "min_value": 0.5}, "critical", None))
@settings(max_examples=200, deadline=None)
def test_only_days_that_pass_are_dismissed(
    connection: duckdb.DuckDBPyConnection, values: list[Values], item: Expectation
) -> None:
    for day in clear(connection, values, item):
        assert JUDGES[item.type](values[DAYS.index(day)], item.kwargs)


def test_an_ordinary_day_is_dismissed_and_a_doubtful_one_is_not(connection: duckdb.DuckDBPyConnection) -> None:
    mean = Expectation("expect_column_mean_to_be_between", {"column": "x", "max_value": 1}, "critical", None)
    assert clear(connection, [[0.5], [1.0], []], mean) == {DAYS[0]}
    mostly = Expectation("expect_column_values_to_not_be_null", {"column": "x", "mostly": 0.4}, "critical", None)
    assert clear(connection, [[0.5, None], [None], [1.0]], mostly) == {DAYS[0], DAYS[2]}


def test_what_is_not_known_here_is_left_to_the_validator(connection: duckdb.DuckDBPyConnection) -> None:
    item = Expectation(
        "expect_column_values_to_be_between",
        {"column": "x", "min_value": 0, "row_condition": "x > 0"},
        "critical",
        None,
    )
    assert clear(connection, [[0.5], [0.5], [0.5]], item) == set()
