"""What is started together ends together: by the command that started it, by `make down`, and never anything else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest
import sqlalchemy
from sqlalchemy.pool import NullPool

from scripts import processes
from scripts.postgres import Postgres
from scripts.processes import Processes

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def folder(tmp_path: Path):
    yield tmp_path / "processes"
    processes.end(tmp_path / "processes")


def test_what_a_killed_starter_left_is_ended(folder: Path) -> None:
    starter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(f"""
            import os, pathlib, signal
            from scripts.processes import Processes
            started = Processes(pathlib.Path({str(folder)!r}))
            started.claim()
            started.spawn("one", {SLEEPER!r}, os.environ)
            started.spawn("two", {SLEEPER!r}, os.environ)
            os.kill(os.getpid(), signal.SIGKILL)
        """),
        ]
    )
    starter.wait()
    left = {entry.name: entry.pid for entry in processes.recorded(folder) if entry.process()}
    assert set(left) == {"one", "two"}
    with pytest.raises(RuntimeError, match=r"already runs \(one, two.*make down"):
        Processes(folder).claim()
    assert processes.end(folder) == ["one", "two"]
    assert not any(alive(pid) for pid in left.values())
    assert processes.end(folder) == []


def test_a_number_that_passed_to_another_process_is_left_alone(folder: Path) -> None:
    other = subprocess.Popen(SLEEPER, start_new_session=True)
    try:
        folder.mkdir()
        entry = {"name": "scheduler", "pid": other.pid, "created": psutil.Process(other.pid).create_time() - 3600}
        (folder / "processes.json").write_text(json.dumps([entry]))
        assert processes.end(folder) == []
        assert other.poll() is None
    finally:
        os.killpg(other.pid, signal.SIGKILL)
        other.wait()


def test_the_record_is_its_owners_alone(folder: Path) -> None:
    started = Processes(folder)
    started.claim()
    started.spawn("one", SLEEPER, os.environ)
    assert (folder / "processes.json").stat().st_mode & 0o077 == 0
    pid = started.pid("one")
    started.stop()
    assert not alive(pid)
    assert processes.recorded(folder) == []


def test_postgres_keeps_its_data_and_lets_nobody_else_in(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres")
    try:
        pid = server.start("airflow").pid
        assert server.folder.joinpath("data").stat().st_mode & 0o077 == 0
        assert psutil.Process(pid).net_connections(kind="inet") == []
        execute(server, "CREATE TABLE kept AS SELECT 7 AS number")
        server.dump("airflow", tmp_path / "dump")
        server.stop()
        server.start("airflow", "copy")
        server.restore("copy", tmp_path / "dump")
        assert execute(server, "SELECT number FROM kept") == 7
        assert execute(server, "SELECT number FROM kept", "copy") == 7
        with pytest.raises(RuntimeError, match=r"pg_restore .* failed; its log is"):
            server.restore("copy", tmp_path / "dump")
    finally:
        server.stop()
        if not server.folder.is_relative_to(tmp_path):
            shutil.rmtree(server.folder)


def execute(server: Postgres, statement: str, database: str = "airflow") -> int | None:
    engine = sqlalchemy.create_engine(server.url(database), poolclass=NullPool)
    with engine.begin() as connection:
        result = connection.execute(sqlalchemy.text(statement))
        return result.scalar() if result.returns_rows else None
