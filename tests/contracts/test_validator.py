"""Every Validator judges the same rows the same way."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tailrace.contracts import ExpectationResult, Validator, Verdict
from tailrace.errors import BadInput, ProblemList, SchemaMismatch, UnknownName
from tailrace.validation.great_expectations import GreatExpectationsValidator
from tailrace.validation.memory import MemoryValidator

DAY = dt.date(2013, 1, 15)
KEY = ("flight_key",)
NOON = dt.datetime(2013, 1, 15, 17, tzinfo=dt.UTC)


@pytest.fixture(params=[GreatExpectationsValidator, MemoryValidator], ids=["great_expectations", "memory"])
def make(request: pytest.FixtureRequest) -> Callable[[Path], Validator]:
    return request.param


def flights(rows: int = 10, **changes: list[Any] | pa.Array) -> pa.Table:
    columns: dict[str, Any] = {
        "flight_key": [f"UA-{number}" for number in range(rows)],
        "origin": ["EWR", "LGA"] * (rows // 2),
        "distance": [100.0 * number for number in range(rows)],
        "late": [False, True] * (rows // 2),
        "departure": pa.array([NOON] * rows, pa.timestamp("us", "UTC")),
        "known_at": pa.array([NOON - dt.timedelta(hours=12)] * rows, pa.timestamp("us", "UTC")),
    }
    return pa.table(columns | changes)


def write(folder: Path, content: Any, suite: str = "flights/features") -> None:
    path = folder / f"{suite}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def suite_of(*expectations: dict[str, Any], name: str = "flights.features") -> dict[str, Any]:
    return {"name": name, "expectations": list(expectations), "meta": {}}


def expect(type: str, severity: str = "critical", **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{type}", "kwargs": kwargs, "severity": severity}


def judge(make: Callable[[Path], Validator], folder: Path, rows: pa.Table, *expectations: dict[str, Any]) -> Verdict:
    write(folder, suite_of(*expectations))
    return make(folder).validate("flights/features", DAY, rows.to_reader(max_chunksize=3), KEY)


def judge_one(
    make: Callable[[Path], Validator], folder: Path, rows: pa.Table, expectation: dict[str, Any]
) -> ExpectationResult:
    (result,) = judge(make, folder, rows, expectation).results
    return result


def nulls(*values: Any) -> list[Any]:
    return [*values, *([1.0] * (10 - len(values)))]


HELD = (
    expect("column_values_to_not_be_null", column="distance"),
    expect("column_values_to_be_between", column="distance", min_value=0, max_value=900),
    expect("column_values_to_be_between", column="distance", max_value=800, mostly=0.9),
    expect("column_values_to_be_in_set", column="origin", value_set=["EWR", "LGA", "JFK"]),
    expect("column_values_to_be_in_set", column="late", value_set=[True], mostly=0.5),
    expect("column_values_to_be_unique", column="flight_key"),
    expect("column_pair_values_a_to_be_greater_than_b", column_A="departure", column_B="known_at"),
    expect("column_pair_values_a_to_be_greater_than_b", column_A="distance", column_B="distance", or_equal=True),
    expect("table_row_count_to_be_between", min_value=10, max_value=10),
    expect("column_mean_to_be_between", column="distance", min_value=400, max_value=500),
    expect("column_to_exist", column="late"),
    expect("table_columns_to_match_set", column_set=["late", "flight_key"], exact_match=False),
)


def test_good_rows_pass_every_kind_of_expectation(make: Callable[[Path], Validator], tmp_path: Path) -> None:
    verdict = judge(make, tmp_path, flights(), *HELD)
    assert [(result.expectation, result.success) for result in verdict.results] == [
        (item["type"], True) for item in HELD
    ]
    assert (verdict.suite, verdict.day, verdict.rows) == ("flights/features", DAY, 10)
    assert all(not result.bad_rows for result in verdict.results)


BROKEN = [
    (
        {"distance": nulls(None, None, None)},
        expect("column_values_to_not_be_null", column="distance", mostly=0.99),
        "distance",
        "at least 99 % not null",
        "30 % null (3 of 10)",
        [{"flight_key": f"UA-{number}", "distance": None} for number in range(3)],
    ),
    (
        {"distance": nulls(None, -1.0, 2.0)},
        expect("column_values_to_be_between", column="distance", min_value=0, max_value=1),
        "distance",
        "between 0 and 1",
        "22.22 % outside (2 of 9)",
        [{"flight_key": "UA-1", "distance": -1.0}, {"flight_key": "UA-2", "distance": 2.0}],
    ),
    (
        {"distance": nulls(0.0)},
        expect("column_values_to_be_between", column="distance", min_value=0, strict_min=True),
        "distance",
        "more than 0",
        "10 % outside (1 of 10)",
        [{"flight_key": "UA-0", "distance": 0.0}],
    ),
    (
        {"distance": nulls(float("nan"), 2.0)},
        expect("column_values_to_be_between", column="distance", min_value=0, max_value=1),
        "distance",
        "between 0 and 1",
        "11.11 % outside (1 of 9)",
        [{"flight_key": "UA-1", "distance": 2.0}],
    ),
    (
        {"distance": nulls(float("nan"), None)},
        expect("column_values_to_not_be_null", column="distance"),
        "distance",
        "not null",
        "20 % null (2 of 10)",
        [{"flight_key": "UA-0", "distance": None}, {"flight_key": "UA-1", "distance": None}],
    ),
    (
        {"distance": [float("nan")] * 10},
        expect("column_mean_to_be_between", column="distance", min_value=0),
        "distance",
        "mean at least 0",
        "no values",
        [],
    ),
    (
        {"origin": ["EWR"] * 9 + ["XXX"]},
        expect("column_values_to_be_in_set", column="origin", value_set=["EWR", "LGA"]),
        "origin",
        "one of EWR, LGA",
        "10 % other values (1 of 10)",
        [{"flight_key": "UA-9", "origin": "XXX"}],
    ),
    (
        {"flight_key": ["UA-0", "UA-0", *(f"UA-{number}" for number in range(2, 10))]},
        expect("column_values_to_be_unique", column="flight_key"),
        "flight_key",
        "unique",
        "20 % repeated (2 of 10)",
        [{"flight_key": "UA-0"}, {"flight_key": "UA-0"}],
    ),
    (
        {"known_at": pa.array([NOON, *[NOON - dt.timedelta(hours=1)] * 9], pa.timestamp("us", "UTC"))},
        expect("column_pair_values_a_to_be_greater_than_b", column_A="departure", column_B="known_at"),
        "departure, known_at",
        "departure greater than known_at",
        "10 % not as expected (1 of 10)",
        [
            {
                "flight_key": "UA-0",
                "departure": "2013-01-15T17:00:00+00:00",
                "known_at": "2013-01-15T17:00:00+00:00",
            }
        ],
    ),
    (
        {},
        expect("table_row_count_to_be_between", min_value=500, max_value=1200),
        None,
        "row count between 500 and 1200",
        "10",
        [],
    ),
    (
        {"distance": nulls(float("nan"), 0.0, 9 - 7.0)},
        expect("column_mean_to_be_between", column="distance", max_value=0.7),
        "distance",
        "mean at most 0.7",
        "1",
        [],
    ),
    ({}, expect("column_to_exist", column="speed"), "speed", "column 'speed'", "column 'speed' is missing", []),
    (
        {},
        expect("table_columns_to_match_set", column_set=["flight_key", "speed"], exact_match=False),
        None,
        "at least the columns flight_key, speed",
        "missing speed; unexpected departure, distance, known_at, late, origin",
        [],
    ),
]


@pytest.mark.parametrize(
    ("changes", "expectation", "column", "expected", "observed", "bad_rows"),
    BROKEN,
    ids=[f"{item[1]['type']}-{item[3]}-{item[4]}" for item in BROKEN],
)
def test_a_broken_expectation_says_what_was_found_where(
    make: Callable[[Path], Validator],
    tmp_path: Path,
    changes: dict[str, Any],
    expectation: dict[str, Any],
    column: str | None,
    expected: str,
    observed: str,
    bad_rows: list[dict[str, Any]],
) -> None:
    result = judge_one(make, tmp_path, flights(**changes), expectation)
    assert result == ExpectationResult(
        expectation=expectation["type"],
        column=column,
        severity="critical",
        success=False,
        expected=expected,
        observed=observed,
        bad_rows=tuple(bad_rows),
    )


DAYS = tuple(DAY + dt.timedelta(days=offset) for offset in range(5))


def of_days(*days: pa.Table) -> pa.Table:
    return pa.concat_tables(
        rows.append_column("ds", pa.array([day] * rows.num_rows, pa.date32()))
        for day, rows in zip(DAYS, days, strict=True)
    )


RANGE = of_days(
    flights(),
    flights(distance=pa.nulls(10, pa.float64()), origin=["XXX"] * 5 + ["EWR"] * 5),
    flights().slice(0, 0),
    flights(distance=[float("nan")] * 9 + [100.0]),
    flights(4, flight_key=["UA-1", "UA-1", "UA-2", "UA-3"], distance=[-1.0, 5000.0, None, 100.0]),
)
"""An ordinary day, a day of nulls and unknown origins, an empty day, a day of NaN, a small day of a repeated key."""

JUDGED = (
    expect("column_values_to_not_be_null", column="distance", mostly=0.5),
    expect("column_values_to_not_be_null", column="flight_key"),
    expect("column_values_to_be_between", column="distance", min_value=0, max_value=900),
    expect("column_values_to_be_between", column="distance", min_value=0, mostly=0.6),
    expect("column_values_to_be_in_set", column="origin", value_set=["EWR", "LGA"]),
    expect("column_values_to_be_in_set", column="origin", value_set=["EWR", "LGA"], mostly=0.5),
    expect("column_values_to_be_in_set", column="late", value_set=[True], mostly=0.5),
    expect("column_values_to_be_unique", column="flight_key"),
    expect("column_values_to_be_unique", column="flight_key", mostly=0.5),
    expect("column_pair_values_a_to_be_greater_than_b", column_A="departure", column_B="known_at"),
    expect("column_pair_values_a_to_be_greater_than_b", column_A="known_at", column_B="departure", mostly=0.5),
    expect("column_mean_to_be_between", column="distance", min_value=200, max_value=1800),
    expect("table_row_count_to_be_between", min_value=1, max_value=10),
    expect("column_to_exist", column="speed"),
    expect("column_values_to_be_between", column="speed", min_value=0, mostly=0.5),
    expect("table_columns_to_match_set", column_set=["flight_key", "ds"], exact_match=False),
)


def test_the_verdict_on_a_range_is_the_union_of_the_verdicts_on_its_days(
    make: Callable[[Path], Validator], tmp_path: Path
) -> None:
    write(tmp_path, suite_of(*JUDGED))
    validator = make(tmp_path)
    alone = [
        validator.validate("flights/features", day, RANGE.filter(pc.equal(RANGE["ds"], day)).to_reader(), KEY)
        for day in DAYS
    ]
    ranged = validator.validate("flights/features", DAYS[-1], RANGE.to_reader(), KEY, days=len(DAYS))
    failed = [
        [day for day, verdict in zip(DAYS, alone, strict=True) if not verdict.results[number].success]
        for number in range(len(JUDGED))
    ]
    assert [list(result.failed_days) for result in ranged.results] == failed
    assert [result.success for result in ranged.results] == [not days for days in failed]
    assert (ranged.rows, ranged.dates) == (RANGE.num_rows, f"{DAYS[0]} to {DAYS[-1]}")
    for number, result in enumerate(ranged.results):
        rows = [row for verdict in alone for row in verdict.results[number].bad_rows]
        assert list(result.bad_rows) == rows[:5]


def test_a_range_names_the_days_that_fail_and_what_was_found(make: Callable[[Path], Validator], tmp_path: Path) -> None:
    write(tmp_path, suite_of(*JUDGED))
    verdict = make(tmp_path).validate("flights/features", DAYS[-1], RANGE.to_reader(), KEY, days=len(DAYS))
    observed = {number: verdict.results[number].observed for number in (0, 10, 12, 13)}
    assert observed == {
        0: "100 % null (10 of 10) on 2013-01-16; 90 % null (9 of 10) on 2013-01-18",
        10: "100 % not as expected (10 of 10) on 2013-01-15; 100 % not as expected (10 of 10) on 2013-01-16; "
        "100 % not as expected (10 of 10) on 2013-01-18; also not as expected on 2013-01-19",
        12: "0 on 2013-01-17",
        13: "column 'speed' is missing",
    }


def test_rows_of_a_range_that_say_no_day_are_refused(make: Callable[[Path], Validator], tmp_path: Path) -> None:
    write(tmp_path, suite_of(*JUDGED))
    validator = make(tmp_path)
    with pytest.raises(SchemaMismatch, match="need a column 'ds' of type date"):
        validator.validate("flights/features", DAYS[-1], flights().to_reader(), KEY, days=2)
    with pytest.raises(SchemaMismatch, match="20 rows do not belong to any day from 2013-01-17 to 2013-01-19"):
        validator.validate("flights/features", DAYS[-1], RANGE.to_reader(), KEY, days=3)


def test_columns_that_differ_in_case_only_are_refused(make: Callable[[Path], Validator], tmp_path: Path) -> None:
    rows = flights().append_column("Late", pa.array([True] * 10))
    with pytest.raises(SchemaMismatch, match="'late' and 'Late'"):
        judge(make, tmp_path, rows, expect("column_to_exist", column="late"))


def test_a_column_written_in_another_case_is_missing(make: Callable[[Path], Validator], tmp_path: Path) -> None:
    result = judge_one(make, tmp_path, flights(), expect("column_values_to_be_between", column="Distance", min_value=0))
    assert (result.success, result.observed) == (False, "column 'Distance' is missing")


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_the_time_zone_of_the_host_changes_no_verdict(
    make: Callable[[Path], Validator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        hours = [dt.datetime(2013, 1, 15, hour, tzinfo=dt.UTC) for hour in (2, 23)]
        rows = flights(2, departure=pa.array(hours, pa.timestamp("us", "UTC")))
        result = judge_one(
            make,
            tmp_path,
            rows,
            expect(
                "column_values_to_be_between",
                column="departure",
                min_value="2013-01-15 02:00:00",
                max_value="2013-01-15 22:00:00",
            ),
        )
        assert result.observed == "50 % outside (1 of 2)"
        assert result.bad_rows == ({"flight_key": "UA-1", "departure": "2013-01-15T23:00:00+00:00"},)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_five_bad_rows_are_shown_at_most_and_json_holds_them(make: Callable[[Path], Validator], tmp_path: Path) -> None:
    late = pa.array([NOON + dt.timedelta(hours=1)] * 10, pa.timestamp("us", "UTC"))
    expectation = expect("column_pair_values_a_to_be_greater_than_b", column_A="departure", column_B="known_at")
    result = judge_one(make, tmp_path, flights(known_at=late), expectation)
    assert [row["flight_key"] for row in result.bad_rows] == [f"UA-{number}" for number in range(5)]
    assert json.loads(json.dumps(result.bad_rows)) == list(result.bad_rows)


def test_a_missing_column_fails_what_judges_it_and_nothing_else(
    make: Callable[[Path], Validator], tmp_path: Path
) -> None:
    rows = flights().drop_columns(["distance"])
    verdict = judge(
        make,
        tmp_path,
        rows,
        expect("column_values_to_be_unique", column="flight_key"),
        expect("column_values_to_be_between", column="distance", min_value=0),
        expect("column_mean_to_be_between", "warning", column="distance", min_value=0),
    )
    assert [result.success for result in verdict.results] == [True, False, False]
    assert {result.observed for result in verdict.results[1:]} == {"column 'distance' is missing"}
    assert [result.expectation for result in verdict.failures("critical")] == ["expect_column_values_to_be_between"]


def test_a_missing_key_column_does_not_hide_the_bad_rows(make: Callable[[Path], Validator], tmp_path: Path) -> None:
    rows = flights(distance=nulls(None)).drop_columns(["flight_key"])
    result = judge_one(make, tmp_path, rows, expect("column_values_to_not_be_null", column="distance"))
    assert result.bad_rows == ({"distance": None},)


def test_a_column_of_another_type_fails_in_words(make: Callable[[Path], Validator], tmp_path: Path) -> None:
    verdict = judge(
        make,
        tmp_path,
        flights(distance=["far"] * 10),
        expect("column_values_to_be_between", column="distance", min_value=0, max_value=1),
        expect("column_mean_to_be_between", column="distance", min_value=0),
        expect("column_mean_to_be_between", column="late", min_value=0),
        expect("column_values_to_be_unique", column="flight_key"),
    )
    assert [result.success for result in verdict.results] == [False, False, False, True]
    assert all(result.observed.startswith("it could not be judged: ") for result in verdict.results[:3])


def test_no_rows_satisfy_what_is_said_of_each_row(make: Callable[[Path], Validator], tmp_path: Path) -> None:
    verdict = judge(
        make,
        tmp_path,
        flights().slice(0, 0),
        expect("column_values_to_not_be_null", column="distance"),
        expect("column_values_to_be_between", column="distance", min_value=0, max_value=1),
        expect("column_values_to_be_in_set", column="origin", value_set=["EWR"]),
        expect("column_values_to_be_unique", column="flight_key"),
        expect("column_pair_values_a_to_be_greater_than_b", column_A="departure", column_B="known_at"),
        expect("table_row_count_to_be_between", "warning", min_value=1),
        expect("column_mean_to_be_between", "warning", column="distance", min_value=0),
    )
    assert verdict.rows == 0
    assert not verdict.failures("critical")
    assert [result.observed for result in verdict.failures("warning")] == ["0", "no values"]


def test_severity_info_counts_as_a_warning_and_none_as_critical(
    make: Callable[[Path], Validator], tmp_path: Path
) -> None:
    unstated = {"type": "expect_column_to_exist", "kwargs": {"column": "speed"}}
    verdict = judge(make, tmp_path, flights(), expect("column_to_exist", "info", column="speed"), unstated)
    assert [result.severity for result in verdict.results] == ["warning", "critical"]


def test_a_description_replaces_the_words(make: Callable[[Path], Validator], tmp_path: Path) -> None:
    expectation = expect("column_to_exist", column="late") | {"description": "the label is there"}
    assert judge_one(make, tmp_path, flights(), expectation).expected == "the label is there"


def test_an_unknown_suite_suggests_the_nearest(make: Callable[[Path], Validator], tmp_path: Path) -> None:
    write(tmp_path, suite_of(*HELD))
    with pytest.raises(UnknownName, match="Did you mean 'flights/features'"):
        make(tmp_path).validate("flights/feature", DAY, flights().to_reader(), KEY)


def test_a_malformed_suite_lists_all_its_problems(make: Callable[[Path], Validator], tmp_path: Path) -> None:
    content = suite_of(
        expect("column_values_to_be_nul", column="distance"),
        expect("column_values_to_be_between", colum="distance", min_value=0),
        expect("column_values_to_be_unique", "fatal", column="flight_key"),
        {"kwargs": {}},
        expect("table_row_count_to_be_between", min_value={"$PARAMETER": "lowest"}),
        expect("column_to_exist", column="late") | {"severty": "warning"},
        name="flights.outcomes",
    )
    write(tmp_path, content)
    with pytest.raises(ProblemList) as caught:
        make(tmp_path).validate("flights/features", DAY, flights().to_reader(), KEY)
    assert isinstance(caught.value, BadInput)
    text = str(caught.value)
    for part in (
        str(tmp_path / "flights" / "features.json"),
        "its name must be 'flights.features'",
        "expectation 1 (expect_column_values_to_be_nul): there is no expectation type",
        "Did you mean 'expect_column_values_to_",
        "it has no argument 'colum'. Did you mean 'column'?",
        "argument 'column' is missing",
        "severity must be one of critical, warning, info, not 'fatal'",
        "expectation 4: it must be an object with a 'type'",
        "argument 'min_value' is a suite parameter",
        "there is no field 'severty'. Did you mean 'severity'?",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "it is not JSON"),
        ("[]", "not a JSON object"),
        ({"name": "flights.features", "expectations": []}, "at least one expectation"),
        (suite_of({"type": "expect_column_to_exist", "kwargs": []}), "'kwargs' must be an object"),
    ],
)
def test_a_file_that_holds_no_suite_is_bad_input(
    make: Callable[[Path], Validator], tmp_path: Path, content: Any, problem: str
) -> None:
    write(tmp_path, content)
    with pytest.raises(BadInput, match=problem):
        make(tmp_path).validate("flights/features", DAY, flights().to_reader(), KEY)
