"""Expectation suites check a day of rows before anything uses it.

`great_expectations` runs the suites with Great Expectations itself, `memory` with Arrow alone. The text that an
operator reads about a verdict is written here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from tailrace.contracts import ExpectationResult, Severity, Verdict

# Both must be set before the first import of Great Expectations: it must send no analytics, and must not write about
# hundreds of its own functions to the tasks' logs.
os.environ["GX_ANALYTICS_ENABLED"] = "false"
logging.getLogger("great_expectations").setLevel(logging.WARNING)


def describe_failures(verdict: Verdict, severity: Severity) -> str:
    """The failed expectations of that severity, one line each; empty if none failed."""
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
