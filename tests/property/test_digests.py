"""The digest of rows in a given order is that of the rows put into that order, however they lie in memory."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
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


@given(ROWS, st.randoms(use_true_random=False), st.integers(1, 200))
def test_order_and_chunks_make_no_difference(rows, random, size):
    # Arrow pads buffers to eight bytes: slices of other numbers of rows would have other bytes.
    before, digests._ROWS = digests._ROWS, 64
    try:
        columns = zip(*rows, strict=True) if rows else [()] * len(TYPES)
        arrays = [pa.array(column, kind) for column, kind in zip(columns, TYPES.values(), strict=True)]
        table = pa.table(arrays, names=list(TYPES))
        order = pa.array(random.sample(range(len(rows)), len(rows)), pa.uint64())
        chunked = pa.Table.from_batches(table.to_batches(max_chunksize=size), table.schema)
        assert digests.rows_digest(chunked, order) == digests.rows_digest(table.take(order))
    finally:
        digests._ROWS = before


def test_other_rows_have_another_digest():
    rows = pa.table({"whole": [1, 2, 3]})
    assert digests.rows_digest(rows) != digests.rows_digest(rows, pa.array([2, 1, 0]))
