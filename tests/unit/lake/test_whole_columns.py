"""Rows of a scan whose columns are filled piece by piece are the rows that a reader gives."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal

import pyarrow as pa
import pytest

from tailrace.errors import BadInput
from tailrace.lake.delta import DeltaLake
from tailrace.lake.memory import MemoryLake
from tailrace.training import whole_columns

FIRST = dt.date(2013, 1, 1)
ROWS = 700


def rows(day: dt.date, seed: int) -> pa.Table:
    some = random.Random(seed)

    def mostly(values, kind):
        return pa.array([None if seed and some.random() < 0.3 else value for value in values], kind)

    numbers = [some.randrange(-99, 99) for _ in range(ROWS)]
    return pa.table(
        {
            "whole": mostly(numbers, pa.int64()),
            "small": mostly(numbers, pa.int8()),
            "number": mostly([number / 7 for number in numbers], pa.float64()),
            "moment": pa.array([dt.datetime(2013, 1, 1, tzinfo=dt.UTC)] * ROWS, pa.timestamp("us", "UTC")),
            "text": mostly([str(number) for number in numbers], pa.string()),
            "flag": mostly([number > 0 for number in numbers], pa.bool_()),
            "price": mostly([Decimal(number) for number in numbers], pa.decimal128(10, 2)),
            "empty": pa.nulls(ROWS, pa.float64()),
            "ds": pa.array([day] * ROWS, pa.date32()),
        }
    )


@pytest.mark.parametrize("kind", ["memory", "delta"])
def test_the_rows_are_those_of_the_reader(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(whole_columns, "_PART_VALUES", 4500)
    lake = MemoryLake() if kind == "memory" else DeltaLake(str(tmp_path))
    for number in range(3):
        day = FIRST + dt.timedelta(days=number)
        lake.publish(lake.stage("t", day, "r", rows(day, number).to_reader()), {})
    for columns in (None, ["text", "whole", "ds"]):
        scan = lake.scan(lake.pin("t"), columns)
        found = whole_columns.read(scan)
        found.validate(full=True)
        assert found == scan.reader().read_all()
        assert {column.num_chunks for column in found.columns} == {1}
    nothing = lake.scan(lake.pin("t", first=dt.date(2014, 1, 1)))
    assert whole_columns.read(nothing) == nothing.reader().read_all()


class Misstated:
    """A scan of one part, whose table's log states another number of rows than its file has."""

    schema = pa.schema([("whole", pa.int64())])

    def __init__(self, stated: int, has: int) -> None:
        self.rows, self._has = stated, has

    def parts(self, rows: int):
        return (self,)

    def batches(self):
        return iter(pa.table({"whole": range(self._has)}).to_batches(max_chunksize=3))


@pytest.mark.parametrize("has", [4, 6, 9])
def test_a_file_with_other_rows_than_its_log_states_is_refused(has):
    with pytest.raises(BadInput, match=f"A pinned file has {has} rows where its table's log says 5"):
        whole_columns.read(Misstated(5, has))
