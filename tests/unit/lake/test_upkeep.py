"""Upkeep of the Delta lake: one walk over the log, few checkpoints, and what it says it deleted."""

from __future__ import annotations

import datetime as dt
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.errors import UpstreamMissing
from tailrace.lake import log as log_module
from tailrace.lake import needed
from tailrace.lake.delta import DeltaLake
from tailrace.lake.log import History
from tailrace.lake.tables import Tables
from tests.delta_tables import delete_rows

DAYS = [dt.date(2013, 3, 1) + dt.timedelta(days=number) for number in range(4)]
VERSIONS = 30


def later() -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(days=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A lake with a table by day, published again and again, and an appended one, compacted twice."""
    root = tmp_path_factory.mktemp("lake")
    lake = DeltaLake(str(root))
    for number in range(VERSIONS - 2):
        rows = pa.table({"n": [number]})
        lake.publish(lake.stage("t", DAYS[number % 3], f"r{number}", rows.to_reader()), {})
    lake.add_columns("t", pa.schema({"m": pa.int64()}))
    lake.optimize("t")
    for number in range(12):
        lake.append("notes", pa.table({"n": [number]}), {})
        if number in (4, 9):
            lake.optimize("notes")
    return root


@pytest.fixture
def root(made, tmp_path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "lake"))


def test_pins_of_a_lake_that_was_restored_since_do_not_stop_upkeep(root, caplog):
    lake = DeltaLake(str(root))
    pin = lake.pin("t")
    found = lake.vacuum("t", [replace(pin, version="1000"), pin])
    assert found == lake.vacuum("t", [pin])
    assert f"t ends at version {pin.version}, but version 1000 is pinned" in caplog.text


def one_by_one(lake: DeltaLake, table: str, versions: set[int]) -> set[str]:
    return {file.path for one in versions for file in lake.tables.open(table, str(one)).active()}


def in_one_walk(lake: DeltaLake, table: str, versions: set[int]) -> set[str]:
    return needed.files_of(lambda version: lake.tables.open(table, str(version)), versions)


@given(st.sets(st.integers(0, VERSIONS - 1), min_size=1, max_size=6), st.sampled_from(["t", "notes"]))
@settings(max_examples=12, deadline=None)
def test_one_walk_finds_the_files_that_opening_every_version_finds(made, versions, table):
    lake = DeltaLake(str(made))
    there = {min(version, lake.tables.open(table).number) for version in versions}
    assert in_one_walk(lake, table, there) == one_by_one(lake, table, there)


def test_the_versions_in_between_are_not_opened(made, monkeypatch):
    lake, opened = DeltaLake(str(made)), []
    open_at = lake.tables.open
    monkeypatch.setattr(lake.tables, "open", lambda *of: (opened.append(of), open_at(*of))[1])
    # The last is the version with another column: whether it can be read, its opening says.
    in_one_walk(lake, "t", set(range(1, VERSIONS)))
    assert opened == [("t", "29"), ("t", "1"), ("t", "29")]


def test_a_gap_in_the_log_is_walked_around_and_a_lost_version_is_said(root):
    lake, versions = DeltaLake(str(root)), {12, 15, 28}
    wanted = one_by_one(lake, "t", versions)
    DeltaTable(str(root / "t"), version=14).create_checkpoint()
    (root / "t" / "_delta_log" / f"{14:020d}.json").unlink()
    assert in_one_walk(lake, "t", versions) == wanted
    with pytest.raises(UpstreamMissing, match="no version '99'"):
        in_one_walk(lake, "t", {12, 99})


def test_a_version_with_deleted_rows_is_refused_as_when_it_is_opened(root):
    lake = DeltaLake(str(root))
    lake.publish(lake.stage("t", DAYS[3], "r", pa.table({"n": [1, 2], "m": [1, 2]}).to_reader()), {})
    last = lake.tables.open("t").number
    delete_rows(root / "t", f"ds={DAYS[3]}", [1])
    assert in_one_walk(lake, "t", {3, last}) == one_by_one(lake, "t", {3, last})
    with pytest.raises(Exception, match="deletionVectors"):
        in_one_walk(lake, "t", {3, last + 1})


def test_few_checkpoints_stay_and_every_version_and_reader_with_them(root):
    table, lake = root / "t", DeltaLake(str(root), now=later)
    for version in range(VERSIONS):
        DeltaTable(str(table), version=version).create_checkpoint()
    log = table / "_delta_log"
    before = {version: one_by_one(lake, "t", {version}) for version in range(VERSIONS)}
    pins = [lake.pin("t", version=str(version)) for version in range(VERSIONS)]
    found = lake.vacuum("t", pins, dry_run=True)
    assert len(list(log.glob("*.checkpoint*"))) == VERSIONS
    assert lake.vacuum("t", pins) == found
    kept = sorted(int(file.name[:20]) for file in log.glob("*.checkpoint*"))
    assert kept == [3, 7, 11, 15, 19, 23, 27, 28, 29]
    assert found.files == 0
    assert found.others == VERSIONS - len(kept)
    assert {version: one_by_one(lake, "t", {version}) for version in range(VERSIONS)} == before
    assert all(lake.read_pin(pin).read_all().num_rows == pin.rows for pin in pins)
    assert DeltaTable(str(table), version=14).to_pyarrow_dataset().to_table().num_rows == 3
    assert lake.vacuum("t", pins).others == 0


def test_checkpoints_stay_where_commits_are_gone_and_while_they_are_young(root):
    table = root / "t"
    log = table / "_delta_log"
    for version in range(5, VERSIONS):
        DeltaTable(str(table), version=version).create_checkpoint()
    count = len(list(log.glob("*.checkpoint*")))
    DeltaLake(str(root)).vacuum("t", older_than=dt.timedelta(0))
    assert len(list(log.glob("*.checkpoint*"))) == count
    (log / f"{3:020d}.json").unlink()
    DeltaLake(str(root), now=later).vacuum("t", older_than=dt.timedelta(0))
    assert len(list(log.glob("*.checkpoint*"))) == count


def test_the_checkpoint_that_readers_start_at_stays(root):
    table = root / "t"
    log = table / "_delta_log"
    for version in (0, 1, 2, 4, 27, 28, 29):
        DeltaTable(str(table), version=version).create_checkpoint()
    (log / "_last_checkpoint").write_text('{"version":1,"size":3}')
    DeltaLake(str(root), now=later).vacuum("t")
    assert sorted(int(file.name[:20]) for file in log.glob("*.checkpoint*")) == [1, 2, 4, 9, 19, 27, 28, 29]


def test_a_dry_run_joins_nothing_and_says_how_many_files_it_would(root):
    lake = DeltaLake(str(root))
    there = lake.tables.open("notes").number
    # Two compactions left one file; the two appends after it made one each.
    assert lake.optimize("notes", dry_run=True) == 3
    assert lake.tables.open("notes").number == there
    assert lake.optimize("notes") == 3
    assert isinstance(lake.tables.open("notes").history, History)


def test_a_recent_day_is_found_without_reading_the_history(root, monkeypatch):
    lake, read = DeltaLake(str(root)), []
    lake.publish(lake.stage("t", DAYS[3], "r", pa.table({"n": [1], "m": [1]}).to_reader()), {})
    lake.optimize("notes")
    read_commit = log_module.read_commit
    monkeypatch.setattr(log_module, "read_commit", lambda store, of: (read.append(of), read_commit(store, of))[1])
    monkeypatch.setattr(History, "_listed", lambda *of: pytest.fail("more commits were read"))
    assert lake.days("t", first=DAYS[3], last=DAYS[3])[DAYS[3]].metadata["run_id"] == "r"
    nobodys = DAYS[3] + dt.timedelta(days=1)
    assert lake.days("t", first=nobodys, last=nobodys) == {}
    assert read == [lake.tables.open("t").number]


def test_a_table_is_opened_once_while_nothing_changes_and_others_commits_are_seen_at_once(root, monkeypatch):
    lake, other, opened = DeltaLake(str(root)), DeltaLake(str(root)), []
    open_table = Tables._opened
    monkeypatch.setattr(Tables, "_opened", lambda self, *of: (opened.append(of), open_table(self, *of))[1])
    for number in range(5):
        opened.clear()
        for _ in range(3):
            pin = lake.pin("t", first=DAYS[0], last=DAYS[2])
            assert lake.read_pin(pin).read_all() == lake.read("t", first=DAYS[0], last=DAYS[2]).read_all()
            assert lake.sound("t", DAYS[0])
            assert len(lake.days("t")) == 3 + bool(number)
        assert opened == ([] if number else [("t",)])
        other.publish(other.stage("t", DAYS[3], f"r{number}", pa.table({"n": [number], "m": [1]}).to_reader()), {})
        assert lake.read("t", first=DAYS[3], last=DAYS[3]).read_all()["n"].to_pylist() == [number]
        assert lake.head("t") == lake.pin("t").version
