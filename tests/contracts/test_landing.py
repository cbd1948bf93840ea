"""What a landing zone promises, in a folder and on a file system in memory."""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import uuid
from pathlib import Path

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tailrace.errors import (
    LakeUnavailable,
    LandingRefused,
    SettingsError,
    StorageFull,
    UnknownName,
    UpstreamMissing,
)
from tailrace.rows import nights
from tailrace.sources.landing import LANDED_AT, Landing

DAY = dt.date(2013, 1, 1)
NEXT = dt.date(2013, 1, 2)
NOON = dt.datetime(2013, 1, 1, 12, tzinfo=dt.UTC)
SCHEMAS = {
    "planes": pa.schema({"tailnum": pa.string(), "seats": pa.int32()}),
    "airlines": pa.schema({"carrier": pa.string()}),
}


def planes(*seats: int) -> pa.Table:
    return pa.table({"tailnum": [f"N{n}" for n in seats], "seats": list(seats)}, schema=SCHEMAS["planes"])


def airlines() -> pa.Table:
    return pa.table({"carrier": ["UA"]}, schema=SCHEMAS["airlines"])


ROOTS = {"folder": lambda folder: str(folder / "landing"), "memory": lambda _: f"memory://{uuid.uuid4().hex}"}


@pytest.fixture(params=ROOTS)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ROOTS[request.param](tmp_path)


@pytest.fixture
def landing(root: str) -> Landing:
    landing = Landing(root, SCHEMAS)
    for day in (DAY, NEXT):
        landing.write("planes", day, planes(100, 200))
        landing.write("airlines", day, airlines())
    return landing


class File:
    """A landed file, wherever it lies."""

    def __init__(self, landing: Landing, table: str, day: dt.date) -> None:
        self.files, self.folder = fsspec.core.url_to_fs(f"{landing.location}/{table}/ds={day}")
        self.path = f"{self.folder}/part-0.parquet"

    def rows(self) -> pa.Table:
        return pq.read_table(pa.BufferReader(self.read_bytes()), partitioning=None)

    def read_bytes(self) -> bytes:
        return self.files.cat_file(self.path)

    def write_bytes(self, content: bytes) -> None:
        self.files.pipe_file(self.path, bytes(content))

    def write_rows(self, rows: pa.Table) -> None:
        with self.files.open(self.path, "wb") as sink:
            pq.write_table(rows, sink)

    def unlink(self) -> None:
        self.files.rm_file(self.path)

    def siblings(self) -> list[str]:
        return [Path(found).name for found in self.files.ls(self.folder, detail=False)]


def test_rows_are_landed_with_the_time_of_landing(root: str) -> None:
    landing = Landing(root, SCHEMAS, clock=lambda: NOON)

    assert landing.write("planes", DAY, planes(100, 200)) == 2

    landed = File(landing, "planes", DAY).rows()
    assert landed.drop_columns([LANDED_AT.name]) == planes(100, 200)
    assert landed[LANDED_AT.name].to_pylist() == [NOON, NOON]


def test_landing_a_day_again_replaces_it_whole(landing: Landing) -> None:
    landing.write("planes", DAY, planes(300))

    assert File(landing, "planes", DAY).rows()["seats"].to_pylist() == [300]
    assert File(landing, "planes", DAY).siblings() == ["part-0.parquet"]
    assert landing.days("planes") == (DAY, NEXT)


def test_an_empty_day_is_landed_with_every_column(landing: Landing) -> None:
    assert landing.write("planes", DAY, SCHEMAS["planes"].empty_table()) == 0

    landing.check(DAY, NEXT)


def test_its_location_is_what_other_readers_open(root: str, landing: Landing) -> None:
    assert landing.location == root


def test_rows_with_other_columns_are_not_landed(landing: Landing) -> None:
    before = File(landing, "planes", DAY).read_bytes()
    rows = pa.table({"tailnum": [1], "wings": [2]})

    with pytest.raises(LandingRefused) as refusal:
        landing.write("planes", DAY, rows)

    for problem in ("seats is missing", "wings is unexpected", "tailnum is int64 and should be string"):
        assert problem in str(refusal.value)
    assert File(landing, "planes", DAY).read_bytes() == before


def test_a_full_disk_keeps_what_was_landed(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    before = File(landing, "planes", DAY).read_bytes()

    def write_half(rows: pa.Table, sink: fsspec.core.OpenFile, **_: object) -> None:
        sink.write(b"PAR1")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "write_table", write_half)
    with pytest.raises(StorageFull, match="planes of 2013-01-01 was not landed"):
        landing.write("planes", DAY, planes(300))

    assert File(landing, "planes", DAY).siblings() == ["part-0.parquet"]
    assert File(landing, "planes", DAY).read_bytes() == before


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (errno.EACCES, SettingsError, "cannot be written by this user: planes of 2013-01-01 was not landed"),
        (errno.EROFS, SettingsError, "the right to write there"),
        (
            errno.EIO,
            LakeUnavailable,
            "failed: planes of 2013-01-01 was not landed, and what was landed before is unchanged",
        ),
    ],
)
def test_what_may_not_be_written_is_a_sentence(
    landing: Landing, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception], message: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "no")

    before = File(landing, "planes", DAY).read_bytes()
    for name in ("makedirs", "mv"):
        with monkeypatch.context() as broken:
            broken.setattr(landing._files, name, refuse)
            with pytest.raises(error, match=message):
                landing.write("planes", DAY, planes(300))
    assert File(landing, "planes", DAY).siblings() == ["part-0.parquet"]
    assert File(landing, "planes", DAY).read_bytes() == before


def test_a_folder_that_may_not_be_looked_into_is_not_an_empty_one(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(landing._files, "ls", refuse)
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(LakeUnavailable, match=r"days of planes was read .*Permission denied"):
        landing.days("planes")
    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(LakeUnavailable, match=r"days of airlines was read .*Permission denied"):
        landing.gaps(DAY, NEXT)


def test_few_days_and_many_are_looked_for_alike(landing: Landing) -> None:
    """A few days are looked for one by one, which after years is faster than a listing."""
    years = dt.timedelta(days=400)
    assert landing.marks(DAY, NEXT) == landing.marks(DAY - years, NEXT + years) != {}
    assert {day for _, day in landing.marks(NEXT, NEXT)} == {NEXT}


@pytest.mark.parametrize("name", ["ds=notaday", "ds=2013-13-01", "ds=20130102", "ds=2013-W01-3", "ds=", "ds=2013-1-3"])
def test_a_folder_that_is_no_day_is_not_in_the_way(landing: Landing, name: str) -> None:
    before = landing.marks(DAY, NEXT), landing.digests(DAY, NEXT), landing.gaps(DAY, NEXT)
    file = File(landing, "planes", DAY)
    file.files.makedirs(f"{file.folder.rsplit('/', 1)[0]}/{name}", exist_ok=True)
    file.files.pipe_file(f"{file.folder.rsplit('/', 1)[0]}/{name}/part-0.parquet", file.read_bytes())
    assert landing.days("planes") == (DAY, NEXT)
    assert (landing.marks(DAY, NEXT), landing.digests(DAY, NEXT), landing.gaps(DAY, NEXT)) == before
    landing.check(DAY, NEXT)


def test_what_a_killed_writer_left_is_not_in_the_way_and_swept_once_it_is_old(landing: Landing) -> None:
    file = File(landing, "planes", DAY)
    before = landing.marks(DAY, NEXT)
    file.files.pipe_file(f"{file.path}.0123.partial", b"PAR1 and then it was killed")
    assert landing.marks(DAY, NEXT) == before
    landing.check(DAY, NEXT)
    assert landing.sweep() == [], "its writer may be at work"
    assert len(landing.sweep(dt.timedelta(0), dry_run=True)) == 1
    assert len(landing.sweep(dt.timedelta(0))) == 1
    assert file.siblings() == ["part-0.parquet"]


def test_old_extracts_are_deleted_but_for_those_that_a_build_may_look_back_on(landing: Landing) -> None:
    last, day = NEXT + dt.timedelta(days=100), dt.timedelta(days=1)
    for number in (0, 59, 60, 61):
        landing.write("planes", last - number * day, planes(number))
    assert landing.remove(200) == []
    # 28 days of look-back and 31 days that may be built again: however few days are asked for, 59 stay.
    found = landing.remove(1, dry_run=True)
    assert len(found) == 6
    assert min(found) > 0
    assert len(landing.days("planes")) == 6
    assert landing.remove(1) == found
    assert landing.days("planes") == (last - 59 * day, last)
    assert not File(landing, "planes", DAY).files.exists(File(landing, "planes", DAY).folder)


def test_a_day_of_the_future_makes_no_other_day_old(landing: Landing) -> None:
    landed = landing.days("planes")
    landing.write("planes", dt.date(2999, 1, 1), planes(1))
    assert landing.remove(1) == []
    assert landing.days("planes") == (*landed, dt.date(2999, 1, 1))


def test_a_sound_landing_passes(landing: Landing) -> None:
    landing.check(DAY, NEXT)


def test_every_absent_table_and_day_is_named(landing: Landing) -> None:
    File(landing, "planes", DAY).unlink()
    last = dt.date(2013, 1, 4)

    with pytest.raises(UpstreamMissing) as missing:
        landing.check(DAY, last)

    assert "planes: 2013-01-01, 2013-01-03..2013-01-04" in str(missing.value)
    assert "airlines: 2013-01-03..2013-01-04" in str(missing.value)
    assert "Run ingest for 2013-01-01, 2013-01-03..2013-01-04." in str(missing.value)


def test_all_problems_of_all_files_are_listed(landing: Landing) -> None:
    File(landing, "airlines", NEXT).write_bytes(b"not Parquet")
    File(landing, "planes", DAY).write_rows(pa.table({"tailnum": ["N1"], "seats": ["many"], "wings": [2]}))

    with pytest.raises(LandingRefused) as refusal:
        landing.check(DAY, NEXT)

    for problem in (
        "airlines of 2013-01-02: not a readable Parquet file",
        "planes of 2013-01-01: column seats is string and should be int32",
        "planes of 2013-01-01: column wings is unexpected",
        "planes of 2013-01-01: column _landed_at is missing",
    ):
        assert problem in str(refusal.value)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_damage_anywhere_in_a_file_is_found(landing: Landing, damage: str) -> None:
    landing.write("planes", DAY, planes(*range(1000)))
    target = File(landing, "planes", DAY)
    content = bytearray(target.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 3] ^= 0xFF
    else:
        content = bytearray()
    target.write_bytes(content)

    with pytest.raises(LandingRefused, match="planes of 2013-01-01: not a readable Parquet file"):
        landing.check(DAY, NEXT)


@pytest.mark.parametrize(
    ("call", "failure", "error", "message"),
    [
        (
            "cat_file",
            TimeoutError("no answer"),
            LakeUnavailable,
            "failed while airlines of 2013-01-01 was read .no answer",
        ),
        ("cat_file", FileNotFoundError("gone"), UpstreamMissing, "no longer has airlines of 2013-01-01"),
        ("ls", ConnectionError("reset"), LakeUnavailable, "failed while the days of airlines was read .reset"),
    ],
)
def test_a_storage_that_fails_is_not_a_damaged_file(
    landing: Landing,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    failure: OSError,
    error: type[Exception],
    message: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(type(landing._files), call, fail)
    if call == "ls":
        # What is asked of a disk instead, for a few days.
        monkeypatch.setattr(Path, "is_file", fail)
    with pytest.raises(error, match=message):
        landing.check(DAY, DAY)


def test_a_day_is_a_gap_if_any_table_lacks_it(landing: Landing) -> None:
    third, fourth, fifth = (NEXT + dt.timedelta(days=n) for n in (1, 2, 3))
    landing.write("planes", third, planes(100))
    for table, rows in (("planes", planes(100)), ("airlines", airlines())):
        landing.write(table, fifth, rows)

    assert landing.gaps(DAY, fifth) == (third, fourth)
    assert landing.gaps(fourth, fourth) == (fourth,)
    assert landing.gaps(DAY, NEXT) == ()


def test_days_before_the_first_one_landed_are_no_gap(landing: Landing, tmp_path: Path) -> None:
    assert landing.gaps(DAY - dt.timedelta(days=28), NEXT) == ()
    assert landing.gaps(DAY - dt.timedelta(days=28), DAY - dt.timedelta(days=1)) == ()
    nothing = Landing(str(tmp_path / "nothing"), SCHEMAS)
    assert nothing.gaps(DAY, NEXT) == ()
    assert nothing.last() is None
    assert landing.last() == NEXT


def test_a_table_that_was_never_landed_can_be_read_and_has_no_day(landing: Landing, root: str) -> None:
    wider = Landing(root, {**SCHEMAS, "pilots": SCHEMAS["planes"]})
    wider.declare()
    wider.declare()
    assert wider.days("pilots") == ()
    assert wider.gaps(DAY, NEXT) == ()
    assert [day for _, day in wider.marks(dt.date.min, NEXT) if day < DAY] == []
    if "://" not in root:
        pilots = duckdb.sql(f"from read_parquet('{wider.location}/pilots/ds=*/*.parquet', hive_partitioning = true)")
        assert (pilots.fetchall(), pilots.columns) == ([], [*SCHEMAS["planes"].names, "_landed_at", "ds"])
        assert str(pilots.types[-1]) == "DATE"


def test_the_days_of_a_table_that_is_new_count_from_its_first_one(root: str) -> None:
    landing = Landing(root, SCHEMAS)
    for day in (DAY, NEXT):
        landing.write("planes", day, planes(100))
    assert landing.gaps(DAY, NEXT) == (), "airlines has no day yet"
    landing.write("airlines", NEXT, airlines())
    assert landing.gaps(DAY, NEXT) == ()
    third = NEXT + dt.timedelta(days=1)
    landing.write("planes", third, planes(100))
    assert landing.gaps(DAY, third) == (third,), "and now it is missed"
    with pytest.raises(
        UpstreamMissing, match=rf"airlines: {DAY}\nRun ingest for {DAY}\. If airlines began later, .*since"
    ):
        landing.check(DAY, NEXT)
    with pytest.raises(UpstreamMissing, match=rf"Run ingest for {third}\.$"):
        landing.check(third, third)


def test_only_the_days_of_its_calendar_are_wanted_of_a_table(root: str) -> None:
    third, fourth = (NEXT + dt.timedelta(days=n) for n in (1, 2))
    landing = Landing(root, SCHEMAS, calendars={"planes": (DAY, NEXT), "airlines": (NEXT, third)})
    landing.write("planes", DAY, planes(100))
    landing.check(DAY, DAY)
    with pytest.raises(UpstreamMissing, match=rf"(?s)airlines: {NEXT}\.\.{third}.*planes: {NEXT}\n.*ingest for {NEXT}"):
        landing.check(DAY, third)
    with pytest.raises(UpstreamMissing, match=f"^No source has an extract of {fourth}, so there is nothing to build"):
        landing.check(third, fourth)
    landing.write("planes", NEXT, planes(0).slice(0, 0))
    for day in (NEXT, third):
        landing.write("airlines", day, airlines())
    landing.check(DAY, third)
    assert landing.gaps(DAY, fourth) == ()
    assert landing.empty(DAY, third) == {DAY: ("airlines",), NEXT: ("planes",), third: ("planes",)}


def test_a_build_looks_back_on_each_table_as_far_as_its_source_says(root: str) -> None:
    day = DAY + dt.timedelta(days=40)
    landing = Landing(root, SCHEMAS, look_back_days={"planes": 7, "airlines": 40})
    assert (landing.look_back_days, Landing(root, SCHEMAS).look_back_days) == (40, 28)
    for table, rows in (("planes", planes(100)), ("airlines", airlines())):
        landing.write(table, DAY, rows)
    days = [DAY + dt.timedelta(days=back) for back in range(1, 40)]
    assert landing.gaps_before(day) == tuple(days)
    for back in days:
        landing.write("airlines", back, airlines())
    assert landing.gaps_before(day) == tuple(days[-7:]), "planes are missed on the seven days before alone"
    assert nights.missed(landing, day) == tuple(days)
    assert landing.gaps(DAY, day - dt.timedelta(days=1)) == tuple(days)


def test_an_optional_table_may_be_absent_on_a_day(root: str) -> None:
    third = NEXT + dt.timedelta(days=1)
    landing = Landing(root, SCHEMAS, optional=["airlines"])
    for day in (DAY, NEXT, third):
        landing.write("planes", day, planes(100))
    landing.write("airlines", DAY, airlines())
    landing.write("airlines", third, airlines().slice(0, 0))
    landing.check(DAY, third)
    assert landing.gaps(DAY, third) == landing.gaps_before(third) == ()
    assert landing.empty(DAY, third) == {NEXT: ("airlines",), third: ("airlines",)}
    File(landing, "airlines", DAY).write_bytes(b"PAR1 and then nothing")
    with pytest.raises(LandingRefused, match=f"airlines of {DAY}: not a readable Parquet file"):
        landing.check(DAY, third)


def test_an_unknown_table_is_refused(landing: Landing) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'planes'"):
        landing.write("plane", DAY, planes(1))
    with pytest.raises(UnknownName):
        landing.days("plane")


def test_the_digest_is_of_the_rows_and_not_of_the_landing(root: str) -> None:
    early, late = (Landing(root, SCHEMAS, clock=lambda at=at: at) for at in (NOON, NOON + dt.timedelta(hours=1)))
    for table, rows in (("planes", planes(100, 200)), ("airlines", airlines())):
        early.write(table, DAY, rows)
    before = early.digests(DAY, NEXT)
    assert set(before) == {("planes", DAY), ("airlines", DAY)}

    late.write("planes", DAY, planes(100, 200))
    assert late.digests(DAY, NEXT) == before

    late.write("planes", DAY, planes(100, 201))
    after = late.digests(DAY, NEXT)
    assert {key for key in before if before[key] != after[key]} == {("planes", DAY)}
    assert late.digests(NEXT, NEXT) == {}


def test_a_file_that_something_else_wrote_is_known_by_its_bytes(landing: Landing) -> None:
    file = File(landing, "planes", DAY)
    before = landing.digests(DAY, DAY)
    file.write_rows(file.rows().replace_schema_metadata(None))
    foreign = landing.digests(DAY, DAY)
    assert foreign["planes", DAY] == hashlib.sha256(file.read_bytes()).hexdigest() != before["planes", DAY]


def test_a_damaged_file_has_no_digest(landing: Landing) -> None:
    File(landing, "planes", DAY).write_bytes(b"PAR1 and then nothing")
    with pytest.raises(LandingRefused, match=f"planes of {DAY} that is not a readable Parquet"):
        landing.digests(DAY, DAY)
