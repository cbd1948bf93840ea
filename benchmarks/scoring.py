"""Scoring end to end (read the lake, predict, write the lake) against raw prediction and MLflow.

Peers, on the same rows and the same model of 200 boosting rounds (trees of depth 6 over 20 numeric columns), for each
kind of question. A round of three classes grows three trees:

- `raw`: xgboost's `inplace_predict` on a float32 matrix already in memory, all cores; nothing is
  read or written. The rate that no scorer can beat.
- `mlflow.pyfunc`: `mlflow.pyfunc.load_model(...).predict` on a pandas DataFrame already in memory.

Each way predicts 1,000 rows before its clock starts, so that imports and the start of threads are left out of all. The
system has the memory at hand that each way is about to take.

Aims: Tailrace at 70 % of raw's rate or more for yes/no; for several classes and numbers within 1.2 times raw's seconds
at 10 M rows; peak memory that does not grow with the rows.
"""

from __future__ import annotations

import datetime as dt
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks import child

COLUMNS = [f"x{number:02d}" for number in range(20)]
BATCH = 131_072
DAY = dt.date(2013, 3, 1)
FEW = 1_000
"""Rows that each way predicts before its clock starts."""

_MEMORY_MIB = 1_024

AIM_RATE = 0.70
LARGE = 10_000_000
AIM_TIMES = 1.2
"""Seconds over raw's at `LARGE` rows or more, for kinds other than yes/no."""

AIM_MEMORY = 1.25
"""Peak memory at the largest number of rows over that at the smallest."""

WAYS = ("raw", "tailrace", "mlflow.pyfunc")
ALL_WAYS = {"binary": WAYS, "multiclass": WAYS[:2], "regression": WAYS[:2]}
"""MLflow is a peer of the first kind only: its rate does not depend on the kind."""

ROUNDS = 200
OBJECTIVES = {"binary": "binary:logistic", "multiclass": "multi:softprob", "regression": "reg:squarederror"}


def run(sizes: list[int], rounds: int, kinds: list[str]) -> list[str]:
    """Print a table for each of these kinds of question; the aims that were missed."""
    missed = []
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as scratch:
        prepare(scratch, sizes)
        for kind in kinds:
            found: dict[tuple[str, int], list[dict[str, Any]]] = {}
            for _ in range(rounds):
                for size in sizes:
                    for way in ALL_WAYS[kind]:
                        measured = child.call("benchmarks.scoring", way, scratch, size, kind)
                        found.setdefault((way, size), []).append(measured)
            missed += _report(kind, sizes, found)
    return missed


def prepare(scratch: str, sizes: list[int]) -> None:
    """The files of these sizes and the models, on disk: or the system would write them while the ways are measured."""
    child.call("benchmarks.scoring", "prepare", scratch, *sizes)
    os.sync()


def _report(kind: str, sizes: list[int], found: dict[tuple[str, int], list[dict[str, Any]]]) -> list[str]:
    def median(way: str, size: int, what: str) -> float:
        return statistics.median(round_[what] for round_ in found[way, size])

    columns = ("rows", "way", "seconds", "rows/s", "of raw", "peak MiB")
    table = Table(*columns, title=f"Scoring, {kind}", title_justify="left")
    missed = []
    for size in sizes:
        raw = median("raw", size, "seconds")
        for way in ALL_WAYS[kind]:
            seconds = median(way, size, "seconds")
            table.add_row(
                f"{size:,}",
                way,
                f"{seconds:.2f}",
                f"{size / seconds:,.0f}",
                f"{raw / seconds:.0%}",
                f"{median(way, size, 'peak_mib'):,.0f}",
            )
        times = median("tailrace", size, "seconds") / raw
        if kind == "binary" and 1 / times < AIM_RATE:
            missed.append(f"scoring {size:,} rows at {1 / times:.0%} of raw's rate; the aim is {AIM_RATE:.0%}")
        if kind != "binary" and size >= LARGE and times > AIM_TIMES:
            missed.append(f"scoring {size:,} rows, {kind}, takes {times:.2f} times raw's seconds; at most {AIM_TIMES}")
    growth = median("tailrace", max(sizes), "peak_mib") / median("tailrace", min(sizes), "peak_mib")
    if growth > AIM_MEMORY:
        missed.append(f"peak memory ({kind}) grows {growth:.2f} times from {min(sizes):,} to {max(sizes):,} rows")
    Console().print(table)
    return missed


def measure(way: str, scratch: str, *arguments: str) -> dict[str, float]:
    """One way on one size and kind, timed without imports and start-up; or `prepare` for all sizes."""
    folder = Path(scratch)
    if way == "prepare":
        _prepare(folder, [int(size) for size in arguments])
        return {}
    ways: dict[str, Callable[[Path, int, str], float]] = {"raw": _raw, "tailrace": _tailrace, "mlflow.pyfunc": _pyfunc}
    size, kind = arguments
    return {"seconds": ways[way](folder, int(size), kind)}


def _problem(kind: str) -> Any:
    from tailrace.problems import from_description

    classes = {"classes": ["low", "middle", "high"]} if kind == "multiclass" else {}
    return from_description({"kind": kind, **classes})


def _spec(kind: str = "binary") -> Any:
    from tailrace.spec import Candidate, Features, Outcome, PipelineSpec, Schedule, Window

    return PipelineSpec(
        name="bench",
        owner="bench",
        description="",
        features=Features(("key",), "event_time", dict.fromkeys(COLUMNS, "numeric")),
        outcome=Outcome(label="label", problem=_problem(kind)),
        candidates=(Candidate("trees", "xgboost.XGBClassifier"),),
        window=Window(days=2, holdout_days=1),
        schedule=Schedule(train=None, predict=None),
    )


def _lake(folder: Path) -> Any:
    from tailrace.lake.delta import DeltaLake

    return DeltaLake(str(folder / "lake"))


def _rows(count: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, count, BATCH):
        rows = min(BATCH, count - start)
        random = np.random.default_rng(start)
        keys = pa.array(np.arange(start, start + rows))
        times = pa.array(np.full(rows, 1_362_114_000_000_000), pa.int64()).cast(pa.timestamp("us", tz="UTC"))
        columns = [pa.array(random.random(rows, dtype=np.float32)) for _ in COLUMNS]
        yield pa.record_batch([keys, times, *columns], names=["key", "event_time", *COLUMNS])


def _prepare(folder: Path, sizes: list[int]) -> None:
    """A features table per size, and a model for each kind; the first kind's also as MLflow keeps it."""
    import mlflow.pyfunc
    import xgboost

    from tailrace.engines.xgboost_models import XgboostModel

    random = np.random.default_rng(0)
    matrix = random.random((100_000, len(COLUMNS)), dtype=np.float32)
    amounts = matrix[:, :5].sum(axis=1) + random.normal(0, 0.5, len(matrix))
    labels = {"binary": amounts > 2.5, "multiclass": np.digitize(amounts, (2.2, 2.8)), "regression": amounts}
    for kind, objective in OBJECTIVES.items():
        problem = _problem(kind)
        settings = {"objective": objective, "max_depth": 6, "tree_method": "hist", "seed": 0}
        booster = xgboost.train(
            {**settings, **problem.xgboost_settings()},
            xgboost.QuantileDMatrix(matrix, labels[kind], feature_names=COLUMNS),
            num_boost_round=ROUNDS,
        )
        (folder / "models" / kind).mkdir(parents=True)
        XgboostModel(booster, dict.fromkeys(COLUMNS, "numeric"), {}, problem).save(folder / "models" / kind)
    mlflow.pyfunc.save_model(
        folder / "pyfunc",
        loader_module="tailrace.engines.pyfunc",
        data_path=str(folder / "models" / "binary"),
        pip_requirements=[],
    )
    for size in {FEW, *sizes}:
        batches = _rows(size)
        first = next(batches)
        reader = pa.RecordBatchReader.from_batches(first.schema, _chain(first, batches))
        lake = _lake(folder)
        lake.publish(lake.stage(f"features/{size}", DAY, "prepare", reader), {})


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _raw(folder: Path, size: int, kind: str = "binary") -> float:
    import xgboost

    booster = xgboost.Booster(model_file=folder / "models" / kind / "model.ubj")
    matrix = np.empty((size, len(COLUMNS)), dtype=np.float32)
    for number, batch in enumerate(_rows(size)):
        for position, name in enumerate(COLUMNS):
            matrix[number * BATCH : number * BATCH + batch.num_rows, position] = batch.column(name)
    booster.inplace_predict(matrix[:FEW])
    child.take_memory(_MEMORY_MIB)
    started = time.perf_counter()
    booster.inplace_predict(matrix)
    return time.perf_counter() - started


def _tailrace(folder: Path, size: int, kind: str = "binary") -> float:
    _score(folder, FEW, kind)
    child.take_memory(_MEMORY_MIB)
    started = time.perf_counter()
    _score(folder, size, kind)
    return time.perf_counter() - started


def _score(folder: Path, size: int, kind: str) -> None:
    """Open the lake, load the model, score a day of that many rows, and publish its predictions.

    All sizes have one table, as a pipeline's days have: what is published always differs from what was there.
    """
    from tailrace.engines.local import LocalEngine

    lake, engine, spec = _lake(folder), LocalEngine(), _spec(kind)
    model = engine.load(folder / "models" / kind)
    features = lake.scan(lake.pin(f"features/{size}", first=DAY, last=DAY))
    target = lake.target(f"predictions/{kind}", DAY, "bench")
    staged = engine.score(spec, model, version="1", rows=features, target=target)
    lake.publish(staged, {})
    assert staged.rows == size


def _pyfunc(folder: Path, size: int, kind: str) -> float:
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(str(folder / "pyfunc"))
    frame = pa.Table.from_batches(list(_rows(size))).select(COLUMNS).to_pandas()
    model.predict(frame[:FEW])
    child.take_memory(_MEMORY_MIB)
    started = time.perf_counter()
    model.predict(frame)
    return time.perf_counter() - started
