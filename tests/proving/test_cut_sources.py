"""The views that stand for a source's rows of a past day."""

from __future__ import annotations

import datetime as dt
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest

from tailrace.errors import BadInput
from tailrace.proving import schemas

CUT = schemas._Cut(
    dt.date(2026, 1, 4), {"orders"}, dt.datetime(2026, 1, 5, tzinfo=ZoneInfo("Europe/Rome")), "Europe/Rome"
)
"""In UTC the moment is 23:00 of the day before."""


@pytest.fixture
def database() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(
        """create table visits as select n as id, timestamptz '2026-01-04 22:30:00+00' + n * interval 1 hour as "at",
        timestamp '2026-01-04 23:30:00' + n * interval 1 hour as local, date '2026-01-05' + n as ds
        from (select unnest([0, 1, 2])::int as n)"""
    )
    return connection


@pytest.fixture
def adapter(database: duckdb.DuckDBPyConnection) -> Any:
    handle = SimpleNamespace(cursor=lambda: database)
    return SimpleNamespace(type="duckdb", connected=lambda: nullcontext(handle), cleaned=lambda message: message)


def cut(adapter: Any, time: str, landed: bool = False) -> int:
    return schemas._prepare(adapter, "main", [schemas._View("shop__visits", "visits", time, landed)], CUT)


def test_the_rows_that_are_cut_are_counted(adapter: Any) -> None:
    assert cut(adapter, '"at"') == 2
    assert schemas._prepare(adapter, "main", [schemas._View("shop__customers", "visits")], CUT) == 0


@pytest.mark.parametrize("session", ["UTC", "America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize(("time", "seen"), [('"at"', 1), ("local", 1), ("local + interval 0 second", 1), ("ds", 1)])
def test_the_same_rows_are_seen_in_every_session(
    adapter: Any, database: duckdb.DuckDBPyConnection, time: str, seen: int, session: str
) -> None:
    """Times without a zone, and days, are those of the project's zone."""
    assert cut(adapter, time) == 3 - seen
    database.execute(f"set timezone = '{session}'")
    assert len(database.execute("select id from shop__visits").fetchall()) == seen


def test_landed_days_are_cut_by_their_day(adapter: Any) -> None:
    assert cut(adapter, schemas.DAY_OF_LANDING, landed=True) == 3


@pytest.mark.parametrize("time", ["at", "visited", "id", "cast("])
def test_a_time_that_the_database_does_not_take_is_named(adapter: Any, time: str) -> None:
    with pytest.raises(BadInput, match=r"source shop\.visits cannot be cut by .* known_at or loaded_at_field must be"):
        cut(adapter, time)
