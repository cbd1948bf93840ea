"""Any database through its adapter: types as `get_columns_in_relation` reports them, rows by the DB-API cursor.

Drivers with ways of their own to give rows derive from `CursorSession`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pyarrow as pa

from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.adapter_types import Column, array_of, reported
from tailrace.warehouse.drivers.base import BadValue, Session
from tailrace.warehouse.relations import MartRelation

FETCHED_ROWS = 10_000
"""Rows that are fetched at once: each value is a Python object then."""
_MICROSOFT = ("fabric", "sqlserver", "synapse")
_NO_NULLS_LAST = ("mariadb", "mysql", "singlestore", *_MICROSOFT)
_UNKNOWN = "UNKNOWN"


class CursorSession(Session):
    """`handle` is the driver's own connection, which the adapter opened."""

    def __init__(self, adapter: DbtAdapter, handle: Any) -> None:
        self._adapter = adapter
        self._handle = handle

    def columns(self, mart: MartRelation) -> Sequence[Column]:
        """Where the adapter does not know a type (dbt-sqlite), the model's contract says it."""
        found = self._adapter.columns_in(mart.relation)
        return [self._column(column.name, str(column.data_type), mart) for column in found]

    def rows(self, sql: str, columns: Sequence[Column]) -> Generator[pa.RecordBatch]:
        with closing(self._cursor()) as cursor:
            cursor.execute(sql)
            while rows := cursor.fetchmany(FETCHED_ROWS):
                yield batch_of(rows, columns)

    def quoted(self, name: str) -> str:
        first, *_, last = self._adapter.adapter.quote("x")
        return f"{first}{name.replace(last, last * 2)}{last}"

    def date(self, day: dt.date) -> str:
        if self._adapter.type == "sqlite":
            return f"'{day}'"  # it has no dates: they are text
        return f"cast('{day}' as date)" if self._adapter.type in _MICROSOFT else super().date(day)

    def nulls_last(self, sort: str) -> str:
        if self._adapter.type in _NO_NULLS_LAST:
            return f"case when {sort} is null then 1 else 0 end, {sort}"
        return super().nulls_last(sort)

    def _cursor(self) -> Any:
        return self._handle.cursor()

    def _column(self, name: str, declared: str, mart: MartRelation) -> Column:
        if declared == _UNKNOWN:
            declared = mart.contract.get(name, _UNKNOWN)
        if declared == _UNKNOWN:
            told = "the database does not tell its type; declare it as data_type in the model's .yml"
            return Column(name, declared, None, problem=told)
        return reported(name, declared, self._adapter.type)


@contextmanager
def connected(adapter: DbtAdapter) -> Iterator[CursorSession]:
    with adapter.connected() as handle:
        yield CursorSession(adapter, handle)


def batch_of(rows: Sequence[Sequence[Any]], columns: Sequence[Column]) -> pa.RecordBatch:
    """Rows of a DB-API cursor as Arrow. Raises BadValue."""
    arrays = []
    for position, column in enumerate(columns):
        try:
            arrays.append(array_of([row[position] for row in rows], column))
        except ValueError as error:
            raise BadValue(column, str(error)) from error
    return pa.record_batch(arrays, names=[column.name for column in columns])
