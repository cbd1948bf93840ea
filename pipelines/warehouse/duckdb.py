"""The embedded warehouse: a dbt project on one DuckDB file.

DuckDB lets one process write a file and, while it does, no other read it. So the file is held only
during a build and for the moment that a day is read.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from pipelines.errors import BuildFailed, StorageFull, UpstreamMissing, WarehouseBusy
from pipelines.interfaces import ModelResult

_FAILED = {"error", "fail", "runtime error"}
_FULL = re.compile(
    # the last is DuckDB's when a sort or a join finds no room for its temporary files
    r"no space left|disk quota exceeded|out of disk|disk (is )?full|failed to offload data block",
    re.IGNORECASE,
)
_NAMED_DAYS = 3


class Landed(Protocol):
    """The landing zone, as far as a build needs it."""

    @property
    def location(self) -> str:
        """Where the tables' folders are, as DuckDB names it."""
        ...

    def check(self, first: dt.date, last: dt.date) -> None:
        """Raises UpstreamMissing, LandingRefused, LakeUnavailable."""
        ...

    def gaps(self, first: dt.date, last: dt.date) -> tuple[dt.date, ...]:
        """Which of the days were not landed; before anything was, none are named. Raises LakeUnavailable."""
        ...


class DuckDBWarehouse:
    """The tables of the dbt project in the folder `project`, in the file `database`.

    `landing` is what the project's sources read; `work` is a folder for dbt's logs and for what it
    remembers of the project between builds. A day's rows depend on what was landed for it and for the
    `look_back_days` before it.
    """

    def __init__(self, database: Path, project: Path, landing: Landed, work: Path, look_back_days: int = 28) -> None:
        self._database = database.absolute()
        self._project = project.absolute()
        self._landing = landing
        self._work = work.absolute()
        self._look_back = dt.timedelta(days=look_back_days)

    def build(self, first: dt.date, last: dt.date) -> tuple[ModelResult, ...]:
        """Build and test every model for the days first..last, in one dbt invocation.

        Landed files of those days are checked before dbt starts, so a damaged one changes nothing.
        Of the days looked back on, all since the first one ever landed must have been landed. A model's
        `rows` are those of the days built, a test's the rows that failed it.

        Raises BuildFailed naming every failed node, LandingRefused, UpstreamMissing, LakeUnavailable,
        StorageFull, and WarehouseBusy if another process builds or holds the file.
        """
        self._refuse_gaps(first, last)
        self._landing.check(first, last)
        self._database.parent.mkdir(parents=True, exist_ok=True)
        self._work.mkdir(parents=True, exist_ok=True)
        environment = {
            "TAILRACE_WAREHOUSE": str(self._database),
            "TAILRACE_LANDING": self._landing.location,
            "BUILD_FIRST_DAY": first.isoformat(),
            "BUILD_LAST_DAY": last.isoformat(),
        }
        days = f"{first}" if first == last else f"{first}..{last}"
        with self._building():
            # dbt changes into the project's folder
            with _environment(environment), chdir(self._project):
                # unit tests judge the SQL, not the data: they are run when the SQL changes
                outcome = self._invoke("build", "--exclude-resource-type", "unit_test")
            nodes = tuple(getattr(outcome.result, "results", None) or ())
            messages = [str(outcome.exception or ""), *(node.message or "" for node in nodes)]
            self._refuse_if_busy(*messages, cause=outcome.exception)
            self._refuse_if_full(messages, days, outcome.exception)
            self._refuse_if_failed(outcome, nodes, days)
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

    def _refuse_gaps(self, first: dt.date, last: dt.date) -> None:
        """Raise UpstreamMissing if a day looked back on was skipped: its absence would go unnoticed."""
        missing = self._landing.gaps(first - self._look_back, first - dt.timedelta(days=1))
        if missing:
            named = ", ".join(str(day) for day in missing[:_NAMED_DAYS])
            more = f" and {len(missing) - _NAMED_DAYS} more" if len(missing) > _NAMED_DAYS else ""
            raise UpstreamMissing(
                f"The build of {first} looks back on {self._look_back.days} days, and {len(missing)} of them "
                f"were not landed: {named}{more}. Land them, then build from the first missing day on: "
                f"ingest and build {missing[0]}..{last}."
            )

    @contextmanager
    def _building(self) -> Iterator[None]:
        """Be the only one to build: two at a time would spoil what dbt keeps in its target folder.

        The system lets go of the lock when the process ends, however it ends.
        """
        with (self._work / "target.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise WarehouseBusy(
                    f"The warehouse {self._database} is being built by another process, which holds {lock.name}. "
                    "Wait for it to finish or end it, then try again."
                ) from error
            yield

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

    def _refuse_if_full(self, messages: Sequence[str], days: str, cause: BaseException | None) -> None:
        """Raise StorageFull if a message is a complaint about a full disk."""
        for message in messages:
            if _FULL.search(message):
                raise StorageFull(
                    f"The disk is full, so dbt could not build {days}: {' '.join(message.split())}. "
                    f"Free space for {self._database} and {self._work}, then build {days} again."
                ) from cause

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

    def _refuse_if_busy(self, *messages: str, cause: BaseException | None = None) -> None:
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
