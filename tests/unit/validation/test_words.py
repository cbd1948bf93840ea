"""Expectations in words."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import pytest

from tailrace.validation import words


@pytest.mark.parametrize(
    ("expectation", "kwargs", "text"),
    [
        ("expect_column_values_to_be_between", {"column": "x", "min_value": 0, "max_value": 1}, "between 0 and 1"),
        ("expect_column_values_to_be_between", {"column": "x", "min_value": 0}, "at least 0"),
        (
            "expect_column_values_to_be_between",
            {"column": "x", "min_value": 0, "max_value": 1, "strict_max": True},
            "at least 0 and less than 1",
        ),
        ("expect_column_values_to_be_between", {"column": "x", "mostly": 0.9}, "at least 90 % of any size"),
        ("expect_column_values_to_be_in_set", {"column": "x", "value_set": list(range(9))}, "(9 values)"),
        ("expect_column_median_to_be_between", {"column": "x", "max_value": 2.5}, "median at most 2.5"),
        ("expect_compound_columns_to_be_unique", {"column_list": ["a", "b"]}, "unique together: a, b"),
        ("expect_table_columns_to_match_set", {"column_set": ["a"]}, "exactly the columns a"),
        ("expect_column_values_to_match_regex", {"column": "x", "regex": "^N"}, "regex ^N"),
        ("expect_something_of_ones_own", {"column": "x"}, "to hold"),
    ],
)
def test_what_is_expected(expectation: str, kwargs: dict[str, Any], text: str) -> None:
    assert text in words.expected(expectation, kwargs)


@pytest.mark.parametrize(
    ("value", "friendly"),
    [
        (dt.datetime(2013, 1, 1, 7, tzinfo=dt.timezone(dt.timedelta(hours=-5))), "2013-01-01T12:00:00+00:00"),
        (dt.datetime(2013, 1, 1, 7), "2013-01-01T07:00:00"),
        (dt.date(2013, 1, 1), "2013-01-01"),
        (decimal.Decimal("1.5"), 1.5),
        (float("inf"), "inf"),
        (b"x", "b'x'"),
        (True, True),
        (None, None),
    ],
)
def test_values_that_json_can_hold(value: Any, friendly: Any) -> None:
    assert words.json_friendly(value) == friendly
    assert type(words.json_friendly(value)) is type(friendly)


def test_a_small_share_is_not_rounded_to_nothing() -> None:
    assert words.observed_share("expect_column_values_to_be_between", 1, 3_000_000) == (
        "3.333e-05 % outside (1 of 3000000)"
    )
