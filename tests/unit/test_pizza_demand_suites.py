"""The suites of pizza_demand: a day of the source passes, and every critical expectation catches its fault."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipelines.sources.pizzaplace import ROME, Pizzaplace
from tailrace.contracts import Verdict
from tailrace.days import cutoff
from tailrace.validation.great_expectations import GreatExpectationsValidator
from tailrace.validation.memory import MemoryValidator
from tests.suite_faults import faults, replace, with_value

EXPECTATIONS = Path(__file__).parents[2] / "expectations"
DAY, NEXT = dt.date(2015, 3, 6), dt.date(2015, 3, 7)
PAST = ("units_last_day", "units_last_week", "units_mean_7d", "units_mean_28d", "units_mean_same_weekday_28d")


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    """The tables of a day, by suite; its sales stand for those of the past."""
    source = Pizzaplace(tmp_path_factory.mktemp("cache"))
    menu = source.extract("pizza_menu", DAY)
    sold = Counter(source.extract("pizza_sales", NEXT)["item"].to_pylist())
    units = [sold[item] for item in menu["item"].to_pylist()]
    amounts = pa.array(units, pa.float64())

    def each(value: Any, kind: pa.DataType | None = None) -> pa.Array:
        return pa.array([value] * len(units), kind)

    due = each(cutoff(DAY, ROME), pa.timestamp("us", tz="UTC"))
    key = {"ds": each(DAY), "sale_day": each(DAY), "item": menu["item"]}
    features = {
        **key,
        "sold_from": due,
        "known_at": due,
        "pizza": menu["name"],
        **{column: menu[column] for column in ("size", "category", "price")},
        "weekday": each(5),
        "month": each(3),
        **dict.fromkeys(PAST, amounts),
        "sold_share_28d": each(0.75),
        "category_units_mean_7d": each(1.5),
        "days_since_open": each(1.0),
    }
    known = each(cutoff(NEXT, ROME), pa.timestamp("us", tz="UTC"))
    outcomes = {**key, "ds": each(NEXT), "known_at": known, "units": units}
    interval = {
        "units_expected_low": pc.max_element_wise(pc.subtract(amounts, 1.0), 0.0),
        "units_expected_high": pc.add(amounts, 1.5),
    }
    predictions = {**key, "sold_from": due, "units_expected": amounts, **interval, "model_version": each("3")}
    tables = {"features": features, "outcomes": outcomes, "predictions": predictions}
    return {suite: pa.table(columns) for suite, columns in tables.items()}


def judge(validator: Any, suite: str, rows: pa.Table) -> Verdict:
    verdict: Verdict = validator.validate(f"pizza_demand/{suite}", DAY, rows.to_reader(), ["sale_day", "item"])
    return verdict


def failed(verdict: Verdict) -> list[tuple[str, str]]:
    return [(result.severity, result.expectation) for result in verdict.results if not result.success]


def test_an_ordinary_day_passes_without_a_warning(ordinary: dict[str, pa.Table]) -> None:
    validator = GreatExpectationsValidator(EXPECTATIONS)
    assert {suite: failed(judge(validator, suite, rows)) for suite, rows in ordinary.items()} == {
        "features": [],
        "outcomes": [],
        "predictions": [],
    }


@pytest.mark.parametrize("suite", ["features", "outcomes", "predictions"])
def test_every_critical_expectation_catches_its_fault(ordinary: dict[str, pa.Table], suite: str) -> None:
    validator = MemoryValidator(EXPECTATIONS)
    content = json.loads((EXPECTATIONS / "pizza_demand" / f"{suite}.json").read_text())["expectations"]
    critical = [(place, each) for place, each in enumerate(content) if each["severity"] == "critical"]
    assert len(critical) >= 8
    for place, expectation in critical:
        for broken in faults(ordinary[suite], expectation):
            result = judge(validator, suite, broken).results[place]
            assert (result.expectation, result.success) == (expectation["type"], False), expectation


def all_of(rows: pa.Table, column: str, value: Any) -> pa.Table:
    return replace(rows, column, pa.array([value] * rows.num_rows, rows[column].type))


WARNED = [
    ("features", lambda rows: rows.slice(0, 84), "expect_table_row_count_to_be_between"),
    ("features", lambda rows: all_of(rows, "units_last_week", None), "expect_column_values_to_not_be_null"),
    ("outcomes", lambda rows: all_of(rows, "units", 0), "expect_column_values_to_be_between"),
    ("outcomes", lambda rows: rows.slice(0, 0), "expect_table_row_count_to_be_between"),
    ("predictions", lambda rows: all_of(rows, "units_expected", 0.4), "expect_column_mean_to_be_between"),
]


@pytest.mark.parametrize(("suite", "fault", "expectation"), WARNED)
def test_what_is_unusual_warns_and_does_not_stop(
    ordinary: dict[str, pa.Table], suite: str, fault: Callable[[pa.Table], pa.Table], expectation: str
) -> None:
    assert failed(judge(MemoryValidator(EXPECTATIONS), suite, fault(ordinary[suite]))) == [("warning", expectation)]


def test_a_single_day_of_many_units_is_no_error(ordinary: dict[str, pa.Table]) -> None:
    assert (
        failed(judge(MemoryValidator(EXPECTATIONS), "outcomes", with_value(ordinary["outcomes"], "units", 150))) == []
    )
