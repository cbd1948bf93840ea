"""The embedded warehouse: a dbt project on one DuckDB file.

While a process writes the file, DuckDB lets no other process read it. So the file is open only during a
build and for the short time in which a day is read.
"""

from __future__ import annotations

import datetime as dt
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from tailrace.errors import BadInput, StorageFull, UpstreamMissing, WarehouseBusy
from tailrace.settings import Settings
from tailrace.warehouse.dbt import BUILDS, FULL, DbtWarehouse
from tailrace.warehouse.landed import Landed
from tailrace.warehouse.set_aside import set_aside

_BATCH_ROWS = 50_000
_MEMORY = "512MB"
"""What DuckDB may use to sort a day's rows; the rest goes to a file beside the warehouse."""


class DuckDBWarehouse(DbtWarehouse):
    """The tables of the dbt project in the file `database`; dbt reads the landed files in place."""

    target = "duckdb"

    def __init__(self, database: Path, *, project: Path, landing: Landed, work: Path) -> None:
        super().__init__(project, landing, work)
        self._database = database.absolute()

    @classmethod
    def from_settings(cls, settings: Settings, *, landing: Landed) -> DuckDBWarehouse:
        return cls(Path(settings.warehouse), project=settings.dbt_project, landing=landing, work=settings.work / "dbt")

    def elsewhere(self, folder: Path, landing: Landed) -> DuckDBWarehouse:
        """The same dbt project with an empty database in that folder, and with what this landing has.

        What dbt knows of the parsed project is copied, so that it need not be parsed again.
        """
        copied = folder / "dbt" / "target"
        copied.mkdir(parents=True)
        if (parsed := self._target_folder / "partial_parse.msgpack").exists():
            shutil.copy(parsed, copied)
        return DuckDBWarehouse(folder / "warehouse.duckdb", project=self._project, landing=landing, work=folder / "dbt")

    def columns(self) -> dict[str, dict[str, str]]:
        """The columns of every table and view, each with its type, by the table's full name."""
        found: dict[str, dict[str, str]] = {}
        with self._reading() as connection:
            rows = connection.execute(
                "select database_name, schema_name, table_name, column_name, data_type from duckdb_columns() "
                "where not internal order by column_index"
            ).fetchall()
        for *names, column, kind in rows:
            found.setdefault(".".join(names), {})[column] = kind
        return found

    @property
    def name(self) -> str:
        return str(self._database)

    def read(
        self, table: str, day: dt.date, order_by: Sequence[str], *, day_column: str = "ds"
    ) -> pa.RecordBatchReader:
        """Rows of `table` with that day, sorted, nulls last, timestamps as timestamp[us, UTC].

        All rows of the day are read before this returns, so that the file is unlocked then; those that do not fit into
        a part of the memory wait in a file of the work folder.
        Raises UpstreamMissing if the table was never built, WarehouseBusy, StorageFull.
        """
        with self._reading() as connection:
            rows = self._table(connection, table).filter(
                duckdb.ColumnExpression(day_column) == duckdb.ConstantExpression(day)
            )
            if order_by:
                rows = rows.sort(*(duckdb.ColumnExpression(column).asc().nulls_last() for column in order_by))
            # while the reader of a closed connection is open, the next connection to the file waits forever
            with self._enough_room(table, day), closing(rows.to_arrow_reader(_BATCH_ROWS)) as reader:
                return set_aside(reader.schema, reader, self._work)

    @contextmanager
    def _enough_room(self, table: str, day: dt.date) -> Iterator[None]:
        """Translate what DuckDB and a file raise if there is no room for rows that do not fit into memory."""
        try:
            yield
        except (duckdb.Error, OSError) as error:
            if not FULL.search(str(error)):
                raise
            raise StorageFull(
                f"The disk is full, so {table} of {day} could not be read: {' '.join(str(error).split())}. Free space "
                f"for {self._database.parent} and {self._work}, then try again."
            ) from error

    def built(self, day: dt.date) -> Mapping[str, str] | None:
        """See `contracts.Warehouse`."""
        with self._reading() as connection:
            try:
                found = connection.execute(f"select mart, reason from {BUILDS} where ds = ?", [day]).fetchall()  # noqa: S608 - a constant
            except duckdb.CatalogException:
                return None
            return dict(found)

    def schema(self, table: str) -> pa.Schema | None:
        """See `contracts.Warehouse`."""
        try:
            with self._reading() as connection:
                return self._table(connection, table).limit(0).to_arrow_table().schema
        except UpstreamMissing:
            return None

    def typed(self, types: Mapping[str, str]) -> pa.Schema:
        """See `contracts.EvolvingWarehouse`."""
        nulls = ", ".join(f"cast(null as {type_}) as {_quoted(name)}" for name, type_ in types.items())
        with duckdb.connect() as connection:
            connection.execute("set TimeZone = 'UTC'")
            try:
                return connection.sql(f"select {nulls}").to_arrow_table().schema
            except duckdb.Error as error:
                raise BadInput(f"DuckDB does not know a type of {', '.join(types)}: {error}") from error

    def add_columns(self, table: str, types: Mapping[str, str]) -> None:
        """See `contracts.EvolvingWarehouse`."""
        self._work.mkdir(parents=True, exist_ok=True)
        with self._building(), self._connected(read_only=False) as connection:
            connection.begin()
            for name, type_ in types.items():
                connection.execute(f"alter table {_quoted(table)} add column if not exists {_quoted(name)} {type_}")
            connection.commit()

    def _record(self, rows: Sequence[tuple[str, dt.date, str]]) -> None:
        with self._connected(read_only=False) as connection:
            connection.begin()
            connection.execute(
                f"create table if not exists {BUILDS} (mart text, ds date, reason text, primary key (mart, ds))"
            )
            statement = f"insert or replace into {BUILDS} values (?, ?, ?)"  # noqa: S608 - a constant
            connection.executemany(statement, rows)
            connection.commit()

    def _address(self) -> Mapping[str, str]:
        return {"TAILRACE_WAREHOUSE": str(self._database)}

    @contextmanager
    def _ready(self, first: dt.date, last: dt.date) -> Iterator[None]:
        self._database.parent.mkdir(parents=True, exist_ok=True)
        yield

    def _release(self) -> None:
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager

        # the adapter keeps its connection, and so the lock on the file, until the process ends
        if DuckDBConnectionManager._ENV is not None:
            DuckDBConnectionManager._ENV.close()
        DuckDBConnectionManager.close_all_connections()

    def _count(self, counts: Mapping[str, str]) -> Mapping[str, int]:
        if not counts:
            return {}
        with self._reading() as connection:
            return {table: int(connection.sql(count).fetchall()[0][0]) for table, count in counts.items()}

    def _complaint(self, messages: Sequence[str]) -> WarehouseBusy | None:
        """The error if a message is DuckDB's complaint about another process's lock."""
        for message in messages:
            if "Could not set lock" in message:
                holder = re.search(r"PID (\d+)", message)
                process = f"process {holder[1]}" if holder else "another process"
                return WarehouseBusy(
                    f"The warehouse {self._database} is in use by {process}. "
                    "Wait for it to finish or end it, then try again."
                )
        return None

    @contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection that returns times in UTC."""
        if not self._database.exists():
            raise UpstreamMissing(f"There is no warehouse at {self._database} yet. Run the build stage first.")
        with self._connected(read_only=True) as connection:
            connection.execute(f"set memory_limit = '{_MEMORY}'")
            yield connection

    @contextmanager
    def _connected(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        try:
            connection = duckdb.connect(self._database, read_only=read_only)
        except duckdb.IOException as error:
            busy = self._complaint([str(error)])
            if busy:
                raise busy from error
            raise
        with connection:
            connection.execute("set TimeZone = 'UTC'")
            yield connection

    def _table(self, connection: duckdb.DuckDBPyConnection, table: str) -> duckdb.DuckDBPyRelation:
        try:
            return connection.table(_quoted(table))
        except duckdb.CatalogException as error:
            raise UpstreamMissing(
                f"The warehouse {self._database} has no table {table}. Run the build stage first, and check "
                f"that the dbt project {self._project} has a model of that name."
            ) from error


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
