"""Expectation suites judge a day of rows before anyone relies on it.

`great_expectations` runs the suites with their own tool, `memory` in Arrow alone. What an
operator reads about a verdict is written here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from tailrace.contracts import ExpectationResult, Severity, Verdict

# Both must be said before Great Expectations is first imported: that it sends nothing home, and that it tells no task's
# log about hundreds of its own functions.
os.environ["GX_ANALYTICS_ENABLED"] = "false"
logging.getLogger("great_expectations").setLevel(logging.WARNING)


def describe_failures(verdict: Verdict, severity: Severity) -> str:
    """What failed with that severity, one line per expectation; the empty string if nothing did."""
    failures = verdict.failures(severity)
    if not failures:
        return ""
    plural = "s" if len(failures) > 1 else ""
    heading = (
        f"{verdict.suite} on {verdict.dates} ({verdict.rows} rows): "
        f"{len(failures)} {severity} expectation{plural} failed."
    )
    report = [f"Report: {verdict.report}"] if verdict.report else []
    return "\n".join([heading, *(f"  - {_describe(failure)}" for failure in failures), *report])


def _describe(failure: ExpectationResult) -> str:
    of_column = f" on {failure.column}" if failure.column else ""
    line = f"{failure.expectation}{of_column}: expected {failure.expected}; observed {failure.observed}."
    if not failure.bad_rows:
        return line
    return f"{line} Bad rows: {'; '.join(_compact(row) for row in failure.bad_rows)}."


def _compact(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{column}={'null' if value is None else value}" for column, value in row.items())
