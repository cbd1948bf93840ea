"""Making the training set from the lake, against what DuckDB takes to join and sort the same files.

- `duckdb`: one statement joins features and outcomes by key and sorts by event time and key, from the same Parquet
  files into an Arrow table. It checks nothing and makes no digests.
- `tailrace`: `training_set.load` from pins: the files' checksums, roles, look-ahead, repeated keys, outcomes known by
  the cutoff, digests of both inputs, split into learning rows and holdout.
- `laws`: only what DuckDB's statement does not do, on rows that lie in memory already: the files' checksums, the
  digests of both inputs, and the checks of every value. Two threads share it.

The system has the memory at hand that each way is about to take.

The last shape, of few rows and very many columns, is that of https://github.com/feast-dev/feast/issues/3003, where it
took half an hour and 50 GB.

Aims: at most 1.3 times DuckDB's seconds, and not more memory; the wide shape in under 10 s and 1 GiB. docs/adr/0059
says how.
"""

from __future__ import annotations

import datetime as dt
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks import child

DAYS = 30
HOLDOUT_DAYS = 5
FIRST = dt.date(2013, 1, 1)
AS_OF = FIRST + dt.timedelta(days=DAYS)
COLUMNS = 20
WIDE = (17_000, 1_000)
"""Rows and columns."""

AIM_TIMES = 1.3
AIM_WIDE_SECONDS = 10.0
AIM_WIDE_MIB = 1_024.0
WAYS = ("duckdb", "laws", "tailrace")
_MEMORY_MIB = 2_048
"""More than any way needs."""


def run(sizes: list[int], rounds: int) -> list[str]:
    """Print a table of both ways for each shape; the aims that were missed."""
    shapes = [*((size, COLUMNS) for size in sizes), WIDE]
    found: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as scratch:
        for shape in shapes:
            child.call("benchmarks.training_set", "prepare", scratch, *shape)
            os.sync()  # or the system would write these files while both ways are measured
            for _ in range(rounds):
                for way in WAYS:
                    found.setdefault((way, *shape), []).append(
                        child.call("benchmarks.training_set", way, scratch, *shape)
                    )
    return _report(shapes, found)


def _report(shapes: list[tuple[int, int]], found: dict[tuple[str, int, int], list[dict[str, Any]]]) -> list[str]:
    table = Table("rows", "columns", "way", "seconds", "of DuckDB", "peak MiB", title="The training set")
    missed = []
    for shape in shapes:
        median = {
            way: {
                what: statistics.median(each[what] for each in found[way, *shape]) for what in ("seconds", "peak_mib")
            }
            for way in WAYS
        }
        ours, peer = median["tailrace"], median["duckdb"]
        for way, of in median.items():
            times = of["seconds"] / peer["seconds"]
            row = (
                f"{shape[0]:,}",
                f"{shape[1]:,}",
                way,
                f"{of['seconds']:.2f}",
                f"{times:.2f}",
                f"{of['peak_mib']:,.0f}",
            )
            table.add_row(*row)
        if shape == WIDE:
            if ours["seconds"] > AIM_WIDE_SECONDS or ours["peak_mib"] > AIM_WIDE_MIB:
                missed.append(f"the wide training set takes {ours['seconds']:.1f} s and {ours['peak_mib']:,.0f} MiB")
            continue
        if (times := ours["seconds"] / peer["seconds"]) > AIM_TIMES:
            missed.append(
                f"the training set of {shape[0]:,} rows takes {times:.2f} times DuckDB's seconds; at most 1.3"
            )
        if (mib := ours["peak_mib"]) > (least := peer["peak_mib"]):
            missed.append(f"the training set of {shape[0]:,} rows takes {mib:,.0f} MiB, DuckDB {least:,.0f}")
    Console().print(table)
    return missed


def measure(way: str, scratch: str, rows: str, columns: str) -> dict[str, float]:
    """One way on one shape, timed without imports; or `prepare` for it."""
    folder, shape = Path(scratch), (int(rows), int(columns))
    if way == "prepare":
        _prepare(folder, shape)
        return {}
    return {"seconds": {"duckdb": _duckdb, "laws": _laws, "tailrace": _tailrace}[way](folder, shape)}


def _spec(shape: tuple[int, int]) -> Any:
    from tailrace.spec import Candidate, Features, Outcome, PipelineSpec, Schedule, Window

    return PipelineSpec(
        name=f"bench_{shape[0]}_{shape[1]}",
        owner="bench",
        description="",
        features=Features(("key",), "event_time", dict.fromkeys(_names(shape), "numeric")),
        outcome=Outcome(label="label"),
        candidates=(Candidate("trees", "xgboost.XGBClassifier"),),
        window=Window(days=DAYS, holdout_days=HOLDOUT_DAYS),
        schedule=Schedule(train=None, predict=None),
    )


def _names(shape: tuple[int, int]) -> list[str]:
    return [f"x{number:04d}" for number in range(shape[1])]


def _lake(folder: Path) -> Any:
    from tailrace.lake.delta import DeltaLake

    return DeltaLake(str(folder / "lake"))


def _prepare(folder: Path, shape: tuple[int, int]) -> None:
    """Thirty days of features in no order, and each day's outcomes on the next day, in another order."""
    random, spec, lake = np.random.default_rng(0), _spec(shape), _lake(folder)
    keys = np.array_split(random.permutation(shape[0]), DAYS)
    for number, of_day in enumerate(keys):
        day = FIRST + dt.timedelta(days=number)
        features = {
            "key": pa.array(of_day),
            "event_time": _moments(day, random.integers(0, 86_400, len(of_day))),
            "known_at": _moments(day, np.full(len(of_day), -3_600)),
            **{name: pa.array(random.random(len(of_day))) for name in _names(shape)},
            "ds": pa.array([day] * len(of_day), pa.date32()),
        }
        _publish(lake, spec.features_table, day, features)
        due = day + dt.timedelta(days=1)
        outcomes = {
            "key": pa.array(random.permutation(of_day)),
            "known_at": _moments(due, np.full(len(of_day), -60)),
            "label": pa.array(random.random(len(of_day)) > 0.5),
            "ds": pa.array([due] * len(of_day), pa.date32()),
        }
        _publish(lake, spec.outcomes_table, due, outcomes)


def _moments(day: dt.date, seconds: np.ndarray) -> pa.Array:
    return pa.array(np.datetime64(day, "us") + seconds.astype("timedelta64[s]")).cast(pa.timestamp("us", "UTC"))


def _publish(lake: Any, table: str, day: dt.date, columns: dict[str, pa.Array]) -> None:
    lake.publish(lake.stage(table, day, "prepare", pa.table(columns).to_reader()), {})


def _tailrace(folder: Path, shape: tuple[int, int]) -> float:
    from tailrace.engines.local import LocalEngine
    from tailrace.training import training_set

    lake, spec, engine = _lake(folder), _spec(shape), LocalEngine()
    pins = training_set.pin_inputs(lake, spec, AS_OF)
    child.take_memory(_MEMORY_MIB)
    started = time.perf_counter()
    made = training_set.load(lake, engine, spec, AS_OF, pins=pins)
    seconds = time.perf_counter() - started
    assert made.learning.rows + made.holdout.num_rows == shape[0]
    return seconds


def _laws(folder: Path, shape: tuple[int, int]) -> float:
    from concurrent.futures import Future, ThreadPoolExecutor

    from tailrace.lineage.digests import rows_digest
    from tailrace.rows import roles
    from tailrace.training import join, training_set, whole_columns
    from tailrace.training.row_order import row_order

    lake, spec = _lake(folder), _spec(shape)
    scans = [lake.scan(pin) for pin in training_set.pin_inputs(lake, spec, AS_OF).values()]
    read = [whole_columns.read(scan) for scan in scans]
    orders = [row_order(rows, spec.features.key) for rows in read]
    # A scan checks its files once.
    fresh = [lake.scan(pin) for pin in training_set.pin_inputs(lake, spec, AS_OF).values()]
    child.take_memory(_MEMORY_MIB)
    started = time.perf_counter()
    features, outcomes = read

    def check() -> None:
        roles.check_joinable(spec, features, outcomes)
        join.refuse_look_ahead(spec, features)

    with ThreadPoolExecutor(2) as pool:
        done: list[Future[Any]] = [pool.submit(rows_digest, *each) for each in zip(read, orders, strict=True)]
        for each in [*done, pool.submit(check), *(pool.submit(scan.check) for scan in fresh)]:
            each.result()
    return time.perf_counter() - started


def _duckdb(folder: Path, shape: tuple[int, int]) -> float:
    import duckdb

    spec = _spec(shape)
    features, outcomes = (
        f"read_parquet('{folder}/lake/{table}/ds=*/**/*.parquet', hive_partitioning = false)"
        for table in (spec.features_table, spec.outcomes_table)
    )
    child.take_memory(_MEMORY_MIB)
    started = time.perf_counter()
    with duckdb.connect() as connection:
        joined = connection.sql(
            f"select f.*, o.label from {features} f join {outcomes} o using (key) order by event_time, key"  # noqa: S608 - a folder of this benchmark
        ).to_arrow_table()
    seconds = time.perf_counter() - started
    assert joined.num_rows == shape[0]
    return seconds
