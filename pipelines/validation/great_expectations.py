"""Great Expectations runs its own SQL over the rows in DuckDB, and keeps Data Docs for people to look back at.

Rows stream into a temporary DuckDB file, so memory does not grow with them.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import enum
import errno
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import great_expectations as gx
import pyarrow as pa
from great_expectations.compatibility.pydantic import ValidationError
from great_expectations.core.expectation_validation_result import (
    ExpectationSuiteValidationResult,
    ExpectationValidationResult,
)
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
from great_expectations.data_context.types.base import DataContextConfig
from great_expectations.data_context.types.resource_identifiers import (
    ExpectationSuiteIdentifier,
    ValidationResultIdentifier,
)
from great_expectations.datasource.fluent import SQLDatasource
from great_expectations.execution_engine import sqlalchemy_execution_engine
from great_expectations.expectations.expectation import Expectation as GxExpectation
from great_expectations.expectations.registry import (
    get_expectation_impl,
    list_registered_expectation_implementations,
)

from pipelines.errors import StorageFull
from pipelines.interfaces import ExpectationResult, Verdict
from pipelines.validation import suites, words

BAD_ROWS = 5
PAGES_LISTED = 200
MEMORY = "1GB"
"""What DuckDB may hold before it spills to disk beside its file."""
TABLE = "rows"
DATASOURCE = "tailrace"
SITE = "data_docs"


class _Dialect(enum.StrEnum):
    DUCKDB = "duckdb"


# Great Expectations reads results after returning the connection to its pool, which DuckDB's
# cursors do not survive. For the dialects named here it keeps one connection open instead.
if _Dialect.DUCKDB not in sqlalchemy_execution_engine._PERSISTED_CONNECTION_DIALECTS:
    sqlalchemy_execution_engine._PERSISTED_CONNECTION_DIALECTS += (_Dialect.DUCKDB,)


class GreatExpectationsValidator:
    """Runs the suites under `suites`; Data Docs accumulate under `docs`, or are not made if it is None.

    A day judged again by the same suite replaces its page.
    """

    def __init__(self, suites: Path, docs: Path | None = None) -> None:
        self._suites = suites
        self._docs = docs.absolute() if docs else None

    def check(self, suite: str) -> None:
        """See `pipelines.interfaces.Validator`."""
        suites.read(self._suites, suite, _problems)

    def validate(
        self, suite: str, day: dt.date, rows: pa.RecordBatchReader, key: Sequence[str], *, days: int = 1
    ) -> Verdict:
        """See `pipelines.interfaces.Validator`. Raises StorageFull if rows or report find no room."""
        judged_by = suites.read(self._suites, suite, _problems, days)
        columns = tuple(rows.schema.names)
        with _storage_named(suite, day), tempfile.TemporaryDirectory(prefix="tailrace-validation-") as folder:
            database = Path(folder) / "rows.duckdb"
            count = _load(database, rows)
            outcome, report = self._run(judged_by, day, database, [name for name in key if name in columns])
            results = _results(judged_by, outcome, columns, database, key)
        return Verdict(suite, day, count, results, report)

    def _run(
        self, suite: suites.Suite, day: dt.date, database: Path, key: Sequence[str]
    ) -> tuple[ExpectationSuiteValidationResult, str]:
        context = gx.get_context(mode="ephemeral", project_config=_project(self._docs))
        source = context.data_sources.add_sql(
            DATASOURCE,
            connection_string=f"duckdb:///{database}?memory_limit={MEMORY}",
            # Without autocommit, one failed query would abort the transaction of all that follow.
            kwargs={"isolation_level": "AUTOCOMMIT"},
        )
        batch = source.add_table_asset(suite.name, table_name=TABLE).add_batch_definition_whole_table("day")
        added = context.suites.add(_gx_suite(suite))
        definition = gx.ValidationDefinition(name=suite.name, data=batch, suite=added)
        run_id = RunIdentifier(run_name=str(day), run_time=dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC))
        try:
            outcome = context.validation_definitions.add(definition).run(
                run_id=run_id,
                result_format={
                    # SUMMARY samples bad rows; COMPLETE would bring all of them into memory.
                    "result_format": "SUMMARY",
                    "partial_unexpected_count": BAD_ROWS,
                    "unexpected_index_column_names": list(key),
                    "return_unexpected_index_query": False,
                },
            )
        finally:
            _disconnect(source)
        # Great Expectations groups results by what they measure; the suite's own order is for people.
        position = {item.id: number for number, item in enumerate(added.expectations)}
        outcome.results.sort(key=lambda result: position[result.expectation_config.id])
        return outcome, _build_docs(context, suite.name, run_id) if self._docs else ""


def _project(docs: Path | None) -> DataContextConfig:
    """A context in memory; with docs, results are kept as JSON beside the pages so that the index can list them."""
    results: dict[str, Any] = {"class_name": "ValidationResultsStore"}
    if docs:
        results["store_backend"] = _files(docs / "results")
    return DataContextConfig(
        expectations_store_name="expectations",
        validation_results_store_name="results",
        checkpoint_store_name="checkpoints",
        stores={
            "expectations": {"class_name": "ExpectationsStore"},
            "results": results,
            "checkpoints": {"class_name": "CheckpointStore"},
            "validation_definition_store": {"class_name": "ValidationDefinitionStore"},
        },
        data_docs_sites={SITE: _site(docs)} if docs else {},
        progress_bars={"globally": False},
        analytics_enabled=False,
    )


def _site(docs: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": _files(docs),
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", "validation_results_limit": PAGES_LISTED},
        "site_section_builders": {"expectations": "None", "profiling": "None"},
    }


def _files(folder: Path) -> dict[str, str]:
    return {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)}


def _disconnect(source: SQLDatasource) -> None:
    """Close every connection to the file, so that removing it gives its space back."""
    execution = source.get_execution_engine()
    with execution.get_connection() as connection:
        connection.close()
    execution.close()
    source.get_engine().dispose()


def _build_docs(context: EphemeralDataContext, suite: str, run_id: RunIdentifier) -> str:
    """Write this validation's page and the index; the path of the page."""
    identifier = ValidationResultIdentifier(
        expectation_suite_identifier=ExpectationSuiteIdentifier(suite),
        run_id=run_id,
        batch_identifier=f"{DATASOURCE}-{suite}",
    )
    context.build_data_docs(site_names=[SITE], resource_identifiers=[identifier])
    url = context.get_docs_sites_urls(resource_identifier=identifier, site_name=SITE)[0]["site_url"]
    return urllib.request.url2pathname(urllib.parse.urlparse(url).path)


def _gx_suite(suite: suites.Suite) -> gx.ExpectationSuite:
    return gx.ExpectationSuite(
        name=suite.name,
        expectations=[
            {
                "type": item.type,
                "kwargs": dict(item.kwargs),
                "severity": item.severity,
                "description": item.description,
            }
            for item in suite.expectations
        ],
    )


def _load(database: Path, rows: pa.RecordBatchReader) -> int:
    """Stream the rows into the table; how many they are."""
    with duckdb.connect(str(database), config={"memory_limit": MEMORY}) as connection:
        connection.register("incoming", rows)
        created = connection.execute(f"create table {TABLE} as select * from incoming").fetchone()  # noqa: S608  no outside text
    return int(created[0]) if created else 0


def _results(
    suite: suites.Suite,
    outcome: ExpectationSuiteValidationResult,
    columns: Sequence[str],
    database: Path,
    key: Sequence[str],
) -> tuple[ExpectationResult, ...]:
    return tuple(
        _result(item, result, columns, database, key)
        for item, result in zip(suite.expectations, outcome.results, strict=True)
    )


def _result(
    item: suites.Expectation,
    result: ExpectationValidationResult,
    columns: Sequence[str],
    database: Path,
    key: Sequence[str],
) -> ExpectationResult:
    judged = words.judged_columns(item.kwargs)
    bad_rows = () if result.success else _bad_rows(item, result, database, key)
    return ExpectationResult(
        expectation=item.type,
        column=", ".join(judged) or None,
        severity=item.severity,
        success=bool(result.success),
        expected=words.expected(item.type, item.kwargs, item.description),
        observed=_observed(item, result, [column for column in judged if column not in columns]),
        bad_rows=tuple({name: words.json_friendly(row[name]) for name in row} for row in bad_rows),
    )


def _observed(item: suites.Expectation, result: ExpectationValidationResult, missing: Sequence[str]) -> str:
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
        return "it is there"
    return words.observed_value(found.get("observed_value"))


def _raised(information: Mapping[str, Any]) -> str:
    """First line of the message if the expectation raised; the mapping is one report or several by metric."""
    reports = [information] if "raised_exception" in information else list(information.values())
    messages = [str(report["exception_message"]) for report in reports if report.get("raised_exception")]
    return messages[0].strip().splitlines()[0].rstrip(".") if messages else ""


def _bad_rows(
    item: suites.Expectation, result: ExpectationValidationResult, database: Path, key: Sequence[str]
) -> Iterable[Mapping[str, Any]]:
    if item.type != "unexpected_rows_expectation" or "observed_value" not in result.result:
        return result.result.get("partial_unexpected_index_list") or ()
    # Great Expectations samples the rows of such a query in its COMPLETE format only.
    query = str(item.kwargs["unexpected_rows_query"]).strip().rstrip(";").format(batch=TABLE)
    with duckdb.connect(str(database), read_only=True) as connection:
        found = connection.execute(f"select * from ({query}) limit {BAD_ROWS}")  # noqa: S608  the suite's own SQL
        columns = [column[0] for column in found.description]
        rows = [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
    return [{name: row[name] for name in key if name in row} for row in rows]


def _problems(expectation: str, kwargs: Mapping[str, Any]) -> Iterator[str]:
    known = list_registered_expectation_implementations()
    if expectation not in known:
        yield suites.unknown_type(expectation, known)
        return
    implementation: type[GxExpectation] = get_expectation_impl(expectation)
    try:
        implementation(**kwargs)
    except ValidationError as error:
        for problem in error.errors():
            argument = ".".join(str(part) for part in problem["loc"])
            if problem["type"] == "value_error.extra":
                yield suites.unknown_argument(argument, implementation.__fields__)
            elif problem["type"] == "value_error.missing":
                yield suites.missing_argument(argument)
            else:
                yield f"argument {argument!r}: {problem['msg']}"


@contextlib.contextmanager
def _storage_named(suite: str, day: dt.date) -> Iterator[None]:
    try:
        yield
    except (OSError, duckdb.Error) as error:
        if getattr(error, "errno", None) != errno.ENOSPC and "no space left" not in str(error).lower():
            raise
        raise StorageFull(
            f"There is no room to judge {suite} of {day}: the disk of the temporary folder or of the Data Docs "
            "is full. Free some space and run the stage again."
        ) from error
