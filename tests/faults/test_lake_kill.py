"""Writers killed with SIGKILL and writers that race: readers see one whole run of a day, or none."""

from __future__ import annotations

import datetime as dt
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tailrace.errors import StorageFull
from tailrace.lake.delta import DeltaLake

DAY = dt.date(2013, 3, 1)
WRITER = Path(__file__).with_name("lake_writer.py")
PROJECT = Path(__file__).parents[2]
ROWS = 400


def writer(root: Path, prefix: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(WRITER), str(root), prefix, str(count), str(ROWS)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT, env={"PYTHONPATH": str(PROJECT)}
    )


def see(lake: DeltaLake) -> str | None:
    """The run a reader sees, after checking that it is one whole run."""
    if not lake.exists("t"):
        return None
    seen = lake.read("t", first=DAY, last=DAY).read_all()
    if seen.num_rows == 0:
        return None
    assert seen.num_rows == ROWS
    assert sorted(seen["n"].to_pylist()) == list(range(ROWS))
    (run,) = set(seen["run"].to_pylist())
    return run


@pytest.mark.services
def test_a_writer_killed_at_twenty_moments_never_shows_a_partial_day(tmp_path):
    chance = random.Random(20130301)
    lake = DeltaLake(str(tmp_path))
    published = set()
    for kill in range(20):
        with writer(tmp_path, f"kill{kill}", 100_000) as process:
            assert process.stdout.readline() == "staged\n"
            deadline = time.monotonic() + chance.uniform(0, 0.3)
            while time.monotonic() < deadline:
                published.add(see(lake))
            process.kill()
            process.stdin.close()
            process.stdout.read()
        published.add(see(lake))
        numbers = [commit.metadata["run_id"] for commit in lake.commits("t", DAY)]
        assert len(numbers) == len(set(numbers))
    assert len(published - {None}) > 20
    survivor = see(lake)
    assert lake.vacuum("t", older_than=dt.timedelta(0)).files == 0
    later = DeltaLake(str(tmp_path), now=lambda: dt.datetime.now(dt.UTC) + dt.timedelta(days=2))
    later.vacuum("t", older_than=dt.timedelta(0))
    assert see(lake) == survivor
    left = [path for path in (tmp_path / "t").rglob("run-*/*") if path.is_file()]
    assert len(left) == 1


def test_of_two_processes_publishing_one_day_exactly_one_wins(tmp_path):
    for turn in range(3):
        with writer(tmp_path, f"a{turn}", 1) as one, writer(tmp_path, f"b{turn}", 1) as two:
            for process in (one, two):
                assert process.stdout.readline() == "staged\n"
            for process in (one, two):
                process.stdin.write("go\n")
                process.stdin.flush()
            outcomes = {process.stdout.readline(): prefix for process, prefix in ((one, "a"), (two, "b"))}
        assert set(outcomes) == {"published\n", "conflict\n"}
        winner = outcomes["published\n"]
        assert see(DeltaLake(str(tmp_path))) == f"{winner}{turn}-0"


@pytest.mark.parametrize("rows", [2_000, 2_000_000], ids=["told when the file is closed", "told while it is written"])
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch, rows):
    lake = DeltaLake(str(tmp_path))
    day = pa.table({"n": list(range(1000))})
    lake.publish(lake.stage("t", DAY, "r1", day.to_reader()), {})
    before, opened = sorted(tmp_path.rglob("*.*")), Path.open

    def on_a_full_disk(path: Path, mode: str = "r", **others: Any) -> Any:
        return opened(Path("/dev/full"), "wb") if mode == "xb" else opened(path, mode, **others)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", on_a_full_disk)
        with pytest.raises(StorageFull, match="t of 2013-03-01: the storage is full"):
            lake.stage("t", DAY, "r2", pa.table({"n": np.arange(rows) * 7919 % 1_000_003}).to_reader())
    assert sorted(tmp_path.rglob("*.*")) == before
    assert lake.read("t").read_all().num_rows == 1000
