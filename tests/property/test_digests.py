"""The digest of rows in a given order is that of the rows put into that order, however they lie in memory."""

from __future__ import annotations

from decimal import Decimal
from random import Random

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.lineage import digests

ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(),
        st.none() | st.text(max_size=3),
        st.none() | st.booleans(),
    ),
    max_size=200,
)
TYPES = {"whole": pa.int64(), "number": pa.float64(), "text": pa.string(), "flag": pa.bool_()}


@settings(deadline=None)
@given(ROWS, st.randoms(use_true_random=False), st.integers(1, 200))
def test_chunks_make_no_difference(rows, random, size):
    # Arrow pads buffers to eight bytes: slices of other numbers of rows would have other bytes.
    before, digests._ROWS = digests._ROWS, 64
    try:
        columns = zip(*rows, strict=True) if rows else [()] * len(TYPES)
        arrays = [pa.array(column, kind) for column, kind in zip(columns, TYPES.values(), strict=True)]
        table = pa.table(arrays, names=list(TYPES))
        shuffled = pa.array(random.sample(range(len(rows)), len(rows)), pa.int64())
        chunked = pa.Table.from_batches(table.to_batches(max_chunksize=size), table.schema)
        assert digests.rows_digest(chunked) == digests.rows_digest(table)
        # What lies where a value is missing may be another: that of a row that was moved.
        assert digests.rows_digest(chunked.take(shuffled).take(pc.sort_indices(shuffled))) == digests.rows_digest(table)
    finally:
        digests._ROWS = before


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.integers(0, 3000), st.integers(1, 1500))
def test_rows_that_are_gathered_have_the_digest_of_rows_that_were_moved(seed, rows, size):
    random, before, digests._ROWS = Random(seed), digests._ROWS, 512
    try:
        missing = random.choice([0.0, 0.001, 0.9, 1.0])

        def some(values, kind):
            return pa.array([None if random.random() < missing else value for value in values], kind)

        numbers = [random.randrange(-99, 99) for _ in range(rows)]
        texts = [random.choice(["é" * 40, ""]) for _ in range(rows)]
        table = pa.table(
            {
                "whole": some(numbers, pa.int64()),
                "small": some(numbers, pa.int8()),
                "number": pa.array([number / 7 for number in numbers], pa.float64()),
                "text": some(texts, pa.string()),
                "flag": some([number > 0 for number in numbers], pa.bool_()),
                "day": some(numbers, pa.date32()),
                "price": some([Decimal(number) for number in numbers], pa.decimal128(10, 2)),
                "none": pa.nulls(rows),
            }
        )
        order = pa.array(random.sample(range(rows), random.choice([rows, rows // 2])), pa.int64())
        chunked = pa.Table.from_batches(table.to_batches(max_chunksize=size), table.schema)
        assert digests.rows_digest(chunked, order) == digests.rows_digest(table.take(order))
    finally:
        digests._ROWS = before


@settings(deadline=None, max_examples=50)
@given(st.randoms(use_true_random=False), st.integers(0, 3000), st.integers(1, 1500))
def test_rows_that_come_in_batches_have_the_same_digest(random, rows, size):
    # The bits of 512 flags fill 64 bytes, to which Arrow pads: a text column alone depends on what follows a slice.
    before, digests._ROWS = digests._ROWS, 512
    try:
        rare, longest = random.choice([0.0, 0.01, 0.9, 1.0]), random.choice([0, 1, 9, 90])
        texts = ["é" * random.randint(0, longest) if random.random() < rare else None for _ in range(rows)]
        table = pa.table(
            {"text": pa.array(texts, pa.string()), "whole": pa.array(range(rows), pa.int64()), "none": pa.nulls(rows)}
        )
        digest = digests.RowsDigest(table.schema)
        for batch in table.to_batches(max_chunksize=size):
            digest.add(batch)
        assert digest.hexdigest() == digests.rows_digest(table)
    finally:
        digests._ROWS = before


@pytest.mark.parametrize("kind", [pa.int64(), pa.float32(), pa.timestamp("us", "UTC"), pa.decimal128(9, 2), pa.bool_()])
def test_what_lies_where_a_value_is_missing_makes_no_difference(kind):
    """DuckDB leaves the bytes of another query there."""
    seen = set()
    for left in (b"\x00", b"\x55", b"\xff"):
        missing = pa.Array.from_buffers(kind, 4, [pa.py_buffer(b"\x00"), pa.py_buffer(left * 64)])
        rows = pa.record_batch({"value": missing}).slice(1)
        digest = digests.RowsDigest(rows.schema)
        digest.add(rows)
        seen.add(digest.hexdigest())
    rows = pa.table({"value": pa.array([None] * 3, kind)})
    assert seen == {digests.rows_digest(rows)}


def test_batches_wait_only_until_they_are_hashed(monkeypatch):
    monkeypatch.setattr(digests, "_ROWS", 512)
    batch = pa.record_batch({"text": ["some text"] * 100, "whole": range(100)})
    digest = digests.RowsDigest(batch.schema)
    for _ in range(50):
        digest.add(batch)
        assert digest.waiting <= 512 + 100


def test_other_rows_have_another_digest():
    rows = pa.table({"whole": [1, 2, 3]})
    assert digests.rows_digest(rows) != digests.rows_digest(rows.take(pa.array([2, 1, 0])))
