"""Which parts of a suite are judged day by day, and how the days' results are combined.

The verdict on a range of days is the union of the verdicts on its days (ADR 0008).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from tailrace.contracts import ExpectationResult
from tailrace.days import ranges
from tailrace.validation.suites import Expectation

BAD_ROWS = 5
DAYS_DETAILED = 3

OF_COLUMNS = frozenset(
    {
        "expect_column_to_exist",
        "expect_column_values_to_be_in_type_list",
        "expect_column_values_to_be_of_type",
        "expect_table_column_count_to_be_between",
        "expect_table_column_count_to_equal",
        "expect_table_columns_to_match_ordered_list",
        "expect_table_columns_to_match_set",
    }
)
"""About the columns, which are the same for all days: one verdict for all."""

OF_ROWS = frozenset(
    {
        "expect_column_distinct_values_to_be_in_set",
        "expect_column_pair_values_a_to_be_greater_than_b",
        "expect_column_pair_values_to_be_equal",
        "expect_column_pair_values_to_be_in_set",
        "expect_column_value_lengths_to_be_between",
        "expect_column_value_lengths_to_equal",
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_be_null",
        "expect_column_values_to_be_unique",
        "expect_column_values_to_match_like_pattern",
        "expect_column_values_to_match_like_pattern_list",
        "expect_column_values_to_match_regex",
        "expect_column_values_to_match_regex_list",
        "expect_column_values_to_not_be_in_set",
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_not_match_like_pattern",
        "expect_column_values_to_not_match_like_pattern_list",
        "expect_column_values_to_not_match_regex",
        "expect_column_values_to_not_match_regex_list",
        "expect_compound_columns_to_be_unique",
        "expect_multicolumn_values_to_be_equal",
        "expect_select_column_values_to_be_unique_within_record",
    }
)
"""If no row of a range is bad, no row of any of its days is: all days pass if the range passes, as long as no bad row
is allowed. If the range fails, each day is judged."""


def passes_at_once(item: Expectation) -> bool:
    """Whether all days pass if the range passes."""
    return item.type in OF_ROWS and item.kwargs.get("mostly", 1) in (None, 1)


def union(results: Mapping[dt.date, ExpectationResult]) -> ExpectationResult:
    """The results of one expectation by day, for one day or more, as one. It succeeds if each day does."""
    failed = {day: result for day, result in sorted(results.items()) if not result.success}
    if not failed:
        return results[max(results)]
    first = next(iter(failed.values()))
    bad_rows = [row for result in failed.values() for row in result.bad_rows]
    return ExpectationResult(
        expectation=first.expectation,
        column=first.column,
        severity=first.severity,
        success=False,
        expected=first.expected,
        observed=first.observed if _alike(results) else _observed(failed),
        bad_rows=tuple(bad_rows[:BAD_ROWS]),
        failed_days=tuple(failed),
    )


def _alike(results: Mapping[dt.date, ExpectationResult]) -> bool:
    """Whether the result is the same on all days, for example if a column is missing."""
    return len(results) > 1 and len({(result.success, result.observed) for result in results.values()}) == 1


def _observed(failed: Mapping[dt.date, ExpectationResult]) -> str:
    """What was found on the first days that failed; the other failed days are listed."""
    days = list(failed)
    rest = days[DAYS_DETAILED:]
    detailed = [f"{failed[day].observed} on {day}" for day in days[:DAYS_DETAILED]]
    others = [f"also not as expected on {ranges(rest, ' to ')}"] if rest else []
    return "; ".join([*detailed, *others])
