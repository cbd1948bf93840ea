"""Postgres: ADBC's binary COPY, as `PostgresWarehouse` reads, with the address of dbt's profile."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pyarrow as pa

from tailrace.warehouse import postgres_rows, postgres_types
from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.adapter_types import MOMENT, Column
from tailrace.warehouse.drivers.base import Session
from tailrace.warehouse.relations import MartRelation

_NAIVE = "timestamp"


class PostgresSession(Session):
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def columns(self, mart: MartRelation) -> Sequence[Column]:
        every = f"select * from {mart.sql}"  # noqa: S608 - dbt quoted the name
        return [_column(field) for field in postgres_rows.described_columns(self._connection, every)]

    def rows(self, sql: str, columns: Sequence[Column]) -> Generator[pa.RecordBatch]:
        return postgres_rows.batches(self._connection, sql)

    def native(self, array: pa.Array, column: Column) -> pa.Array:
        try:
            return postgres_types.exact(array, pa.timestamp("us") if column.naive else column.kind)
        except ValueError as error:
            raise ValueError(str(error).replace("{name}", self.quoted(column.name))) from error


@contextmanager
def connected(adapter: DbtAdapter) -> Iterator[PostgresSession]:
    with closing(postgres_rows.connect("", **_parameters(adapter.credentials))) as connection:
        if role := adapter.credentials.role:
            with connection.cursor() as cursor:
                cursor.execute(f"set role {role}")
        yield PostgresSession(connection)


def _parameters(profile: Any) -> Mapping[str, Any]:
    """What dbt-postgres gives to libpq, except its own settings."""
    names = {"host": "host", "port": "port", "user": "user", "password": "password", "dbname": "database"}
    names |= {name: name for name in ("connect_timeout", "sslmode", "sslcert", "sslkey", "sslrootcert")}
    given = {libpq: value for libpq, name in names.items() if (value := getattr(profile, name, None))}
    if profile.keepalives_idle:
        given["keepalives_idle"] = profile.keepalives_idle
    if profile.search_path:
        escaped = profile.search_path.replace(" ", "\\ ")  # as dbt-postgres does
        given["options"] = f"-c search_path={escaped}"
    return given | {"application_name": "tailrace"}


def _column(field: pa.Field) -> Column:
    """The column that the driver describes; one without a zone is read too, which `PostgresWarehouse` refuses."""
    declared = postgres_types.type_name(field)
    quoted = postgres_types.quoted(field.name)
    if declared == _NAIVE:
        return Column(field.name, "timestamp without time zone", MOMENT, naive=True, select=quoted, sort=quoted)
    if problem := postgres_types.problem_of(field, key=False):
        return Column(field.name, declared, None, problem=problem)
    kind = postgres_types.kind_of(field)
    return Column(
        field.name,
        declared,
        kind,
        key_problem=postgres_types.problem_of(field, key=True),
        select=postgres_types.select_of(field),
        sort=postgres_types.sort_of(pa.field(field.name, kind)),
    )
