"""Lake tables as DataFrames and back, on a real session: the same rows that Arrow reads."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from tailrace.engines.local import LocalEngine
from tailrace.engines.spark import scoring, tables
from tailrace.engines.spark.application import Application
from tailrace.engines.spark.failures import spark_errors
from tailrace.engines.spark.session import open_session
from tailrace.errors import BadInput, JobFailed, SchemaMismatch, StagingGone
from tailrace.lake.delta import DeltaLake
from tailrace.lake.memory import MemoryLake
from tailrace.settings import SparkSettings
from tailrace.spec import LABEL
from tailrace.training.arrow_rows import ArrowRows
from tests.delta_tables import delete_rows
from tests.support import churn_rows, keyed

DAY, NEXT = dt.date(2013, 3, 1), dt.date(2013, 3, 2)
INSTANT = dt.datetime(2013, 3, 10, 6, 59, 59, 123456, tzinfo=dt.UTC)
EVERY_TYPE = pa.table(
    {
        "key": pa.array(["a", "b", None, ""]),
        "yes": pa.array([True, None, False, True]),
        "tiny": pa.array([-128, 127, None, 0], pa.int8()),
        "short": pa.array([-32768, None, 1, 2], pa.int16()),
        "int": pa.array([None, 1, 2, 3], pa.int32()),
        "long": pa.array([2**62, None, -1, 0], pa.int64()),
        "float": pa.array([1.5, float("inf"), None, -0.0], pa.float32()),
        "double": pa.array([0.1, None, 5e-324, float("-inf")], pa.float64()),
        "money": pa.array([Decimal("12345678901234567.89"), None, Decimal("-0.01"), Decimal(0)], pa.decimal128(19, 2)),
        "small_money": pa.array([Decimal("1.25"), None, Decimal("-0.01"), Decimal(0)], pa.decimal128(5, 2)),
        "bytes": pa.array([b"\x00\xff", None, b"", b"x"], pa.binary()),
        "on": pa.array([dt.date(1900, 1, 1), None, dt.date(9999, 12, 31), DAY], pa.date32()),
        "at": pa.array(
            [INSTANT, None, dt.datetime(1969, 12, 31, tzinfo=dt.UTC), dt.datetime(1900, 1, 1, tzinfo=dt.UTC)],
            pa.timestamp("us", "UTC"),
        ),
        "ds": pa.array([DAY] * 4, pa.date32()),
    }
)


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    log = tmp_path_factory.mktemp("spark") / "spark.log"
    session = open_session(SparkSettings(master="local[2]", driver_memory="512m", log=str(log)), "tests")
    yield session
    session.stop()


@pytest.fixture
def lake(tmp_path) -> DeltaLake:
    """At a path that would mean something else if it were decoded or taken for a pattern."""
    return DeltaLake(str(tmp_path / "a [new] {lake}*"))


def put(lake, rows: pa.Table, day: dt.date = DAY, run: str = "r") -> None:
    lake.publish(lake.stage("t", day, run, rows.to_reader()), {})


def numbers(*values: int, day: dt.date = DAY) -> pa.Table:
    return pa.table({"n": pa.array(values, pa.int64()), "ds": pa.array([day] * len(values), pa.date32())})


def collected(frame) -> pa.Table:
    return frame.toArrow()


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("lake_class", [DeltaLake, MemoryLake])
def test_the_rows_are_those_that_arrow_reads(spark, lake, lake_class):
    lake = lake if lake_class is DeltaLake else MemoryLake()
    put(lake, EVERY_TYPE)
    scan = lake.scan(lake.pin("t"))
    frame = tables.read(spark, scan)
    assert collected(frame).to_pylist() == scan.reader().read_all().to_pylist() == EVERY_TYPE.to_pylist()
    assert [field.dataType.typeName() for field in frame.schema][-2:] == ["timestamp", "date"]


def test_files_are_read_vectorised_and_no_folder_is_taken_for_a_partition(spark, lake):
    put(lake, numbers(1, 2))
    frame = tables.read(spark, lake.scan(lake.pin("t")))
    plan = frame._jdf.queryExecution().executedPlan().toString()
    assert "ColumnarToRow" in plan
    assert "PartitionFilters: []" in plan
    assert frame.columns == ["n", "ds"]


def test_columns_days_and_versions_are_those_of_the_scan(spark, lake):
    put(lake, numbers(1))
    put(lake, numbers(7, day=NEXT), NEXT)
    pin = lake.pin("t")
    put(lake, numbers(2), run="r2")
    frame = tables.read(spark, lake.scan(pin, ["ds", "n"]))
    assert frame.columns == ["ds", "n"]
    assert sorted(row.n for row in frame.collect()) == [1, 7]
    assert [row.n for row in tables.read(spark, lake.scan(lake.pin("t", last=DAY))).collect()] == [2]


def test_a_scan_without_rows_is_an_empty_frame(spark, lake):
    put(lake, numbers())
    frame = tables.read(spark, lake.scan(lake.pin("t")))
    assert frame.count() == 0
    assert frame.columns == ["n", "ds"]


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize("lake_class", [DeltaLake, MemoryLake])
def test_what_spark_writes_the_lake_reads_and_publishes(spark, lake, lake_class):
    lake = lake if lake_class is DeltaLake else MemoryLake()
    frame = spark.createDataFrame(EVERY_TYPE).repartition(3, "key").sortWithinPartitions("key")
    staged = tables.write(frame, lake.target("t", DAY, "r"))
    assert staged.rows == 4
    lake.publish(lake.staged("t", DAY, "r"), {})
    read = lake.read_pin(lake.pin("t")).read_all()
    assert read.schema.equals(EVERY_TYPE.schema)
    assert sorted(read.to_pylist(), key=str) == sorted(EVERY_TYPE.to_pylist(), key=str)


def test_sparks_files_fit_a_table_that_arrow_began(spark, lake, tmp_path):
    put(lake, EVERY_TYPE)
    again = tables.write(tables.read(spark, lake.scan(lake.pin("t"))).coalesce(1), lake.target("t", DAY, "r2"))
    lake.publish(again, {})
    assert lake.read_pin(lake.pin("t")).read_all().equals(EVERY_TYPE)
    left = [path.name for path in tmp_path.rglob("run-r2-*/**/*")]
    assert left == [file.rpartition("/")[2] for file in again.files]


def test_equal_frames_are_equal_bytes(spark, lake):
    frame = spark.createDataFrame(EVERY_TYPE).coalesce(1)
    lake.publish(tables.write(frame, lake.target("t", DAY, "r")), {})
    assert lake.publish(tables.write(frame, lake.target("t", DAY, "r2")), {}).unchanged


def test_frames_that_do_not_fit_leave_nothing(spark, lake, tmp_path):
    put(lake, numbers(1))
    other_day = spark.createDataFrame(numbers(1, 2, day=NEXT))
    for frame, message in [
        (other_day, r"column 'ds' has rows of 2013-03-02"),
        (other_day.selectExpr("float(n) as n", "ds"), "'n' is float, in the table int64"),
        (other_day.selectExpr("n", "ds", "n as m"), "'m' is not in the table"),
        (other_day.selectExpr("timestamp_ntz'2013-03-01' as n", "ds"), "'n' is timestamp.*time zone"),
    ]:
        with pytest.raises(SchemaMismatch, match=message):
            tables.write(frame, lake.target("t", DAY, "r2"))
    assert list(tmp_path.rglob("run-r2-*")) == []


def test_a_job_that_fails_half_way_leaves_nothing(spark, lake, tmp_path):
    frame = spark.range(4, numPartitions=4).selectExpr(
        "if(id = 3, raise_error('row 3 is bad'), id) as n", f"date'{DAY}' as ds"
    )
    with pytest.raises(JobFailed, match="row 3 is bad"), spark_errors("Staging t"):
        tables.write(frame, lake.target("t", DAY, "r2"))
    with pytest.raises(StagingGone):
        lake.staged("t", DAY, "r2")
    assert list(tmp_path.rglob("run-r2-*")) == []


# ---------------------------------------------------------------- native readers


@pytest.fixture
def deleted(tmp_path) -> DeltaLake:
    """Two days with deleted rows: versions 1 and 2 have all, 3 lacks one and 4 two."""
    lake = DeltaLake(str(tmp_path), native_reader=True)
    put(lake, numbers(0, 1, 2, 3, 4))
    put(lake, numbers(5, 6, 7, day=NEXT), NEXT)
    delete_rows(tmp_path / "t", f"ds={DAY}", [1])
    delete_rows(tmp_path / "t", f"ds={NEXT}", [2])
    return lake


@pytest.fixture
def sail():
    """PySail, a Spark of its own on Spark Connect, which reads Delta natively without jars."""
    from pysail.spark import SparkConnectServer
    from pyspark.sql.connect.session import SparkSession

    server = SparkConnectServer(ip="127.0.0.1", port=0)
    server.start(background=True)
    host, port = server.listening_address
    session = SparkSession.builder.remote(f"sc://{host}:{port}").create()
    yield session
    session.stop()
    server.stop()


def test_a_native_reader_reads_what_is_left_of_the_version_and_days_pinned(sail, deleted):
    for version, first, last, left in [
        ("4", None, None, [0, 2, 3, 4, 5, 6]),
        ("3", None, None, [0, 2, 3, 4, 5, 6, 7]),
        ("4", DAY, DAY, [0, 2, 3, 4]),
        ("4", NEXT, None, [5, 6]),
        ("4", None, DAY, [0, 2, 3, 4]),
    ]:
        pin = deleted.pin("t", first=first, last=last, version=version)
        frame = tables.read(sail, deleted.scan(pin, ["n"]), "delta")
        assert frame.columns == ["n"]
        assert sorted(collected(frame)["n"].to_pylist()) == left
        assert pin.rows == len(left)


def test_a_native_reader_reads_columns_by_their_names(sail, tmp_path):
    frame = sail.createDataFrame(numbers(1, 2))
    frame.write.format("delta").option("columnMappingMode", "name").partitionBy("ds").save(str(tmp_path / "t"))
    assert DeltaTable(str(tmp_path / "t")).protocol().reader_features == ["columnMapping"]
    lake = DeltaLake(str(tmp_path), native_reader=True)
    scan = lake.scan(lake.pin("t", first=DAY, last=DAY))
    assert collected(tables.read(sail, scan, "delta")).equals(numbers(1, 2))


def test_without_the_setting_the_refusal_names_it(spark, deleted):
    with pytest.raises(BadInput, match="Set TAILRACE_SPARK_NATIVE_READER=delta with TAILRACE_ENGINE=spark"):
        tables.read(spark, deleted.scan(deleted.pin("t")))


@pytest.fixture
def delta_format(spark):
    """The format "delta" in Spark itself, by a data source in Python in place of the delta-spark jars."""
    from pyspark.sql.datasource import DataSource, DataSourceReader
    from pyspark.sql.pandas.types import from_arrow_schema

    def opened(options) -> DeltaTable:
        return DeltaTable(options["path"], version=int(options["versionAsOf"]))

    class Reader(DataSourceReader):
        def __init__(self, options):
            self.options = options

        def read(self, partition):
            table = opened(self.options)
            vectors = pa.table(table.deletion_vectors()).to_pylist()
            kept = {row["filepath"].removeprefix("file://"): row["selection_vector"] for row in vectors}
            for path in (uri.removeprefix("file://") for uri in table.file_uris()):
                rows = pq.ParquetFile(path).read()
                yield from rows.filter(pa.array(kept.get(path, [True] * rows.num_rows))).to_batches()

    class Delta(DataSource):
        @classmethod
        def name(cls):
            return "delta"

        def schema(self):
            return from_arrow_schema(pa.schema(opened(self.options).schema().to_arrow()))

        def reader(self, schema):
            return Reader(self.options)

    spark.dataSource.register(Delta)


def test_rows_of_a_native_reader_are_scored_as_any_others(spark, delta_format, spec, tmp_path):
    features, labels = churn_rows(400)
    spec = replace(spec, candidates=spec.candidates[1:2])
    held = ArrowRows(features.append_column(LABEL, labels), tuple(spec.features.columns))
    model = LocalEngine().train(spec, held, seed=1, trials=1, on_trial=lambda trial: None).model
    lake = DeltaLake(str(tmp_path), native_reader=True)
    for day in (DAY, NEXT):
        lake.publish(lake.stage(spec.features_table, day, "r", keyed(features, day).to_reader()), {})
    plain = lake.pin(spec.features_table, first=DAY, last=DAY)
    expected = LocalEngine().score(
        spec, model, version="1", rows=lake.scan(plain), target=lake.target("local", DAY, "r")
    )
    delete_rows(tmp_path / spec.features_table, f"ds={DAY}", [1, 7])
    native = lake.scan(lake.pin(spec.features_table, first=DAY, last=DAY))
    assert native.native is not None
    told = []
    staged = scoring.score(
        Application(session=spark, slots=2, tell=told.append, native_reader="delta"),
        spec,
        model,
        version="1",
        rows=native,
        target=lake.target("p", DAY, "r"),
    )
    assert staged.rows == 398
    wanted = lake.read_staged(expected).read_all().to_pylist()
    by_key = {row["customer"]: row for row in lake.read_staged(staged).read_all().to_pylist()}
    assert by_key == {row["customer"]: row for number, row in enumerate(wanted) if number not in (1, 7)}
    assert "398 of 398 rows scored" in told[-1]
