"""Suite files that are wrong in any way end in a sentence: no traceback, and nothing wrong is taken in silence."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.contracts import KnownColumns, Validator
from tailrace.errors import BadInput, TailraceError
from tailrace.validation.great_expectations import GreatExpectationsValidator
from tailrace.validation.memory import MemoryValidator

COLUMNS = KnownColumns(
    {
        "ds": "day",
        "id": "unknown",
        "x": "number",
        "c": "category",
        "t": "text",
        "late": "flag",
        "at": "time",
        "known_at": "time",
    }
)
NO_NUMBERS: list[Any] = [True, "7", "", "ten", [1], {"a": 1}, float("nan"), float("inf")]
TOO_LARGE = [2**53, -(2**60), 10**400]
NO_TEXTS: list[Any] = [5, True, None, "", "  ", ["x"], {"a": "x"}, 2.5]
NO_FLAGS: list[Any] = [1, 0, "true", None, [], {}, 0.5]
NO_LISTS: list[Any] = [5, True, "EWR", [], {}, [None], [[1]], [{"a": 1}], [float("nan")]]

RIGHT: list[dict[str, Any]] = [
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "x", "mostly": 0.9}},
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "x", "min_value": 0, "max_value": 9}},
    {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "c", "value_set": ["EWR", "LGA"]}},
    {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}},
    {
        "type": "expect_column_pair_values_a_to_be_greater_than_b",
        "kwargs": {"column_A": "at", "column_B": "known_at", "or_equal": True},
    },
    {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 5, "max_value": 900}},
    {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "x", "min_value": 0.1, "max_value": 0.9}},
    {"type": "expect_column_to_exist", "kwargs": {"column": "late"}},
    {"type": "expect_table_columns_to_match_set", "kwargs": {"column_set": ["x", "c"], "exact_match": False}},
]
WRONG: dict[str, list[Any]] = {
    **dict.fromkeys(("column", "column_A", "column_B"), NO_TEXTS),
    **{name: [*NO_NUMBERS, *TOO_LARGE, {"$PARAMETER": "low"}] for name in ("min_value", "max_value")},
    "mostly": [*NO_NUMBERS, -0.1, 1.1, 90],
    "value_set": [*NO_LISTS, ["EWR", 1], [True, 1], ["EWR", None]],
    "column_set": [*NO_LISTS, [1], ["x", "x"], ["x", ""]],
    **dict.fromkeys(("or_equal", "exact_match"), NO_FLAGS),
}
ADDED: dict[str, Any] = {
    "severity": "warning",
    "notes": "text",
    "meta": {},
    "id": "5",
    "result_format": "COMPLETE",
    "catch_exceptions": False,
    "batch_id": "a",
    "colum": "x",
    "MOSTLY": 0.5,
}
AROUND: dict[str, list[Any]] = {
    "type": [None, 5, "", "expect_nothing", "expectation", "Expect", ["expect_column_to_exist"]],
    "kwargs": [None, 5, [], "x", True],
    "severity": [None, "fatal", 1, [], {}, "CRITICAL"],
    "description": [5, [], {}, True],
}


def mistakes() -> Iterator[tuple[str, dict[str, Any]]]:
    for item in RIGHT:
        label = item["type"]
        for argument in item["kwargs"]:
            for value in WRONG[argument]:
                yield f"{label} {argument}={value!r}", item | {"kwargs": item["kwargs"] | {argument: value}}
            fewer = {name: value for name, value in item["kwargs"].items() if name != argument}
            if argument in ("column", "column_A", "column_B", "value_set", "column_set"):
                yield f"{label} without {argument}", item | {"kwargs": fewer}
        for argument, value in ADDED.items():
            yield f"{label} with {argument}", item | {"kwargs": item["kwargs"] | {argument: value}}
        for name, values in AROUND.items():
            for value in values:
                yield f"{label} {name}={value!r}", item | {name: value}
    low_above_high = {"column": "x", "min_value": 9, "max_value": 1}
    yield "no value is between", {"type": "expect_column_values_to_be_between", "kwargs": low_above_high}
    yield "no bound", {"type": "expect_table_row_count_to_be_between", "kwargs": {}}
    yield (
        "a day as a number",
        {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "ds", "min_value": "20130301"},
        },
    )


FILES = [
    "",
    "{",
    "null",
    "[]",
    "5",
    '"text"',
    "[" * 100_000,
    '{"name": "flights.features", "expectations": {}}',
    '{"name": "flights.features", "expectations": [null]}',
    '{"name": "flights.features", "expectations": [[]]}',
    '{"name": "flights.features", "expectation": [], "expectations": []}',
    '{"name": 5, "expectations": [{"type": "expect_column_to_exist", "kwargs": {"column": "x"}}]}',
    '{"name": "flights.features", "expectations": [{"type": "expect_column_mean_to_be_between", '
    '"kwargs": {"column": "x", "min_value": 0.1, "min_value": 0.2}}]}',
    b"\xff\xfe{}",
]


@pytest.fixture(scope="module", params=[GreatExpectationsValidator, MemoryValidator], ids=["gx", "memory"])
def make(request: pytest.FixtureRequest) -> Callable[[Path], Validator]:
    return request.param


def check(make: Callable[[Path], Validator], content: str | bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "flights", "features.json")
        path.parent.mkdir()
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        make(Path(folder)).check("flights/features", COLUMNS)


def suite_of(*expectations: Any) -> str:
    return json.dumps({"name": "flights.features", "expectations": list(expectations)})


def test_what_is_right_is_taken(make: Callable[[Path], Validator]) -> None:
    check(make, suite_of(*RIGHT))


def test_several_hundred_wrong_values_are_refused(make: Callable[[Path], Validator]) -> None:
    wrong = list(mistakes())
    assert len(wrong) > 400
    taken = []
    for label, item in wrong:
        try:
            check(make, suite_of(item))
        except BadInput:
            continue
        taken.append(label)
    assert taken == []


@pytest.mark.parametrize("content", FILES, ids=range(len(FILES)))
def test_files_that_hold_no_suite_are_refused(make: Callable[[Path], Validator], content: str | bytes) -> None:
    with pytest.raises(BadInput, match="cannot be used"):
        check(make, content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.just("x"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def altered(draw: st.DrawFn) -> str:
    """A suite in which something was put in place of one value, at any depth."""
    suite = {"name": "flights.features", "expectations": copy.deepcopy([draw(st.sampled_from(RIGHT))])}
    places = [(suite, "name"), (suite, "expectations"), (suite["expectations"], 0)]
    item = suite["expectations"][0]
    places += [(item, name) for name in item] + [(item["kwargs"], name) for name in item["kwargs"]]
    place, name = draw(st.sampled_from(places))
    place[name] = draw(JSON)
    return json.dumps(suite)


@given(altered())
@settings(max_examples=60, deadline=None)
def test_whatever_stands_in_a_suite_ends_in_no_traceback(content: str) -> None:
    for make in (GreatExpectationsValidator, MemoryValidator):
        try:
            check(make, content)
        except TailraceError as error:
            assert str(error)


def test_all_problems_are_listed_at_once(make: Callable[[Path], Validator]) -> None:
    with pytest.raises(BadInput) as caught:
        check(
            make,
            suite_of(
                {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "t", "min_value": 0}},
                {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "x", "min_value": 0}},
                {"type": "expect_column_values_to_be_between", "kwargs": {"column": "late", "min_value": "2013-01-01"}},
            ),
        )
    found = str(caught.value).splitlines()[1:]
    assert [line.split(":")[0] for line in found] == [
        "  - expectation 1 (expect_column_mean_to_be_between)",
        "  - expectation 3 (expect_column_values_to_be_between)",
    ]
    assert all("it cannot be judged" in line for line in found)
