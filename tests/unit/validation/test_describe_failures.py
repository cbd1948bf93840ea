"""What an operator reads when expectations fail."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys

from tailrace.contracts import ExpectationResult, Verdict
from tailrace.validation import describe_failures

RESULTS = (
    ExpectationResult(
        expectation="expect_column_values_to_not_be_null",
        column="carrier",
        severity="critical",
        success=False,
        expected="not null",
        observed="31.2 % null (281 of 901)",
        bad_rows=({"flight_key": "UA-1", "carrier": None}, {"flight_key": "UA-2", "carrier": None}),
    ),
    ExpectationResult(
        expectation="expect_column_to_exist",
        column="late",
        severity="critical",
        success=True,
        expected="column 'late'",
        observed="it is there",
    ),
    ExpectationResult(
        expectation="expect_table_row_count_to_be_between",
        column=None,
        severity="warning",
        success=False,
        expected="row count at most 900",
        observed="901",
    ),
)
VERDICT = Verdict(
    suite="flight_delay/features", day=dt.date(2013, 1, 15), rows=901, results=RESULTS, report="/docs/page.html"
)


def test_each_failure_of_the_severity_is_one_line() -> None:
    assert describe_failures(VERDICT, "critical").splitlines() == [
        "flight_delay/features on 2013-01-15 (901 rows): 1 critical expectation failed.",
        "  - expect_column_values_to_not_be_null on carrier: expected not null; observed 31.2 % null (281 of 901)."
        " Bad rows: flight_key=UA-1, carrier=null; flight_key=UA-2, carrier=null.",
        "Report: /docs/page.html",
    ]


def test_a_table_expectation_names_no_column() -> None:
    assert (
        "  - expect_table_row_count_to_be_between: expected row count at most 900; observed 901."
        in describe_failures(VERDICT, "warning").splitlines()
    )


def test_nothing_is_said_when_nothing_failed() -> None:
    passed = Verdict(suite="flight_delay/features", day=dt.date(2013, 1, 15), rows=901, results=RESULTS[1:2])
    assert describe_failures(passed, "critical") == ""


def test_describing_needs_no_great_expectations() -> None:
    script = (
        "import sys, tailrace.validation; "
        "sys.exit(bool({'great_expectations', 'duckdb', 'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
