"""A source whose extracts are the results of SQL queries, by day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from tailrace import days
from tailrace.errors import BadInput, LandingRefused, TailraceError, Unavailable
from tailrace.rows.nights import LOOK_BACK_DAYS
from tailrace.sources import calendars, extracts

_ROWS_AT_ONCE = 10_000
_SERVER = ("OperationalError", "InterfaceError")
"""What DB-API drivers call an error of the server or the connection, and not of the query."""


class SqlSource:
    """The results of a query for each table and day.

        SqlSource(
            "shop",
            lambda: psycopg2.connect(os.environ["SHOP"]),
            {"orders": "select id, amount, paid_at from orders where paid_at > {since} and paid_at <= {until}"},
            {"orders": pa.schema({"id": pa.int64(), "amount": pa.float64(), "paid_at": pa.timestamp("us", "UTC")})},
            zone="Europe/Rome",
        )

    `connect` opens a connection of DB-API or of ADBC; it is closed after each query. In a query, `{day}` and
    `{day_before}` stand for these days, and `{since}` and `{until}` for the cutoffs between which an extract's rows
    became known, in UTC: 00:00 of these two days in the time zone `zone`. They are put in as texts in quotes, such as
    '2024-01-31' and '2024-01-31 23:00:00+00:00'; where the database wants it, write `date {day}` or
    `timestamptz {until}`. `tables` gives the columns of each query; a column of another type is refused if a
    value would change.

    `since` is the first day of all tables, or of each by name; `until` the last. `may_be_empty` names the tables whose
    query may give no rows.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Any],
        queries: Mapping[str, str],
        tables: Mapping[str, pa.Schema],
        *,
        zone: str = "UTC",
        since: dt.date | Mapping[str, dt.date] | None = None,
        until: dt.date | None = None,
        look_back_days: int = LOOK_BACK_DAYS,
        may_be_empty: Collection[str] = (),
    ) -> None:
        if different := sorted(set(queries) ^ set(tables)):
            raise BadInput(f"The source {name} needs a query and columns for each table: see {', '.join(different)}.")
        self.name, self.tables = name, dict(tables)
        self.calendar = (None, until)
        self.since = extracts.since(since, tables)
        self.look_back_days = look_back_days
        self._connect, self._queries, self._zone = connect, dict(queries), ZoneInfo(zone)
        self._may_be_empty = extracts.of_tables(name, "may_be_empty", may_be_empty, tables)

    def extract(self, table: str, day: dt.date) -> pa.Table:
        """The rows of a table's query for the day.

        Raises UnknownName, OutOfCalendar; Unavailable if the database does not answer; LandingRefused if it refuses the
        query, or gives other columns.
        """
        calendars.require(self, table, day)
        what = f"The query of {table} of {day} of the source {self.name}"
        try:
            with closing(self._connect()) as connection, closing(connection.cursor()) as cursor:
                cursor.execute(self.query(table, day))
                rows = _rows(cursor, self.tables[table], what)
        except TailraceError:
            raise
        except Exception as error:  # each driver has its own classes
            raise _refused(what, error) from error
        return extracts.of_columns(rows, self.tables[table], what)

    def query(self, table: str, day: dt.date) -> str:
        """The SQL of a table for a day."""
        before = day - dt.timedelta(days=1)
        values = {
            "day": str(day),
            "day_before": str(before),
            "since": str(days.cutoff(before, self._zone)),
            "until": str(days.cutoff(day, self._zone)),
        }
        sql = self._queries[table]
        for name, value in values.items():
            # replaced and not formatted: SQL may hold other braces
            sql = sql.replace(f"{{{name}}}", f"'{value}'")
        return sql

    def may_be_empty(self, table: str, day: dt.date) -> bool:
        """The same answer for every day."""
        return table in self._may_be_empty


def _rows(cursor: Any, declared: pa.Schema, what: str) -> pa.Table:
    """The cursor's rows: as Arrow where the driver gives it, else value by value in the declared types."""
    if hasattr(cursor, "fetch_arrow_table"):
        return cursor.fetch_arrow_table()
    names = [column[0] for column in cursor.description]
    if set(names) != set(declared.names) or len(names) != len(declared.names):
        # of_columns says which; without rows it needs no types
        return pa.table({name: pa.nulls(0) for name in names}) if len({*names}) == len(names) else _twice(names, what)
    fields = [declared.field(name) for name in names]
    batches = [
        pa.table(
            [_column(values, field, what) for values, field in zip(zip(*rows, strict=True), fields, strict=True)], names
        )
        for rows in _batches(cursor)
    ]
    return pa.concat_tables(batches) if batches else declared.empty_table()


def _batches(cursor: Any) -> Iterator[Sequence[Any]]:
    while rows := cursor.fetchmany(_ROWS_AT_ONCE):
        yield rows


def _column(values: Sequence[Any], field: pa.Field, what: str) -> pa.Array:
    if pa.types.is_timestamp(field.type):
        for value in values:
            if isinstance(value, dt.datetime) and (value.tzinfo is None) != (field.type.tz is None):
                has = "no time zone" if value.tzinfo is None else "a time zone"
                raise LandingRefused(f"{what}: column {field.name} has {has}, and should be {field.type}.")
    if pa.types.is_floating(field.type):
        values = [float(value) if isinstance(value, Decimal) else value for value in values]
    if pa.types.is_boolean(field.type):
        # some databases have no booleans
        values = [bool(value) if value in (0, 1) else value for value in values]
    for value in values:
        if _is_cut(value, field.type):
            raise LandingRefused(f"{what}: column {field.name} should be {field.type}, and {value!r} would be changed.")
    try:
        return pa.array(values, field.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        said = " ".join(str(error).split())
        raise LandingRefused(f"{what}: column {field.name} should be {field.type} ({said}).") from error


def _is_cut(value: Any, wanted: pa.DataType) -> bool:
    """Whether Arrow would cut a value without an error: a fraction, the time of a day, a number that is no date."""
    if pa.types.is_integer(wanted):
        return isinstance(value, float | Decimal) and value % 1 != 0
    if pa.types.is_date(wanted) and isinstance(value, dt.datetime):
        return value.time() != dt.time.min
    if pa.types.is_temporal(wanted):
        return isinstance(value, int | float)
    return False


def _twice(names: Sequence[str], what: str) -> pa.Table:
    twice = ", ".join(sorted({name for name in names if names.count(name) > 1}))
    raise LandingRefused(f"{what} gives several columns of one name: {twice}. Rename them in the query.")


def _refused(what: str, error: Exception) -> TailraceError:
    said = " ".join(str(error).split())
    if any(kind.__name__ in _SERVER for kind in type(error).__mro__):
        return Unavailable(f"{what} failed, as the database does not answer or refuses the connection: {said}.")
    return LandingRefused(f"{what} failed: {said}. Correct the query.")
