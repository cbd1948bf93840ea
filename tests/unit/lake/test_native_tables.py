"""Tables whose features need a native reader: refused by file list, handed on where there is such a reader."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pyarrow as pa
import pytest

from tailrace.contracts import NativeTable
from tailrace.errors import BadInput, PinLost
from tailrace.lake.delta import DeltaLake
from tests.delta_tables import delete_rows, need_feature

DAY, NEXT = dt.date(2013, 3, 1), dt.date(2013, 3, 2)
REFUSAL = r"'t' uses Delta's deletionVectors.*TAILRACE_ENGINE=spark and TAILRACE_SPARK_NATIVE_READER=delta"


@pytest.fixture
def plain(tmp_path) -> DeltaLake:
    lake = DeltaLake(str(tmp_path))
    for day, count in ((DAY, 5), (NEXT, 3)):
        lake.publish(lake.stage("t", day, "r", pa.table({"n": list(range(count))}).to_reader()), {})
    return lake


@pytest.fixture
def native(plain, tmp_path) -> DeltaLake:
    return DeltaLake(str(tmp_path), native_reader=True)


def test_without_a_native_reader_every_use_is_refused(plain, tmp_path):
    staged = plain.stage("t", DAY, "r2", pa.table({"n": [1]}).to_reader())
    pin = plain.pin("t", version="1")
    delete_rows(tmp_path / "t", f"ds={DAY}", [1])
    uses = [
        lambda: plain.read("t"),
        lambda: plain.pin("t"),
        lambda: plain.schema("t"),
        lambda: plain.days("t"),
        lambda: plain.publish(staged, {}),
        lambda: plain.stage("t", DAY, "r3", pa.table({"n": [1]}).to_reader()),
        lambda: plain.add_columns("t", pa.schema({"m": pa.int64()})),
        lambda: plain.optimize("t"),
        lambda: plain.vacuum("t"),
        lambda: plain.scan(replace(pin, version="3")),
    ]
    for use in uses:
        with pytest.raises(BadInput, match=REFUSAL):
            use()


@pytest.mark.parametrize("feature", ["columnMapping", "typeWidening"])
def test_other_features_are_refused_by_name(plain, tmp_path, feature):
    need_feature(tmp_path / "t", feature)
    with pytest.raises(BadInput, match=f"uses Delta's {feature}, which"):
        plain.pin("t")


def test_a_version_before_the_feature_is_read_as_ever(plain, tmp_path):
    pin = plain.pin("t")
    delete_rows(tmp_path / "t", f"ds={DAY}", [1])
    assert plain.read("t", version=pin.version).read_all().num_rows == 8
    native = DeltaLake(str(tmp_path), native_reader=True)
    assert native.pin("t", version=pin.version) == pin
    assert native.scan(pin).reader().read_all().num_rows == 8


def test_with_a_native_reader_a_scan_says_what_it_is_to_read(native, tmp_path):
    delete_rows(tmp_path / "t", f"ds={DAY}", [1, 3])
    pin = native.pin("t", first=DAY, last=DAY)
    assert (pin.rows, pin.files, pin.version) == (3, 1, "3")
    scan = native.scan(pin, ["ds", "n"])
    assert scan.native == NativeTable(str(tmp_path / "t"), "3", DAY, DAY)
    assert (scan.files, scan.rows, scan.schema.names) == ((), 3, ["ds", "n"])
    for use in (scan.reader, lambda: scan.parts(10), lambda: native.read("t"), lambda: native.read_pin(pin)):
        with pytest.raises(BadInput, match=REFUSAL):
            use()
    assert list(native.days("t")) == [DAY, NEXT]
    assert native.schema("t").names == ["n", "ds"]


def test_a_native_reader_does_not_write(native, tmp_path):
    staged = native.stage("t", DAY, "r2", pa.table({"n": [1]}).to_reader())
    delete_rows(tmp_path / "t", f"ds={DAY}", [1])
    uses = [
        lambda: native.publish(staged, {}),
        lambda: native.stage("t", DAY, "r3", pa.table({"n": [1]}).to_reader()),
        lambda: native.add_columns("t", pa.schema({"m": pa.int64()})),
        lambda: native.optimize("t"),
        lambda: native.vacuum("t"),
    ]
    for use in uses:
        with pytest.raises(BadInput, match=REFUSAL):
            use()


def test_a_pin_tells_which_rows_were_deleted(native, tmp_path):
    before = native.pin("t")
    delete_rows(tmp_path / "t", f"ds={DAY}", [1])
    one = native.pin("t")
    delete_rows(tmp_path / "t", f"ds={NEXT}", [2])
    two = native.pin("t")
    assert [pin.rows for pin in (before, one, two)] == [8, 7, 6]
    assert len({pin.digest for pin in (before, one, two)}) == 3
    assert native.pin("t", version="3") == one
    assert (
        native.pin("t", first=NEXT, last=NEXT, version="3").digest
        == native.pin("t", first=NEXT, last=NEXT, version="2").digest
    )
    with pytest.raises(PinLost, match="does not list the files that were pinned"):
        native.scan(replace(one, version="4"))


def test_equal_counts_of_other_rows_deleted_are_another_pin(native, tmp_path):
    delete_rows(tmp_path / "t", f"ds={DAY}", [1])
    first = native.pin("t")
    (tmp_path / "t" / "_delta_log" / f"{3:020d}.json").unlink()
    delete_rows(tmp_path / "t", f"ds={DAY}", [2])
    with pytest.raises(PinLost):
        native.scan(first)


def test_pinned_files_that_are_gone_are_noticed(native, tmp_path):
    delete_rows(tmp_path / "t", f"ds={DAY}", [1])
    pin = native.pin("t")
    next((tmp_path / "t" / f"ds={NEXT}").rglob("*.parquet")).unlink()
    with pytest.raises(PinLost, match="is gone"):
        native.scan(pin)
