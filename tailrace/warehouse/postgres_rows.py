"""Reads Postgres through ADBC's binary COPY: a connection that may stay silent for long, and rows as Arrow batches."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import pyarrow as pa
from adbc_driver_postgresql import dbapi
from psycopg2.extensions import make_dsn

KEPT_ALIVE: Mapping[str, int] = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""Seconds between signs of life on a silent connection, because firewalls drop connections that send nothing."""
IDLE_LIMITS = ("idle_session_timeout", "idle_in_transaction_session_timeout")


def connect(dsn: str, **parameters: Any) -> Any:
    """A connection with transactions, in UTC; `parameters` are libpq's. Raises the driver's Error."""
    connection = dbapi.connect(make_dsn(dsn, **{**KEPT_ALIVE, **parameters}))
    with connection.cursor() as cursor:
        # a lock, and rows that are still being read, may stay idle longer than the server's limits allow
        cursor.execute(f"select set_config(name, '0', false) from pg_settings where name in {IDLE_LIMITS}")  # noqa: S608
        cursor.fetchall()
        cursor.execute("set time zone 'UTC'")
    connection.commit()
    return connection


def described_columns(connection: Any, query: str) -> pa.Schema:
    """The driver's description of the columns that a query returns; it does not run the query."""
    with connection.cursor() as cursor:
        return cursor.adbc_execute_schema(query)


def batches(connection: Any, query: str) -> Generator[pa.RecordBatch]:
    """Run a query; returns its rows as the driver gives them, of which few are in memory at once."""
    cursor = connection.cursor()
    cursor.execute(query)
    return _batches(cursor)


def _batches(cursor: Any) -> Generator[pa.RecordBatch]:
    with cursor:
        yield from cursor.fetch_record_batch()
