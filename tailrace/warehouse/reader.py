"""Reads marts of any database that dbt speaks to: the same rows and types from each, as Arrow, with flat memory."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from tailrace.errors import ProblemList, SchemaMismatch, TailraceError, did_you_mean
from tailrace.warehouse import drivers, relations
from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.adapter_types import Column, converted
from tailrace.warehouse.drivers.base import BadValue, Session
from tailrace.warehouse.failures import meant, missing
from tailrace.warehouse.relations import Mart

_COUNT = Column("rows", "bigint", pa.int64())


class MartReader:
    """Reads the tables and views of the database that `adapter` connects to.

    A mart is named as dbt names it: its model, `schema.name`, or `database.schema.name`. Timestamps without a zone
    are taken as local times of `zone`. Each call opens a connection of its own and closes it at its end, or when the
    last batch was read.

    All methods raise UpstreamMissing if there is no such table, BadInput for a name that names none, SettingsError if
    the profile is wrong or the role lacks a right, NotInstalled, BuildFailed if dbt cannot read the project,
    WarehouseBusy, and Unavailable if the server does not answer.
    """

    def __init__(self, adapter: DbtAdapter, *, zone: str = "UTC") -> None:
        self._adapter = adapter
        self._zone = zone

    def columns(self, table: str) -> tuple[Column, ...]:
        """All columns of a mart, with the types that the database reports; `problem` tells which cannot be read."""
        mart = self._mart(table)
        with self._connected(f"reading the columns of {table}", mart) as session:
            return self._available(session, mart)

    def schema(self, table: str, columns: Sequence[str] | None = None) -> pa.Schema:
        """The types in which a mart's columns (default: all) are read. No row is read.

        Raises ProblemList, a BadInput, that names every column that is absent or cannot be read.
        """
        return _schema(_chosen(self.columns(table), columns, table=table))

    def read(
        self,
        table: str,
        day: dt.date,
        *,
        day_column: str = "ds",
        columns: Sequence[str] | None = None,
        order_by: Sequence[str] = (),
    ) -> pa.RecordBatchReader:
        """The rows of a day: sorted by `order_by`, nulls last, text by its bytes; timestamps as timestamp[us, UTC].

        The columns keep their names. Before the first row, it raises ProblemList for columns that are absent or cannot
        be read. While rows are read, it raises SchemaMismatch for a value that the column's type cannot represent.
        """
        batches = self._batches(table, _Day(day, day_column), columns=columns, order_by=order_by)
        return pa.RecordBatchReader.from_batches(next(batches), batches)

    def newest(self, table: str, day_column: str = "ds") -> dt.date | None:
        """The newest day that has rows; None if the mart is empty."""
        mart = self._mart(table)
        with self._connected(f"looking up the newest day of {table}", mart) as session:
            (day,) = _chosen(self._available(session, mart), [], table=table, day_column=day_column)
            found = f"select max({session.quoted(day.source or day.name)}) from {mart.sql}"  # noqa: S608 - quoted
            rows = pa.Table.from_batches(self._converted(session, found, [day], what=table))
            newest: dt.date | None = rows[day.name][0].as_py()
            return newest

    def days(self, table: str, day_column: str, first: dt.date, last: dt.date) -> Mapping[dt.date, int]:
        """How many rows each day from `first` to `last` has; days without rows are absent."""
        mart = self._mart(table)
        with self._connected(f"counting the rows of {table}", mart) as session:
            (day,) = _chosen(self._available(session, mart), [], table=table, day_column=day_column)
            name = session.quoted(day.source or day.name)
            between = f"{name} >= {session.date(first)} and {name} <= {session.date(last)}"
            counts = f"select {name}, count(*) from {mart.sql} where {between} group by {name}"  # noqa: S608 - quoted
            columns = [day, _COUNT]
            rows = pa.Table.from_batches(self._converted(session, counts, columns, what=table), _schema(columns))
            found = dict(zip(rows[0].to_pylist(), rows[1].to_pylist(), strict=True))
            return dict(sorted(found.items()))

    def _mart(self, table: str) -> Mart:
        return relations.find(table, self._adapter.manifest, self._adapter.adapter)

    def _available(self, session: Session, mart: Mart) -> tuple[Column, ...]:
        """The columns of the mart. Raises UpstreamMissing."""
        found = tuple(session.columns(mart))
        if not found:
            raise missing(self._adapter, doing="looking up its columns", mart=mart)
        return found

    def _batches(
        self, table: str, day: _Day, *, columns: Sequence[str] | None, order_by: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        """First the schema, then the batches of rows."""
        mart = self._mart(table)
        with self._connected(f"reading {table} of {day.day}", mart) as session:
            available = self._available(session, mart)
            chosen = _chosen(available, columns, table=table, day_column=day.column, others=order_by)
            wanted = [column for column in available if columns is None or column.name in columns]
            if columns is not None:
                wanted.sort(key=lambda column: columns.index(column.name))
            by_name = {column.name: column for column in chosen}
            where = f"{_sql(session, by_name[day.column])} = {session.date(day.day)}"
            order = [session.nulls_last(by_name[name].sort or _sql(session, by_name[name])) for name in order_by]
            sql = (
                f"select {', '.join(_selected(session, column) for column in wanted)} from {mart.sql} "  # noqa: S608
                f"where {where}{' order by ' + ', '.join(order) if order else ''}"
            )
            batches = self._converted(session, sql, wanted, what=f"{table} of {day.day}")
            first = next(batches, None)  # so that what the database refuses is told before the first row is given
            yield _schema(wanted)
            yield from () if first is None else (first,)
            yield from batches

    def _converted(
        self, session: Session, sql: str, columns: Sequence[Column], *, what: str
    ) -> Iterator[pa.RecordBatch]:
        """What a query returns, in the types of the columns."""
        schema = _schema(columns)
        try:
            for batch in session.rows(sql, columns):
                if batch.num_rows:
                    arrays = map(partial(self._array, session), columns, batch.columns)
                    yield pa.record_batch(list(arrays), schema=schema)
        except BadValue as bad:
            raise SchemaMismatch(
                f"{what}: column {bad.column.name!r} ({bad.column.declared}) {bad}. "
                "Correct its dbt model, then build it again."
            ) from bad

    def _array(self, session: Session, column: Column, array: pa.Array) -> pa.Array:
        try:
            return converted(session.native(array, column), column, self._zone)
        except ValueError as error:
            raise BadValue(column, str(error)) from error

    @contextmanager
    def _connected(self, doing: str, mart: Mart) -> Iterator[Session]:
        """An open connection; errors of drivers become ours, with what was being done."""
        try:
            with drivers.connected(self._adapter) as session:
                yield session
        except TailraceError:
            raise
        except Exception as error:
            ours = meant(error, self._adapter, doing=doing, mart=mart)
            if ours is None:
                raise
            raise ours from error


@dataclass(frozen=True)
class _Day:
    """A day and the column that holds it."""

    day: dt.date
    column: str


def _chosen(
    available: Sequence[Column],
    columns: Sequence[str] | None,
    *,
    table: str,
    day_column: str = "",
    others: Sequence[str] = (),
) -> list[Column]:
    """`columns` (None: all), the day's and `others`. Raises ProblemList with all that is wrong with them."""
    by_name = {column.name: column for column in available}
    names = list(by_name) if columns is None else list(columns)
    needed = list(dict.fromkeys([*names, *filter(None, [day_column]), *others]))
    problems = [f"There is no column {name!r}.{did_you_mean(name, by_name)}" for name in needed if name not in by_name]
    found = [by_name[name] for name in needed if name in by_name]
    problems += [f"Column {bad.name!r} has the type {bad.declared}: {bad.problem}." for bad in found if bad.problem]
    keys = [by_name[name] for name in others if name in by_name]
    problems += [f"Column {key.name!r} sorts rows, but {key.key_problem}." for key in keys if key.key_problem]
    day = by_name.get(day_column)
    if day is not None and not day.problem and day.kind != pa.date32():
        problems.append(f"Column {day.name!r} has the type {day.declared}, but it names the day: cast it to date.")
    if problems:
        raise ProblemList(f"{table} cannot be read:", problems)
    return found


def _schema(columns: Sequence[Column]) -> pa.Schema:
    return pa.schema([pa.field(column.name, column.kind) for column in columns])


def _sql(session: Session, column: Column) -> str:
    return session.quoted(column.source or column.name)


def _selected(session: Session, column: Column) -> str:
    return column.select or _sql(session, column)
