"""DuckDB: a read-only connection with what the profile loads, attaches and sets, and DuckDB's own Arrow stream.

dbt-duckdb itself opens the file for writing, which locks all other processes out.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from tailrace.errors import SettingsError, UpstreamMissing
from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.adapter_types import Column, in_arrow
from tailrace.warehouse.drivers.base import Session
from tailrace.warehouse.relations import MartRelation

_BATCH_ROWS = 122_880
"""DuckDB's own row group: larger batches are not made, smaller ones are cut from it."""
_MEMORY = "512MB"
"""Without a limit, memory grows with the rows that are sorted; `benchmarks snapshot` shows what the limit costs."""
_REFUSED = {
    "BIT": "it would be read as bytes; cast it to text",
    "UHUGEINT": "the lake stores at most 38 digits; cast it to hugeint or text",
}


class DuckDBSession(Session):
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def columns(self, mart: MartRelation) -> Sequence[Column]:
        found = self._connection.sql(f"select * from {mart.sql} limit 0")  # noqa: S608 - dbt quoted the name
        kinds = found.to_arrow_table().schema.types
        return [
            _column(name, kind, str(declared))
            for name, kind, declared in zip(found.columns, kinds, found.types, strict=True)
        ]

    def rows(self, sql: str, columns: Sequence[Column]) -> Generator[pa.RecordBatch]:
        # while the reader of a closed connection is open, the next connection to the file waits forever
        with closing(self._connection.sql(sql).to_arrow_reader(_BATCH_ROWS)) as reader:
            yield from reader


def _column(name: str, kind: pa.DataType, declared: str) -> Column:
    if declared in _REFUSED:
        return Column(name, declared, None, problem=_REFUSED[declared])
    return in_arrow(name, kind, declared)


@contextmanager
def connected(adapter: DbtAdapter) -> Iterator[DuckDBSession]:
    from dbt.adapters.duckdb.environments import Environment

    _check(adapter)
    reading = _read_only(adapter)
    if ":" not in reading.path and not Path(reading.path).exists():
        raise UpstreamMissing(f"There is no DuckDB file at {reading.path} yet: dbt has built nothing in this target.")
    with closing(Environment.initialize_db(reading)) as connection:
        for name, value in {**(reading.settings or {}), "TimeZone": "UTC"}.items():
            connection.execute(f"set {name} = '{str(value).replace(chr(39), chr(39) * 2)}'")
        yield DuckDBSession(connection)


def _limits(profile: Any, work: Path) -> Mapping[str, str]:
    """What the profile does not set itself: a limit for memory, since DuckDB otherwise takes most of the machine's.

    Beyond it, rows that are sorted go to a folder, since the file's own folder may not be writable. It is the same for
    all connections of a process: DuckDB wants them alike.
    """
    given = {name.lower() for name in (*(profile.config_options or {}), *(profile.settings or {}))}
    limit = {} if "max_memory" in given else {"memory_limit": _MEMORY}
    chosen = {**limit, "temp_directory": str(work / f"duckdb-{os.getpid()}")}
    return {name: value for name, value in chosen.items() if name not in given}


def _check(adapter: DbtAdapter) -> None:
    """Raise SettingsError for a DuckDB that no other process can read."""
    profile = adapter.credentials
    problem = ""
    if profile.path == ":memory:" and not profile.attach:
        problem = "a DuckDB in memory, which ends with dbt. Give it a file as path."
    elif profile.remote:
        problem = "a remote Buena Vista server, which Tailrace cannot read."
    if problem:
        raise SettingsError("The dbt profile cannot be used:", [f"The target of {adapter.name} is {problem}"])


def _read_only(adapter: DbtAdapter) -> Any:
    """The profile for reading, its paths seen from the project; a service in the cloud locks nobody out."""
    profile, project = adapter.credentials, adapter.project
    if profile.is_motherduck:
        return profile
    reading = copy.copy(profile)
    reading.config_options = {**_limits(profile, adapter.target_folder.parent), **(profile.config_options or {})}
    if profile.path != ":memory:":
        reading.path = _path(profile.path, project)
        reading.config_options["access_mode"] = "read_only"
    reading.attach = [
        replace(attached, path=_path(attached.path, project), read_only=True) for attached in profile.attach or []
    ]
    return reading


def _path(path: str, project: Path) -> str:
    return path if ":" in path else str(project / path)
