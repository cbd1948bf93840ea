"""The order of rows is Arrow's, however it is found."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.training import row_order as rows_in_order
from tailrace.training.row_order import row_order

INT64 = st.integers(-(2**63), 2**63 - 1)
FEW = st.integers(-3, 3)
MOMENTS = st.integers(0, 2**42).map(lambda microseconds: microseconds - 2**41)
SECONDS = st.integers(-(10**6), 10**6).map(lambda seconds: seconds * 1_000_000)
DAYS = st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1))
COLUMNS = [
    (FEW, pa.int8()),
    (FEW, pa.int64()),
    (INT64, pa.int64()),
    (MOMENTS, pa.timestamp("us", "UTC")),
    (SECONDS, pa.timestamp("us", "UTC")),
    (DAYS, pa.date32()),
    (st.one_of(FEW, st.none()), pa.int64()),
    (st.sampled_from(["a", "b", ""]), pa.string()),
    (st.sampled_from([0.5, float("nan"), -1.0]), pa.float64()),
]


@st.composite
def tables(draw) -> pa.Table:
    columns = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=3))
    count = draw(st.integers(0, 30))
    found = {
        f"c{place}": pa.array(draw(st.lists(values, min_size=count, max_size=count)), kind)
        for place, (values, kind) in enumerate(columns)
    }
    cut = draw(st.integers(0, count))
    whole = pa.table(found)
    return pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])


@given(tables())
def test_it_is_the_order_of_arrows_stable_sort(rows):
    by = rows.column_names
    expected = pc.sort_indices(rows, [(name, "ascending") for name in by])
    assert row_order(rows, by).to_pylist() == expected.to_pylist()


@pytest.mark.parametrize(
    ("columns", "packed"),
    [
        ({"key": pa.array([5, 3, 9])}, True),
        ({"key": pa.array([-(2**63), 2**63 - 1])}, False),
        ({"key": pa.array([1, 2, 2**40]), "at": pa.array([0, 1, 2**42], pa.timestamp("us", "UTC"))}, False),
        ({"key": pa.array([1, 2**40]), "at": pa.array([0, 2**20 * 1_000_000], pa.timestamp("us", "UTC"))}, True),
        ({"key": pa.array(["a", "b"])}, False),
        ({"key": pa.array([1, None])}, False),
        ({"key": pa.array([], pa.int64())}, False),
    ],
)
def test_whole_numbers_that_have_room_are_packed(columns, packed):
    rows = pa.table(columns)
    assert (rows_in_order._packed(rows.columns, rows.num_rows) is not None) is packed


@pytest.mark.parametrize(("keys", "sorts"), [([4, 2**40, 3], 0), ([4, 2**40, 4], 1)])
def test_what_has_no_room_beside_a_key_that_tells_all_rows_apart_is_not_sorted_by(keys, sorts, monkeypatch):
    rows = pa.table({"key": pa.array(keys), "at": pa.array([5, 2**50, 1], pa.timestamp("us", "UTC"))})
    expected = pc.sort_indices(rows, [("key", "ascending"), ("at", "ascending")]).to_pylist()
    called = []
    monkeypatch.setattr(
        rows_in_order.pc,
        "sort_indices",
        lambda *given: (
            called.append(given) or pc.call_function("sort_indices", list(given[:1]), pc.SortOptions(given[1]))
        ),
    )
    assert row_order(rows, ["key", "at"]).to_pylist() == expected
    assert len(called) == sorts
