"""Judges expectations with Arrow alone: only the types that Tailrace's own suites use."""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tailrace import days as calendar
from tailrace.contracts import ExpectationResult, KnownColumns, Verdict
from tailrace.errors import cause_of
from tailrace.validation import judging, ranges, suites, trial, words
from tailrace.validation.ranges import BAD_ROWS


@dataclass(frozen=True)
class Bad:
    """Which rows are bad (a mask), and how many rows were judged."""

    mask: pa.Array
    judged: int
    mostly: float


@dataclass(frozen=True)
class Measured:
    """Whether the table as one is as expected, and what was measured."""

    success: bool
    observed: str


class MemoryValidator:
    """Runs the suites under `suites`, without reports."""

    def __init__(self, suites: Path) -> None:
        self._suites = suites

    def elsewhere(self, suites: Path) -> MemoryValidator:
        """The same with the suites of another folder."""
        return MemoryValidator(suites)

    def check(self, suite: str, columns: KnownColumns | None = None) -> None:
        """See `tailrace.contracts.Validator`."""
        read = suites.read(self._suites, suite, _problems)
        suites.refuse(self._suites, suite, trial.problems(read.expectations, columns or KnownColumns(), _why_not))

    def validate(
        self, suite: str, day: dt.date, rows: pa.RecordBatchReader, key: Sequence[str], *, days: int = 1
    ) -> Verdict:
        """See `tailrace.contracts.Validator`. Raises BadInput for expectation types it does not know."""
        judged_by = suites.read(self._suites, suite, _problems)
        judging.refuse_names_of_two_cases(rows.schema.names)
        table = _without_nan(rows.read_all().combine_chunks())
        if days == 1:
            results = tuple(_judge(table, item, key) for item in judged_by.expectations)
            return Verdict(suite=suite, day=day, rows=table.num_rows, results=results)
        first = day - dt.timedelta(days=days - 1)
        by_day = _split(table, first, day)
        results = tuple(
            ranges.union({of: _judge(rows_of, item, key) for of, rows_of in by_day.items()})
            for item in judged_by.expectations
        )
        return Verdict(suite=suite, day=day, rows=table.num_rows, results=results, first=first)


def _without_nan(table: pa.Table) -> pa.Table:
    """The rows with null for NaN."""
    for position, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            values = table.column(position)
            missing = pa.scalar(None, field.type)
            table = table.set_column(position, field, pc.if_else(pc.is_nan(values), missing, values))
    return table


def _split(table: pa.Table, first: dt.date, last: dt.date) -> Mapping[dt.date, pa.Table]:
    judging.refuse_other_days(table.schema)
    of = table[judging.DAY]
    by_day = {day: table.filter(pc.equal(of, pa.scalar(day))).combine_chunks() for day in calendar.span(first, last)}
    judging.refuse_rows_of_other_days(table.num_rows - sum(map(len, by_day.values())), first, last)
    return by_day


def _not_null(table: pa.Table, column: str, mostly: float = 1) -> Bad:
    return Bad(pc.is_null(table[column]), table.num_rows, mostly)


def _between(
    table: pa.Table,
    column: str,
    *,
    min_value: float | str | None = None,
    max_value: float | str | None = None,
    strict_min: bool = False,
    strict_max: bool = False,
    mostly: float = 1,
) -> Bad:
    values = table[column]
    good = pc.is_valid(values)
    if min_value is not None:
        good = pc.and_(good, (pc.greater if strict_min else pc.greater_equal)(values, _bound(min_value, values.type)))
    if max_value is not None:
        good = pc.and_(good, (pc.less if strict_max else pc.less_equal)(values, _bound(max_value, values.type)))
    return _bad_among(pc.is_valid(values), good, mostly)


def _bound(value: Any, kind: pa.DataType) -> Any:
    """A bound converted to the column's type: a time is written as text, in UTC."""
    if not isinstance(value, str) or not pa.types.is_temporal(kind):
        return value
    moment = dt.datetime.fromisoformat(value)
    if pa.types.is_timestamp(kind) and kind.tz:
        return pa.scalar(moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC), kind)
    return pa.scalar(moment.date() if pa.types.is_date(kind) else moment, kind)


def _in_set(table: pa.Table, column: str, value_set: Sequence[Any], mostly: float = 1) -> Bad:
    values = table[column]
    good = pc.is_in(values, value_set=pa.array(value_set, values.type))
    return _bad_among(pc.is_valid(values), good, mostly)


def _unique(table: pa.Table, column: str, mostly: float = 1) -> Bad:
    values = table[column]
    counts = pc.value_counts(values.drop_null())
    once = counts.field("values").filter(pc.equal(counts.field("counts"), 1))
    return _bad_among(pc.is_valid(values), pc.is_in(values, value_set=once), mostly)


def _greater(table: pa.Table, column_A: str, column_B: str, *, or_equal: bool = False, mostly: float = 1) -> Bad:
    good = (pc.greater_equal if or_equal else pc.greater)(table[column_A], table[column_B])
    either = pc.or_(pc.is_valid(table[column_A]), pc.is_valid(table[column_B]))
    return _bad_among(either, pc.fill_null(good, True), mostly)


def _row_count(table: pa.Table, min_value: float | None = None, max_value: float | None = None) -> Measured:
    return _within(table.num_rows, min_value, max_value)


def _mean(table: pa.Table, column: str, min_value: float | None = None, max_value: float | None = None) -> Measured:
    if pa.types.is_boolean(table.schema.field(column).type):
        raise TypeError(f"column {column!r} is boolean, which has no mean in SQL")
    return _within(pc.mean(table[column]).as_py(), min_value, max_value)


def _column_exists(table: pa.Table, column: str) -> Measured:
    there = column in table.column_names
    return Measured(there, "it exists" if there else words.missing_columns([column]))


def _columns_match(table: pa.Table, column_set: Sequence[str], exact_match: bool = True) -> Measured:
    missing = set(column_set) - set(table.column_names)
    unexpected = set(table.column_names) - set(column_set)
    return Measured(
        not missing and not (exact_match and unexpected),
        words.observed_columns(sorted(missing), sorted(unexpected)),
    )


_JUDGES: Mapping[str, Callable[..., Bad | Measured]] = {
    "expect_column_values_to_not_be_null": _not_null,
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_values_to_be_unique": _unique,
    "expect_column_pair_values_a_to_be_greater_than_b": _greater,
    "expect_table_row_count_to_be_between": _row_count,
    "expect_column_mean_to_be_between": _mean,
    "expect_column_to_exist": _column_exists,
    "expect_table_columns_to_match_set": _columns_match,
}


_CANNOT = (pa.ArrowException, TypeError, ValueError)


def _bad_among(judged: pa.Array, good: pa.Array, mostly: float) -> Bad:
    return Bad(pc.and_(judged, pc.invert(good)), pc.sum(judged, min_count=0).as_py(), mostly)


def _within(value: float | None, low: float | None, high: float | None) -> Measured:
    inside = value is not None and (low is None or value >= low) and (high is None or value <= high)
    return Measured(inside, words.observed_value(value))


def _judge(table: pa.Table, item: suites.Expectation, key: Sequence[str]) -> ExpectationResult:
    columns = words.judged_columns(item.kwargs)
    success, observed, bad_rows = _finding(table, item, columns, key)
    return ExpectationResult(
        expectation=item.type,
        column=", ".join(columns) or None,
        severity=item.severity,
        success=success,
        expected=words.expected(item.type, item.kwargs, item.description),
        observed=observed,
        bad_rows=bad_rows,
    )


def _finding(
    table: pa.Table, item: suites.Expectation, columns: Sequence[str], key: Sequence[str]
) -> tuple[bool, str, tuple[Mapping[str, Any], ...]]:
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        return False, words.missing_columns(missing), ()
    try:
        found = _JUDGES[item.type](table, **item.kwargs)
    except _CANNOT as error:
        return False, f"it could not be judged: {cause_of(error)}", ()
    if isinstance(found, Measured):
        return found.success, found.observed, ()
    bad = pc.sum(found.mask, min_count=0).as_py()
    success = bad == 0 or (found.judged - bad) / found.judged >= found.mostly
    observed = words.observed_share(item.type, bad, found.judged)
    return success, observed, () if success else _bad_rows(table, found.mask, [*key, *columns])


def _why_not(rows: pa.Table, expectations: Sequence[suites.Expectation]) -> list[str]:
    """Why expectations cannot be judged on these rows."""
    reasons = []
    for item in expectations:
        try:
            _JUDGES[item.type](rows, **item.kwargs)
            reasons.append("")
        except _CANNOT as error:
            reasons.append(cause_of(error))
    return reasons


def _bad_rows(table: pa.Table, mask: pa.Array, columns: Sequence[str]) -> tuple[Mapping[str, Any], ...]:
    shown = [name for name in dict.fromkeys(columns) if name in table.column_names]
    sample = table.select(shown).filter(mask).slice(0, BAD_ROWS).to_pylist()
    return tuple({name: words.json_friendly(value) for name, value in row.items()} for row in sample)


def _problems(expectation: str, kwargs: Mapping[str, Any]) -> Iterator[str]:
    if expectation not in _JUDGES:
        yield suites.unknown_type(expectation, _JUDGES)
        return
    parameters = list(inspect.signature(_JUDGES[expectation]).parameters.values())[1:]
    names = [parameter.name for parameter in parameters]
    yield from (suites.unknown_argument(name, names) for name in kwargs if name not in names)
    needed = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    yield from (suites.missing_argument(name) for name in needed if name not in kwargs)
