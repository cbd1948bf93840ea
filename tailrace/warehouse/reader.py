"""Reads marts of any database that dbt speaks to: the same rows and types from each, as Arrow, with flat memory."""

from __future__ import annotations

import datetime as dt
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from tailrace.errors import ProblemList, SchemaMismatch, TailraceError, did_you_mean
from tailrace.warehouse import adapter_types, drivers, relations
from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.adapter_types import Column
from tailrace.warehouse.drivers.base import BadValue, Session
from tailrace.warehouse.failures import meant, missing
from tailrace.warehouse.relations import MartRelation
from tailrace.warehouse.samples import smallest_hashes

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

    @property
    def zone(self) -> str:
        """The time zone of timestamps that have none."""
        return self._zone

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
            sql = f"select max({_sql(session, day)}) from {mart.sql}"  # noqa: S608 - dbt and we quoted the names
            rows = pa.Table.from_batches(self._converted(session, sql, [day], what=table), _schema([day]))
            newest: dt.date | None = rows[0][0].as_py()
            return newest

    def days(
        self, table: str, day_column: str = "ds", first: dt.date = dt.date.min, last: dt.date = dt.date.max
    ) -> Mapping[dt.date, int]:
        """How many rows each day from `first` to `last` has, in order; days without rows are absent."""
        mart = self._mart(table)
        with self._connected(f"counting the rows of {table}", mart) as session:
            (day,) = _chosen(self._available(session, mart), [], table=table, day_column=day_column)
            name = _sql(session, day)
            where = f"{name} >= {session.date(first)} and {name} <= {session.date(last)}"
            sql = f"select {name}, count(*) from {mart.sql} where {where} group by {name}"  # noqa: S608 - as above
            columns = [day, _COUNT]
            rows = pa.Table.from_batches(self._converted(session, sql, columns, what=table), _schema(columns))
            return dict(sorted(zip(rows[0].to_pylist(), rows[1].to_pylist(), strict=True)))

    def sample(self, table: str, rows: int, day_column: str | None = None) -> pa.Table:
        """At most `rows` rows, the same ones each time while the mart stays as it is.

        They are chosen by a hash of their values: from the newest days that have enough of them, or, without a day
        column, from the whole mart, which is then read once. Columns that cannot be read are left out: `columns` says
        why.
        """
        first = _first_day(self.days(table, day_column), rows) if day_column else None
        mart = self._mart(table)
        with self._connected(f"reading a sample of {table}", mart) as session:
            available = self._available(session, mart)
            readable = [column for column in available if not column.problem]
            since = ""
            if day_column and first:
                day = next(column for column in available if column.name == day_column)
                since = f" where {_sql(session, day)} >= {session.date(first)}"
            sql = f"select {', '.join(_selected(session, column) for column in readable)} from {mart.sql}{since}"  # noqa: S608
            return smallest_hashes(self._converted(session, sql, readable, what=table), _schema(readable), rows)

    def _mart(self, table: str) -> MartRelation:
        return relations.find(table, self._adapter.manifest, self._adapter.adapter)

    def _available(self, session: Session, mart: MartRelation) -> tuple[Column, ...]:
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
            # closed before its connection: see drivers/duckdb.py
            with closing(self._converted(session, sql, wanted, what=f"{table} of {day.day}")) as batches:
                first = next(batches, None)  # so that what the database refuses is told before the first row is given
                yield _schema(wanted)
                yield from () if first is None else (first,)
                yield from batches

    def _converted(
        self, session: Session, sql: str, columns: Sequence[Column], *, what: str
    ) -> Generator[pa.RecordBatch]:
        """What a query returns, in the types of the columns."""
        schema = _schema(columns)
        try:
            with closing(session.rows(sql, columns)) as batches:
                for batch in batches:
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
            return adapter_types.converted(session.native(array, column), column, self._zone)
        except ValueError as error:
            raise BadValue(column, str(error)) from error

    @contextmanager
    def _connected(self, doing: str, mart: MartRelation) -> Iterator[Session]:
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


def _first_day(days: Mapping[dt.date, int], rows: int) -> dt.date | None:
    """The day from which on there are so many rows; None if there are no days."""
    found = None
    for day, count in sorted(days.items(), reverse=True):
        found, rows = day, rows - count
        if rows <= 0:
            break
    return found


def _schema(columns: Sequence[Column]) -> pa.Schema:
    return pa.schema([pa.field(column.name, column.kind) for column in columns])


def _sql(session: Session, column: Column) -> str:
    return session.quoted(column.source or column.name)


def _selected(session: Session, column: Column) -> str:
    return column.select or _sql(session, column)
