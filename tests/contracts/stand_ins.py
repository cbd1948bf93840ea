"""Services that no test reaches: what their drivers' connections do, by the drivers' documented methods.

Each answers from a DuckDB in memory. The reader's SQL is first read in the service's own dialect, so SQL that is not of
that dialect fails here. Values come in the Python or Arrow types in which the real driver gives them.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa
import sqlglot
from dbt.adapters.base.relation import BaseRelation

from tailrace.warehouse.adapter import DbtAdapter

SECRET = "open-sesame"  # noqa: S105 - nobody's


@dataclass(frozen=True)
class Reported:
    """A column as an adapter reports it."""

    name: str
    data_type: str


class StandIn(DbtAdapter):
    """A dbt project whose database is `handle`: its one model is the table `customer_features`."""

    def __init__(self, folder: Path, kind: str, *, handle: Any, types: Mapping[str, str], mark: str = '"') -> None:
        super().__init__(folder, work=folder / "work")
        self.handle = handle
        reported = [Reported(name, declared) for name, declared in types.items()]
        credentials = SimpleNamespace(
            type=kind, database=None, schema="main", method="thrift",
            _connection_keys=lambda: ("schema",), to_dict=lambda: {"schema": "main", "password": SECRET},
        )  # fmt: skip
        quoting = {"database": False, "schema": False, "identifier": False}
        config = SimpleNamespace(credentials=credentials, target_name="prod", quoting=quoting)
        self.adapter = SimpleNamespace(
            config=config,
            Relation=BaseRelation,
            quote=lambda name: f"{mark}{name}{mark}",
            connection_named=lambda name: _nothing(),
            get_columns_in_relation=lambda relation: (
                reported if relation.identifier.lower() == "customer_features" else []
            ),
        )
        self.manifest = SimpleNamespace(nodes={}, sources={})

    @contextmanager
    def connected(self) -> Iterator[Any]:
        yield self.handle


@contextmanager
def _nothing() -> Iterator[None]:
    yield


class Answers:
    """The database behind a service: runs SQL of the service's dialect."""

    def __init__(self, rows: pa.Table, dialect: str) -> None:
        self._dialect = dialect
        self._connection = duckdb.connect()
        self._connection.execute("set TimeZone = 'UTC'")
        self._connection.register("given", rows)
        names = [name.upper() if dialect == "snowflake" and name.islower() else name for name in rows.column_names]
        listed = ", ".join(f'"{old}" as "{new}"' for old, new in zip(rows.column_names, names, strict=True))
        self._connection.execute(f"create table customer_features as select {listed} from given")  # noqa: S608

    def arrow(self, sql: str) -> pa.Table:
        (asked,) = sqlglot.transpile(sql, read=self._dialect, write="duckdb")
        return self._connection.sql(asked).to_arrow_table()

    def python(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in self.arrow(sql).to_pylist()]


@dataclass
class SnowflakeConnection:
    """snowflake.connector: NUMBER without digits after the point comes as decimal, times in nanoseconds."""

    answers: Answers
    arrow_number_to_decimal_setter: bool = False

    def cursor(self) -> SnowflakeConnection:
        return self

    def execute(self, sql: str) -> None:
        self._found = self.answers.arrow(sql)

    def fetch_arrow_batches(self) -> Iterator[pa.Table]:
        assert self.arrow_number_to_decimal_setter, "decimals would come as floats"
        fields = [pa.field(column.name, self._type(column.type)) for column in self._found.schema]
        for batch in self._found.cast(pa.schema(fields)).to_batches(max_chunksize=2):
            yield pa.Table.from_batches([batch])

    def _type(self, kind: pa.DataType) -> pa.DataType:
        if pa.types.is_timestamp(kind):
            return pa.timestamp("ns", "America/Los_Angeles" if kind.tz else None)
        return pa.decimal128(38, 0) if pa.types.is_integer(kind) else kind

    def close(self) -> None:
        """As the cursor's."""


class GoogleAPIError(Exception):
    """google.api_core's, whose messages begin with the status."""


@dataclass
class BigQueryClient:
    """google.cloud.bigquery.Client: a table's schema, and a job whose result is an iterable of record batches."""

    answers: Answers
    types: Mapping[str, str]

    def get_table(self, name: str) -> Any:
        if not name.endswith(".customer_features"):
            raise GoogleAPIError(f"404 GET https://bigquery.googleapis.com/...: Not found: Table {name}")
        fields = []
        for column, declared in self.types.items():
            kind, _, digits = declared.removesuffix(")").partition("(")
            precision, scale = map(int, digits.split(",")) if digits else (None, None)
            fields.append(
                SimpleNamespace(name=column, field_type=kind, mode="NULLABLE", precision=precision, scale=scale)
            )
        return SimpleNamespace(schema=fields)

    def query(self, sql: str) -> BigQueryClient:
        self._found = self.answers.arrow(sql)
        return self

    def result(self) -> BigQueryClient:
        return self

    def to_arrow_iterable(self, *, max_queue_size: int, max_stream_count: int) -> Iterator[pa.RecordBatch]:
        if not self._found.num_rows:
            return iter((pa.record_batch([]),))
        return iter(self._found.to_batches(max_chunksize=2))


@dataclass
class DatabricksHandle:
    """dbt-databricks: `execute` gives a wrapper of the connector's cursor."""

    answers: Answers

    def execute(self, sql: str) -> DatabricksHandle:
        self._found = self.answers.arrow(sql)
        return self

    @property
    def _cursor(self) -> DatabricksHandle:
        return self

    def fetchmany_arrow(self, size: int) -> pa.Table:
        given, self._found = self._found.slice(0, 2), self._found.slice(2)
        return given

    def close(self) -> None:
        """As the wrapper's."""


@dataclass
class RedshiftConnection:
    """redshift_connector: a server-side cursor, which lives in a transaction."""

    answers: Answers
    _open: bool = False
    _rows: list[tuple[Any, ...]] = field(default_factory=list)
    _fetched: tuple[tuple[Any, ...], ...] = ()

    def cursor(self) -> RedshiftConnection:
        return self

    def execute(self, sql: str) -> None:
        if sql == "begin":
            self._open = True
        elif sql.startswith("declare"):
            assert self._open, "a cursor lives in a transaction"
            self._rows = self.answers.python(sql.partition(" cursor for ")[2])
        else:
            assert sql == "fetch forward 1000 from tailrace_rows"
            self._fetched, self._rows = tuple(self._rows[:2]), self._rows[2:]

    def fetchall(self) -> tuple[tuple[Any, ...], ...]:
        return self._fetched

    def close(self) -> None:
        """As the cursor's."""


@dataclass
class TrinoWrapper:
    """dbt-trino: the wrapper's own cursor has all rows at once; the client's streams lists."""

    answers: Answers

    @property
    def handle(self) -> TrinoWrapper:
        return self

    def cursor(self) -> TrinoWrapper:
        return self

    def execute(self, sql: str) -> None:
        self._rows = self.answers.python(sql)

    def fetchmany(self, size: int) -> list[list[Any]]:
        given, self._rows = self._rows[:2], self._rows[2:]
        return [list(row) for row in given]

    def close(self) -> None:
        """As the cursor's."""


def sqlite_of(rows: pa.Table, types: Mapping[str, str]) -> sqlite3.Connection:
    """The real library, with a table as dbt-sqlite makes it: times and dates are text, decimals are numbers."""
    connection = sqlite3.connect(":memory:")
    columns = ", ".join(f'"{name}" {declared}' for name, declared in types.items())
    connection.execute(f"create table main.customer_features ({columns})")
    marks = ", ".join("?" * rows.num_columns)
    given = [tuple(_in_sqlite(value) for value in row.values()) for row in rows.to_pylist()]
    connection.executemany(f"insert into customer_features values ({marks})", given)  # noqa: S608
    return connection


def _in_sqlite(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.isoformat(" ")
    return value if isinstance(value, str | int | float | None) else str(value)
