"""The rows to be judged, in a temporary DuckDB file.

NaN is missing, as for the models: it becomes null here. Times are in UTC on any host. The rows of a range are in one
table, with a view for each day.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from tailrace import days as calendar
from tailrace.errors import SchemaMismatch

MEMORY = "1GB"
"""How much memory DuckDB may use before it spills to disk, next to its file."""

TABLE = "rows"
DAY = "ds"


@contextmanager
def opened(database: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that returns times in UTC."""
    with duckdb.connect(str(database), config={"memory_limit": MEMORY}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield connection


@contextmanager
def in_memory() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a database without a file, for a few rows."""
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield connection


def load(database: Path, rows: pa.RecordBatchReader) -> int:
    """Stream the rows into the table, with null for NaN; returns how many there are. Raises SchemaMismatch."""
    with opened(database) as connection:
        return fill(connection, rows)


def fill(connection: duckdb.DuckDBPyConnection, rows: pa.RecordBatchReader) -> int:
    """The same over a connection; the table's former rows are gone."""
    refuse_names_of_two_cases(rows.schema.names)
    connection.register("incoming", rows)
    query = f"create or replace table {TABLE} as select {_without_nan(rows.schema)} from incoming"  # noqa: S608 - quoted
    created = connection.execute(query).fetchone()
    connection.unregister("incoming")
    return int(created[0]) if created else 0


def split(database: Path, schema: pa.Schema, first: dt.date, last: dt.date) -> Mapping[dt.date, str]:
    """Make a view for each of the days; their names by day. Raises SchemaMismatch if a row belongs to none of them."""
    refuse_other_days(schema)
    views = {day: f"day_{day:%Y%m%d}" for day in calendar.span(first, last)}
    with opened(database) as connection:
        outside = f"{DAY} is null or {DAY} not between date '{first}' and date '{last}'"
        found = connection.execute(f"select count(*) from {TABLE} where {outside}").fetchone()  # noqa: S608 - dates
        refuse_rows_of_other_days(found[0] if found else 0, first, last)
        for day, view in views.items():
            connection.execute(f"create view {view} as select * from {TABLE} where {DAY} = date '{day}'")  # noqa: S608
    return views


def own_query(query: Any, table: str) -> str:
    """A suite's own SQL on that table."""
    return str(query).strip().rstrip(";").replace("{batch}", table)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def refuse_names_of_two_cases(names: Sequence[str]) -> None:
    """Raise SchemaMismatch if two columns have the same name in SQL."""
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            raise SchemaMismatch(
                f"The columns {seen[name.lower()]!r} and {name!r} have the same name in SQL, which ignores case. "
                "Rename one of them in its dbt model."
            )
        seen[name.lower()] = name


def refuse_other_days(schema: pa.Schema) -> None:
    """Raise SchemaMismatch if the rows have no column for their day."""
    if DAY not in schema.names or not pa.types.is_date(schema.field(DAY).type):
        raise SchemaMismatch(f"Rows of several days need a column {DAY!r} of type date, to be judged day by day.")


def refuse_rows_of_other_days(rows: int, first: dt.date, last: dt.date) -> None:
    """Raise SchemaMismatch if some rows would not be judged because they belong to no day."""
    if rows:
        raise SchemaMismatch(f"{rows} rows do not belong to any day from {first} to {last}, by their column {DAY!r}.")


def _without_nan(schema: pa.Schema) -> str:
    floats = [quoted(field.name) for field in schema if pa.types.is_floating(field.type)]
    if not floats:
        return "*"
    return f"* replace ({', '.join(f'case when isnan({name}) then null else {name} end as {name}' for name in floats)})"
