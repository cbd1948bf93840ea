"""Judges each expectation of a suite on no rows and on one row before a night begins: can it be judged at all?

The spec gives the names of columns as far as it mentions them, and their types only roughly. So each column is tried
with several possible types, and an expectation is refused only if it can be judged with none of them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tailrace.contracts import ColumnKind, KnownColumns
from tailrace.errors import did_you_mean
from tailrace.validation import words
from tailrace.validation.suites import Expectation

_OF_DAYS: ColumnKind = "day"
_DAY = dt.date(2013, 3, 1)
_NOON = dt.datetime(2013, 3, 1, 12, tzinfo=dt.UTC)

TYPES: Mapping[str, tuple[pa.DataType, Any]] = {
    "double": (pa.float64(), 0.5),
    "bigint": (pa.int64(), 1),
    "text": (pa.string(), "a"),
    "time": (pa.timestamp("us", "UTC"), _NOON),
    "boolean": (pa.bool_(), True),
    "date": (pa.date32(), _DAY),
}
"""Types that a column may have, with a value of each."""

POSSIBLE: Mapping[ColumnKind, tuple[str, ...]] = {
    "number": ("double", "bigint"),
    "category": ("text", "bigint", "boolean"),
    "text": ("text",),
    "time": ("time",),
    "day": ("date",),
    "flag": ("boolean", "bigint"),
    "unknown": ("text", "double", "time", "boolean", "bigint", "date"),
}

Judge = Callable[[pa.Table, Sequence[Expectation]], Sequence[str]]
"""Why each expectation cannot be judged on those rows; an empty text for one that can."""


def problems(expectations: Sequence[Expectation], known: KnownColumns, *judges: Judge) -> list[str]:
    """The expectations that no judge can judge, and why; one phrase each. The fastest judge comes first."""
    used = dict.fromkeys(column for item in expectations for column in _columns(item))
    misnamed = list(_misnamed(used, known))
    if misnamed:
        return misnamed
    kinds = {"ds": _OF_DAYS} | {name: known.kinds.get(name, "unknown") for name in (*known.kinds, *used)}
    items = {number: item for number, item in enumerate(expectations, start=1) if _needs_rows(item)}
    reasons: dict[int, str] = {}
    for judge in judges:
        reasons = _unjudged({number: items[number] for number in reasons or items}, kinds, judge)
        if not reasons:
            return []
    return [
        f"expectation {number} ({items[number].type}): it cannot be judged: {reason}"
        for number, reason in reasons.items()
        if known.complete or not _of_unknown_column(reason)
    ]


def _unjudged(items: Mapping[int, Expectation], kinds: Mapping[str, ColumnKind], judge: Judge) -> dict[int, str]:
    """Why expectations can be judged with none of the possible types of their columns."""
    reasons: dict[int, str] = {}
    waiting = items
    for attempt in range(max(map(len, POSSIBLE.values()))):
        waiting = {number: item for number, item in waiting.items() if attempt < _attempts(item, kinds)}
        found = _reasons(_rows(kinds, attempt), waiting, judge) if waiting else {}
        for number in waiting:
            if number not in found:
                reasons.pop(number, None)
            elif attempt == 0:
                reasons[number] = found[number]
        waiting = {number: items[number] for number in found}
    return reasons


def _attempts(item: Expectation, kinds: Mapping[str, ColumnKind]) -> int:
    """How many types must be tried: those of the columns that it names, or all if its SQL may use others."""
    columns = words.judged_columns(item.kwargs)
    if item.kwargs.get("row_condition") or not columns:
        return max(map(len, POSSIBLE.values()))
    return max(len(POSSIBLE[kinds[column]]) for column in columns)


def _reasons(rows: pa.Table, waiting: Mapping[int, Expectation], judge: Judge) -> dict[int, str]:
    """Why expectations cannot be judged on one row, or on none."""
    reasons: dict[int, str] = {}
    for table, where in ((rows, ""), (rows.slice(0, 0), "on a day without rows, ")):
        remaining = {number: item for number, item in waiting.items() if number not in reasons}
        found = judge(table, list(remaining.values())) if remaining else ()
        reasons |= {number: where + reason for number, reason in zip(remaining, found, strict=True) if reason}
    return dict(sorted(reasons.items()))


def _rows(kinds: Mapping[str, ColumnKind], attempt: int) -> pa.Table:
    """One row whose columns have the possible types of this round."""
    columns = {}
    for name, kind in kinds.items():
        type_, value = TYPES[POSSIBLE[kind][attempt % len(POSSIBLE[kind])]]
        columns[name] = pa.array([value], type_)
    return pa.table(columns)


def _columns(item: Expectation) -> Iterator[str]:
    yield from words.judged_columns(item.kwargs)
    yield from item.kwargs.get("column_set", ())


def _needs_rows(item: Expectation) -> bool:
    return item.type not in ("expect_column_to_exist", "expect_table_columns_to_match_set")


def _misnamed(used: Sequence[str] | Mapping[str, None], known: KnownColumns) -> Iterator[str]:
    lower = {name.lower(): name for name in (*used, *known.kinds)}
    for name in used:
        if name in known.kinds:
            continue
        if known.complete or lower[name.lower()] != name:
            near = did_you_mean(name, known.kinds or used) or did_you_mean(name.lower(), known.kinds or used)
            yield f"there is no column {name!r}.{near}"


def _of_unknown_column(reason: str) -> bool:
    """Whether SQL names a column that is not in the spec; a table may have more columns than the spec."""
    return "Referenced column" in reason or "does not have a column named" in reason
