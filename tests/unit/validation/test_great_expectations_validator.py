"""What only the real validator does: Data Docs, SQL of one's own, and leaving nothing behind."""

from __future__ import annotations

import datetime as dt
import errno
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.errors import BadInput, StorageFull
from pipelines.interfaces import Verdict
from pipelines.validation.great_expectations import GreatExpectationsValidator

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
