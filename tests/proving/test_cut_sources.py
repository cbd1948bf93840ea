"""The views that stand for a source's rows of a past day."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from tailrace.errors import BadInput
from tailrace.proving import schemas

VIEW = ("shop__visits", "visits")


@pytest.fixture
def adapter() -> Any:
    connection = duckdb.connect()
    connection.execute("create table visits as select 1 as id, timestamptz '2026-01-05 00:00:00+00' as \"at\"")
    handle = SimpleNamespace(cursor=lambda: connection)
    return SimpleNamespace(connected=lambda: nullcontext(handle), cleaned=lambda message: message)


def cut(adapter: Any, time: str) -> int:
    return schemas._prepare(adapter, "main", [(*VIEW, f"{time} <= timestamptz '2026-01-04 00:00:00+00'")])


def test_the_rows_that_are_cut_are_counted(adapter: Any) -> None:
    assert cut(adapter, '"at"') == 1
    assert schemas._prepare(adapter, "main", [("shop__customers", "visits", "")]) == 0


@pytest.mark.parametrize("time", ["at", "visited", "id", "cast("])
def test_a_time_that_the_database_does_not_take_is_named(adapter: Any, time: str) -> None:
    with pytest.raises(
        BadInput, match=r"source shop\.visits cannot be cut where .* known_at or loaded_at_field must be"
    ):
        cut(adapter, time)
