"""How the lake's files keep numbers: which encoding a column is given, and that every value comes back."""

from __future__ import annotations

import datetime as dt
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.lake.delta import DeltaLake

DAY = dt.date(2013, 3, 1)
ROWS = 20_000
RANDOM = np.random.default_rng(0)
TIME = pa.timestamp("us", "UTC")


def written(folder, column: pa.Array) -> tuple[pq.ColumnChunkMetaData, pa.ChunkedArray]:
    """How the file keeps the column, and what is read again."""
    lake = DeltaLake(str(folder))
    lake.publish(lake.stage("t", DAY, "r", pa.table({"x": column}).to_reader()), {})
    (file,) = folder.rglob("*.parquet")
    return pq.read_metadata(file).row_group(0).column(0), lake.read("t").read_all()["x"]


@pytest.mark.parametrize(
    ("column", "differences", "bytes_per_row"),
    [
        (pa.array(range(ROWS)), True, 0.1),
        (pa.array(range(ROWS), pa.int32()), True, 0.1),
        (pa.array(RANDOM.permutation(ROWS)), True, 3),
        (pa.array(range(ROWS)).cast(TIME), True, 0.1),
        (pa.array(RANDOM.integers(0, 9, ROWS)), False, 0.6),
        (pa.array(RANDOM.integers(0, 9, ROWS).astype(np.int32)).cast(pa.date32()), False, 0.6),
        (pa.array(RANDOM.random(ROWS)), False, 8.1),
        (pa.array([f"key {row}" for row in range(ROWS)]), False, 3),
    ],
    ids=["numbers in order", "int32", "any order", "times", "few numbers", "few days", "floats", "text"],
)
def test_integers_that_mostly_differ_are_kept_as_differences(tmp_path, column, differences, bytes_per_row):
    kept, again = written(tmp_path, column)
    assert again.combine_chunks().equals(column)
    assert ("DELTA_BINARY_PACKED" in kept.encodings) == differences
    assert kept.total_compressed_size <= bytes_per_row * ROWS


@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), max_size=300, unique=True))
@settings(max_examples=20, deadline=None)
def test_every_whole_number_comes_back(values):
    with tempfile.TemporaryDirectory() as root:
        lake = DeltaLake(root)
        rows = pa.table({"n": pa.array(values, pa.int64()), "at": pa.array(values, pa.int64()).cast(TIME)})
        lake.publish(lake.stage("t", DAY, "r", rows.to_reader()), {})
        again = lake.read("t").read_all()
        assert again["n"].to_pylist() == values
        assert again["at"].cast(pa.int64()).to_pylist() == values
