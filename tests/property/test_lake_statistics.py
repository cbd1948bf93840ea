"""Whatever times, days and numbers the lake accepts, other readers with a filter find the rows that it holds."""

from __future__ import annotations

import datetime as dt
import operator
import tempfile

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, QueryBuilder
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tailrace.lake.delta import DeltaLake

DAYS = dt.date(2013, 3, 1), dt.date(2013, 3, 2)
TIME = pa.timestamp("us", "UTC")
LONGEST, INFINITY = 2**63, 2**31
YEAR_1, YEAR_10000 = -62_135_596_800_000_000, 253_402_300_800_000_000
FILTERS = {"=": operator.eq, "<": operator.lt, ">=": operator.ge}

times = st.one_of(
    st.sampled_from([YEAR_1, YEAR_1 - 1, YEAR_10000 - 1, YEAR_10000 - 1000, YEAR_10000, LONGEST - 1, -LONGEST, 0, 999]),
    st.integers(-LONGEST, LONGEST - 1),
    st.integers(YEAR_1, YEAR_10000),
)
days = st.one_of(
    st.sampled_from([-719_162, -719_163, 2_932_896, 2_932_897, INFINITY - 1, -INFINITY]),
    st.integers(-INFINITY, INFINITY - 1),
    st.integers(-719_162, 2_932_896),
)
numbers = st.one_of(st.floats(), st.sampled_from([float("nan"), float("inf"), -0.0, 0.1, 1e308]))
rows = st.tuples(*(st.one_of(st.none(), values) for values in (times, days, numbers)))


def table(held: list[tuple]) -> pa.Table:
    columns = list(zip(*held, strict=True))
    return pa.table(
        {
            "n": pa.array(range(len(held)), pa.int64()),
            "at": pa.array(columns[0], pa.int64()).cast(TIME),
            "on": pa.array(columns[1], pa.int32()).cast(pa.date32()),
            "x": pa.array(columns[2], pa.float64()),
        }
    )


@given(st.tuples(st.lists(rows, min_size=1, max_size=3), st.lists(rows, min_size=1, max_size=3)), rows)
@example(([(YEAR_10000 - 1, 2**31 - 1, float("inf"))], [(0, 0, 1.0)]), (0, 0, 0.0))
@example(([(YEAR_1 + 899 * 31_556_952_000_000, -400_000, 2.0)], [(0, 0, float("nan"))]), (0, 0, 1.0))
@settings(max_examples=8, deadline=None)
def test_a_filter_finds_the_same_rows_in_every_reader(held, bounds):
    with tempfile.TemporaryDirectory() as root:
        lake = DeltaLake(root)
        for day, some in zip(DAYS, held, strict=True):
            lake.publish(lake.stage("t", day, "r", table(some).to_reader()), {})
        whole = lake.read("t").read_all()
        for bound in [bounds, held[0][0]]:
            for name, at in zip(("at", "on", "x"), range(3), strict=True):
                # What NaN is compared with is each reader's own matter.
                if bound[at] is not None and bound[at] == bound[at]:
                    assert_found(f"{root}/t", whole, name, table([bound])[name][0])


def assert_found(path: str, whole: pa.Table, name: str, bound: pa.Scalar) -> None:
    delta = DeltaTable(path)
    for sign, compare in FILTERS.items():
        expected = sorted(whole.filter(compare(pc.field(name), bound))["n"].to_pylist())
        found = delta.to_pyarrow_dataset().to_table(filter=compare(pc.field(name), bound))
        assert sorted(found["n"].to_pylist()) == expected, (name, sign, bound)
        condition = compare(pl.col(name), pl.from_arrow(pa.array([bound])).first() if name == "x" else literal(bound))
        expected = pl.from_arrow(whole).filter(condition)["n"].sort().to_list()
        assert pl.scan_delta(path).filter(condition).collect()["n"].sort().to_list() == expected, (name, sign, bound)


def literal(bound: pa.Scalar) -> pl.Expr:
    """A value that Python's own times and days may not be able to hold."""
    kind = pl.Datetime("us", "UTC") if pa.types.is_timestamp(bound.type) else pl.Date
    return pl.lit(bound.value, dtype=pl.Int64 if kind != pl.Date else pl.Int32).cast(kind)


@pytest.mark.parametrize("value", [YEAR_1, YEAR_10000 - 1, LONGEST - 1, -LONGEST, -LONGEST + 1])
def test_delta_rs_sql_finds_times_at_the_edge(tmp_path, value):
    lake = DeltaLake(str(tmp_path))
    for day, at in zip(DAYS, (value, 0), strict=True):
        lake.publish(lake.stage("t", day, "r", table([(at, 0, 1.0)]).to_reader()), {})
    before = "select ds from t where at < timestamp '1970-01-01 00:00:00Z'"
    after = "select ds from t where at > timestamp '1970-01-01 00:00:00Z'"
    sql = QueryBuilder().register("t", DeltaTable(str(tmp_path / "t")))
    found = pa.table(sql.execute(before if value < 0 else after).read_all())
    assert found["ds"].to_pylist() == [DAYS[0]]
