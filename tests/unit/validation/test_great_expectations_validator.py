"""What only the real validator does: Data Docs, SQL of one's own, and leaving nothing behind."""

from __future__ import annotations

import datetime as dt
import errno
import json
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tailrace.contracts import KnownColumns, Verdict
from tailrace.errors import BadInput, SettingsError, StorageFull
from tailrace.validation import describe_failures
from tailrace.validation.great_expectations import GreatExpectationsValidator

JANUARY = dt.date(2013, 1, 1)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def validator(folder: Path, *expectations: dict[str, Any]) -> GreatExpectationsValidator:
    suites = folder / "suites"
    (suites / "flights").mkdir(parents=True, exist_ok=True)
    (suites / "flights" / "features.json").write_text(
        json.dumps({"name": "flights.features", "expectations": list(expectations)})
    )
    return GreatExpectationsValidator(suites, folder / "data docs")


FLIGHTS = KnownColumns({"distance": "number", "flight_key": "text"})
NOT_NULL = {
    "type": "expect_column_values_to_not_be_null",
    "kwargs": {"column": "distance"},
}


def judge(judged_by: GreatExpectationsValidator, day: dt.date, distances: list[float | None]) -> Verdict:
    keys = [f"UA-{number}" for number in range(len(distances))]
    rows = pa.table({"flight_key": keys, "distance": pa.array(distances, pa.float64())})
    return judged_by.validate("flights/features", day, rows.to_reader(), ["flight_key"])


def test_data_docs_accumulate_a_page_per_day(tmp_path: Path) -> None:
    judged_by = validator(tmp_path, NOT_NULL)
    pages = [
        Path(judge(judged_by, JANUARY + dt.timedelta(days=day), [1.0, None]).report).relative_to(tmp_path / "data docs")
        for day in range(3)
    ]
    assert len(set(pages)) == 3
    index = (tmp_path / "data docs" / "index.html").read_text()
    for page in pages:
        html = (tmp_path / "data docs" / page).read_text()
        assert "distance" in html
        assert page.as_posix() in index


def test_a_day_judged_again_replaces_its_page(tmp_path: Path) -> None:
    judged_by = validator(tmp_path, NOT_NULL)
    refused = judge(judged_by, JANUARY, [1.0, None])
    accepted = judge(judged_by, JANUARY, [1.0, 2.0])
    assert refused.report == accepted.report
    assert len(list((tmp_path / "data docs" / "validations").rglob("*.html"))) == 1
    (stored,) = (tmp_path / "data docs" / "results").rglob("*.json")
    assert json.loads(stored.read_text())["success"] is True


def test_without_docs_nothing_is_written(tmp_path: Path) -> None:
    validator(tmp_path, NOT_NULL)
    verdict = judge(GreatExpectationsValidator(tmp_path / "suites"), JANUARY, [1.0])
    assert verdict.report == ""
    assert not (tmp_path / "data docs").exists()


def test_the_temporary_rows_are_removed_and_closed(tmp_path: Path, scratch: Path) -> None:
    judge(validator(tmp_path, NOT_NULL), JANUARY, [1.0, None])
    assert list(scratch.iterdir()) == []
    opened = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert [path for path in opened if "rows.duckdb" in str(path)] == []


def test_sql_of_ones_own_shows_its_rows(tmp_path: Path) -> None:
    query = {
        "type": "unexpected_rows_expectation",
        "kwargs": {"unexpected_rows_query": "SELECT * FROM {batch} WHERE distance > 5;"},
        "description": "no flight further than 5 miles",
    }
    (result,) = judge(validator(tmp_path, query), JANUARY, [1.0, 6.0, 7.0]).results
    assert (result.success, result.expected) == (False, "no flight further than 5 miles")
    assert result.observed == "2 unexpected rows"
    assert result.bad_rows == ({"flight_key": "UA-1"}, {"flight_key": "UA-2"})


def test_wrong_sql_is_a_failure_in_words(tmp_path: Path) -> None:
    query = {
        "type": "unexpected_rows_expectation",
        "kwargs": {"unexpected_rows_query": "SELECT * FROM {batch} WHERE speed > 5"},
    }
    verdict = judge(validator(tmp_path, query, NOT_NULL), JANUARY, [1.0])
    assert [result.success for result in verdict.results] == [False, True]
    assert "speed" in verdict.results[0].observed


def test_types_that_only_great_expectations_knows(tmp_path: Path) -> None:
    median = {"type": "expect_column_median_to_be_between", "kwargs": {"column": "distance", "max_value": 1}}
    (result,) = judge(validator(tmp_path, median), JANUARY, [1.0, 2.0, 3.0]).results
    assert (result.success, result.expected, result.observed) == (False, "median at most 1", "2")


def test_an_argument_of_the_wrong_kind_is_bad_input(tmp_path: Path) -> None:
    wrong = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "distance", "mostly": 7}}
    with pytest.raises(BadInput, match="argument 'mostly'"):
        judge(validator(tmp_path, wrong), JANUARY, [1.0])


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"distance": [1.0]})
        raise OSError(errno.ENOSPC, "No space left on device")

    rows = pa.RecordBatchReader.from_batches(pa.schema({"distance": pa.float64()}), batches())
    with pytest.raises(StorageFull, match=r"flights/features of 2013-01-01.*Free some space"):
        validator(tmp_path, NOT_NULL).validate("flights/features", JANUARY, rows, [])


def test_a_docs_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    judged_by = validator(tmp_path, NOT_NULL)
    (tmp_path / "data docs").write_text("a file where the folder would be")
    with pytest.raises(SettingsError, match=r"(?s)flights/features of 2013-01-01 could not.*Data Docs .*data docs"):
        judge(judged_by, JANUARY, [1.0])


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOENT])
def test_a_temporary_folder_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    judged_by = validator(tmp_path, NOT_NULL)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(SettingsError, match=r"right to write in the temporary folder .*scratch"):
        judge(judged_by, JANUARY, [1.0])
    with pytest.raises(SettingsError, match="flights/features could not be judged"):
        judged_by.check("flights/features")


def test_a_range_has_a_page_of_its_own_that_names_the_day(tmp_path: Path) -> None:
    mostly = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "distance", "mostly": 0.5}}
    judged_by = validator(tmp_path, mostly)
    alone = judge(judged_by, JANUARY + dt.timedelta(days=1), [1.0, None])
    days = pa.array([JANUARY, JANUARY, JANUARY + dt.timedelta(days=1)], pa.date32())
    rows = pa.table({"ds": days, "flight_key": ["A", "B", "C"], "distance": pa.array([None, None, 1.0])})
    verdict = judged_by.validate(
        "flights/features", JANUARY + dt.timedelta(days=1), rows.to_reader(), ["flight_key"], days=2
    )
    assert verdict.report != alone.report
    assert "2013-01-01" in Path(verdict.report).read_text()
    assert describe_failures(verdict, "critical").splitlines()[0] == (
        "flights/features on 2013-01-01 to 2013-01-02 (3 rows): 1 critical expectation failed."
    )


def test_own_sql_answers_in_utc_wherever_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    query = {
        "type": "unexpected_rows_expectation",
        "kwargs": {"unexpected_rows_query": "select * from {batch} where extract(hour from moment) = 2"},
    }
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        moment = pa.array([dt.datetime(2013, 1, 1, 2, tzinfo=dt.UTC)], pa.timestamp("us", "UTC"))
        rows = pa.table({"flight_key": ["UA-1"], "moment": moment})
        verdict = validator(tmp_path, query).validate("flights/features", JANUARY, rows.to_reader(), ["flight_key"])
    finally:
        monkeypatch.undo()
        time.tzset()
    assert verdict.results[0].bad_rows == ({"flight_key": "UA-1"},)


def test_patterns_are_judged(tmp_path: Path) -> None:
    regex = {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "flight_key", "regex": "^UA-[01]$"}}
    like = {
        "type": "expect_column_values_to_match_like_pattern",
        "kwargs": {"column": "flight_key", "like_pattern": "UA%"},
    }
    results = judge(validator(tmp_path, regex, like), JANUARY, [1.0, 2.0, 3.0]).results
    assert [result.observed for result in results] == [
        "33.33 % not as expected (1 of 3)",
        "0 % not as expected (0 of 3)",
    ]
    assert results[0].bad_rows == ({"flight_key": "UA-2"},)


def test_quantiles_of_no_rows_are_no_values(tmp_path: Path) -> None:
    ranges = {"quantiles": [0.5], "value_ranges": [[0, 1]]}
    quantiles = {
        "type": "expect_column_quantile_values_to_be_between",
        "kwargs": {"column": "distance", "quantile_ranges": ranges},
    }
    judged_by = validator(tmp_path, quantiles)
    judged_by.check("flights/features")
    assert judge(judged_by, JANUARY, []).results[0].observed == "no values"


@pytest.mark.parametrize(
    ("expectation", "kwargs", "problem"),
    [
        (
            "expect_column_values_to_be_between",
            {"column": "distance", "max_value": 4, "row_condition": "g = 1", "condition_parser": "great_expectations"},
            "unable to parse condition",
        ),
        (
            "expect_column_values_to_be_between",
            {"column": "distance", "max_value": 4, "row_condition": "g == 1"},
            "is in the syntax of pandas or Spark",
        ),
        ("expect_column_values_to_match_regex", {"column": "flight_key", "regex": "["}, "it cannot be judged"),
        ("expect_column_values_to_be_increasing", {"column": "distance"}, "it cannot be judged"),
        ("unexpected_rows_expectation", {"unexpected_rows_query": "selec * from {batch}"}, "it cannot be judged"),
        (
            "unexpected_rows_expectation",
            {"unexpected_rows_query": "select 1 where no(1) > {batch}"},
            "cannot be judged",
        ),
        ("unexpected_rows_expectation", {"unexpected_rows_query": "select * from rows"}, "does not read from {batch}"),
        (
            "expect_query_results_to_match_comparison",
            {"base_query": "select 1", "comparison_data_source_name": "a", "comparison_query": "select 1"},
            "it cannot be judged",
        ),
        (
            "expect_column_kl_divergence_to_be_less_than",
            {"column": "distance", "partition_object": {"bins": [0, 1], "weights": [1]}, "threshold": 0.1},
            "it cannot be judged: on a day without rows, ",
        ),
    ],
)
def test_what_can_never_be_judged_is_a_problem_of_the_suite(
    tmp_path: Path, expectation: str, kwargs: dict[str, Any], problem: str
) -> None:
    with pytest.raises(BadInput, match=f"expectation 1 .*{re.escape(problem)}"):
        validator(tmp_path, {"type": expectation, "kwargs": kwargs}).check("flights/features", FLIGHTS)


@pytest.mark.parametrize(
    "kwargs",
    [
        {
            "column": "distance",
            "max_value": 4,
            "row_condition": 'col("g") == "x"',
            "condition_parser": "great_expectations",
        },
        {
            "column": "distance",
            "max_value": 4,
            "row_condition": {"type": "comparison", "column": {"name": "g"}, "operator": "==", "parameter": "x"},
        },
        {"column": "seen_at", "min_value": "2013-01-01", "max_value": "2014-01-01"},
    ],
)
def test_what_depends_on_columns_the_spec_does_not_name_is_taken(tmp_path: Path, kwargs: dict[str, Any]) -> None:
    expectation = {"type": "expect_column_values_to_be_between", "kwargs": kwargs}
    validator(tmp_path, expectation).check("flights/features", FLIGHTS)
