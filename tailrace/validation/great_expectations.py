"""Great Expectations runs its own SQL on the rows in DuckDB, and keeps Data Docs as a record for people.

Rows stream into a temporary DuckDB file, so memory does not grow with them.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import functools
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from great_expectations.compatibility.pydantic import ValidationError
from great_expectations.core.expectation_validation_result import ExpectationValidationResult as GxResult
from great_expectations.expectations.expectation import Expectation as GxExpectation
from great_expectations.expectations.registry import (
    get_expectation_impl,
    list_registered_expectation_implementations,
)

from tailrace.contracts import ExpectationResult, KnownColumns, Verdict
from tailrace.errors import SettingsError, StorageFull, cause_of
from tailrace.settings import Settings
from tailrace.validation import data_docs, gx_session, judging, ranges, screening, suites, trial, words
from tailrace.validation.gx_session import GxSession

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EEXIST)


@dataclass
class _Finding:
    """The results of one expectation: by day (for all days at once under `last`), and as they are shown."""

    by_day: dict[dt.date, ExpectationResult] = field(default_factory=dict)
    shown: list[GxResult] = field(default_factory=list)


@dataclass(frozen=True)
class _Rows:
    """Rows of a day or a range in a database, with a view for each day of a range."""

    database: Path
    columns: tuple[str, ...]
    key: tuple[str, ...]
    views: Mapping[dt.date, str]


class GreatExpectationsValidator:
    """Runs the suites in the folder `suites`; Data Docs go to the folder `docs`; None: no Data Docs.

    A day that is judged again by the same suite replaces its page; the same holds for a range.
    """

    def __init__(self, suites: Path, docs: Path | None = None) -> None:
        self._suites = suites
        self._docs = docs.absolute() if docs else None

    @classmethod
    def from_settings(cls, settings: Settings) -> GreatExpectationsValidator:
        return cls(settings.suites, settings.data_docs)

    def check(self, suite: str, columns: KnownColumns | None = None) -> None:
        """See `tailrace.contracts.Validator`."""
        read = suites.read(self._suites, suite, _problems)
        # The folder is not used here, but a night needs one: better to hear of it now.
        with (
            _storage_named(suite),
            tempfile.TemporaryDirectory(prefix="tailrace-check-"),
            judging.in_memory() as connection,
        ):
            quickly = functools.partial(_quickly, connection)
            found = trial.problems(read.expectations, columns or KnownColumns(), quickly, _why_not)
        suites.refuse(self._suites, suite, found)

    def validate(
        self, suite: str, day: dt.date, rows: pa.RecordBatchReader, key: Sequence[str], *, days: int = 1
    ) -> Verdict:
        """See `tailrace.contracts.Validator`. Raises StorageFull if there is no room for rows or report."""
        judged_by = suites.read(self._suites, suite, _problems)
        first, of_range = day - dt.timedelta(days=days - 1), days > 1
        with (
            _storage_named(suite, day, self._docs),
            tempfile.TemporaryDirectory(prefix="tailrace-validation-") as folder,
        ):
            database = Path(folder) / "rows.duckdb"
            count = judging.load(database, rows)
            views = judging.split(database, rows.schema, first, day) if of_range else {}
            columns = tuple(rows.schema.names)
            rows_in_db = _Rows(database, columns, tuple(name for name in key if name in columns), views)
            with gx_session.opened(database, judged_by.name, rows_in_db.key, self._docs) as session:
                findings = (
                    _judge_range(session, judged_by, rows_in_db)
                    if of_range
                    else _judge_day(session, judged_by, day, rows_in_db)
                )
                name = f"{first} to {day}" if of_range else str(day)
                report = _report(session, judged_by.name, findings, docs=self._docs, name=name, day=day)
        results = tuple(ranges.union(finding.by_day) if of_range else finding.by_day[day] for finding in findings)
        return Verdict(
            suite=suite, day=day, rows=count, results=results, report=report, first=first if of_range else None
        )


def _report(
    session: GxSession, suite: str, findings: Sequence[_Finding], *, docs: Path | None, name: str, day: dt.date
) -> str:
    """The path of the page; empty without Data Docs."""
    if docs is None:
        return ""
    shown = [result for finding in findings for result in finding.shown]
    outcome = gx_session.outcome_of(suite, shown, suite)
    batch = f"{gx_session.DATASOURCE}-{suite}"
    return data_docs.publish(session.context, outcome, docs=docs, name=name, day=day, batch=batch)


def _quickly(
    connection: duckdb.DuckDBPyConnection, rows: pa.Table, expectations: Sequence[suites.Expectation]
) -> list[str]:
    """Whether expectations whose SQL is known here can be judged; the others need Great Expectations."""
    judging.fill(connection, rows.to_reader())
    return ["" if known else "its SQL is not known" for known in screening.can_be_judged(connection, expectations)]


def _why_not(rows: pa.Table, expectations: Sequence[suites.Expectation]) -> list[str]:
    """Why Great Expectations cannot judge expectations on these rows."""
    with _loaded(rows) as database, gx_session.opened(database, "trial", ()) as session:
        return [_raised(result.exception_info or {}) for result in session.judge(judging.TABLE, expectations)]


@contextlib.contextmanager
def _loaded(rows: pa.Table) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tailrace-check-") as folder:
        database = Path(folder) / "rows.duckdb"
        judging.load(database, rows.to_reader())
        yield database


def _judge_day(session: GxSession, suite: suites.Suite, day: dt.date, rows: _Rows) -> list[_Finding]:
    found = _judge(session, judging.TABLE, suite.expectations, rows)
    return [
        _Finding({day: _result(session, item, result, rows, table=judging.TABLE)}, [result])
        for item, result in zip(suite.expectations, found, strict=True)
    ]


def _judge_range(session: GxSession, suite: suites.Suite, rows: _Rows) -> list[_Finding]:
    """Judge all days at once where that is sufficient, and otherwise each day that does not clearly pass.

    The last day is always judged, for the page.
    """
    findings = [_Finding() for _ in suite.expectations]
    waiting = dict(enumerate(suite.expectations))
    for number, result in _judge_at_once(session, waiting, rows).items():
        findings[number] = _Finding(
            dict.fromkeys(rows.views, _result(session, waiting.pop(number), result, rows)), [result]
        )
    clear = screening.clear(session.query, waiting, rows.views)
    last = max(rows.views)
    for day, view in rows.views.items():
        doubtful = {number: item for number, item in waiting.items() if day == last or day not in clear[number]}
        found = _judge(session, view, list(doubtful.values()), rows, note=str(day))
        for (number, item), result in zip(doubtful.items(), found, strict=True):
            findings[number].by_day[day] = _result(session, item, result, rows, table=view)
            findings[number].shown.append(result)
    return [_Finding(finding.by_day, _worth_showing(finding.shown)) for finding in findings]


def _judge_at_once(
    session: GxSession, expectations: Mapping[int, suites.Expectation], rows: _Rows
) -> Mapping[int, GxResult]:
    """The results that are the same for each day."""
    of_columns = {number for number, item in expectations.items() if _is_of_columns(item, rows)}
    together = {
        number: item for number, item in expectations.items() if number in of_columns or ranges.passes_at_once(item)
    }
    found = dict(zip(together, _judge(session, judging.TABLE, list(together.values()), rows), strict=True))
    return {number: result for number, result in found.items() if number in of_columns or result.success}


def _judge(
    session: GxSession, table: str, expectations: Sequence[suites.Expectation], rows: _Rows, *, note: str = ""
) -> list[GxResult]:
    results = session.judge(table, expectations, note)
    for item, result in zip(expectations, results, strict=True):
        # in SQL, a column in different case counts as present
        result.success = result.success and not _missing(item, rows)
    return results


def _is_of_columns(item: suites.Expectation, rows: _Rows) -> bool:
    """Whether the result depends only on the columns, which are the same for all days."""
    return item.type in ranges.OF_COLUMNS or bool(_missing(item, rows))


def _missing(item: suites.Expectation, rows: _Rows) -> list[str]:
    return [column for column in words.judged_columns(item.kwargs) if column not in rows.columns]


def _worth_showing(results: list[GxResult]) -> list[GxResult]:
    """The days that failed; the last one if none did."""
    return [result for result in results if not result.success] or results[-1:]


def _result(
    session: GxSession, item: suites.Expectation, result: GxResult, rows: _Rows, *, table: str = judging.TABLE
) -> ExpectationResult:
    judged = words.judged_columns(item.kwargs)
    missing = _missing(item, rows)
    success = bool(result.success)
    bad_rows = () if success or missing else _bad_rows(session, item, result, rows, table=table)
    return ExpectationResult(
        expectation=item.type,
        column=", ".join(judged) or None,
        severity=item.severity,
        success=success,
        expected=words.expected(item.type, item.kwargs, item.description),
        observed=_observed(item, result, missing),
        bad_rows=tuple({name: words.json_friendly(row[name]) for name in row} for row in bad_rows),
    )


def _observed(item: suites.Expectation, result: GxResult, missing: Sequence[str]) -> str:
    if missing:
        return words.missing_columns(missing)
    if raised := _raised(result.exception_info or {}):
        return f"it could not be judged: {raised}"
    found = result.result
    if "unexpected_count" in found:
        judged = found["element_count"] - found.get("missing_count", 0)
        return words.observed_share(item.type, found["unexpected_count"], judged)
    if item.type == "expect_table_columns_to_match_set":
        mismatched = found.get("details", {}).get("mismatched", {})
        return words.observed_columns(mismatched.get("missing", []), mismatched.get("unexpected", []))
    if item.type == "unexpected_rows_expectation":
        return f"{found['observed_value']} unexpected rows"
    if item.type == "expect_column_to_exist":
        return "it exists"
    return words.observed_value(found.get("observed_value"))


def _raised(information: Mapping[str, Any]) -> str:
    """First line of the message if the expectation raised an error; one report, or several by metric."""
    reports = [information] if "raised_exception" in information else list(information.values())
    messages = [str(report["exception_message"]) for report in reports if report.get("raised_exception")]
    return messages[0].strip().splitlines()[0].rstrip(".") if messages else ""


def _bad_rows(
    session: GxSession, item: suites.Expectation, result: GxResult, rows: _Rows, *, table: str
) -> Iterable[Mapping[str, Any]]:
    if item.type != screening.OWN_SQL or "observed_value" not in result.result:
        return result.result.get("partial_unexpected_index_list") or ()
    # Great Expectations samples the rows of such a query only in its COMPLETE format.
    query = judging.own_query(item.kwargs["unexpected_rows_query"], table)
    found = session.query(f"select * from ({query}) limit {ranges.BAD_ROWS}")  # noqa: S608 - the suite's own SQL
    return [{name: row[name] for name in rows.key if name in row} for row in found]


def _problems(expectation: str, kwargs: Mapping[str, Any]) -> Iterator[str]:
    known = list_registered_expectation_implementations()
    if expectation not in known:
        yield suites.unknown_type(expectation, known)
        return
    implementation: type[GxExpectation] = get_expectation_impl(expectation)
    try:
        with warnings.catch_warnings():
            # suites may use an older form of row_condition than the one that is required now
            warnings.simplefilter("ignore", DeprecationWarning)
            implementation(**kwargs)
    except ValidationError as error:
        yield from (_problem(problem, implementation) for problem in error.errors())
    except Exception as error:  # noqa: BLE001 - whatever the type raises is a problem with its arguments
        yield f"Great Expectations does not accept it: {cause_of(error)}"


def _problem(problem: Mapping[str, Any], implementation: type[GxExpectation]) -> str:
    argument = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "value_error.extra":
        return suites.unknown_argument(argument, implementation.__fields__)
    if problem["type"] == "value_error.missing":
        return suites.missing_argument(argument)
    return f"argument {argument!r}: {problem['msg']}"


@contextlib.contextmanager
def _storage_named(suite: str, day: dt.date | None = None, docs: Path | None = None) -> Iterator[None]:
    """Raise StorageFull or SettingsError if the temporary folder or the Data Docs cannot be written."""
    of = f" of {day}" if day else ""
    try:
        yield
    except (OSError, duckdb.Error, gx_session.QueryFailed) as error:
        number, temporary = getattr(error, "errno", None), tempfile.tempdir or os.environ.get("TMPDIR", "/tmp")  # noqa: S108
        if number == errno.ENOSPC or "no space left" in str(error).lower():
            raise StorageFull(
                f"There is no room to judge {suite}{of}: the disk of the temporary folder {temporary} or of the Data "
                f"Docs {docs or ''} is full. Free some space and run the stage again."
            ) from error
        no_folder = "No usable temporary directory" in str(error)
        if number not in _REFUSED and not no_folder and "permission denied" not in str(error).lower():
            raise
        raise SettingsError(
            f"{suite}{of} could not be judged, because a file or folder cannot be written:",
            [
                f"The system says: {cause_of(error).rstrip('.')}.",
                f"Give the user that runs Tailrace the right to write in the temporary folder {temporary} (TMPDIR)"
                + (f" and in the Data Docs {docs}." if docs else "."),
            ],
        ) from error
