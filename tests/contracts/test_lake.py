"""What every lake promises, on every implementation: memory, Delta on local disk, Delta on an S3 server."""

from __future__ import annotations

import contextlib
import datetime as dt
import pickle
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tailrace.contracts import Commit, Lake, Pin, Staged, Vacuumed
from tailrace.errors import (
    BadInput,
    PinLost,
    PublishConflict,
    SchemaMismatch,
    StagingGone,
    UnknownName,
    UpstreamMissing,
)
from tailrace.lake import transactions
from tailrace.lake.delta import DeltaLake
from tailrace.lake.files import TableFiles
from tailrace.lake.memory import MemoryLake
from tests.object_store import s3_server
from tests.support import lose_rows

DAY = dt.date(2013, 3, 1)
NEXT = dt.date(2013, 3, 2)
TABLE = "features/flight_delay"


@pytest.fixture(scope="session")
def s3() -> Iterator[dict[str, str]]:
    with s3_server() as variables:
        yield variables


class Clock:
    """The time now, moved ahead by `ahead`."""

    ahead = dt.timedelta(0)

    def __call__(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "local", "kept-open", "file-url", "s3"])
def reopen(request, tmp_path, clock, monkeypatch) -> Callable[[], Lake]:
    """Opens the same lake again, as another process would; the memory lake is its own other process."""
    if request.param == "memory":
        lake = MemoryLake(now=clock)
        return lambda: lake
    if request.param == "local":
        return lambda: DeltaLake(str(tmp_path / "a new" / "lake"), now=clock)
    if request.param == "kept-open":
        return lambda: DeltaLake(str(tmp_path / "lake"), keep_open=True, now=clock)
    if request.param == "file-url":
        return lambda: DeltaLake((tmp_path / "lake").as_uri(), now=clock)
    options = request.getfixturevalue("s3")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, options[name])  # parts travel without: who reads them has its own
    root = f"s3://lake/{uuid.uuid4().hex}"
    return lambda: DeltaLake(root, options, now=clock)


@pytest.fixture
def lake(reopen) -> Lake:
    return reopen()


def rows(*values: float, **more: list) -> pa.Table:
    return pa.table(
        {
            "key": pa.array([f"k{i}" for i in range(len(values))], pa.string()),
            "x": pa.array(values, pa.float64()),
            **more,
        }
    )


def stage(lake: Lake, table: pa.Table, run: str = "r1", day: dt.date = DAY):
    return lake.stage(TABLE, day, run, table.to_reader())


def put(lake: Lake, table: pa.Table, run: str = "r1", day: dt.date = DAY) -> Commit:
    return lake.publish(stage(lake, table, run, day), {"pipeline": "flight_delay"})


def staging_calls(lake: Lake, staged: Staged) -> tuple[Callable[[], object], ...]:
    return (
        lambda: lake.staged(staged.table, staged.day, staged.run_id),
        lambda: lake.read_staged(staged),
        lambda: lake.annotate(staged, {"audit": "passed"}),
        lambda: lake.publish(staged, {}),
    )


def values(reader: pa.RecordBatchReader) -> list[float]:
    return sorted(reader.read_all()["x"].to_pylist())


def test_staged_rows_are_seen_only_once_published(lake):
    staged = stage(lake, rows(1, 2))
    assert (staged.rows, staged.fence, staged.notes) == (2, 0, {})
    assert values(lake.read(TABLE)) == []
    assert lake.days(TABLE) == {}
    commit = lake.publish(staged, {"pipeline": "flight_delay"})
    assert values(lake.read(TABLE)) == [1, 2]
    assert (commit.day, commit.rows, commit.unchanged) == (DAY, 2, False)
    assert commit.metadata == {
        "pipeline": "flight_delay",
        "ds": "2013-03-01",
        "run_id": "r1",
        "rows": "2",
        "digest": staged.digest,
    }
    assert lake.days(TABLE) == {DAY: commit}
    assert lake.read(TABLE).read_all()["ds"].to_pylist() == [DAY, DAY]


def test_a_day_is_replaced_whole_and_others_stay(lake):
    put(lake, rows(1, 2))
    put(lake, rows(7), day=NEXT)
    put(lake, rows(3), run="r2")
    assert values(lake.read(TABLE, first=DAY, last=DAY)) == [3]
    assert values(lake.read(TABLE, first=NEXT)) == [7]
    assert values(lake.read(TABLE)) == [3, 7]
    assert [c.metadata["run_id"] for c in lake.commits(TABLE)] == ["r2", "r1", "r1"]
    assert [c.metadata["run_id"] for c in lake.commits(TABLE, DAY)] == ["r2", "r1"]
    assert lake.commits(TABLE)[0].recorded_at >= lake.commits(TABLE)[1].recorded_at


def test_what_was_published_since_a_version(lake):
    commits = [put(lake, rows(number), day=day) for number, day in enumerate((DAY, NEXT, DAY))]
    for place, commit in enumerate(commits):
        assert lake.commits(TABLE, since=commit.version) == tuple(reversed(commits[place + 1 :]))
    assert lake.commits(TABLE, DAY, since=commits[0].version) == (commits[2],)
    assert lake.commits("nothing", since="3") == ()
    for version in ("99", "x", ""):
        with pytest.raises(UpstreamMissing, match=f"no version '{version}'"):
            lake.commits(TABLE, since=version)


def test_which_version_came_after_another(lake):
    stage(lake, rows(0))
    versions = [lake.pin(TABLE).version]
    versions += [put(lake, rows(number), day=day).version for number, day in enumerate((DAY, NEXT, DAY) * 4)]
    assert len(set(versions)) == 13, "Delta's tenth version sorts before its second as text"
    for place, version in enumerate(versions):
        assert [lake.came_after(TABLE, version, other) for other in versions] == [
            place > other for other in range(len(versions))
        ]
    for pair in ((versions[0], "x"), ("x", versions[0]), ("", "")):
        with pytest.raises(UpstreamMissing, match="no version"):
            lake.came_after(TABLE, *pair)


def test_the_head_is_the_latest_version_and_another_after_every_commit(lake, reopen):
    assert lake.head(TABLE) is lake.head("nothing/here") is None
    staged = stage(lake, rows(1, 2))
    heads = [lake.head(TABLE)]
    for commit in (
        lambda: lake.publish(staged, {}),
        lambda: put(lake, rows(3), day=NEXT),
        lambda: put(reopen(), rows(4), run="r2"),
    ):
        made = commit().version
        assert lake.head(TABLE) == reopen().head(TABLE) == lake.pin(TABLE).version == made
        heads.append(made)
    assert len(set(heads)) == 4
    assert put(lake, rows(4), run="r3").unchanged
    stage(lake, rows(5), run="r4")
    assert lake.head(TABLE) == heads[-1], "staging is no commit"
    lake.append("promotions", rows(1), {})
    before = lake.head("promotions")
    lake.append("promotions", rows(1), {})
    assert lake.head("promotions") not in (None, before)
    replaced = lake.optimize("promotions")
    assert lake.head("promotions") == lake.pin("promotions").version
    assert replaced == (2 if isinstance(lake, DeltaLake) else 0)


def test_another_process_finds_stages_audits_and_publishes(reopen):
    run = "manual__2013-03-01T00:00:00+00:00_ab/../c"
    staged = stage(reopen(), rows(1, 2), run=run)
    assert reopen().staged(TABLE, DAY, run) == staged
    reopen().annotate(staged, {"model": "3"})
    audited = reopen().annotate(staged, {"nulls": "0"})
    assert audited.notes == {"model": "3", "nulls": "0"}
    found = reopen().staged(TABLE, DAY, run)
    assert found == audited
    assert values(reopen().read_staged(found)) == [1, 2]
    commit = reopen().publish(found, {})
    assert reopen().publish(reopen().staged(TABLE, DAY, run), {}) == commit
    assert values(reopen().read(TABLE)) == [1, 2]


def test_the_second_of_two_runs_gets_a_conflict(lake):
    first, second = stage(lake, rows(1)), stage(lake, rows(2), run="r2")
    lake.publish(first, {})
    with pytest.raises(PublishConflict, match=r"r1.*published the day after run 'r2'"):
        lake.publish(second, {})
    assert values(lake.read(TABLE)) == [1]
    lake.discard(second)
    put(lake, rows(2), run="r2")
    assert values(lake.read(TABLE)) == [2]


def test_a_conflict_is_one_even_when_the_bytes_are_equal(lake):
    first, second = stage(lake, rows(1)), stage(lake, rows(1), run="r2")
    lake.publish(first, {})
    with pytest.raises(PublishConflict):
        lake.publish(second, {})


def test_publishing_equal_bytes_again_changes_nothing(lake):
    commit = put(lake, rows(1, 2))
    again = stage(lake, rows(1, 2), run="r2")
    for _ in range(2):
        unchanged = lake.publish(again, {})
        assert unchanged.unchanged
        assert unchanged.version == commit.version
    assert len(lake.commits(TABLE)) == 1
    assert values(lake.read(TABLE)) == [1, 2]


def test_the_same_bytes_are_published_anew_where_that_is_asked_for(lake):
    first = put(lake, rows(1, 2))
    again = lake.publish(stage(lake, rows(1, 2), run="r2"), {"made_from": "others"}, anew=True)
    assert (again.unchanged, again.metadata["made_from"]) == (False, "others")
    assert again.metadata["digest"] == first.metadata["digest"]
    assert lake.days(TABLE)[DAY].version == again.version
    assert lake.read(TABLE).read_all().num_rows == 2


def test_a_stage_retried_after_an_unchanged_publication_finds_its_rows(reopen):
    commit = put(reopen(), rows(1, 2))
    again = stage(reopen(), rows(1, 2), run="r2")
    reopen().publish(again, {})
    found = reopen().staged(TABLE, DAY, "r2")
    assert found == again
    assert values(reopen().read_staged(found)) == [1, 2]
    audited = reopen().annotate(found, {"audit": "passed"})
    retried = reopen().publish(audited, {})
    assert (retried.version, retried.unchanged) == (commit.version, True)
    reopen().discard(audited)
    with pytest.raises(StagingGone):
        reopen().staged(TABLE, DAY, "r2")
    assert values(reopen().read(TABLE)) == [1, 2]


def test_a_day_whose_rows_are_gone_is_not_sound_and_is_published_again(lake):
    assert not lake.sound(TABLE, DAY)
    first = put(lake, rows(1, 2))
    put(lake, rows(7), day=NEXT)
    assert lake.sound(TABLE, DAY)
    lose_rows(lake, TABLE, DAY)
    assert (lake.sound(TABLE, DAY), lake.sound(TABLE, NEXT)) == (False, True)
    with pytest.raises(PinLost):
        lake.scan(lake.pin(TABLE, first=DAY, last=DAY))
    again = put(lake, rows(1, 2), run="r2")
    assert (again.unchanged, again.metadata["digest"]) == (False, first.metadata["digest"])
    assert lake.sound(TABLE, DAY)
    assert values(lake.read(TABLE)) == [1, 2, 7]
    assert put(lake, rows(1, 2), run="r3").unchanged


def test_an_empty_day_is_sound(lake):
    put(lake, rows())
    assert lake.sound(TABLE, DAY)


def test_rows_lie_in_no_folder_that_looks_like_another_partition(lake):
    staged = lake.stage(TABLE, DAY, "scheduled__ds=2013-03-01", rows(1).to_reader())
    assert staged.files
    for path in staged.files:
        day, *below = path.split("/")
        assert day == f"ds={DAY}"
        assert not [name for name in below if "=" in name]


def test_publishing_twice_returns_the_first_commit_even_after_others(lake):
    staged = stage(lake, rows(1))
    commit = lake.publish(staged, {})
    put(lake, rows(5), run="r2")
    assert lake.publish(staged, {}) == commit
    assert values(lake.read(TABLE)) == [5]


def test_the_bytes_do_not_depend_on_how_the_rows_arrive(lake):
    table = rows(*range(1000))
    whole = stage(lake, table)
    chopped = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=7))
    assert lake.stage(TABLE, DAY, "r2", chopped).digest == whole.digest


def test_an_empty_day_is_published_and_known(lake):
    commit = put(lake, rows())
    assert (commit.rows, commit.unchanged) == (0, False)
    assert lake.days(TABLE)[DAY].rows == 0
    assert values(lake.read(TABLE)) == []
    assert put(lake, rows(), run="r2").unchanged
    put(lake, rows(4), run="r3")
    put(lake, rows(), run="r4")
    assert values(lake.read(TABLE)) == []


def test_staging_again_replaces_what_the_run_staged(lake):
    stale = stage(lake, rows(1))
    fresh = stage(lake, rows(2))
    with pytest.raises(StagingGone, match="replaced since"):
        lake.publish(stale, {})
    lake.discard(stale)
    lake.publish(fresh, {})
    assert values(lake.read(TABLE)) == [2]


def test_staging_again_after_publishing_keeps_what_is_published(lake):
    put(lake, rows(1))
    again = stage(lake, rows(2))
    assert again.fence == 1
    assert values(lake.read(TABLE)) == [1]
    lake.publish(again, {})
    assert values(lake.read(TABLE)) == [2]


def test_discarded_rows_are_gone_and_published_ones_stay(lake):
    staged = stage(lake, rows(1))
    lake.discard(staged)
    lake.discard(staged)
    for call in staging_calls(lake, staged):
        with pytest.raises(StagingGone, match=r"flight_delay of 2013-03-01: what run 'r1' staged is no longer there"):
            call()
    published = stage(lake, rows(2))
    lake.publish(published, {})
    lake.discard(published)
    assert values(lake.read(TABLE)) == [2]


def test_a_failing_input_leaves_nothing_and_keeps_the_earlier_staging(lake):
    def failing() -> Iterator[pa.RecordBatch]:
        yield from rows(1, 2).to_batches()
        raise RuntimeError("the warehouse went away")

    def attempt() -> None:
        lake.stage(TABLE, DAY, "r1", pa.RecordBatchReader.from_batches(rows().schema, failing()))

    with pytest.raises(RuntimeError, match="went away"):
        attempt()
    assert not lake.exists(TABLE)
    earlier = stage(lake, rows(9))
    with pytest.raises(RuntimeError, match="went away"):
        attempt()
    assert lake.staged(TABLE, DAY, "r1") == earlier
    lake.publish(earlier, {})
    assert values(lake.read(TABLE)) == [9]


def test_every_difference_of_the_schema_is_named(lake):
    put(lake, rows(1.0, seats=pa.array([1], pa.int64())))
    wrong = pa.table({"key": ["a"], "x": pa.array([1], pa.int64()), "seat": pa.array([1], pa.int64())})
    with pytest.raises(SchemaMismatch) as caught:
        stage(lake, wrong, run="r2")
    message = str(caught.value)
    assert "features/flight_delay of 2013-03-01" in message
    assert "'seats' of the table is missing. Did you mean 'seat'?" in message
    assert "'seat' is not in the table. Did you mean 'seats'?" in message
    assert "'x' is int64, in the table double" in message
    assert values(lake.read(TABLE)) == [1]


def test_columns_may_come_in_any_order(lake):
    put(lake, rows(1))
    put(lake, rows(2).select(["x", "key"]), run="r2")
    assert lake.read(TABLE).read_all().column_names == ["key", "x", "ds"]


def test_types_the_lake_does_not_keep_are_refused_together(lake):
    table = pa.table(
        {
            "a": pa.array([[1]], pa.list_(pa.int64())),
            "b": pa.array([1], pa.uint8()),
            "c": pa.array([dt.datetime(2013, 3, 1)], pa.timestamp("us")),
            "ds": pa.array(["2013-03-01"]),
        }
    )
    with pytest.raises(
        SchemaMismatch, match=r"(?s)'a' is list.*'b' is uint8.*'c' is timestamp.*time zone.*'ds' is"
    ) as _:
        stage(lake, table)
    assert not lake.exists(TABLE)


def test_kept_types_are_plain(lake):
    instant = dt.datetime(2013, 3, 1, 5, tzinfo=dt.UTC)
    table = pa.table(
        {
            "text": pa.array(["a"]).dictionary_encode(),
            "large": pa.array(["a"], pa.large_string()),
            "at": pa.array([instant], pa.timestamp("ns", "America/New_York")),
            "small": pa.array([1], pa.int8()),
        }
    )
    put(lake, table)
    schema = lake.schema(TABLE)
    assert schema.field("text").type == schema.field("large").type == pa.string()
    assert schema.field("at").type == pa.timestamp("us", "UTC")
    read = lake.read(TABLE).read_all()
    assert read.schema == schema
    assert read["at"].to_pylist() == [instant]


@pytest.mark.parametrize("day", [NEXT, None])
def test_rows_of_another_day_are_refused(lake, day):
    with pytest.raises(SchemaMismatch, match="1 of 2 rows"):
        stage(lake, rows(1, 2, ds=pa.array([DAY, day], pa.date32())))
    assert not lake.exists(TABLE)


def test_old_versions_and_pins_read_the_same_rows(lake):
    first = put(lake, rows(1))
    pin = lake.pin(TABLE, first=DAY, last=NEXT)
    put(lake, rows(2), run="r2")
    put(lake, rows(3), day=NEXT)
    assert values(lake.read(TABLE, version=first.version)) == [1]
    assert (pin.version, pin.rows) == (first.version, 1)
    assert values(lake.read_pin(pin)) == [1]
    assert lake.pin(TABLE, first=DAY, last=NEXT, version=first.version) == pin
    assert lake.pin(TABLE, first=DAY, last=DAY).digest != pin.digest


def test_columns_are_read_in_the_order_asked(lake):
    put(lake, rows(1))
    pin = lake.pin(TABLE)
    assert lake.read(TABLE, columns=["ds", "x"]).read_all().column_names == ["ds", "x"]
    assert lake.read_pin(pin, ["x", "key"]).read_all().column_names == ["x", "key"]
    with pytest.raises(UnknownName, match="Did you mean 'key'"):
        lake.read(TABLE, columns=["kye"])


def test_what_is_missing_is_said(lake):
    assert not lake.exists(TABLE)
    assert lake.days(TABLE) == {}
    assert lake.commits(TABLE) == ()
    for call in (lake.read, lake.schema, lake.pin):
        with pytest.raises(UpstreamMissing, match="no table 'features/flight_delay'"):
            call(TABLE)
    for call in staging_calls(lake, Staged(table=TABLE, day=DAY, run_id="r1", rows=0, fence=0, digest="", files=())):
        with pytest.raises(StagingGone, match="what run 'r1' staged is no longer there"):
            call()
    lost = Pin(table=TABLE, version="99", first=None, last=None, rows=1, files=1, digest="")
    with pytest.raises(PinLost, match=r"no table .*It was pinned"):
        lake.read_pin(lost)
    put(lake, rows(1))
    for version in ("99", "x"):
        for call in (lake.read, lake.pin):
            with pytest.raises(UpstreamMissing, match="no version"):
                call(TABLE, version=version)
    with pytest.raises(PinLost, match=r"no version '99'.*It was pinned"):
        lake.read_pin(lost)
    altered = replace(lake.pin(TABLE), digest="altered")
    with pytest.raises(PinLost, match=f"version {altered.version}"):
        lake.read_pin(altered)


def test_append_adds_rows_without_days(lake):
    first = lake.append("promotions", rows(1), {"by": "gate"})
    second = lake.append("promotions", rows(1, 2), {"by": "rollback"})
    assert (first.day, second.rows, second.metadata["by"]) == (None, 2, "rollback")
    assert values(lake.read("promotions")) == [1, 1, 2]
    assert values(lake.read("promotions", version=first.version)) == [1]
    assert lake.commits("promotions") == (second, first)
    assert lake.days("promotions") == {}
    with pytest.raises(SchemaMismatch, match="'y' is not in the table"):
        lake.append("promotions", rows(1, y=[1]), {})
    with pytest.raises(BadInput, match="without first and last"):
        lake.read("promotions", first=DAY)


def test_appended_rows_are_read_in_the_order_of_their_commits_whatever_the_clocks_said(reopen, monkeypatch):
    hours = iter([12, 10, 14, 11, 13, 9, 15])
    monkeypatch.setattr(transactions, "milliseconds", lambda: next(hours) * 3_600_000)
    for number in (3, 1, 2):
        last = reopen().append("promotions", rows(number), {})
    assert reopen().read("promotions").read_all()["x"].to_pylist() == [3, 1, 2]
    reopen().optimize("promotions")
    for number in (5, 4):
        reopen().append("promotions", rows(number), {})
    assert reopen().read("promotions").read_all()["x"].to_pylist() == [3, 1, 2, 5, 4]
    assert reopen().scan(reopen().pin("promotions")).reader().read_all()["x"].to_pylist() == [3, 1, 2, 5, 4]
    assert reopen().read("promotions", version=last.version).read_all()["x"].to_pylist() == [3, 1, 2]


def test_tables_are_either_by_day_or_appended_to(lake):
    put(lake, rows(1))
    with pytest.raises(SchemaMismatch, match="cannot be appended to"):
        lake.append(TABLE, rows(1, ds=[DAY]), {})
    lake.append("promotions", rows(1), {})
    with pytest.raises(SchemaMismatch, match="not partitioned by 'ds'"):
        lake.stage("promotions", DAY, "r1", rows(1).to_reader())


def test_upkeep_breaks_no_pin_and_moves_no_fence(lake, clock):
    put(lake, rows(1))
    pin = lake.pin(TABLE)
    put(lake, rows(2), run="r2")
    dropped = lake.pin(TABLE)
    put(lake, rows(3), run="r3")
    staged = stage(lake, rows(4), run="r4", day=NEXT)
    before = lake.commits(TABLE)
    lake.optimize(TABLE)
    assert lake.commits(TABLE) == before
    assert lake.vacuum(TABLE, keep=[pin]).files == 0
    assert values(lake.read_pin(dropped)) == [2]
    lake.publish(staged, {})
    clock.ahead = dt.timedelta(days=2)
    assert lake.vacuum(TABLE, keep=[pin], older_than=dt.timedelta(0)).files == 1
    assert values(lake.read_pin(pin)) == [1]
    assert values(lake.read(TABLE)) == [3, 4]
    with pytest.raises(PinLost):
        lake.read_pin(dropped)
    with pytest.raises(PinLost):
        lake.read(TABLE, version=dropped.version).read_all()
    assert put(lake, rows(3), run="r5").unchanged


def test_the_last_publications_of_a_range_are_those_of_the_whole(reopen):
    span = [DAY + dt.timedelta(days=number) for number in range(6)]
    lake = reopen()
    assert lake.days(TABLE, first=DAY, last=DAY) == {}
    for number in (0, 1, 3, 1, 4):
        put(lake, rows(number, *range(number)), run=f"r{number}", day=span[number])
    put(lake, rows(), run="empty", day=span[3])
    put(lake, rows(9), run="again", day=span[0])
    lake.add_columns(TABLE, pa.schema({"note": pa.string()}))
    lake.optimize(TABLE)
    lake, every = reopen(), reopen().days(TABLE)
    assert list(every) == [span[number] for number in (0, 1, 3, 4)]
    for first in span:
        for last in span:
            expected = {day: commit for day, commit in every.items() if first <= day <= last}
            assert lake.days(TABLE, first=first, last=last) == expected
    assert lake.days(TABLE, first=span[1]) == {day: every[day] for day in list(every)[1:]}
    assert lake.days(TABLE, last=span[1]) == {day: every[day] for day in list(every)[:2]}
    assert lake.days(TABLE, first=dt.date(2000, 1, 1), last=dt.date(2020, 1, 1)) == every


def test_a_dry_run_deletes_nothing_and_says_what_a_vacuum_would(lake, clock):
    put(lake, rows(1))
    put(lake, rows(2), run="r2")
    pin, staged = lake.pin(TABLE), stage(lake, rows(3), run="r3", day=NEXT)
    clock.ahead = dt.timedelta(days=2)
    found = lake.vacuum(TABLE, older_than=dt.timedelta(0), dry_run=True)
    assert (found.files, found.others) == (2, 3)
    assert found.bytes > 0
    assert lake.staged(TABLE, NEXT, "r3") == staged
    assert lake.optimize(TABLE, dry_run=True) == 0
    assert lake.vacuum(TABLE, older_than=dt.timedelta(0)) == found
    assert lake.vacuum(TABLE, older_than=dt.timedelta(0)) == Vacuumed()
    assert values(lake.read_pin(pin)) == [2]


def test_vacuum_leaves_alone_what_is_younger_than_a_day(lake, clock):
    put(lake, rows(1))
    staged = stage(lake, rows(2), run="r2")
    clock.ahead = dt.timedelta(hours=23)
    assert lake.vacuum(TABLE, older_than=dt.timedelta(0)).files == 0
    assert values(lake.read_staged(lake.staged(TABLE, DAY, "r2"))) == [2]
    clock.ahead = dt.timedelta(hours=25)
    assert lake.vacuum(TABLE, older_than=dt.timedelta(days=2)).files == 0
    assert lake.vacuum(TABLE, older_than=dt.timedelta(0)).files == 1
    for call in staging_calls(lake, staged):
        with pytest.raises(StagingGone):
            call()
    assert values(lake.read(TABLE)) == [1]


# ---------------------------------------------------------------- columns that a table gains

NOTED = pa.schema({"note": pa.string(), "seats": pa.int32()})


def noted(*values: float) -> pa.Table:
    """Rows of a table that gained the columns of `NOTED`."""
    texts = pa.array([f"n{i}" for i in range(len(values))], pa.string())
    return rows(*values, note=texts, seats=pa.array(range(len(values)), pa.int32()))


def notes(reader: pa.RecordBatchReader) -> list[tuple]:
    """x, note and seats of each row."""
    read = reader.read_all()
    return sorted(zip(*(read[name].to_pylist() for name in ("x", "note", "seats")), strict=True))


def test_a_column_that_a_table_gains_is_null_in_the_rows_before(lake, reopen):
    put(lake, rows(1, 2))
    reopen().add_columns(TABLE, NOTED)
    put(lake, noted(3), day=NEXT)
    before, after = [(1, None, None), (2, None, None)], [(3, "n0", 0)]
    assert lake.schema(TABLE).names == ["key", "x", "ds", "note", "seats"]
    assert lake.schema(TABLE).field("seats") == pa.field("seats", pa.int32())
    assert lake.read(TABLE).read_all().schema == lake.schema(TABLE)
    assert notes(lake.read(TABLE, first=DAY, last=DAY)) == before
    assert notes(lake.read(TABLE, first=NEXT)) == after
    assert lake.read(TABLE, last=DAY, columns=["seats"]).read_all().to_pylist() == [{"seats": None}] * 2
    scan = lake.scan(lake.pin(TABLE), ["note", "x", "seats"])
    assert (scan.native, scan.rows, scan.schema.names) == (None, 3, ["note", "x", "seats"])
    parts = [pickle.loads(pickle.dumps(part)) for part in scan.parts(1)]
    read = pa.Table.from_batches([batch for part in parts for batch in part.batches()])
    assert notes(read.to_reader()) == notes(scan.reader()) == before + after
    with pytest.raises(SchemaMismatch, match=r"(?s)'note' of the table is missing.*'seats' of the table is missing"):
        stage(lake, rows(4), run="r2")


@pytest.mark.parametrize("how", ["rows", "parts", "files"])
def test_rows_may_lack_the_columns_that_their_target_names(lake, how):
    put(lake, noted(1), day=NEXT)
    target = lake.target(TABLE, DAY, "r2", may_lack=["seats", "note", "elsewhere"])
    if how == "rows":
        staged = target.write(rows(2).to_reader())
    elif how == "parts":
        staged = target.write_parts(rows(2).schema, lambda writer: [writer.write(0, rows(2).to_reader())])
    else:
        staged = target.write_files(of_day(2).schema, files(lake, of_day(2)))
    assert notes(lake.read_staged(staged)) == [(2, None, None)]
    lake.publish(staged, {})
    assert notes(lake.read(TABLE)) == [(1, "n0", 0), (2, None, None)]
    lake.optimize(TABLE)
    assert notes(lake.scan(lake.pin(TABLE, first=DAY, last=DAY)).reader()) == [(2, None, None)]
    with pytest.raises(SchemaMismatch, match=r"column 'note' of the table is missing\.$"):
        lake.target(TABLE, DAY, "r3", may_lack=["seats"]).write(rows(3).to_reader())


def test_rows_may_lack_columns_of_a_table_that_gains_others_meanwhile(lake, reopen):
    put(lake, noted(1))

    def write(writer):
        reopen().add_columns(TABLE, pa.schema({"by": pa.string()}))
        return [writer.write(0, rows(2).to_reader())]

    lake.publish(lake.target(TABLE, NEXT, "r2", may_lack=NOTED.names).write_parts(rows(2).schema, write), {})
    assert notes(lake.read(TABLE)) == [(1, "n0", 0), (2, None, None)]


def test_gaining_columns_is_a_version_and_no_publication(lake, reopen):
    watching = reopen()
    first = put(lake, rows(1))
    staged = stage(lake, rows(2), run="r2", day=NEXT)
    assert watching.commits(TABLE) == (first,)
    lake.add_columns(TABLE, NOTED)
    head = lake.head(TABLE)
    assert head == watching.head(TABLE) == lake.pin(TABLE).version != first.version
    assert lake.came_after(TABLE, head, first.version)
    assert lake.commits(TABLE) == watching.commits(TABLE) == (first,)
    assert lake.commits(TABLE, since=head) == ()
    assert notes(lake.read_staged(staged)) == [(2, None, None)]
    second = lake.publish(staged, {})
    assert lake.days(TABLE) == {DAY: first, NEXT: second}
    assert watching.commits(TABLE, since=head) == (second,)
    assert notes(lake.read(TABLE)) == [(1, None, None), (2, None, None)]
    assert put(lake, noted(1), run="r3").rows == 1, "the fence did not move"


def test_pins_keep_the_columns_they_were_made_with_and_upkeep_the_rows(lake, clock):
    put(lake, rows(1, 2))
    old = lake.pin(TABLE)
    lake.add_columns(TABLE, NOTED)
    put(lake, noted(7), day=NEXT)
    new, before, commits = lake.pin(TABLE), lake.read(TABLE).read_all(), lake.commits(TABLE)
    assert lake.pin(TABLE, last=DAY).digest == old.digest
    lake.optimize(TABLE)
    assert lake.optimize(TABLE) == 0
    clock.ahead = dt.timedelta(days=2)
    lake.vacuum(TABLE, keep=[old, new], older_than=dt.timedelta(0))
    assert lake.read(TABLE).read_all().equals(before)
    assert lake.commits(TABLE) == commits
    for reader in (lake.read_pin(old), lake.read(TABLE, version=old.version)):
        assert reader.read_all().column_names == ["key", "x", "ds"]
    with pytest.raises(UnknownName, match="column of features/flight_delay 'note'"):
        lake.read_pin(old, ["note"])
    assert notes(lake.read_pin(new)) == [(1, None, None), (2, None, None), (7, "n0", 0)]
    assert put(lake, noted(7), day=NEXT, run="r2").unchanged


def test_a_table_that_is_appended_to_gains_columns(lake):
    lake.append("promotions", rows(1), {})
    lake.add_columns("promotions", NOTED)
    lake.append("promotions", noted(2), {})
    lake.optimize("promotions")
    assert lake.read("promotions").read_all()["note"].to_pylist() == [None, "n0"]


def test_nothing_happens_if_all_columns_are_there_or_there_is_no_table(lake):
    lake.add_columns(TABLE, NOTED)
    assert not lake.exists(TABLE)
    put(lake, rows(1))
    head = lake.head(TABLE)
    for columns in (lake.schema(TABLE), pa.schema({"key": pa.large_string()}), pa.schema([])):
        lake.add_columns(TABLE, columns)
    assert lake.head(TABLE) == head
    lake.add_columns(TABLE, pa.schema([*NOTED, lake.schema(TABLE).field("x")]))
    assert lake.schema(TABLE).names == ["key", "x", "ds", "note", "seats"]


def test_columns_that_cannot_be_added_are_refused_together(lake):
    put(lake, rows(1))
    head = lake.head(TABLE)
    wrong = pa.schema({"x": pa.int64(), "KEY": pa.string(), "new": pa.string(), "New": pa.int8()})
    with pytest.raises(SchemaMismatch) as caught:
        lake.add_columns(TABLE, wrong)
    message = str(caught.value)
    assert "Adding columns to features/flight_delay" in message
    assert "'x' is int64, in the table double" in message
    assert "'KEY' differs from 'key' in upper and lower case only" in message
    assert "'New' differs from 'new' in upper and lower case only" in message
    with pytest.raises(SchemaMismatch, match=r"(?s)'a' is list.*'b' is null: .*'b' appears twice"):
        lake.add_columns(TABLE, pa.schema([("a", pa.list_(pa.int64())), ("b", pa.null()), ("b", pa.int64())]))
    assert lake.head(TABLE) == head


def test_a_staging_that_began_before_the_table_gained_columns_is_published(lake, reopen):
    put(lake, rows(1))

    def batches():
        yield from rows(2).to_batches()
        reopen().add_columns(TABLE, NOTED)
        yield from rows(3).to_batches()

    def write(writer):
        reopen().add_columns(TABLE, pa.schema({"by": pa.string()}))
        return [writer.write(0, noted(4).to_reader())]

    lake.publish(lake.stage(TABLE, NEXT, "r2", pa.RecordBatchReader.from_batches(rows(2).schema, batches())), {})
    lake.publish(lake.target(TABLE, DAY, "r3").write_parts(noted(4).schema, write), {})
    assert lake.schema(TABLE).names == ["key", "x", "ds", "note", "seats", "by"]
    assert notes(lake.read(TABLE)) == [(2, None, None), (3, None, None), (4, "n0", 0)]


def test_writers_that_add_the_same_columns_and_publish_at_once_all_succeed(lake, reopen):
    for day in (DAY, NEXT):
        put(lake, rows(0), day=day)

    def widen_and_publish(day: dt.date) -> Commit:
        own = reopen()
        own.add_columns(TABLE, NOTED)
        return put(own, noted(1), day=day, run="again")

    with ThreadPoolExecutor(2 if isinstance(lake, DeltaLake) else 1) as pool:
        made = list(pool.map(widen_and_publish, (DAY, NEXT)))
    assert lake.schema(TABLE).names == ["key", "x", "ds", "note", "seats"]
    assert lake.days(TABLE) == dict(zip((DAY, NEXT), made, strict=True))
    assert len(lake.commits(TABLE)) == 4
    assert notes(lake.read(TABLE)) == [(1, "n0", 0)] * 2


# ---------------------------------------------------------------- parts: what many processes read and write


def test_parts_hold_every_row_once_and_in_order_in_any_process(lake):
    put(lake, rows(*range(700)))
    put(lake, rows(*range(700, 730)), day=NEXT)
    scan = lake.scan(lake.pin(TABLE), ["x", "key"])
    assert scan.rows == 730
    parts = [pickle.loads(pickle.dumps(part)) for part in scan.parts(100)]
    read = [pa.Table.from_batches(part.batches()) for part in parts]
    assert [table.num_rows for table in read] == [part.rows for part in parts]
    assert pa.concat_tables(read).equals(scan.reader().read_all())


def test_parts_written_in_any_order_are_staged_in_theirs(lake):
    def write(writer):
        writer = pickle.loads(pickle.dumps(writer))
        later = writer.write(1, rows(4, 5).to_reader())
        return [writer.write(0, rows(1, 2, 3).to_reader()), later]

    staged = lake.target(TABLE, DAY, "r1").write_parts(rows(1).schema, write)
    assert staged.rows == 5
    assert values(lake.read_staged(staged)) == [1, 2, 3, 4, 5]
    lake.publish(lake.staged(TABLE, DAY, "r1"), {})
    assert values(lake.read(TABLE)) == [1, 2, 3, 4, 5]


def test_a_second_copy_of_a_part_does_not_count(lake):
    def write(writer):
        first = writer.write(0, rows(1, 2).to_reader())
        writer.write(0, rows(1, 2).to_reader())
        return [first]

    staged = lake.target(TABLE, DAY, "r1").write_parts(rows(1).schema, write)
    lake.publish(staged, {})
    assert values(lake.read(TABLE)) == [1, 2]
    if isinstance(lake, DeltaLake):
        assert [file.path for file in data_files(lake)] == list(staged.files)


def test_a_copy_that_is_finished_when_the_parts_are_staged_already_does_not_count(lake, clock):
    writers = []

    def write(writer):
        writers.append(writer)
        return [writer.write(0, rows(1, 2).to_reader())]

    staged = lake.target(TABLE, DAY, "r1").write_parts(rows(1).schema, write)
    writers[0].write(0, rows(1, 2).to_reader())
    lake.publish(staged, {})
    assert values(lake.read(TABLE)) == [1, 2]
    if isinstance(lake, DeltaLake):
        clock.ahead = dt.timedelta(days=8)
        assert lake.vacuum(TABLE, keep=[lake.pin(TABLE)]).files == 1
        assert [file.path for file in data_files(lake)] == list(staged.files)


def test_parts_that_fail_leave_nothing_staged(lake):
    put(lake, rows(1))

    def write(writer):
        writer.write(0, rows(2).to_reader())
        raise RuntimeError("the cluster is gone")

    with pytest.raises(RuntimeError, match="the cluster is gone"):
        lake.target(TABLE, DAY, "r2").write_parts(rows(1).schema, write)
    with pytest.raises(StagingGone):
        lake.staged(TABLE, DAY, "r2")
    assert values(lake.read(TABLE)) == [1]
    if isinstance(lake, DeltaLake):
        assert len(data_files(lake)) == 1


def test_no_parts_are_an_empty_day(lake):
    staged = lake.target(TABLE, DAY, "r1").write_parts(rows(1).schema, lambda writer: [])
    assert lake.publish(staged, {}).rows == 0


def test_parts_of_another_day_are_refused(lake):
    put(lake, rows(1))
    wrong = rows(2).append_column("ds", pa.array([NEXT]))
    with pytest.raises(SchemaMismatch, match="not of that day"):
        lake.target(TABLE, DAY, "r2").write_parts(wrong.schema, lambda writer: [writer.write(0, wrong.to_reader())])


# ---------------------------------------------------------------- files: what foreign writers leave


def files(lake: Lake, *tables: pa.Table, fails: bool = False, **options) -> Callable[[str], None]:
    """A writer of one file for each table, with all that Hadoop's writers leave beside them."""

    def write(folder: str) -> None:
        store = opened(lake, folder)
        for number, table in reversed(list(enumerate(tables))):
            name = f"part-{number:05d}-c000.parquet"
            with contextlib.closing(store.create(name)) as sink:
                pq.write_table(table, sink, **options)
            store.put(f".{name}.crc", b"crc")
        if fails:
            store.put("_temporary/0/task_1/part-00007-c000.parquet", b"PAR1")
            raise RuntimeError("executor 7 was lost")
        store.put("_SUCCESS", b"")

    return write


def opened(lake: Lake, folder: str) -> TableFiles:
    if "://" in folder:
        return TableFiles(folder, lake.tables.options)
    Path(folder).mkdir(parents=True)
    return TableFiles(folder, None)


def of_day(*values: float, day: dt.date | None = DAY, **more) -> pa.Table:
    return rows(*values, ds=pa.array([day] * len(values), pa.date32()), **more)


def write_files(lake: Lake, *tables: pa.Table, run: str = "r1", **options) -> Staged:
    return lake.target(TABLE, DAY, run).write_files(tables[0].schema, files(lake, *tables, **options))


def test_files_of_another_writer_are_staged_in_the_order_of_their_names(lake):
    staged = write_files(lake, of_day(1, 2), of_day(), of_day(3).select(["ds", "x", "key"]))
    assert staged.rows == 3
    assert lake.read_staged(staged).read_all().equals(pa.concat_tables([of_day(1, 2), of_day(3)]))
    lake.publish(lake.staged(TABLE, DAY, "r1"), {})
    assert values(lake.read_pin(lake.pin(TABLE))) == [1, 2, 3]
    assert lake.publish(write_files(lake, of_day(1, 2), of_day(3), run="r2"), {}).rows == 3
    if isinstance(lake, DeltaLake):
        listed = sorted(file.path for file in data_files(lake) if "/run-r1-" in file.path)
        assert listed == list(staged.files)


def test_files_with_required_columns_and_metadata_read_as_the_table_does(lake):
    table = of_day(1, 2)
    strict = pa.schema([field.with_nullable(False) for field in table.schema], {"by": "Spark"})
    lake.publish(write_files(lake, table.cast(strict)), {})
    read = lake.scan(lake.pin(TABLE)).reader().read_all()
    assert read.schema.equals(lake.schema(TABLE), check_metadata=True)
    assert values(read.to_reader()) == [1, 2]


def test_files_need_the_columns_that_the_table_gained_before(lake):
    put(lake, rows(1))
    lake.add_columns(TABLE, NOTED)
    with pytest.raises(SchemaMismatch, match="'note' of the table is missing"):
        write_files(lake, of_day(2), run="r2")
    lake.publish(write_files(lake, of_day(2, note=["n"], seats=pa.array([1], pa.int32())), run="r2"), {})
    assert notes(lake.read(TABLE)) == [(2, "n", 1)]


def test_no_files_are_an_empty_day(lake):
    staged = write_files(lake, of_day())
    assert (staged.rows, staged.files) == (0, ())
    lake.publish(staged, {})
    assert lake.days(TABLE)[DAY].rows == 0


FOREIGN_FAULTS = {
    "another column": (of_day(2, seat=[1]), "column 'seat' is not in the table"),
    "a missing column": (of_day(2).drop_columns(["key"]), "column 'key' of the table is missing"),
    "no day": (rows(2), "column 'ds' of the table is missing"),
    "float32 for double": (of_day(2).set_column(1, "x", pa.array([2], pa.float32())), "'x' is float, in the table"),
    "rows of another day": (of_day(2, day=NEXT), "column 'ds' has rows of 2013-03-02"),
    "one row of another day": (
        pa.concat_tables([of_day(1), of_day(2, day=NEXT)]),
        "column 'ds' has rows of 2013-03-02",
    ),
    "rows of no day": (pa.concat_tables([of_day(1), of_day(2, day=None)]), "1 rows have no day"),
    "only rows of no day": (of_day(2, day=None), "1 rows have no day"),
}


@pytest.mark.parametrize("fault", FOREIGN_FAULTS)
def test_files_that_do_not_fit_are_refused_and_leave_nothing(lake, fault):
    put(lake, rows(1))
    wrong, message = FOREIGN_FAULTS[fault]
    with pytest.raises(SchemaMismatch, match=rf"of 2013-03-01: the files.*\n  - part-00001-c000.parquet: .*{message}"):
        write_files(lake, of_day(5), wrong, run="r2")
    nothing_of(lake, "r2")


def test_every_wrong_file_is_named(lake):
    with pytest.raises(SchemaMismatch, match=r"(?s)part-00001.*part-00002"):
        write_files(lake, of_day(5), of_day(2, day=NEXT), of_day(2, seat=[1]))
    assert not lake.exists(TABLE)


def test_files_without_statistics_of_the_day_are_refused(lake):
    with pytest.raises(SchemaMismatch, match="no statistics of column 'ds'"):
        write_files(lake, of_day(5), write_statistics=False)


def test_what_is_no_parquet_file_is_refused(lake):
    def write(folder: str) -> None:
        opened(lake, folder).put("torn.parquet", b"PAR1 and no more")

    with pytest.raises(SchemaMismatch, match=r"torn.parquet is no Parquet file"):
        lake.target(TABLE, DAY, "r1").write_files(of_day(1).schema, write)
    assert not lake.exists(TABLE)


def test_a_foreign_writer_that_fails_half_way_leaves_nothing(lake):
    put(lake, rows(1))
    earlier = stage(lake, rows(9), run="r2")
    with pytest.raises(RuntimeError, match="executor 7 was lost"):
        write_files(lake, of_day(2), of_day(3), run="r3", fails=True)
    nothing_of(lake, "r3")
    with pytest.raises(RuntimeError, match="executor 7 was lost"):
        write_files(lake, of_day(2), of_day(3), run="r2", fails=True)
    assert lake.staged(TABLE, DAY, "r2") == earlier


def test_a_schema_that_does_not_fit_is_refused_before_anything_is_written(lake):
    put(lake, rows(1))
    with pytest.raises(SchemaMismatch, match="'seat' is not in the table"):
        lake.target(TABLE, DAY, "r2").write_files(of_day(2, seat=[1]).schema, lambda folder: pytest.fail("written"))


def test_scans_of_plain_tables_need_no_native_reader(lake):
    put(lake, rows(1))
    assert lake.scan(lake.pin(TABLE)).native is None


def nothing_of(lake: Lake, run: str) -> None:
    """Nothing is staged by that run, and what was published first stays alone."""
    with pytest.raises(StagingGone):
        lake.staged(TABLE, DAY, run)
    assert values(lake.read(TABLE)) == [1]
    if isinstance(lake, DeltaLake):
        assert [file.path for file in lake.tables.files(TABLE).list() if f"run-{run}-" in file.path] == []


def data_files(lake):
    return [file for file in lake.tables.files(TABLE).list() if file.path.startswith("ds=")]
