"""A folder of files by day, and a query by day, are sources."""

from __future__ import annotations

import datetime as dt
import gzip
import re
import sqlite3
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tailrace.errors import BadInput, LandingRefused, OutOfCalendar, SettingsError, Unavailable, UpstreamMissing
from tailrace.settings import SourceSettings
from tailrace.sources import FolderSource, SqlSource
from tailrace.sources.configured import ConfiguredSource
from tailrace.sources.landing import Landing
from tailrace.stages import ingest
from tailrace.wiring import Wiring

DAY, NEXT = dt.date(2024, 1, 31), dt.date(2024, 2, 1)
UTC = pa.timestamp("us", "UTC")
ORDERS = pa.schema({"id": pa.int64(), "customer": pa.string(), "amount": pa.float64(), "paid_at": UTC})
NOON = dt.datetime(2024, 1, 31, 12, tzinfo=dt.UTC)
ONE = pa.table({"id": [1], "customer": ["Zoë"], "amount": [9.5], "paid_at": [NOON]}, schema=ORDERS)
CSV = 'id,customer,amount,paid_at\n1,Zoë,9.5,2024-01-31T12:00:00Z\n2,,,\n3,"",1,2024-01-31T12:00:00Z\n'

# ---------------------------------------------------------------- files


def write(place: str, content: bytes) -> None:
    with fsspec.open(place, "wb", auto_mkdir=True) as file:
        file.write(content)


def parquet(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)
    return sink.getvalue().to_pybytes()


@pytest.fixture(params=["folder", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "shop") if request.param == "folder" else f"memory://{uuid.uuid4().hex}"


def test_the_files_of_a_day_are_its_extract(root: str) -> None:
    write(f"{root}/orders/2024/01/31/b.parquet", parquet(ONE))
    write(f"{root}/orders/2024/01/31/a.parquet", parquet(ONE.set_column(0, "id", pa.array([7], pa.int32()))))
    source = FolderSource("shop", root + "/{table}/{day:%Y/%m/%d}/*.parquet", {"orders": ORDERS})
    rows = source.extract("orders", DAY)
    assert (rows.schema, rows["id"].to_pylist()) == (ORDERS, [7, 1]), "in the order of the files' names"
    with pytest.raises(UpstreamMissing, match=rf"shop has no file of orders of {NEXT}: there is no .*/2024/02/01/"):
        source.extract("orders", NEXT)


@pytest.mark.parametrize(("suffix", "packed"), [("csv", bytes), ("csv.gz", gzip.compress)])
def test_a_csv_file_is_read_in_the_declared_types(root: str, suffix: str, packed: Callable[[bytes], bytes]) -> None:
    write(f"{root}/{DAY}.{suffix}", packed(CSV.encode()))
    rows = FolderSource("shop", f"{root}/{{day}}.{suffix}", {"orders": ORDERS}).extract("orders", DAY)
    assert rows.schema == ORDERS
    assert rows.slice(0, 1).equals(ONE)
    assert rows["customer"].to_pylist() == ["Zoë", None, ""]
    assert rows["amount"].to_pylist() == [9.5, None, 1.0]


@pytest.mark.parametrize(
    ("kind", "written"), [(pa.float64(), "1e400"), (pa.float64(), "-1E400"), (pa.float32(), "1e39")]
)
def test_a_number_that_is_too_large_for_its_type_is_not_made_infinite(
    root: str, kind: pa.DataType, written: str
) -> None:
    file = f"{root}/{DAY}.csv"
    source = FolderSource("shop", f"{root}/{{day}}.csv", {"amounts": pa.schema({"x": kind})})
    write(file, b"x\n1.5\ninf\n-Infinity\nnan\n")
    assert [str(x) for x in source.extract("amounts", DAY)["x"].to_pylist()] == ["1.5", "inf", "-inf", "nan"]
    write(file, f"x\n1.5\ninf\n{written}\n".encode())
    with pytest.raises(LandingRefused, match=f"column x: {written} is too large for {kind}"):
        source.extract("amounts", DAY)


def test_a_table_that_may_be_empty_is_one_of_the_sources(root: str) -> None:
    def made(given: object) -> FolderSource:
        return FolderSource("shop", f"{root}/{{table}}-{{day}}.csv", {"orders": ORDERS}, may_be_empty=given)

    for given in (["order"], "order"):
        with pytest.raises(BadInput, match=r"source shop: may_be_empty names 'order', .* Did you mean 'orders'"):
            made(given)
    assert made("orders").may_be_empty("orders", DAY), "a single name is not taken for its letters"


NOTES = pa.schema({"id": pa.int64(), "note": pa.string()})
MANY = b"".join(b"%d,fine\n" % number for number in range(150_000))
"""More than Arrow reads at once."""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'note,id\n"open,1\n' + MANY, "Expected 2 columns"),
        (b'id,note\n1,"open\n2,fine\n', "a quotation mark is opened and never closed"),
        (b'id,note\n1,"open\n' + MANY, "a quotation mark is opened and never closed"),
        (b'id,note\n1,fine\n2,"cut sho', "a quotation mark is opened and never closed"),
    ],
)
def test_a_csv_file_in_which_a_quotation_is_never_closed_loses_no_rows_silently(
    tmp_path: Path, content: bytes, said: str
) -> None:
    write(f"{tmp_path}/{DAY}.csv", content)
    with pytest.raises(LandingRefused, match=rf"(?s)cannot read .*{DAY}\.csv \(.*{said}.*Deliver it again"):
        FolderSource("shop", f"{tmp_path}/{{day}}.csv", {"notes": NOTES}).extract("notes", DAY)


def test_a_large_csv_file_may_have_texts_of_several_lines(tmp_path: Path) -> None:
    lines = [b'%d,"two lines,\nthe 5"" second %d"\n' % (number, number) for number in range(50_000)]
    write(f"{tmp_path}/{DAY}.csv", b"id,note\n" + b"".join(lines).removesuffix(b"\n"))
    rows = FolderSource("shop", f"{tmp_path}/{{day}}.csv", {"notes": NOTES}).extract("notes", DAY)
    assert rows["note"].to_pylist() == [f'two lines,\nthe 5" second {number}' for number in range(50_000)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PAR1 and then nothing", r"cannot read .*2024-01-31\.parquet .*Deliver it again"),
        (parquet(ONE.drop_columns("amount")), "column amount is missing"),
        (
            parquet(ONE.rename_columns(["id", "customr", "amount", "paid_at"])),
            "Did you mean 'customr'.*\n.*customr is un",
        ),
        (parquet(ONE.set_column(0, "id", pa.array(["1"]))), "column id is string and should be int64"),
        (parquet(ONE.set_column(0, "id", pa.array([1.5]))), "column id is double and should be int64 .*truncated"),
        (
            parquet(ONE.set_column(3, "paid_at", pa.array([NOON.replace(tzinfo=None)]))),
            r"column paid_at is timestamp\[us\] and should be timestamp\[us, tz=UTC\]",
        ),
    ],
)
def test_a_file_with_other_columns_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    write(f"{tmp_path}/{DAY}.parquet", content)
    with pytest.raises(LandingRefused, match=f"(?s){said}"):
        FolderSource("shop", f"{tmp_path}/{{day}}.parquet", {"orders": ORDERS}).extract("orders", DAY)


@pytest.mark.parametrize(
    ("given", "declared", "said"),
    [
        (1.005, pa.decimal128(10, 2), "1.005 would become 1.00"),
        (1e300, pa.float32(), "1e\\+300 would become inf"),
    ],
)
def test_a_number_that_the_declared_type_cannot_hold_is_refused(
    tmp_path: Path, given: float, declared: pa.DataType, said: str
) -> None:
    source = FolderSource("shop", f"{tmp_path}/{{day}}.parquet", {"orders": pa.schema({"amount": declared})})
    write(f"{tmp_path}/{DAY}.parquet", parquet(pa.table({"amount": [0.1, given]})))
    with pytest.raises(LandingRefused, match=rf"column amount is double and should be .* \({said}\)"):
        source.extract("orders", DAY)
    write(f"{tmp_path}/{NEXT}.parquet", parquet(pa.table({"amount": [0.1, None]})))
    rows = source.extract("orders", NEXT)
    assert [round(float(value), 6) if value else value for value in rows["amount"].to_pylist()] == [0.1, None]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("shop/orders.parquet", r"it must hold \{day\}"),
        ("shop/{day}.parquet", r"it must hold \{table\}, as the source has several"),
        ("shop/{table}/{day}.json", r"it must end with one of \.parquet, \.csv"),
        ("shop/{table}/{date}.csv", "no other braces"),
        ("shop/{table}/{day}}.csv", "no other braces"),
    ],
)
def test_a_wrong_pattern_is_refused_at_once(pattern: str, said: str) -> None:
    with pytest.raises(BadInput, match=f"The pattern of the source shop is .*{said}"):
        FolderSource("shop", pattern, {"orders": ORDERS, "refunds": ORDERS})


def test_a_table_that_came_later_is_landed_from_its_first_day_and_an_optional_one_where_it_is(tmp_path: Path) -> None:
    files = f"{tmp_path}/{{table}}-{{day}}.parquet"
    for table, day in (("orders", DAY), ("orders", NEXT), ("refunds", NEXT)):
        write(files.format(table=table, day=day), parquet(ONE))
    tables = dict.fromkeys(("orders", "refunds", "surveys"), ORDERS)
    source = FolderSource("shop", files, tables, since={"refunds": NEXT}, optional=["surveys"])
    services = SimpleNamespace(source=source, landing=Landing(f"{tmp_path}/landing", tables))
    landed = ingest.run(services, DAY, NEXT)  # type: ignore[arg-type]
    assert landed.rows == {"orders": 2, "refunds": 1}
    assert landed.absent == {"surveys": [DAY, NEXT]}
    with pytest.raises(OutOfCalendar, match=rf"shop has no refunds of {DAY}: its calendar runs from {NEXT} on"):
        source.extract("refunds", DAY)
    with pytest.raises(UpstreamMissing, match="no file of orders of 2024-02-02"):
        ingest.run(services, NEXT, dt.date(2024, 2, 2))  # type: ignore[arg-type]


# ---------------------------------------------------------------- queries

QUERY = "select id, customer, amount, paid_at from orders where paid_at > {since} and paid_at <= {until} order by id"
PAID = ["2024-01-29 23:00:00+00", "2024-01-30 23:00:00.000001+00", "2024-01-31 23:00:00+00", "2024-02-01 12:00:00+00"]


@pytest.fixture
def shop(tmp_path: Path) -> Callable[[], duckdb.DuckDBPyConnection]:
    """A database with an order at each of four moments."""
    with duckdb.connect(tmp_path / "shop.duckdb") as made:
        made.execute("create table orders (id bigint, customer text, amount decimal(10, 2), paid_at timestamptz)")
        for number, moment in enumerate(PAID):
            made.execute("insert into orders values (?, 'Zoë', 9.5, ?)", [number, moment])
    return lambda: duckdb.connect(tmp_path / "shop.duckdb", read_only=True)


def queried(connect: Callable[[], object], query: str = QUERY, **more: object) -> SqlSource:
    return SqlSource("shop", connect, {"orders": query}, {"orders": ORDERS}, zone="Europe/Rome", **more)  # type: ignore[arg-type]


class Plain:
    """A connection whose cursor gives Python's values, as most drivers do."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def cursor(self) -> Plain:
        return self

    def execute(self, sql: str) -> None:
        self._connection.execute(sql)

    @property
    def description(self) -> list[tuple[str, ...]]:
        return self._connection.description

    def fetchmany(self, rows: int) -> list[tuple[object, ...]]:
        return self._connection.fetchmany(rows)

    def close(self) -> None:
        self._connection.close()


@pytest.mark.parametrize("arrow", [True, False])
def test_a_query_gives_what_became_known_before_the_cutoff(
    shop: Callable[[], duckdb.DuckDBPyConnection], arrow: bool
) -> None:
    source = queried(shop if arrow else lambda: Plain(shop()))
    rows = source.extract("orders", DAY)
    assert (rows.schema, rows["id"].to_pylist()) == (ORDERS, []), (
        "Rome's 31 January ends the extract at 23:00 UTC of the 30th"
    )
    rows = source.extract("orders", NEXT)
    assert (rows.schema, rows["id"].to_pylist(), rows["amount"].to_pylist()) == (ORDERS, [1, 2], [9.5, 9.5])
    assert rows["paid_at"].to_pylist()[1] == dt.datetime(2024, 1, 31, 23, tzinfo=dt.UTC)


@pytest.mark.parametrize("arrow", [True, False])
@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select id, customer, amount from orders where {day} > ''", "column paid_at is missing"),
        (
            "select *, 1 as more from orders",
            r"column more is unexpected\.\nCorrect it; or, if its columns changed for good, change the columns that",
        ),
        ("select id, customer, amount, paid_at::timestamp as paid_at from orders", "paid_at (has no|is timestamp)"),
        ("select 'one' as id, customer, amount, paid_at from orders", "column id (should be int64|is string)"),
        ("select no_such_column from orders", "failed: .*no_such_column.* Correct the query"),
    ],
)
def test_a_query_that_gives_other_columns_is_refused(
    shop: Callable[[], duckdb.DuckDBPyConnection], arrow: bool, query: str, said: str
) -> None:
    with pytest.raises(LandingRefused, match=f"(?s)The query of orders of {DAY} of the source shop.*{said}"):
        queried(shop if arrow else lambda: Plain(shop()), query).extract("orders", DAY)


def test_a_database_that_does_not_answer_is_worth_a_retry(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not answer or refuses the connection: unable to open database file"):
        queried(lambda: sqlite3.connect(tmp_path / "no_such_folder" / "shop.db")).extract("orders", DAY)


def test_queries_and_columns_are_of_the_same_tables() -> None:
    with pytest.raises(BadInput, match="The source shop needs a query and columns for each table: see refunds"):
        SqlSource("shop", sqlite3.connect, {"refunds": QUERY, "orders": QUERY}, {"orders": ORDERS})


def test_booleans_may_be_numbers(tmp_path: Path) -> None:
    flags = pa.schema({"paid": pa.bool_()})
    query = {"orders": "select 1 as paid union all select 0 union all select null"}
    source = SqlSource("shop", lambda: sqlite3.connect(tmp_path / "shop.db"), query, {"orders": flags})
    assert sorted(source.extract("orders", DAY)["paid"].to_pylist(), key=str) == [False, None, True]


@pytest.mark.parametrize(
    ("declared", "fits", "cut"),
    [
        (pa.int64(), 2.0, 2.5),
        (pa.int64(), Decimal(2), Decimal("2.5")),
        (pa.int64(), 2, float("nan")),
        (pa.date32(), dt.datetime(2024, 1, 31), dt.datetime(2024, 1, 31, 12)),
        (pa.date32(), DAY, 20_000),
        (UTC, NOON, 1.5),
    ],
)
def test_no_value_of_a_query_is_cut(declared: pa.DataType, fits: object, cut: object) -> None:
    def extract(value: object) -> pa.Table:
        answers = iter([[(None,), (value,)], []])
        cursor = SimpleNamespace(
            execute=lambda sql: None, description=[("x",)], fetchmany=lambda rows: next(answers), close=lambda: None
        )

        def connect() -> SimpleNamespace:
            return SimpleNamespace(cursor=lambda: cursor, close=lambda: None)

        source = SqlSource("shop", connect, {"orders": "select x"}, {"orders": pa.schema({"x": declared})})
        return source.extract("orders", DAY)

    assert extract(fits)["x"].to_pylist() == [None, DAY if declared == pa.date32() else fits]
    with pytest.raises(
        LandingRefused, match=rf"column x should be {re.escape(str(declared))}, and .* would be changed"
    ):
        extract(cut)


# ---------------------------------------------------------------- declarations


def test_what_is_declared_of_tables_that_there_are_not_is_a_wrong_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tailrace import settings
    from tests.support import new_project

    project = new_project(tmp_path, monkeypatch, 'sources = ["late_sources:shop"]')
    (tmp_path / "late_sources.py").write_text(
        "import datetime as dt\nimport pyarrow as pa\nfrom tailrace.sources import FolderSource\n"
        "def shop(work):\n    return FolderSource('shop', '{day}.csv', {'orders': pa.schema({'id': pa.int64()})},\n"
        "        since={'order': dt.date(2024, 1, 1)}, optional=['ordres'], look_back_days=-1)\n"
    )
    with pytest.raises(SettingsError) as refused:
        _ = Wiring(settings.load({"TAILRACE_PROJECT": str(project.root)})).landing
    assert list(refused.value.problems) == [
        "late_sources:shop: since names 'order', which is none of its tables. Did you mean 'orders'?",
        "late_sources:shop: optional names 'ordres', which is none of its tables. Did you mean 'orders'?",
        "late_sources:shop: look_back_days is -1; it must be a whole number, 0 or more.",
    ]


def test_another_beginning_in_the_settings_leaves_the_source_as_it_is(tmp_path: Path) -> None:
    write(f"{tmp_path}/orders/{DAY}.csv", CSV.encode())
    source = FolderSource("shop", f"{tmp_path}/{{table}}/{{day}}.csv", {"orders": ORDERS}, since=NEXT)
    with pytest.raises(OutOfCalendar):
        source.extract("orders", DAY)
    earlier = ConfiguredSource(source, SourceSettings(name="shop", since=DAY), "shop")
    assert earlier.extract("orders", DAY).num_rows == 3
    with pytest.raises(OutOfCalendar):
        source.extract("orders", DAY)
