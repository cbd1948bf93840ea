"""A bounded sample of a mart says which rows of the mart it does not look at."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tailrace.errors import BadInput
from tailrace.profiling import page, windows
from tailrace.profiling.exploration import explore
from tailrace.scaffold import samples
from tailrace.warehouse.adapter_types import in_arrow

TODAY = dt.date(2026, 2, 1)
DAYS = [dt.date(2026, 1, 10), dt.date(2026, 1, 11)]
FUTURE, LONG_AGO = dt.date(2126, 1, 1), dt.date(1, 1, 1)


class Table:
    """A mart of one column: what `samples.read` asks `MartReader` for."""

    def __init__(self, days):
        self.rows = pa.table({"day": pa.array(days, pa.date32())})

    def columns(self, table):
        return (in_arrow("day", pa.date32()),)

    def newest(self, table, day):
        return pc.max(self.rows["day"]).as_py()

    def days(self, table, day, first, last):
        counted = Counter(each for each in self.rows["day"].to_pylist() if each and first <= each <= last)
        return dict(sorted(counted.items()))

    def sample(self, table, rows):
        return self.rows.slice(0, rows)

    def schema(self, table, columns):
        return self.rows.schema

    def read(self, table, day, *, day_column, columns):
        return self.rows.filter(pc.equal(self.rows["day"], pa.scalar(day))).to_reader()


def sampled(days, rows=100):
    return samples.read(Table(days), "ml.orders", day="day", rows=rows, today=TODAY)


def test_rows_without_a_day_and_those_of_other_times_are_counted():
    found = sampled([None, LONG_AGO, *DAYS, FUTURE])
    assert found.words == "All 2 rows of 2 days were read."
    future, dayless = found.left_out
    assert future.startswith("ml.orders: 1 rows of days from 2126-01-01 to 2126-01-01 are left out")
    assert dayless == "ml.orders: 2 rows are left out: their day is missing, or before 1900."
    assert page._facts(explore("ml.orders", found.rows, left_out=found.left_out))["Left out"] == f"{future} {dayless}"
    assert not sampled(DAYS).left_out


def test_rows_without_a_day_do_not_take_the_place_of_others():
    found = sampled([*[None] * 10, *DAYS], rows=5)
    assert (found.rows["day"].to_pylist(), found.complete) == (DAYS, True)


@pytest.mark.parametrize(
    ("days", "said"),
    [([FUTURE], "1 rows of days from 2126"), ([None, None], "2 rows are left out: their day"), ([], "has no rows;")],
)
def test_a_table_of_which_no_row_counts_is_not_said_to_be_empty(days, said):
    found = sampled(days)
    with pytest.raises(BadInput, match=said):
        windows.span_of("ml.orders", found.days, found.left_out)
