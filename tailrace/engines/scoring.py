"""The only scoring function, and the stream of batches around it."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa

from tailrace.contracts import Model
from tailrace.engines.encoding import check_numbers
from tailrace.engines.signatures import check_columns
from tailrace.errors import SignatureMismatch
from tailrace.spec import PipelineSpec

_ROWS = 1 << 16
"""Rows that a thread scores at once: with whole row groups, one thread would work on the last alone."""

_WAITING = 4
"""Results for each thread that may wait for the one before them."""

S = TypeVar("S")
T = TypeVar("T")


def score_batch(spec: PipelineSpec, model: Model, version: str, rows: pa.RecordBatch) -> pa.RecordBatch:
    """The published columns of a batch: key, event time, the problem's columns, model version, ds. A pure function."""
    schema = prediction_schema(spec, rows.schema)
    try:
        raw = model.predict(rows)
    except SignatureMismatch:
        # The same check again, with the rows' keys, which the model does not know.
        numeric = [name for name, kind in model.features.items() if kind == "numeric"]
        check_numbers(rows, numeric, spec.features.key, f"Rows of {spec.features_table} on {rows.column('ds')[0]}")
        raise
    columns = [rows.column(name) for name in (*spec.features.key, spec.features.event_time)]
    columns += [
        *spec.problem.published(spec.predictions, raw),
        pa.repeat(version, rows.num_rows),
        rows.column("ds"),
    ]
    return pa.record_batch(columns, schema=schema)


def check_question(spec: PipelineSpec, model: Model, version: str) -> None:
    """Raises SignatureMismatch if the model does not predict what the spec publishes."""
    if spec.problem.answered_by(model.problem):
        return
    missing = [name for name in spec.problem.raw_columns if name not in model.problem.raw_columns]
    what = f"{', '.join(missing)}, which" if missing else "what"
    raise SignatureMismatch(
        f"{spec.name}: version {version} was trained for outcome.problem {model.problem!r} and does not predict {what} "
        f"the spec's {spec.problem!r} publishes. Train again and make that version champion (tailrace promote), or "
        f"score with a version that was trained for it: tailrace predict {spec.name} --date ... --model N."
    )


def prediction_schema(spec: PipelineSpec, features: pa.Schema) -> pa.Schema:
    """The schema of the predictions table for this schema of features."""
    return pa.schema(
        [features.field(name) for name in (*spec.features.key, spec.features.event_time)]
        + list(published_schema(spec))
        + [pa.field("model_version", pa.string()), features.field("ds")]
    )


def published_schema(spec: PipelineSpec) -> pa.Schema:
    """The columns of the predictions table that hold what the model predicts."""
    names = [name for _, name in spec.problem.published_names(spec.predictions)]
    types = spec.problem.published_types(spec.predictions)
    return pa.schema([pa.field(name, kind) for name, kind in zip(names, types, strict=True)])


def score_stream(
    spec: PipelineSpec, model: Model, version: str, rows: pa.RecordBatchReader, *, workers: int = 1
) -> pa.RecordBatchReader:
    """Scores batch after batch, ahead of the reader, so that memory does not grow with the number of rows.

    Raises SignatureMismatch before the first batch if rows lack a column that the model needs.
    """
    check_columns(model.features, rows.schema)
    check_question(spec, model, version)
    score = functools.partial(score_batch, spec, model, version)
    return pa.RecordBatchReader.from_batches(
        prediction_schema(spec, rows.schema), in_order(score, _sliced(ahead(rows)), workers)
    )


def _sliced(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows, few enough at once to keep all threads busy to the end."""
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS):
            yield batch.slice(start, _ROWS)


def in_order(work: Callable[[S], T], items: Iterable[S], workers: int) -> Iterator[T]:
    """The results of `work` for each item, in the items' order, on this many threads; a few wait."""
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > workers * _WAITING:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The items; while the consumer works on one, a thread already produces the next.

    So reading overlaps with predicting and writing.
    """
    waiting = iter(items)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, waiting, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, waiting, None)
            yield item
