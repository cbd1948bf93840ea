"""The embedded warehouse: a dbt project on one DuckDB file.

DuckDB lets one process write a file and, while it does, no other read it. So the file is held only
during a build and for the moment that a day is read.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from pipelines.errors import BuildFailed, UpstreamMissing, WarehouseBusy
from pipelines.interfaces import ModelResult

_FAILED = {"error", "fail", "runtime error"}


class Landed(Protocol):
    """The landing zone, as far as a build needs it."""

    @property
    def location(self) -> str:
        """Where the tables' folders are, as DuckDB names it."""
        ...

    def check(self, first: dt.date, last: dt.date) -> None:
        """Raises UpstreamMissing, LandingRefused."""
        ...


class DuckDBWarehouse:
    """The tables of the dbt project in the folder `project`, in the file `database`.

    `landing` is what the project's sources read; `work` is a folder for dbt's logs and for what it
    remembers of the project between builds.
    """

    def __init__(self, database: Path, project: Path, landing: Landed, work: Path) -> None:
        self._database = database.absolute()
        self._project = project.absolute()
        self._landing = landing
        self._work = work.absolute()

    def build(self, first: dt.date, last: dt.date) -> tuple[ModelResult, ...]:
        """Build and test every model for the days first..last, in one dbt invocation.

        Landed files of those days are checked before dbt starts, so a damaged one changes nothing.
        Earlier days are looked back on as far as they were landed. A model's `rows` are those of
        the days built, a test's the rows that failed it.

        Raises BuildFailed naming every failed node, LandingRefused, UpstreamMissing, WarehouseBusy.
        """
        self._landing.check(first, last)
        self._database.parent.mkdir(parents=True, exist_ok=True)
        self._work.mkdir(parents=True, exist_ok=True)
        environment = {
            "TAILRACE_WAREHOUSE": str(self._database),
            "TAILRACE_LANDING": self._landing.location,
            "BUILD_FIRST_DAY": first.isoformat(),
            "BUILD_LAST_DAY": last.isoformat(),
        }
        # dbt changes into the project's folder
        with _environment(environment), chdir(self._project):
            # unit tests judge the SQL, not the data: they are run when the SQL changes
            outcome = self._invoke("build", "--exclude-resource-type", "unit_test")
        nodes = tuple(getattr(outcome.result, "results", None) or ())
        self._refuse_if_busy(str(outcome.exception or ""), *(node.message or "" for node in nodes))
        self._refuse_if_failed(outcome, nodes, f"{first}" if first == last else f"{first}..{last}")
        return self._results(nodes, first, last)

    def read(self, table: str, day: dt.date, order_by: Sequence[str]) -> pa.RecordBatchReader:
        """Rows of `table` with ds = day, sorted, nulls last, timestamps as timestamp[us, UTC].

        A day fits into memory and is fetched whole, so the file is free again when this returns.
        Raises UpstreamMissing if the table was never built, WarehouseBusy.
        """
        with self._reading() as connection:
            rows = self._table(connection, table).filter(_between(day, day))
            if order_by:
                rows = rows.sort(*(duckdb.ColumnExpression(column).asc().nulls_last() for column in order_by))
            return rows.to_arrow_table().to_reader()

    def _invoke(self, *arguments: str) -> Any:
        """Run dbt in this process, quietly, and let go of the DuckDB file."""
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager
        from dbt.cli.main import dbtRunner

        try:
            return dbtRunner().invoke(
                [
                    "--no-version-check",
                    *("--log-level", "none", "--log-level-file", "info"),
                    "--no-send-anonymous-usage-stats",
                    *("--log-path", str(self._work / "logs")),
                    *arguments,
                    *("--project-dir", str(self._project)),
                    *("--profiles-dir", str(self._project)),
                    # the same folder each time: dbt keeps there what it parsed
                    *("--target-path", str(self._work / "target")),
                ]
            )
        finally:
            # the adapter keeps its connection, and with it the lock, until the process ends
            if DuckDBConnectionManager._ENV is not None:
                DuckDBConnectionManager._ENV.close()
            DuckDBConnectionManager.close_all_connections()

    def _results(self, nodes: Sequence[Any], first: dt.date, last: dt.date) -> tuple[ModelResult, ...]:
        marts = [node.node.name for node in nodes if node.node.config.materialized == "incremental"]
        built = _between(first, last)
        with self._reading() as connection:
            rows = {mart: len(self._table(connection, mart).filter(built)) for mart in marts}
        return tuple(
            ModelResult(
                name=node.node.name,
                kind=str(node.node.resource_type),
                status=str(node.status),
                seconds=node.execution_time,
                rows=rows.get(node.node.name, node.failures),
                message=node.message or "",
            )
            for node in nodes
        )

    def _refuse_if_failed(self, outcome: Any, nodes: Sequence[Any], days: str) -> None:
        """Raise BuildFailed naming every node that failed, or why dbt did not get as far as nodes."""
        failures = [self._failure(node) for node in nodes if node.status in _FAILED]
        if failures:
            listed = "\n".join(f"  - {failure}" for failure in failures)
            raise BuildFailed(f"dbt failed on {len(failures)} of {len(nodes)} nodes for {days}:\n{listed}")
        if not outcome.success:
            raise BuildFailed(
                f"dbt did not start building {days}: {outcome.exception}\nSee {self._work / 'logs' / 'dbt.log'}."
            ) from outcome.exception

    def _failure(self, node: Any) -> str:
        """A sentence on a failed node: what it is, what happened, where to look."""
        kind, name = str(node.node.resource_type), node.node.name
        if kind == "test" and node.failures is not None:
            look = f"to see them, run the query in {node.node.compiled_path} on {self._database}"
            return f"test {name}: {node.failures} rows fail; {look}"
        return f"{kind} {name}: {' '.join((node.message or 'no message').split())}"

    @contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection that answers in UTC."""
        if not self._database.exists():
            raise UpstreamMissing(f"There is no warehouse at {self._database} yet. Run the build stage first.")
        try:
            connection = duckdb.connect(self._database, read_only=True)
        except duckdb.IOException as error:
            self._refuse_if_busy(str(error), cause=error)
            raise
        with connection:
            connection.execute("set TimeZone = 'UTC'")
            yield connection

    def _table(self, connection: duckdb.DuckDBPyConnection, table: str) -> duckdb.DuckDBPyRelation:
        try:
            return connection.table(_quoted(table))
        except duckdb.CatalogException as error:
            raise UpstreamMissing(
                f"The warehouse {self._database} has no table {table}. Run the build stage first, and see "
                f"that the dbt project {self._project} has a model of that name."
            ) from error

    def _refuse_if_busy(self, *messages: str, cause: Exception | None = None) -> None:
        """Raise WarehouseBusy if a message is DuckDB's complaint about another process's lock."""
        for message in messages:
            if "Could not set lock" in message:
                holder = re.search(r"PID (\d+)", message)
                process = f"process {holder[1]}" if holder else "another process"
                raise WarehouseBusy(
                    f"The warehouse {self._database} is held by {process}. "
                    "Wait for it to finish or end it, then try again."
                ) from cause


def _between(first: dt.date, last: dt.date) -> duckdb.Expression:
    ds = duckdb.ColumnExpression("ds")
    return (ds >= duckdb.ConstantExpression(first)) & (ds <= duckdb.ConstantExpression(last))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the time of a dbt call: its profile and its sources read them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
