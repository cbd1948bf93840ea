"""Every table of a lake, read by other tools, whole and by day: the rows and types that the lake itself reads."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, QueryBuilder

from tailrace.champions import promotions
from tailrace.champions.promotions import Promotion
from tailrace.errors import PinLost
from tailrace.lake.delta import DeltaLake

DAYS = tuple(dt.date(2013, 3, day) for day in (1, 2, 3))
INSTANT = dt.datetime(2013, 3, 10, 6, 59, 59, 123456, tzinfo=dt.UTC)
EVERY_TYPE = pa.table(
    {
        "key": pa.array(["a", "b", None, "x" * 99]),
        "yes": pa.array([True, None, False, True]),
        "tiny": pa.array([-128, 127, None, 0], pa.int8()),
        "short": pa.array([-32768, None, 1, 2], pa.int16()),
        "int": pa.array([None, 1, 2, 3], pa.int32()),
        "long": pa.array([2**62, None, -1, 0], pa.int64()),
        "float": pa.array([1.5, float("inf"), None, -0.0], pa.float32()),
        "double": pa.array([0.1, None, 5e-324, float("-inf")], pa.float64()),
        "money": pa.array([Decimal("12345678901234567.89"), None, Decimal("-0.01"), Decimal(0)], pa.decimal128(19, 2)),
        "bytes": pa.array([b"\x00\xff", None, b"", b"x"], pa.binary()),
        "on": pa.array([dt.date(1900, 1, 1), None, dt.date(9999, 12, 31), DAYS[0]], pa.date32()),
        "at": pa.array(
            [INSTANT, None, dt.datetime(1969, 12, 31, tzinfo=dt.UTC), dt.datetime(1900, 1, 1, tzinfo=dt.UTC)],
            pa.timestamp("us", "UTC"),
        ),
    }
)
MANY = pa.table(
    {
        "key": pa.array(range(-300, 300), pa.int64()),
        "far": pa.array([(-1) ** row * (2**62 + row) if row % 7 else None for row in range(600)], pa.int64()),
        "short": pa.array(range(-300, 300), pa.int16()),
        "on": pa.array(range(600), pa.int32()).cast(pa.date32()),
        "at": pa.array([row**5 if row % 5 else None for row in range(600)], pa.int64()).cast(pa.timestamp("us", "UTC")),
    }
)
"""Numbers and times that mostly differ: the lake's files have their differences, in several blocks."""

PREDICTIONS = pa.table(
    {"key": ["a", "b"], "score": [0.25, 0.5], "decision": [False, True], "model_version": ["1", "1"]}
)
EMPTY = PREDICTIONS.schema.empty_table()


def fill(lake: DeltaLake) -> None:
    """Days published, published again, empty, or before the table gained columns; and a table that is appended to."""
    for day in DAYS:
        put(lake, "features/churn", day, EVERY_TYPE)
        put(lake, "outcomes/churn", day, EVERY_TYPE.select(["key", "yes", "at"]))
        put(lake, "predictions/churn", day, PREDICTIONS)
        put(lake, "performance/churn", day, pa.table({"metric": ["auc"], "value": [0.75]}))
    put(lake, "numbers/churn", DAYS[0], MANY)
    lake.add_columns("performance/churn", pa.schema({"rows": pa.int64(), "note": pa.string()}))
    late = pa.table({"metric": ["auc", "brier"], "value": [0.5, 0.25], "rows": [7, None], "note": [None, "few rows"]})
    put(lake, "performance/churn", DAYS[2], late, run="late")
    put(lake, "features/churn", DAYS[1], EVERY_TYPE.slice(1), run="scheduled__2013-03-02T00:00:00+00:00=2")
    put(lake, "predictions/churn", DAYS[2], EMPTY)
    for version, effective in (("1", DAYS[0]), ("2", DAYS[1]), ("3", DAYS[1])):
        promotions.record(
            lake,
            Promotion(
                pipeline="churn",
                version=version,
                effective_from=effective,
                recorded_at=INSTANT,
                training_run="run",
                decided_by="ada",
                reason="it is better",
            ),
        )


def put(lake: DeltaLake, table: str, day: dt.date, rows: pa.Table, run: str = "r") -> None:
    lake.publish(lake.stage(table, day, run, rows.to_reader()), {})


TABLES = ("features/churn", "outcomes/churn", "predictions/churn", "performance/churn", "numbers/churn", "promotions")


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> DeltaLake:
    filled = DeltaLake(str(tmp_path_factory.mktemp("lake")))
    fill(filled)
    return filled


# ---------------------------------------------------------------- readers: a table whole, or one day of it


def polars_read(path: str, day: dt.date | None) -> pa.Table:
    import polars as pl

    whole = pl.read_delta(path)
    return (whole if day is None else whole.filter(pl.col("ds") == day)).to_arrow()


def polars_scan(path: str, day: dt.date | None) -> pa.Table:
    import polars as pl

    lazy = pl.scan_delta(path)
    return (lazy if day is None else lazy.filter(pl.col("ds") == day)).collect().to_arrow()


def pyarrow_dataset(path: str, day: dt.date | None) -> pa.Table:
    found = DeltaTable(path).to_pyarrow_dataset()
    return found.to_table(filter=None if day is None else pc.field("ds") == day)


def delta_sql(path: str, day: dt.date | None) -> pa.Table:
    where = "" if day is None else f" where ds = date '{day}'"
    return pa.table(QueryBuilder().register("t", DeltaTable(path)).execute(f"select * from t{where}").read_all())  # noqa: S608


def pandas(path: str, day: dt.date | None) -> pa.Table:
    filters = None if day is None else [("ds", "=", day)]
    frame = DeltaTable(path).to_pandas(filters=filters, types_mapper=_arrow_backed())
    return pa.Table.from_pandas(frame, preserve_index=False)


def _arrow_backed() -> Callable[[pa.DataType], object]:
    from pandas import ArrowDtype

    return ArrowDtype


def duckdb(path: str, day: dt.date | None) -> pa.Table:
    import duckdb

    delta = DeltaTable(path).to_pyarrow_dataset()
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        relation = connection.from_arrow(delta)
        return (relation if day is None else relation.filter(f"ds = date '{day}'")).to_arrow_table()


READERS = [polars_read, polars_scan, pyarrow_dataset, delta_sql, pandas, duckdb]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_every_reader_reads_what_the_lake_reads(lake, read, table):
    assert_reads_alike(lake, table, lambda day: read(f"{lake.tables.root}/{table}", day))


def assert_reads_alike(lake: DeltaLake, table: str, read: Callable[[dt.date | None], pa.Table]) -> None:
    daily = "ds" in lake.schema(table).names
    for day in (None, *(DAYS if daily else ())):
        expected = lake.read(table, first=day, last=day).read_all()
        assert plain(read(day), expected.schema) == plain(expected, expected.schema), (table, day)


def plain(rows: pa.Table, schema: pa.Schema) -> list[tuple]:
    """The rows in one order, after comparing the types: text may be of any width, times of any unit that keeps them."""
    assert sorted(rows.column_names) == sorted(schema.names)
    assert {name: kind(rows.schema.field(name).type) for name in schema.names} == {
        name: kind(schema.field(name).type) for name in schema.names
    }
    columns = [rows[name].cast(schema.field(name).type).to_pylist() for name in schema.names]
    return sorted(zip(*columns, strict=True), key=repr)


def kind(of: pa.DataType) -> str:
    if pa.types.is_large_string(of) or pa.types.is_string_view(of):
        return "string"
    if pa.types.is_large_binary(of) or pa.types.is_binary_view(of):
        return "binary"
    return "timestamp[UTC]" if pa.types.is_timestamp(of) and of.tz in ("UTC", "Etc/UTC", "+00:00") else str(of)


# ---------------------------------------------------------------- tables of earlier releases


@pytest.fixture
def earlier(tmp_path) -> DeltaLake:
    """A lake as earlier releases left it: each run's files in a folder `run=<id>`."""
    fill(DeltaLake(str(tmp_path)))
    for folder in [path for path in tmp_path.rglob("run-*") if path.is_dir()]:
        folder.rename(folder.with_name(folder.name.replace("run-", "run=", 1)))
    for entry in tmp_path.rglob("_delta_log/*.json"):
        entry.write_text(entry.read_text().replace("/run-", "/run="))
    return DeltaLake(str(tmp_path))


def test_tables_of_earlier_releases_are_put_right_by_upkeep(earlier):
    from polars.exceptions import PolarsError

    table = "features/churn"
    pin, before, commits = earlier.pin(table), earlier.read(table).read_all(), earlier.commits(table)
    staged = earlier.stage(table, DAYS[0], "during", EVERY_TYPE.slice(2).to_reader())
    with pytest.raises(PolarsError, match="run"):
        polars_read(f"{earlier.tables.root}/{table}", None)
    assert [earlier.optimize(name) for name in TABLES] == [3, 3, 2, 3, 1, 3]
    assert [earlier.optimize(name) for name in TABLES] == [0, 0, 0, 0, 0, 0]
    for name in TABLES:
        for read in (polars_read, polars_scan):
            assert_reads_alike(earlier, name, partial(read, f"{earlier.tables.root}/{name}"))
    assert earlier.read(table).read_all().equals(before)
    assert earlier.commits(table) == commits
    assert earlier.read_pin(earlier.pin(table)).read_all().equals(before)
    again = earlier.stage(table, DAYS[2], "again", EVERY_TYPE.to_reader())
    assert earlier.publish(again, {}).unchanged
    later = DeltaLake(earlier.tables.root, now=lambda: dt.datetime.now(dt.UTC) + dt.timedelta(days=9))
    later.publish(staged, {})
    later.vacuum(table, keep=[pin])
    assert later.read_pin(pin).read_all().equals(before)
    assert later.read(table, first=DAYS[0], last=DAYS[0]).read_all().num_rows == 2
    later.vacuum(table)
    with pytest.raises(PinLost):
        later.read_pin(pin)


# ---------------------------------------------------------------- readers that are servers


@pytest.mark.spark
def test_pysail_reads_what_the_lake_reads(lake):
    from pysail.spark import SparkConnectServer
    from pyspark.sql.connect.session import SparkSession

    server = SparkConnectServer(ip="127.0.0.1", port=0)
    server.start(background=True)
    host, port = server.listening_address
    session = SparkSession.builder.remote(f"sc://{host}:{port}").create()
    try:
        session.conf.set("spark.sql.session.timeZone", "UTC")
        for table in TABLES:

            def read(day: dt.date | None, path: str = f"{lake.tables.root}/{table}") -> pa.Table:
                frame = session.read.format("delta").load(path)
                return (frame if day is None else frame.where(f"ds = date'{day}'")).toArrow()

            assert_reads_alike(lake, table, read)
    finally:
        session.stop()
        server.stop()


@pytest.mark.spark
def test_spark_reads_the_files_of_a_table(lake, tmp_path):
    from tailrace.engines.spark import tables
    from tailrace.engines.spark.session import open_session
    from tailrace.settings import SparkSettings

    session = open_session(SparkSettings(master="local[2]", driver_memory="512m", log=str(tmp_path / "log")), "tests")
    try:
        for table in TABLES:

            def read(day: dt.date | None, table: str = table) -> pa.Table:
                return tables.read(session, lake.scan(lake.pin(table, first=day, last=day))).toArrow()

            assert_reads_alike(lake, table, read)
    finally:
        session.stop()
