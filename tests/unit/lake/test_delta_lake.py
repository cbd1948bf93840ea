"""What only the Delta lake has: compaction, checksums, statistics, checkpoints, unreadable tables."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from tailrace.contracts import Commit
from tailrace.errors import (
    BadInput,
    LakeUnavailable,
    PinLost,
    PublishConflict,
    SchemaMismatch,
    StagingGone,
    UpstreamMissing,
)
from tailrace.lake import files, parquet, tables, upkeep
from tailrace.lake import rows as accepted
from tailrace.lake.delta import DeltaLake
from tailrace.lake.files import TableFiles
from tailrace.lake.tables import Tables

DAY = dt.date(2013, 3, 1)


@pytest.fixture
def lake(tmp_path) -> DeltaLake:
    return DeltaLake(str(tmp_path))


def put(lake: DeltaLake, count: int, run: str):
    return lake.publish(lake.stage("t", DAY, run, pa.table({"n": list(range(count))}).to_reader()), {})


@pytest.fixture
def small_files(monkeypatch):
    """A file per row group of ten rows."""
    monkeypatch.setattr(parquet, "FILE_BYTES", 1)
    monkeypatch.setattr(accepted.row_groups, "__defaults__", (10,))


def test_optimize_joins_files_and_keeps_rows_pins_and_fence(lake, small_files, monkeypatch):
    put(lake, 35, "r1")
    pin = lake.pin("t")
    assert pin.files == 4
    staged = lake.stage("t", DAY, "r2", pa.table({"n": [1]}).to_reader())
    monkeypatch.setattr(parquet, "FILE_BYTES", 1 << 20)
    assert lake.optimize("t") == 4
    assert lake.optimize("t") == 0
    assert lake.pin("t").files == 1
    assert lake.read("t").read_all()["n"].to_pylist() == list(range(35))
    assert lake.read_pin(pin).read_all()["n"].to_pylist() == list(range(35))
    assert lake.read_pin(lake.pin("t")).read_all().num_rows == 35
    assert len(lake.commits("t")) == 1
    lake.publish(staged, {})
    assert lake.read("t").read_all()["n"].to_pylist() == [1]


def test_a_compaction_and_a_publication_at_once_never_double_the_rows(lake, small_files, monkeypatch):
    put(lake, 35, "r1")
    staged = lake.stage("t", DAY, "r2", pa.table({"n": [1]}).to_reader())
    open_table, raced = Tables.open, []

    def compacted_after_opening(self, table, version=None):
        opened = open_table(self, table, version)
        if not raced:
            raced.append(True)
            assert lake.optimize("t") == 4
        return opened

    monkeypatch.setattr(Tables, "open", compacted_after_opening)
    lake.publish(staged, {})
    assert lake.read("t").read_all()["n"].to_pylist() == [1]


def test_two_compactions_at_once_never_double_the_rows_of_an_appended_table(lake, monkeypatch):
    for number in range(3):
        lake.append("notes", pa.table({"n": [number]}), {})
    rewritten, raced = upkeep._rewritten, []

    def compacted_meanwhile(*asked, **named):
        files = rewritten(*asked, **named)
        if not raced:
            raced.append(True)
            assert lake.optimize("notes") == 3
            lake.append("notes", pa.table({"n": [3]}), {})
        return files

    monkeypatch.setattr(upkeep, "_rewritten", compacted_meanwhile)
    assert lake.optimize("notes") == 0
    assert sorted(lake.read("notes").read_all()["n"].to_pylist()) == [0, 1, 2, 3]
    assert lake.optimize("notes") == 2, "a later one goes on"
    assert sorted(lake.read("notes").read_all()["n"].to_pylist()) == [0, 1, 2, 3]


COLUMNS = pa.schema({"note": pa.string()})
RACES = {
    "the same columns": lambda lake: lake.add_columns("t", COLUMNS),
    "other columns": lambda lake: lake.add_columns("t", pa.schema({"by": pa.string()})),
    "a publication": lambda lake: put(lake, 3, "r2"),
}


@pytest.mark.parametrize("other", RACES.values(), ids=RACES.keys())
def test_columns_are_added_whatever_is_committed_meanwhile(lake, monkeypatch, other):
    put(lake, 2, "r1")
    after_opening(monkeypatch, lambda: other(lake))
    lake.add_columns("t", COLUMNS)
    assert {"n", "ds", "note"} <= set(lake.schema("t").names)
    assert lake.read("t").read_all()["note"].null_count == lake.read("t").read_all().num_rows
    assert len(lake.commits("t")) == (2 if other is RACES["a publication"] else 1)
    assert int(lake.head("t")) == (2 if other is RACES["the same columns"] else 3), "no commit is made twice"


def test_columns_of_another_type_added_meanwhile_are_refused(lake, monkeypatch):
    put(lake, 2, "r1")
    after_opening(monkeypatch, lambda: lake.add_columns("t", pa.schema({"note": pa.int64()})))
    with pytest.raises(SchemaMismatch, match="'note' is string, in the table int64"):
        lake.add_columns("t", COLUMNS)


@pytest.mark.parametrize("write", ["publish", "append", "optimize"])
def test_what_is_committed_while_a_table_gains_columns_keeps_them(lake, small_files, monkeypatch, write):
    table = "a" if write == "append" else "t"
    put(lake, 35, "r1")
    lake.append("a", pa.table({"n": [0, 1]}), {})
    staged = lake.stage("t", DAY, "r2", pa.table({"n": [1, 2]}).to_reader())
    actions = {
        "publish": lambda: lake.publish(staged, {}),
        "append": lambda: lake.append("a", pa.table({"n": [2]}), {}),
        "optimize": lambda: lake.optimize("t"),
    }
    commit, raced = DeltaTable.create_write_transaction, []

    def after_gaining_columns(self, *arguments, **options):
        if not raced:
            raced.append(True)
            lake.add_columns(table, COLUMNS)
        return commit(self, *arguments, **options)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", after_gaining_columns)
    done = actions[write]()
    assert lake.schema(table).field("note").type == pa.string()
    read = lake.read(table).read_all()
    assert read["n"].to_pylist() == {"publish": [1, 2], "append": [0, 1, 2], "optimize": list(range(35))}[write]
    assert read["note"].null_count == read.num_rows
    if write == "optimize":
        assert done == 0, "left for the next time"
        assert lake.optimize("t") > 0
        assert lake.read(table).read_all().equals(read)
    else:
        assert lake.commits(table)[0] == done


def after_opening(monkeypatch, race) -> None:
    """Let `race` happen once, after the table was opened."""
    open_table, raced = Tables.open, []

    def opened_before(self, *arguments, **options):
        opened = open_table(self, *arguments, **options)
        if not raced:
            raced.append(True)
            race()
        return opened

    monkeypatch.setattr(Tables, "open", opened_before)


def test_an_append_during_a_compaction_comes_after_the_rows_that_were_compacted(lake, monkeypatch):
    for number in (1, 2):
        lake.append("a", pa.table({"n": [number]}), {})
    commit, raced = DeltaTable.create_write_transaction, []

    def after_an_append(self, *arguments, **options):
        if not raced:
            raced.append(True)
            lake.append("a", pa.table({"n": [3]}), {})
        return commit(self, *arguments, **options)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", after_an_append)
    assert lake.optimize("a") == 2
    assert lake.read("a").read_all()["n"].to_pylist() == [1, 2, 3]
    assert lake.optimize("a") == 2
    assert lake.read("a").read_all()["n"].to_pylist() == [1, 2, 3]


def test_only_neighbours_of_an_appended_table_are_joined(lake, monkeypatch):
    lake.append("a", pa.table({"n": [1]}), {})
    lake.append("a", pa.table({"n": np.random.default_rng(0).permutation(10_000)}), {})
    for number in (2, 3):
        lake.append("a", pa.table({"n": [number]}), {})
    before = lake.read("a").read_all()
    monkeypatch.setattr(upkeep, "SMALL_FILE_BYTES", 10_000)
    assert lake.optimize("a") == 2
    assert lake.read("a").read_all().equals(before)


def test_a_damaged_file_is_not_rewritten_as_a_sound_one(lake, tmp_path, caplog):
    for number in range(2):
        lake.append("a", pa.table({"x": np.random.default_rng(number).random(100)}), {})
    pin, files = lake.pin("a"), sorted((tmp_path / "a").rglob("*.parquet"))
    content = bytearray(files[0].read_bytes())
    content[200] ^= 1
    files[0].write_bytes(content)
    assert lake.optimize("a") == 0
    assert re.search(r"Optimizing a: append-\w+/part-00000.parquet holds other bytes than .* stay", caplog.text)
    with pytest.raises(PinLost, match="holds other bytes"):
        lake.read_pin(pin).read_all()
    with pytest.raises(PinLost, match=r"part-00000.parquet is corrupt"):
        lake.read("a").read_all()


def test_rows_that_another_writer_appended_have_their_place(lake, tmp_path):
    lake.append("a", pa.table({"n": [1]}), {})
    write_deltalake(str(tmp_path / "a"), pa.table({"n": [2]}), mode="append")
    lake.append("a", pa.table({"n": [3]}), {})
    assert lake.read("a").read_all()["n"].to_pylist() == [1, 2, 3]


def test_every_one_of_concurrent_publications_is_given_its_own_version(tmp_path):
    def publish(writer: int) -> list[tuple[str, Commit]]:
        lake, day, made = DeltaLake(str(tmp_path)), DAY + dt.timedelta(days=writer), []
        for number in range(4):
            run = f"{writer}-{number}"
            staged = lake.stage("t", day, run, pa.table({"n": [writer, number]}).to_reader())
            made.append((run, lake.publish(staged, {"by": run})))
            made.append((run, lake.append("a", pa.table({"by": [run]}), {"by": run})))
        return made

    with ThreadPoolExecutor(4) as pool:
        made = [each for some in pool.map(publish, range(4)) for each in some]
    for run, commit in made:
        assert commit.metadata["by"] == run
        log = tmp_path / commit.table / "_delta_log" / f"{int(commit.version):020d}.json"
        assert f'\\"by\\": \\"{run}\\"' in log.read_text()


def test_gained_columns_survive_checkpoints(lake, tmp_path):
    first, pin = put(lake, 2, "r1"), lake.pin("t")
    lake.add_columns("t", COLUMNS)
    lake.append("a", pa.table({"n": [1]}), {})
    for number in range(12):
        lake.add_columns("a", pa.schema({f"c{number}": pa.string()}))
    whole = pa.table({"n": [2], **{f"c{number}": ["x"] for number in range(12)}})
    appended = lake.append("a", whole, {})
    DeltaTable(str(tmp_path / "t")).create_checkpoint()
    assert list((tmp_path / "a" / "_delta_log").glob("*.checkpoint.parquet"))
    again = DeltaLake(str(tmp_path))
    assert again.commits("t") == (first,)
    assert again.commits("a")[0] == appended
    assert len(again.commits("a")) == 2
    assert again.commits("a", since=again.commits("a")[1].version) == (appended,)
    assert again.read("a").read_all()["c11"].to_pylist() == [None, "x"]
    assert again.schema("t").names == ["n", "ds", "note"]
    assert again.read_pin(pin).read_all().column_names == ["n", "ds"]
    assert again.read("t").read_all()["note"].to_pylist() == [None, None]


def test_history_survives_a_checkpoint(lake, tmp_path):
    first = put(lake, 1, "r1")
    DeltaTable(str(tmp_path / "t")).create_checkpoint()
    second = put(lake, 2, "r2")
    assert lake.commits("t") == (second, first)


class TestKeptOpen:
    """A lake that keeps its tables open, beside one that another process writes."""

    @pytest.fixture
    def watching(self, tmp_path) -> DeltaLake:
        return DeltaLake(str(tmp_path), keep_open=True)

    def test_what_another_process_commits_is_seen(self, lake, watching):
        with pytest.raises(UpstreamMissing):
            watching.read("t")
        put(lake, 3, "r1")
        assert watching.read("t").read_all().num_rows == 3
        (first,) = watching.commits("t")
        for count in (4, 5):
            put(lake, count, f"r{count}")
        assert [commit.rows for commit in watching.commits("t", since=first.version)] == [5, 4]
        assert watching.read("t").read_all().num_rows == 5
        assert watching.commits("t", since=watching.commits("t")[0].version) == ()

    def test_an_earlier_version_does_not_stay(self, lake, watching):
        first = put(lake, 3, "r1")
        put(lake, 4, "r2")
        assert watching.read("t", version=first.version).read_all().num_rows == 3
        assert watching.read("t").read_all().num_rows == 4

    @pytest.mark.parametrize("brought_up_to_date", [False, True])
    def test_commits_made_while_the_history_is_read_change_no_number(
        self, lake, watching, monkeypatch, brought_up_to_date
    ):
        first, *made = (put(lake, count, f"r{count}") for count in range(1, 10))
        history, others = DeltaTable.history, iter(["a", "b", "c"])

        def while_others_publish(table, limit=None):
            if run := next(others, None):
                put(lake, 50, run)
                if brought_up_to_date:
                    table.update_incremental()
            return history(table, limit)

        monkeypatch.setattr(DeltaTable, "history", while_others_publish)
        assert watching.commits("t", since=first.version) == tuple(reversed(made))
        assert next(others, None) != "a", "the history was asked for"

    def test_commits_whose_log_was_cleaned_up_are_not_waited_for(self, lake, watching, tmp_path):
        first, _, *kept = (put(lake, count, f"r{count}") for count in range(1, 15))
        for version in (first.version, str(int(first.version) + 1)):
            (tmp_path / "t" / "_delta_log" / f"{int(version):020d}.json").unlink()
        assert [commit.rows for commit in watching.commits("t", since="0")] == [each.rows for each in reversed(kept)]

    def test_a_lake_put_back_from_a_copy_is_read_anew(self, lake, watching, tmp_path):
        put(lake, 1, "r1")
        shutil.copytree(tmp_path / "t", tmp_path / "copy")
        put(lake, 2, "r2")
        assert watching.read("t").read_all().num_rows == 2
        shutil.rmtree(tmp_path / "t")
        shutil.move(tmp_path / "copy", tmp_path / "t")
        assert watching.read("t").read_all().num_rows == 1


def test_tampered_and_lost_bytes_of_a_pin_are_noticed(lake, tmp_path):
    put(lake, 50, "r1")
    pin = lake.pin("t")
    (file,) = (tmp_path / "t").rglob("*.parquet")
    good = file.read_bytes()
    file.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
    for read in (lambda scan: next(scan.reader()), lambda scan: scan.parts(1), lambda scan: scan.files):
        scan = lake.scan(pin)
        for _ in range(2):
            with pytest.raises(PinLost, match="holds other bytes"):
                read(scan)
    file.write_bytes(b"short")
    with pytest.raises(PinLost, match="has 5 bytes"):
        lake.read_pin(pin)
    file.unlink()
    with pytest.raises(PinLost, match="is gone"):
        lake.read_pin(pin)
    with pytest.raises(PinLost, match=r"Reading t: ds=2013-03-01/.*parquet is gone"):
        lake.read("t").read_all()


@pytest.mark.parametrize("stored", ["local", "store"])
def test_pages_of_any_size_are_written(tmp_path, monkeypatch, stored):
    """delta-rs takes no piece that is as large as the buffer before it, and long texts make large pages."""
    if stored == "store":
        monkeypatch.setattr(files, "local_folder", lambda _: None)
    lake, random = DeltaLake(str(tmp_path)), np.random.default_rng(0)
    texts = [random.bytes(3_000).hex() for _ in range(1_500)]
    lake.publish(lake.stage("t", DAY, "r1", pa.table({"text": texts}).to_reader()), {})
    assert lake.read_pin(lake.pin("t")).read_all()["text"].to_pylist() == texts
    assert not list(tmp_path.rglob("*#*"))


@pytest.mark.parametrize("place", [4, 50, -50, -8], ids=["page header", "page", "footer", "length of the footer"])
def test_corrupt_content_is_lost_for_good_and_named(lake, tmp_path, place):
    put(lake, 500, "r1")
    (file,) = (tmp_path / "t").rglob("*.parquet")
    content = bytearray(file.read_bytes())
    place %= len(content)
    content[place : place + 3] = bytes(byte ^ 0xFF for byte in content[place : place + 3])
    file.write_bytes(content)
    with pytest.raises(PinLost, match=r"Reading t: ds=2013-03-01/run-r1-\w+/part-00000.parquet is corrupt"):
        lake.read("t").read_all()
    with pytest.raises(PinLost, match="holds other bytes"):
        lake.read_pin(lake.pin("t")).read_all()


@pytest.mark.parametrize(
    ("fails_at", "small"), [(0, 1 << 20), (0, 0), (1, 0)], ids=["whole", "footer of a large file", "its rows"]
)
def test_a_store_that_fails_while_a_file_is_read_is_unavailable(lake, monkeypatch, fails_at, small):
    put(lake, 500, "r1")
    monkeypatch.setattr(parquet, "_SMALL_BYTES", small)

    class Failing(pa.PythonFile):
        reads = 0

        def read(self, *size):
            self.reads += 1
            if self.reads > fails_at:
                raise OSError("Generic S3 error: connection reset")
            return super().read(*size)

        def read_buffer(self, *size):
            return pa.py_buffer(self.read(*size))

    open_file = TableFiles.open
    monkeypatch.setattr(
        TableFiles,
        "open",
        lambda self, path: Failing(open_file(self, path), "r") if path.endswith("parquet") else open_file(self, path),
    )
    with pytest.raises(LakeUnavailable, match=r"Reading t: the lake's storage failed .*connection reset"):
        lake.read("t").read_all()


def test_a_version_whose_log_was_cleaned_up_is_missing_and_its_pin_lost(lake, tmp_path):
    put(lake, 1, "r1")
    pin = lake.pin("t")
    put(lake, 2, "r2")
    DeltaTable(str(tmp_path / "t")).create_checkpoint()
    for version in range(2):
        (tmp_path / "t" / "_delta_log" / f"{version:020d}.json").unlink()
    with pytest.raises(UpstreamMissing, match="no version '1' any more"):
        lake.read("t", version="1")
    with pytest.raises(PinLost, match=r"no version '1' any more.*It was pinned"):
        lake.read_pin(pin)


def test_a_day_published_while_vacuum_lists_keeps_its_files(tmp_path, monkeypatch):
    """The staging is old and its manifest about to go, but the listing is not the last word."""
    lake = DeltaLake(str(tmp_path), now=lambda: dt.datetime.now(dt.UTC) + dt.timedelta(days=2))
    put(lake, 1, "r1")
    staged = lake.stage("t", DAY, "r2", pa.table({"n": [7, 8]}).to_reader())
    list_files, published = TableFiles.list, []

    def published_after_listing(self, folder=""):
        found = list_files(self, folder)
        if not published:
            published.append(lake.publish(staged, {}))
        return found

    monkeypatch.setattr(TableFiles, "list", published_after_listing)
    lake.vacuum("t", older_than=dt.timedelta(0))
    assert published
    assert lake.read("t").read_all()["n"].to_pylist() == [7, 8]
    assert lake.read_pin(lake.pin("t")).read_all().num_rows == 2


def test_a_staging_annotated_while_vacuum_lists_is_kept(tmp_path, monkeypatch):
    lake = DeltaLake(str(tmp_path))
    put(lake, 1, "r1")
    staged = lake.stage("t", DAY, "r2", pa.table({"n": [7, 8]}).to_reader())
    for file in (tmp_path / "t").rglob("*.*"):
        if file.is_file() and "_delta_log" not in file.parts:
            os.utime(file, (0, 0))
    list_files, annotated = TableFiles.list, []

    def annotated_after_listing(self, folder=""):
        found = list_files(self, folder)
        if not annotated:
            annotated.append(lake.annotate(staged, {"audit": "passed"}))
        return found

    monkeypatch.setattr(TableFiles, "list", annotated_after_listing)
    assert lake.vacuum("t", older_than=dt.timedelta(0)).files == 0
    assert lake.staged("t", DAY, "r2") == annotated[0]
    assert lake.publish(annotated[0], {}).rows == 2


@pytest.mark.parametrize(
    "content", [b"", b'{"table": "t", "ds": "2013-', b"{}", b"[]", b'{"files": [{"path": 1}]}', b"\xff"]
)
def test_a_manifest_that_is_half_written_is_in_nobodys_way(lake, tmp_path, content):
    put(lake, 1, "r1")
    staged = lake.stage("t", DAY, "r2", pa.table({"n": [7, 8]}).to_reader())
    (manifest,) = (path for path in (tmp_path / "t" / "_staged").rglob("r2-*.json"))
    manifest.write_bytes(content)
    for use in (
        lambda: lake.staged("t", DAY, "r2"),
        lambda: lake.publish(staged, {}),
        lambda: lake.read_staged(staged),
    ):
        with pytest.raises(StagingGone, match="Run the stage that stages it"):
            use()
    later = DeltaLake(str(tmp_path), now=lambda: dt.datetime.now(dt.UTC) + dt.timedelta(days=2))
    assert later.vacuum("t", older_than=dt.timedelta(0)).files == 1
    assert not manifest.exists()
    assert put(lake, 2, "r2").rows == 2


def test_stray_files_and_folders_are_in_no_ones_way_and_go_in_time(lake, tmp_path):
    put(lake, 3, "r1")
    table = tmp_path / "t"
    strays = ["ds=notaday/part-0.parquet", f"ds={DAY}/x.parquet.partial", "notes.txt", ".DS_Store", "a=1/b=2/x", "x#1"]
    for name in strays:
        (table / name).parent.mkdir(parents=True, exist_ok=True)
        (table / name).write_bytes(b"stray")
    (table / "ds=2013-99-99").mkdir()
    assert lake.read("t").read_all().num_rows == 3
    assert list(lake.days("t")) == [DAY]
    assert put(lake, 4, "r2").rows == 4
    assert lake.vacuum("t").files == lake.optimize("t") == 0
    for _ in range(3):  # a folder goes a day after what was in it
        for path in table.rglob("*"):
            if "_delta_log" not in path.parts:
                os.utime(path, (0, 0))
        lake.vacuum("t", keep=[lake.pin("t", version="1"), lake.pin("t")])
    assert not [name for name in (*strays, "ds=notaday", "a=1", "ds=2013-99-99") if (table / name).exists()]
    assert lake.read("t").read_all().num_rows == 4
    assert lake.read("t", version="1").read_all().num_rows == 3


def test_a_table_that_file_lists_would_misread_is_refused(lake, tmp_path):
    put(lake, 1, "r1")
    log = tmp_path / "t" / "_delta_log" / f"{2:020d}.json"
    features = {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    log.write_text(json.dumps({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}}))
    with pytest.raises(BadInput, match="deletionVectors"):
        lake.read("t")


@pytest.mark.parametrize("deleted", ["n < 20", "true"])
def test_the_same_rows_again_repair_a_day_of_which_another_program_deleted_some(lake, tmp_path, deleted):
    put(lake, 50, "r1")
    assert lake.sound("t", DAY)
    DeltaTable(str(tmp_path / "t")).delete(f"ds = '{DAY}' and {deleted}")
    assert not lake.sound("t", DAY)
    assert not put(lake, 50, "r2").unchanged
    assert lake.sound("t", DAY)
    assert lake.read("t").read_all().num_rows == 50


def test_rows_that_another_program_wrote_have_their_day(lake, tmp_path):
    """Delta's other writers leave the day out of their files: the log has it."""
    put(lake, 5, "r1")
    DeltaTable(str(tmp_path / "t")).delete(f"ds = '{DAY}' and n = 2")
    write_deltalake(str(tmp_path / "t"), pa.table({"n": [7], "ds": [DAY]}), mode="append")
    parts = lake.scan(lake.pin("t"), ["ds"]).parts(1)
    assert [day for part in parts for batch in part.batches() for day in batch["ds"].to_pylist()] == [DAY] * 5
    for _ in range(2):
        rows = lake.read("t").read_all().sort_by("n").to_pylist()
        assert rows == [{"n": n, "ds": DAY} for n in (0, 1, 3, 4, 7)]
        lake.optimize("t")
    assert lake.pin("t").files == 1


@pytest.mark.parametrize("damage", [b"", b"short", None], ids=["emptied", "cut short", "altered"])
def test_the_same_bytes_again_repair_a_damaged_day(lake, tmp_path, damage):
    put(lake, 50, "r1")
    (file,) = (tmp_path / "t").rglob("*.parquet")
    good = file.read_bytes()
    file.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:] if damage is None else damage)
    assert not lake.sound("t", DAY)
    assert not put(lake, 50, "r2").unchanged
    assert lake.sound("t", DAY)
    assert lake.read_pin(lake.pin("t")).read_all().num_rows == 50


def stated(tmp_path, table: pa.Table, without_nan=()) -> dict:
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=2)
    return json.loads(parquet.statistics(pq.read_metadata(tmp_path / "x.parquet"), without_nan))


def test_statistics_bound_the_values(tmp_path):
    late = dt.datetime(2013, 3, 1, 5, 0, 0, 1500, tzinfo=dt.UTC)
    old = dt.date(900, 1, 1)
    table = pa.table({"i": [3, 1, None], "f": [1.5, 0.1, 2.0], "s": ["b", "a", None], "t": [late] * 3, "d": [old] * 3})
    assert stated(tmp_path, table, {"f"}) == {
        "numRecords": 3,
        "minValues": {"i": 1, "f": 0.1, "s": "a", "t": "2013-03-01T05:00:00.001Z", "d": "0900-01-01"},
        "maxValues": {"i": 3, "f": 2.0, "s": "b", "t": "2013-03-01T05:00:00.002Z", "d": "0900-01-01"},
        "nullCount": {"i": 1, "f": 0, "s": 1, "t": 0, "d": 0},
    }


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1.0, float("inf")]),
        pa.array(["a", "b" * 65]),
        pa.array([b"a", b"b"]),
        pa.array([0, 2**63 - 1]).cast(pa.timestamp("us", "UTC")),
        pa.array([0, 2**31 - 1], pa.int32()).cast(pa.date32()),
    ],
    ids=lambda values: str(values.type),
)
def test_one_value_that_has_no_place_in_statistics_leaves_the_file_without_bounds(tmp_path, values):
    stats = stated(tmp_path, pa.table({"i": [1, 2], "v": values}), {"v"})
    assert stats == {"numRecords": 2, "nullCount": {"i": 0, "v": 0}}


def test_a_file_that_bounds_some_columns_only_is_rewritten_once(lake, tmp_path):
    rows = pa.table({"k": [1, 2], "x": [0.5, 1.5], "e": pa.array([None, None], pa.int64())})
    lake.publish(lake.stage("t", DAY, "r", rows.to_reader()), {})
    assert lake.optimize("t") == 0
    entry = tmp_path / "t" / "_delta_log" / f"{1:020d}.json"
    entry.write_text(entry.read_text().replace(r"\"x\": 0.5, ", "").replace(r"\"x\": 1.5, ", ""))

    def found() -> int:
        return DeltaTable(str(tmp_path / "t")).to_pyarrow_dataset().to_table(filter=pc.field("x") > 0).num_rows

    assert found() == 0
    assert lake.optimize("t") == 1
    assert found() == 2
    assert lake.optimize("t") == 0
    assert lake.read("t").read_all().drop_columns("ds").equals(rows)


def test_after_upkeep_a_filter_on_a_gained_column_finds_the_rows_before(lake, tmp_path):
    day = pa.table({"k": [1, 2], "x": [0.5, 1.5]})
    lake.publish(lake.stage("t", DAY, "r", day.to_reader()), {})
    for column in ("note", "by"):
        lake.add_columns("t", pa.schema({column: pa.string()}))
    after = day.append_column("note", pa.array(["a", None])).append_column("by", pa.array(["b", "c"]))
    lake.publish(lake.stage("t", DAY + dt.timedelta(days=1), "r", after.to_reader()), {})
    before = lake.read("t").read_all()
    assert lake.optimize("t") == 1
    dataset = DeltaTable(str(tmp_path / "t")).to_pyarrow_dataset()
    for column, nulls in (("note", 3), ("by", 2)):
        assert dataset.to_table(filter=pc.field(column).is_null()).num_rows == nulls
        assert dataset.to_table(filter=pc.field(column).is_valid()).num_rows == 4 - nulls
    assert lake.read("t").read_all().equals(before)
    assert lake.optimize("t") == 0


def test_a_file_with_nan_or_of_a_writer_that_does_not_say_has_no_bounds(lake, tmp_path):
    assert "minValues" not in stated(tmp_path, pa.table({"x": [1.0, 2.0]}))
    for values, bounded in (([1.0, float("nan")], False), ([None, None], True), ([None, 1.0], True)):
        rows = pa.table({"k": [1, 2], "x": pa.array(values, pa.float64())})
        lake.publish(lake.stage("t", DAY, "r", rows.to_reader()), {})
        (action,) = pa.table(DeltaTable(str(tmp_path / "t")).get_add_actions(flatten=True)).to_pylist()
        assert (action.get("min.k") == 1) == bounded


def test_a_large_file_is_cut_between_its_row_groups(tmp_path):
    lake = DeltaLake(str(tmp_path))
    rows = pa.table({"n": pa.array(range(600_000))})
    lake.publish(lake.stage("t", DAY, "r", rows.to_reader()), {})
    scan = lake.scan(lake.pin("t"))
    assert len(scan.files) == 1
    assert [part.rows for part in scan.parts(300_000)] == [262_144, 262_144, 75_712]
    assert [part.rows for part in scan.parts(530_000)] == [524_288, 75_712]
    assert [part.rows for part in scan.parts(600_000)] == [600_000]


def test_a_log_that_is_overwritten_in_place_is_read_again(tmp_path):
    """As a copy of another lake over this one would: no file is added or removed."""
    here, there = (DeltaLake(str(tmp_path / name)) for name in ("here", "there"))
    for lake, day in ((here, dt.date(2013, 1, 1)), (there, dt.date(2013, 1, 2))):
        lake.publish(lake.stage("t", day, "r", pa.table({"x": [1]}).to_reader()), {})
    assert list(here.days("t")) == [dt.date(2013, 1, 1)]
    for file in (tmp_path / "there" / "t" / "_delta_log").glob("*.json"):
        (tmp_path / "here" / "t" / "_delta_log" / file.name).write_bytes(file.read_bytes())
    assert list(here.days("t")) == [dt.date(2013, 1, 2)]


class TestOpenedOnce:
    """Opening a table takes longer with every day that it has, so a night opens it as seldom as it can."""

    @pytest.fixture
    def openings(self, monkeypatch) -> list[str]:
        found: list[str] = []

        class Counted(DeltaTable):
            def __init__(self, table_uri, **options):
                found.append(Path(table_uri).name)
                super().__init__(table_uri, **options)

        monkeypatch.setattr(tables, "DeltaTable", Counted)
        return found

    def test_staging_and_publishing_a_day_of_a_table_opens_it_once(self, lake, tmp_path, openings):
        put(lake, 1, "r1")
        openings.clear()
        anew = DeltaLake(str(tmp_path))
        assert list(anew.days("t")) == [DAY]
        put(anew, 2, "r2")
        assert openings == ["t"]
        assert anew.read("t").read_all().num_rows == 2
        assert openings == ["t", "t"], "after a commit it is opened again, by whoever asks next"

    def test_a_commit_does_not_move_the_table_that_readers_share(self, lake):
        put(lake, 1, "r1")
        shared = lake.tables.latest("t")
        before = shared.number, shared.publications(DAY), shared.active()
        assert lake.tables.to_write("t") is shared
        put(lake, 2, "r2")
        assert (shared.number, shared.publications(DAY), shared.active()) == before
        assert shared.delta.version() == shared.number
        assert lake.tables.latest("t").number == shared.number + 1

    def test_a_table_that_gains_columns_is_not_the_one_that_readers_share(self, lake):
        put(lake, 1, "r1")
        shared = lake.tables.latest("t")
        lake.add_columns("t", pa.schema({"m": pa.int64()}))
        assert "m" not in shared.schema.names
        assert "m" in lake.schema("t").names

    def test_a_day_published_meanwhile_refuses_what_is_committed_from_an_older_look(self, tmp_path):
        """The commit begins at the shared table, so one that another process has overtaken must be found out."""
        ours, theirs = DeltaLake(str(tmp_path)), DeltaLake(str(tmp_path))
        put(ours, 1, "r1")
        staged = ours.stage("t", DAY, "r2", pa.table({"n": [1, 2]}).to_reader())
        shared = ours.tables.to_write("t")
        put(theirs, 3, "r3")
        # As if the other commit came right after the look at the log's folder.
        with pytest.MonkeyPatch.context() as patch, pytest.raises(PublishConflict):
            looks = iter([shared])
            patch.setattr(
                ours.tables, "to_write", lambda table: next(looks, None) or Tables.to_write(ours.tables, table)
            )
            ours.publish(staged, {})
        assert ours.read("t").read_all().num_rows == 3


class TestHead:
    """On local disk the latest version is found from the log's folder alone."""

    @pytest.fixture
    def log(self, tmp_path) -> Path:
        folder = tmp_path / "t" / "_delta_log"
        folder.mkdir(parents=True)
        return folder

    def commit(self, log: Path, number: int) -> None:
        (log / f"{number:020d}.json").touch()

    def test_two_commits_within_a_tick_of_the_clock_are_told_apart(self, lake, log):
        assert lake.head("t") is None
        tick = log.stat().st_mtime_ns
        for number in range(3):
            self.commit(log, number)
            os.utime(log, ns=(tick, tick))
            assert lake.head("t") == str(number)

    def test_a_log_that_did_not_change_is_not_listed_again(self, lake, log, monkeypatch):
        listed = []
        self.commit(log, 9)
        os.utime(log, ns=(10**18, 10**18))
        scandir = os.scandir
        monkeypatch.setattr(os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
        assert [lake.head("t") for _ in range(3)] == ["9"] * 3
        assert len(listed) == 1
        self.commit(log, 10)
        assert lake.head("t") == "10"

    def test_a_long_log_is_not_listed_where_a_checkpoint_says_where_to_begin(self, lake, log, monkeypatch):
        for number in range(25):
            self.commit(log, number)
        (log / "_last_checkpoint").write_text('{"version": 19}')
        monkeypatch.setattr(os, "scandir", lambda folder: pytest.fail("the folder was listed"))
        assert lake.head("t") == "24"
        self.commit(log, 25)
        assert lake.head("t") == "25", "found from the one known before, however recent the folder's change"

    @pytest.mark.parametrize("hint", ['{"version": 99}', '{"version": null}', "{", ""])
    def test_a_hint_that_is_wrong_is_not_believed(self, lake, log, hint):
        self.commit(log, 3)
        (log / "_last_checkpoint").write_text(hint)
        assert lake.head("t") == "3"

    def test_a_shorter_log_in_place_of_a_longer_one_is_noticed(self, lake, log):
        for number in range(6):
            self.commit(log, number)
        assert lake.head("t") == "5"
        for number in (4, 5):
            (log / f"{number:020d}.json").unlink()
        assert lake.head("t") == "3"

    def test_what_is_no_commit_is_not_taken_for_one(self, lake, log):
        self.commit(log, 3)
        for name in (
            f"{9:020d}.checkpoint.parquet",
            f"{0:020d}.{9:020d}.compacted.json",
            "_last_checkpoint",
            f"_commit_{uuid.uuid4()}.json.tmp",
            "a-file-of-25-letters.json",
        ):
            (log / name).touch()
        assert lake.head("t") == "3"
