"""Taking a day's mart from the warehouse into the lake, against a plain copy of its rows into a Parquet file.

- `copy`: DuckDB's `COPY (select ... where ds = ...) TO ... (FORMAT parquet)`; of Postgres, ADBC's record batches,
  written by Arrow. Nothing is sorted or checked, and there are no checksums.
- `sorted copy`: the same with `order by key`. A table's day has the same bytes whenever it is taken, so it is sorted.
- `sorted in 512 MB`: the same with the memory that Tailrace gives DuckDB. DuckDB by itself takes more, the more rows
  it sorts.
- `tailrace`: `stages.snapshot.run`: every row is checked, staged in files with checksums, and published. The mart is
  one that somebody else's dbt project built. `embedded` is the warehouse of a project without a dbt profile of its
  own: it gives its DuckDB file back before the rows are used, so they are written twice.

Aim: at least 0.8 of the rows per second of the sorted copy that has as much memory (none for `embedded`), and memory
that does not grow with the rows: 100 MiB more at most than for half of them.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import child

ROWS, COLUMNS = 5_000_000, 20
DAY = dt.date(2013, 1, 10)
AIM_RATE = 0.8
AIM_GROWTH_MIB = 100.0
SORTED, LIMITED = "sorted copy", "sorted in 512 MB"
WAYS = ("copy", SORTED, LIMITED, "tailrace")
EMBEDDED = "embedded"
_MART = "bench_features"
_MADE = """
    create table {schema}bench_features as
    select (i * 7919) % {rows} as key, timestamptz '2013-01-10 04:00:00+00' as event_time,
        timestamptz '2013-01-09 23:00:00+00' as known_at, {values}, date '2013-01-10' as ds
    from {numbers}
"""
_NO_OUTCOMES = """
    create table {schema}bench_outcomes as
    select key, known_at, true as label, ds from {schema}bench_features where false
"""


def run(rows: int, rounds: int) -> list[str]:
    """Print a table of all ways on each warehouse; the aims that were missed."""
    found: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    sizes = (rows // 2, rows)
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as scratch, _server(Path(scratch)) as warehouses:
        for warehouse, size in itertools.product(warehouses, sizes):
            folder = Path(scratch, f"{warehouse}-{size}")
            folder.mkdir()
            address = warehouses[warehouse](size)
            child.call("benchmarks.snapshot", "prepare", warehouse, folder, size, address)
            for _, way in itertools.product(range(rounds), _ways(warehouse)):
                measured = child.call("benchmarks.snapshot", way, warehouse, folder, size, address)
                found.setdefault((warehouse, size, way), []).append(measured)
        return _report(found, list(warehouses), sizes)


def _peer(warehouse: str) -> str:
    """The sorted copy that has as much memory as Tailrace: ADBC streams, so it needs no limit."""
    return SORTED if warehouse == "postgres" else LIMITED


def _ways(warehouse: str) -> list[str]:
    return [way for way in WAYS if way != LIMITED or _peer(warehouse) == LIMITED]


def _report(found: Mapping[tuple[str, int, str], list[dict[str, Any]]], names: list[str], sizes: Any) -> list[str]:
    table = Table(
        *("warehouse", "rows", "way", "seconds", "rows/s", "of the sorted copy", "of it in 512 MB", "peak MiB"),
        title="The snapshot",
    )
    missed = []
    of = {
        key: {what: statistics.median(each[what] for each in measured) for what in ("seconds", "peak_mib")}
        for key, measured in found.items()
    }
    shapes = itertools.product(names, sizes)
    for warehouse, size, way in ((name, size, way) for name, size in shapes for way in _ways(name)):
        seconds, mib = of[warehouse, size, way]["seconds"], of[warehouse, size, way]["peak_mib"]
        unlimited = of[warehouse, size, SORTED]["seconds"] / seconds
        rate = of[warehouse, size, _peer(warehouse)]["seconds"] / seconds
        shown = (f"{seconds:.2f}", f"{size / seconds:,.0f}", f"{unlimited:.2f}", f"{rate:.2f}", f"{mib:,.0f}")
        table.add_row(warehouse, f"{size:,}", way, *shown)
        if way == "tailrace" and size == sizes[-1]:
            if rate < AIM_RATE and warehouse != EMBEDDED:
                missed.append(f"a snapshot from {warehouse} has {rate:.2f} of a sorted copy's rows/s; at least 0.8")
            if (growth := mib - of[warehouse, sizes[0], way]["peak_mib"]) > AIM_GROWTH_MIB:
                missed.append(f"a snapshot of {size:,} rows takes {growth:,.0f} MiB more than of half; at most 100")
    Console().print(table)
    return missed


@contextmanager
def _server(scratch: Path) -> Iterator[dict[str, Callable[[int], str]]]:
    """For each warehouse, what gives the address for so many rows; Postgres where its wheel is installed."""
    places: dict[str, Callable[[int], str]] = {
        "duckdb": lambda rows: str(scratch / f"{rows}.duckdb"),
        EMBEDDED: lambda rows: str(scratch / f"{rows}-embedded.duckdb"),
    }
    try:
        from tests.postgres import Server
    except ImportError:
        print("Postgres is left out: its wheel for tests is not installed.")
        yield places
        return
    server = Server()
    server.start()
    try:
        yield places | {"postgres": lambda rows: server.database(f"bench_{rows}").full_url}
    finally:
        server.remove()


def measure(way: str, warehouse: str, *place: str) -> dict[str, float]:
    """One way, timed without imports; or `prepare` for it. The place is a folder, the rows, the database's address."""
    folder, rows, address = place
    if way == "prepare":
        (_prepare_postgres if warehouse == "postgres" else _prepare_duckdb)(address, int(rows))
        return {}
    if way == "tailrace":
        return {"seconds": _tailrace(warehouse, Path(folder), address, int(rows))}
    query = f"select * from {'tailrace.' if warehouse == 'postgres' else ''}{_MART} where ds = date '{DAY}'"  # noqa: S608
    query += " order by key nulls last" if way != "copy" else ""
    file = Path(folder) / "copied.parquet"
    if warehouse == "postgres":
        return {"seconds": _copy_postgres(address, query, file)}
    limits = {"memory_limit": "512MB", "temp_directory": str(Path(folder) / "sorting")} if way == LIMITED else {}
    return {"seconds": _copy_duckdb(address, query, file, limits)}


def _prepare_duckdb(address: str, rows: int) -> None:
    import duckdb

    values = ", ".join(f"random() as x{number:02d}" for number in range(COLUMNS))
    with duckdb.connect(address) as connection:
        connection.execute(_MADE.format(schema="", rows=rows, values=values, numbers=f"range({rows}) as numbers(i)"))
        connection.execute(_NO_OUTCOMES.format(schema=""))


def _prepare_postgres(address: str, rows: int) -> None:
    import psycopg2

    values = ", ".join(f"random() as x{number:02d}" for number in range(COLUMNS))
    numbers = f"generate_series(0, {rows - 1}::bigint) as numbers(i)"
    with psycopg2.connect(address) as connection, connection.cursor() as cursor:
        cursor.execute("create schema tailrace")
        cursor.execute(_MADE.format(schema="tailrace.", rows=rows, values=values, numbers=numbers))
        cursor.execute(_NO_OUTCOMES.format(schema="tailrace."))
        cursor.execute("analyze tailrace.bench_features")


def _copy_duckdb(address: str, query: str, file: Path, limits: dict[str, Any]) -> float:
    import duckdb

    with duckdb.connect(address, read_only=True, config=limits) as connection:
        started = time.perf_counter()
        connection.execute(f"copy ({query}) to '{file}' (format parquet)")
        return time.perf_counter() - started


def _copy_postgres(address: str, query: str, file: Path) -> float:
    import pyarrow.parquet as pq
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(address) as connection, connection.cursor() as cursor:
        started = time.perf_counter()
        cursor.execute(query)
        rows = cursor.fetch_record_batch()
        with pq.ParquetWriter(file, rows.schema) as writer:
            for batch in rows:
                writer.write_batch(batch)
        return time.perf_counter() - started


def _tailrace(warehouse: str, folder: Path, address: str, rows: int) -> float:
    import pyarrow.dataset  # noqa: F401 - as the lake does

    from tailrace.lake.delta import DeltaLake
    from tailrace.stages import snapshot
    from tailrace.work import Work

    with tempfile.TemporaryDirectory(dir=folder) as lake:
        services: Any = _Services(DeltaLake(lake), _warehouse(warehouse, folder, address))
        work = Work(services=services, spec=_spec(warehouse), run_id="bench")
        started = time.perf_counter()
        taken = snapshot.run(work, DAY)
        seconds = time.perf_counter() - started
    assert taken.features.rows == rows
    return seconds


def _warehouse(name: str, folder: Path, address: str) -> Any:
    """The mart's warehouse; dbt has read its project."""
    from tailrace.sources.landing import Landing
    from tailrace.warehouse.adapter import DbtAdapter
    from tailrace.warehouse.dbt_project import DbtProjectWarehouse
    from tailrace.warehouse.duckdb import DuckDBWarehouse

    landing, work = Landing(str(folder / "landing"), {}), folder / "work"
    if name == EMBEDDED:
        return DuckDBWarehouse(Path(address), project=folder, landing=landing, work=work)
    adapter = DbtAdapter(_dbt_project(name, folder, address), work=work)
    assert adapter.adapter
    return DbtProjectWarehouse(adapter, marts=lambda: _spec(name).marts, landing=landing, work=work)


def _dbt_project(name: str, folder: Path, address: str) -> Path:
    """A dbt project without models, whose profile names the database."""
    from urllib.parse import urlparse

    url = urlparse(address)
    parts = {"host": url.hostname, "port": url.port, "user": url.username, "password": url.password}
    output = parts | {"dbname": url.path[1:], "schema": "tailrace"} if name == "postgres" else {"path": address}
    profile = {"bench": {"target": "bench", "outputs": {"bench": {"type": name, "threads": 1, **output}}}}
    project = folder / "project"
    project.mkdir(exist_ok=True)
    (project / "profiles.yml").write_text(json.dumps(profile))
    (project / "dbt_project.yml").write_text(json.dumps({"name": "bench", "profile": "bench"}))
    return project


class _Services:
    """What a snapshot uses of the services."""

    def __init__(self, lake: Any, warehouse: Any) -> None:
        self.lake, self.warehouse = lake, warehouse


def _spec(warehouse: str) -> Any:
    from tailrace.spec import Candidate, Features, Outcome, PipelineSpec, Schedule, Window

    schema = {"duckdb": "main.", "postgres": "tailrace."}.get(warehouse, "")
    names = [f"x{number:02d}" for number in range(COLUMNS)]
    return PipelineSpec(
        name="bench",
        owner="bench",
        description="",
        features=Features(("key",), "event_time", dict.fromkeys(names, "numeric"), table=f"{schema}bench_features"),
        outcome=Outcome(label="label", table=f"{schema}bench_outcomes"),
        candidates=(Candidate("trees", "xgboost.XGBClassifier"),),
        window=Window(days=30, holdout_days=5),
        schedule=Schedule(train=None, predict=None),
    )
