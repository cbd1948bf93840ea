"""A warehouse on a Postgres server: a dbt project in one schema of a database, landed files in another.

Postgres cannot read the landed files in place. So the days that a build reads are first copied into the
schema `landing`: one complete day at a time, and only days that were landed since the last copy.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from adbc_driver_manager import Error as DriverError
from psycopg2.extensions import make_dsn, parse_dsn

from tailrace.errors import (
    BadInput,
    SettingsError,
    StorageFull,
    TailraceError,
    Unavailable,
    UpstreamMissing,
    WarehouseBusy,
)
from tailrace.settings import Settings
from tailrace.warehouse.dbt import BUILDS, DbtWarehouse
from tailrace.warehouse.landed import Landed
from tailrace.warehouse.postgres_rows import IDLE_LIMITS, batches, connect, described_columns
from tailrace.warehouse.postgres_types import converted, quoted, readable, selected, sorted_by

MARTS, LANDING = "tailrace", "landing"
"""The two schemas; dbt's profile and sources use the same names."""

_BUILDS = f"{MARTS}.{BUILDS}"
_CONNECT_SECONDS = "10"
_COPIED = f"{LANDING}._copied"
"""The table of the copied days, with the marks of the files that they were copied from."""
_LOCK = "hashtext('tailrace build')"
_GONE = re.compile(
    r"connection (to server .*)?(failed|refused|timed out|already closed)|could not (connect|receive data|send data)"
    r"|server closed the connection|terminating connection|no connection to the server|ssl syscall error"
    r"|database system is (starting up|shutting down|in recovery)|too many (clients|connections)"
    r"|could not translate host",
    re.IGNORECASE,
)
_TURNED_AWAY = re.compile(
    r"password authentication failed|no password supplied|no pg_hba\.conf entry|authentication failed"
    r"|(role|database) \"[^\"]*\" (does not exist|is not permitted to log in)|permission denied for database",
    re.IGNORECASE,
)
_CUT_SHORT = re.compile(
    r"canceling statement due to (?P<reason>[a-z -]+)|deadlock detected|could not serialize access", re.IGNORECASE
)
_TOO_SLOW = re.compile("canceling statement due to statement timeout", re.IGNORECASE)
_TIME_LIMIT = "the limit is the server's statement_timeout for this role: alter role ... set statement_timeout"
_LOST_LOCK = "tailrace: the lock of this build is gone"
"""The error text that the macro `replace_days` raises."""
_NO_TYPE = ("42704", "42601")
"""A type that does not exist, and one that is no type at all."""
_NO_RIGHT, _NO_TABLE, _DISK_FULL = "42501", "42P01", "53100"


class Readable(Landed, Protocol):
    """The part of the landing zone that copying needs."""

    @property
    def schemas(self) -> Mapping[str, pa.Schema]:
        """The landed tables."""
        ...

    def columns(self, table: str) -> pa.Schema:
        """The columns that `read` returns."""
        ...

    def read(self, table: str, day: dt.date) -> pa.Table:
        """The rows landed for a day, with `ds`. Raises UpstreamMissing, LandingRefused, LakeUnavailable."""
        ...


class PostgresWarehouse(DbtWarehouse):
    """The tables of the dbt project in the database at `url`, which is in libpq's format without the password.

    The role needs the right to create schemas in that database, or must own two schemas in it: `tailrace` and
    `landing`. In addition to the errors of every build, all methods raise Unavailable if the server does not
    answer, and SettingsError if it rejects the role or the role lacks a right.
    """

    target = "postgres"

    def __init__(
        self,
        url: str,
        *,
        password: str,
        project: Path,
        landing: Readable,
        work: Path,
    ) -> None:
        super().__init__(project, landing, work)
        self._url = url
        self._password = password
        self._files = landing
        self._session: Any = None
        """The connection that locks the database during a build."""
        self._locker = 0
        """The process id of that connection on the server."""

    @classmethod
    def from_settings(cls, settings: Settings, *, landing: Readable) -> PostgresWarehouse:
        return cls(
            settings.warehouse,
            password=settings.warehouse_password,
            project=settings.dbt_project,
            landing=landing,
            work=settings.work / "dbt",
        )

    @property
    def name(self) -> str:
        return self._url

    def read(
        self, table: str, day: dt.date, order_by: Sequence[str], *, day_column: str = "ds"
    ) -> pa.RecordBatchReader:
        """Rows of `table` with that day, sorted, nulls last, timestamps as timestamp[us, UTC], streaming.

        Text is sorted by its bytes, whatever the database's collation. The connection stays open until the last
        batch was read. Raises UpstreamMissing if the table was never built.
        """
        batches = self._batches(table, day, order_by, day_column)
        return pa.RecordBatchReader.from_batches(next(batches), batches)

    def _batches(self, table: str, day: dt.date, order_by: Sequence[str], day_column: str) -> Iterator[Any]:
        """First the schema, then the batches of rows."""
        what = f"{table} of {day} in the warehouse {self.name}"
        rows = f"from {MARTS}.{quoted(table)} where {quoted(day_column)} = date '{day}'"  # the names are quoted
        with self._translated(f"reading {table} of {day}", table), closing(self._connect()) as connection:
            columns = described_columns(connection, f"select * {rows}")
            schema = readable(columns, what, order_by)
            found = batches(connection, f"select {selected(columns)} {rows}{sorted_by(order_by, schema)}")
            yield schema
            for batch in found:
                yield converted(batch, schema, what)

    def built(self, day: dt.date) -> Mapping[str, str] | None:
        """See `contracts.Warehouse`."""
        with self._translated(f"looking up the builds of {day}"), closing(self._connect()) as connection:
            if _columns(connection, _BUILDS) is None:
                return None
            return dict(_rows(connection, f"select mart, reason from {_BUILDS} where ds = $1", day))  # noqa: S608 - a constant

    def schema(self, table: str) -> pa.Schema | None:
        """See `contracts.Warehouse`. Raises SchemaMismatch if a column cannot be read."""
        with self._translated(f"looking up the columns of {table}"), closing(self._connect()) as connection:
            columns = _columns(connection, f"{MARTS}.{quoted(table)}")
            return None if columns is None else readable(columns, f"{table} in the warehouse {self.name}", ())

    def typed(self, types: Mapping[str, str]) -> pa.Schema:
        """See `contracts.EvolvingWarehouse`."""
        nulls = ", ".join(f"cast(null as {type_}) as {quoted(name)}" for name, type_ in types.items())
        with (
            self._translated("looking up types"),
            closing(self._connect()) as connection,
            connection.cursor() as cursor,
        ):
            try:
                columns = cursor.adbc_execute_schema(f"select {nulls}")
            except DriverError as error:
                if getattr(error, "sqlstate", None) not in _NO_TYPE:
                    raise
                raise BadInput(f"Postgres does not know a type of {', '.join(types)}: {_brief(error)}.") from error
            return readable(columns, "The contract's new columns", ())

    def add_columns(self, table: str, types: Mapping[str, str]) -> None:
        """See `contracts.EvolvingWarehouse`."""
        name = f"{MARTS}.{quoted(table)}"
        with self._translated(f"adding columns to {table}", table), closing(self._connect()) as connection:
            self._lock(connection)
            for column, type_ in types.items():
                _do(connection, f"alter table {name} add column if not exists {quoted(column)} {type_}")
            connection.commit()

    def _record(self, rows: Sequence[tuple[str, dt.date, str]]) -> None:
        with self._translated("recording what was built"), closing(self._connect()) as connection:
            if _columns(connection, _BUILDS) is None:
                _do(connection, f"create table {_BUILDS} (mart text, ds date, reason text, primary key (mart, ds))")
            again = "on conflict (mart, ds) do update set reason = excluded.reason"
            _do(connection, f"insert into {_BUILDS} values ($1, $2, $3) {again}", rows)  # noqa: S608 - a constant
            connection.commit()

    def _address(self) -> Mapping[str, str]:
        """libpq's own environment variables, which dbt's profile reads too."""
        names = {"dbname": "PGDATABASE", "connect_timeout": "PGCONNECT_TIMEOUT"}
        parts = {names.get(name, f"PG{name.upper()}"): str(value) for name, value in parse_dsn(self._url).items()}
        return parts | {"PGTZ": "UTC"}  # so that the day and the hour of a timestamp are the same on every host

    def _secrets(self) -> Mapping[str, str]:
        return {"TAILRACE_WAREHOUSE_PASSWORD": self._password}

    @contextmanager
    def _ready(self, first: dt.date, last: dt.date) -> Iterator[None]:
        """Take the lock for building in this database, on any host, and copy the days."""
        with closing(self._connect()) as connection:
            with self._translated(f"copying the landed files of {first}..{last}"):
                self._lock(connection)
                self._copy(connection, first - self._look_back, last)
            self._session = connection
            try:
                yield
            finally:
                self._session = None

    def _lock(self, connection: Any) -> None:
        """Take the lock; the server releases it when the connection ends, however it ends."""
        ((locked, self._locker),) = _rows(connection, f"select pg_try_advisory_lock({_LOCK}), pg_backend_pid()")
        connection.commit()
        if not locked:
            raise WarehouseBusy(
                f"The warehouse {self.name} is being built by another process. Wait for it to finish or end it, "
                "then try again."
            )

    def _lock_variables(self) -> Mapping[str, str]:
        """With these, the macro `replace_days` replaces no day after the locking process has ended.

        dbt's own connections stay idle for as long as other models run.
        """
        options = [self._address().get("PGOPTIONS", ""), *(f"-c {limit}=0" for (limit,) in self._idle_limits())]
        return {"TAILRACE_BUILD_LOCK": str(self._locker), "PGOPTIONS": " ".join(filter(None, options))}

    def _idle_limits(self) -> list[tuple[str]]:
        """The idle limits that the server sets on such connections."""
        limits = f"select name from pg_settings where name in {IDLE_LIMITS} and reset_val <> '0'"  # noqa: S608
        with self._translated("reading its limits"):
            found = _rows(self._session, limits)
            self._session.commit()
        return found

    def _lost_lock(self) -> WarehouseBusy | None:
        """Release the lock by closing its connection."""
        try:
            _rows(self._session, "select 1")
            self._session.commit()
        except DriverError as error:
            return self._lock_is_lost(str(error))
        return None

    def _lock_is_lost(self, message: str) -> WarehouseBusy:
        return WarehouseBusy(
            f"The build lost its lock on the warehouse {self.name} before it ended ({_brief(message)}), so "
            "another build may have run at the same time. Build the days again, and find out why the server "
            "ended the connection."
        )

    def _copy(self, connection: Any, first: dt.date, last: dt.date) -> None:
        """Copy the landed files of the days first..last to the landing schema; each table is one transaction."""
        for schema in (LANDING, MARTS):
            # checked first: `if not exists` needs the right to create even if it creates nothing
            if _rows(connection, "select to_regnamespace($1)::text", schema) == [(None,)]:
                _do(connection, f"create schema {schema}")
        _do(connection, f"create table if not exists {_COPIED} (name text, ds date, mark text, primary key (name, ds))")
        connection.commit()
        landed: dict[str, dict[dt.date, str]] = defaultdict(dict)
        for (table, day), mark in self._landing.marks(first, last).items():
            landed[table][day] = mark
        for table in self._files.schemas:
            self._copy_table(connection, table, landed=landed[table], first=first, last=last)
            connection.commit()

    def _copy_table(
        self, connection: Any, table: str, *, landed: Mapping[dt.date, str], first: dt.date, last: dt.date
    ) -> None:
        name, columns = f"{LANDING}.{quoted(table)}", self._files.columns(table)
        if _columns(connection, name) != columns:
            # new, or the source's columns were declared differently: dbt recreates the views on it
            _do(connection, f"drop table if exists {name} cascade")
            _do(connection, f"delete from {_COPIED} where name = $1", [(table,)])  # noqa: S608 - a constant
            _ingest(connection, table, columns.empty_table(), "create")
            _do(connection, f"create index on {name} (ds)")
        known = f"select ds, mark from {_COPIED} where name = $1 and ds between $2 and $3"  # noqa: S608 - a constant
        copied = dict(_rows(connection, known, table, first, last))
        stale = sorted(day for day in {*copied, *landed} if copied.get(day) != landed.get(day))
        if not stale:
            return
        _do(connection, f"delete from {name} where ds = $1", [(day,) for day in stale])  # noqa: S608 - it is quoted
        _do(connection, f"delete from {_COPIED} where name = $1 and ds = $2", [(table, day) for day in stale])  # noqa: S608
        for day in stale:
            if day in landed:
                _ingest(connection, table, self._files.read(table, day).select(columns.names), "append")
                _do(connection, f"insert into {_COPIED} values ($1, $2, $3)", [(table, day, landed[day])])  # noqa: S608

    def _release(self) -> None:
        """dbt closes its connections to a server itself."""

    def _count(self, counts: Mapping[str, str]) -> Mapping[str, int]:
        if not counts:
            return {}
        with self._translated("counting what was built"), closing(self._connect()) as connection:
            return {table: _rows(connection, count)[0][0] for table, count in counts.items()}

    def _complaint(self, messages: Sequence[str]) -> TailraceError | None:
        """The error if a message says that the server is down or rejects this installation."""
        for message in messages:
            if _LOST_LOCK in message:
                return self._lock_is_lost("noticed before a day was replaced")
            if _TURNED_AWAY.search(message):
                return self._turned_away(message)
            if _GONE.search(message):
                return self._gone("building", message)
            if _CUT_SHORT.search(message) and not _TOO_SLOW.search(message):
                return self._cut_short("building", message)
        return None

    def _failure(self, node: Any) -> str:
        """See DbtWarehouse. A statement timeout is the model's failure; the message says what sets the limit."""
        failure = super()._failure(node)
        return f"{failure}; {_TIME_LIMIT}" if _TOO_SLOW.search(failure) else failure

    def _connect(self) -> Any:
        """A connection with transactions. Raises Unavailable, SettingsError."""
        dsn = make_dsn(self._url, connect_timeout=_CONNECT_SECONDS, application_name="tailrace")
        try:
            return connect(dsn, **({"password": self._password} if self._password else {}))
        except DriverError as error:
            # unless the error is about a password or a name, the server may answer later
            raise self._complaint([str(error)]) or self._gone("connecting", str(error)) from None

    @contextmanager
    def _translated(self, doing: str, table: str = "") -> Iterator[None]:
        """Translate the driver's errors to ours; those that mean a fault of this code are raised unchanged."""
        try:
            yield
        except (DriverError, pa.ArrowException, OSError) as error:
            ours = self._meant(error, doing, table)
            if ours is None:
                raise
            raise ours from error

    def _meant(self, error: BaseException, doing: str, table: str) -> TailraceError | None:
        state = getattr(error, "sqlstate", None)
        if state == _NO_TABLE and table:
            return UpstreamMissing(
                f"The warehouse {self.name} has no table {table}. Run the build stage first, and check "
                f"that the dbt project {self._project} has a model of that name."
            )
        if state == _NO_RIGHT:
            return self._turned_away(str(error))
        if state == _DISK_FULL:
            return StorageFull(
                f"The disk of the warehouse {self.name} is full ({_brief(error)}); it failed while {doing}. "
                "Free space, then try again."
            )
        if _CUT_SHORT.search(str(error)):
            return self._cut_short(doing, str(error))
        return self._complaint([str(error)])

    def _cut_short(self, doing: str, message: str) -> Unavailable:
        advice = (
            f"Note that {_TIME_LIMIT}" if _TOO_SLOW.search(message) else "Find out who locks or cancels the statement"
        )
        return Unavailable(
            f"The warehouse {self.name} stopped a statement while {doing}: {_brief(message)}. {advice}; "
            "the same call may work later."
        )

    def _gone(self, doing: str, message: str) -> Unavailable:
        return Unavailable(
            f"The warehouse {self.name} did not answer, or stopped answering, while {doing}: {_brief(message)}. "
            "Check that the server runs and can be reached; the same call may work later."
        )

    def _turned_away(self, message: str) -> SettingsError:
        return SettingsError(
            f"The warehouse {self.name} rejects this installation:",
            [
                f"The server says: {_brief(message)}.",
                "Check user and database in TAILRACE_WAREHOUSE and the password in TAILRACE_WAREHOUSE_PASSWORD. The "
                f"role must own the database, or the schemas {MARTS} and {LANDING} in it.",
            ],
        )


def _do(connection: Any, statement: str, rows: Sequence[tuple[Any, ...]] = ()) -> None:
    """Run a statement, or, if there are rows of parameters, once for each row."""
    with connection.cursor() as cursor:
        if rows:
            cursor.executemany(statement, rows)
        else:
            cursor.execute(statement)


def _rows(connection: Any, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters or None)
        return list(cursor.fetchall())


def _columns(connection: Any, table: str) -> pa.Schema | None:
    """The columns of a table; None if there is no such table."""
    if _rows(connection, "select to_regclass($1)::text", table) == [(None,)]:
        return None
    return described_columns(connection, f"select * from {table}")  # noqa: S608 - the name is quoted


def _ingest(connection: Any, table: str, rows: pa.Table, mode: str) -> None:
    with connection.cursor() as cursor:
        cursor.adbc_ingest(table, rows, mode=mode, db_schema_name=LANDING)


def _brief(message: object) -> str:
    """The first line of the server's message."""
    return " ".join(str(message).split()).rstrip(".")
