"""Great Expectations on the tables of one DuckDB file."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import great_expectations as gx
import numpy as np
import sqlalchemy
from duckdb_sqlalchemy import Dialect as DuckDBDialect
from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
from great_expectations.core.expectation_validation_result import ExpectationValidationResult as GxResult
from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
from great_expectations.datasource.fluent import SQLDatasource
from great_expectations.execution_engine import sqlalchemy_execution_engine
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.validator.exception_info import ExceptionInfo

from tailrace.validation import data_docs, judging
from tailrace.validation.suites import Expectation

DATASOURCE = "tailrace"


class _Name(enum.StrEnum):
    DUCKDB = "duckdb"


# Great Expectations reads results after it returned the connection to its pool, but DuckDB's
# cursors then no longer work. For the dialects named here it keeps one connection open instead.
if _Name.DUCKDB not in sqlalchemy_execution_engine._PERSISTED_CONNECTION_DIALECTS:
    sqlalchemy_execution_engine._PERSISTED_CONNECTION_DIALECTS += (_Name.DUCKDB,)

# From this name, Great Expectations concludes how a database matches patterns. DuckDB does it like Dremio:
# regexp_matches(text, regex) and LIKE.
DuckDBDialect.DremioDialect = True  # type: ignore[attr-defined]


class GxSession:
    """Judges tables of one file by the expectations of one suite."""

    def __init__(self, context: EphemeralDataContext, source: SQLDatasource, suite: str, key: Sequence[str]) -> None:
        self.context = context
        self._source = source
        self._suite = suite
        self._format = {
            # SUMMARY samples bad rows; COMPLETE would bring all of them into memory.
            "result_format": "SUMMARY",
            "partial_unexpected_count": 5,
            "unexpected_index_column_names": list(key),
            "return_unexpected_index_query": False,
        }

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a query by column, in UTC. Raises QueryFailed."""
        with self._source.get_engine().connect() as connection:
            return [dict(row._mapping) for row in connection.exec_driver_sql(sql)]

    def judge(self, table: str, expectations: Sequence[Expectation], note: str = "") -> list[GxResult]:
        """A result for each expectation, in their order. One that cannot be judged counts as failed, with the reason.

        The page shows `note` with each result.
        """
        if not expectations:
            return []
        try:
            return self._judge_together(table, expectations, note)
        except (OSError, MemoryError):
            raise
        except Exception:  # noqa: BLE001 - whatever Great Expectations raises, the other expectations are judged
            # Great Expectations finds some mistakes only while it prepares the complete suite.
            return [self._judge_alone(table, item, note) for item in expectations]

    def _judge_alone(self, table: str, item: Expectation, note: str) -> GxResult:
        try:
            return self._judge_together(table, [item], note)[0]
        except (OSError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - the result reports the error
            return GxResult(
                success=False,
                exception_info=ExceptionInfo(exception_message=str(error), exception_traceback=""),
                expectation_config=ExpectationConfiguration(item.type, dict(item.kwargs)),
                result={},
            )

    def _judge_together(self, table: str, expectations: Sequence[Expectation], note: str) -> list[GxResult]:
        suite = gx.ExpectationSuite(self._suite, expectations=[_as_gx(item, note) for item in expectations])
        outcome = self._batch(table).validate(suite, result_format=self._format)
        # Great Expectations groups results by metric; the suite's own order is better for people.
        position = {item.id: number for number, item in enumerate(suite.expectations)}
        results = sorted(outcome.results, key=lambda result: position[result.expectation_config.id])
        for result in results:
            result.success, result.result = bool(result.success), _plain(result.result)
        return results

    def _batch(self, table: str) -> Any:
        name = f"{self._suite}-{table}"
        if name in self._source.get_asset_names():
            return self._source.get_asset(name).get_batch_definition("day").get_batch()
        asset = self._source.add_table_asset(name, table_name=table)
        return asset.add_batch_definition_whole_table("day").get_batch()


QueryFailed = sqlalchemy.exc.DBAPIError


@contextmanager
def opened(database: Path, suite: str, key: Sequence[str], docs: Path | None = None) -> Iterator[GxSession]:
    """A session on that file; all its connections are closed at the end, so that deleting the file frees its space."""
    context = gx.get_context(mode="ephemeral", project_config=data_docs.project(docs))
    source = context.data_sources.add_sql(
        DATASOURCE,
        connection_string=f"duckdb:///{database}?memory_limit={judging.MEMORY}",
        # Without autocommit, one failed query would abort the transaction of all later queries.
        kwargs={"isolation_level": "AUTOCOMMIT", "pool_events": [(_answer_in_utc, "connect")]},
    )
    try:
        yield GxSession(context, source, suite, key)
    finally:
        execution = source.get_execution_engine()
        with execution.get_connection() as connection:
            connection.close()
        execution.close()
        source.get_engine().dispose()


def _answer_in_utc(connection: Any, _: object) -> None:
    connection.execute("set TimeZone = 'UTC'")


def outcome_of(suite: str, results: Sequence[GxResult], asset: str) -> ExpectationSuiteValidationResult:
    """Several results as one, for a page."""
    good = sum(bool(result.success) for result in results)
    return ExpectationSuiteValidationResult(
        success=good == len(results),
        results=list(results),
        suite_name=suite,
        statistics={
            "evaluated_expectations": len(results),
            "successful_expectations": good,
            "unsuccessful_expectations": len(results) - good,
            "success_percent": 100 * good / len(results) if results else None,
        },
        meta={
            "great_expectations_version": gx.__version__,
            "active_batch_definition": {
                "datasource_name": DATASOURCE,
                "data_connector_name": "fluent",
                "data_asset_name": asset,
                "batch_identifiers": {},
            },
        },
    )


def _as_gx(item: Expectation, note: str) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "type": item.type,
        "kwargs": dict(item.kwargs),
        "severity": item.severity,
        "description": item.description,
        "meta": {"notes": {"format": "string", "content": [note]}} if note else {},
    }


def _plain(value: Any) -> Any:
    """The value with Python's numbers and booleans in place of numpy's, which JSON does not accept."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
