"""Scoring on Spark: executors receive parts to read, not rows, so that no row crosses the JVM or a socket.

Each task streams its part through the one scoring function into a staged file of its own. Only the description of
the files comes back to the driver. Rows that only Spark can read are sent through Spark.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tailrace.contracts import Model, Part, PartWriter, Scan, Staged, Target
from tailrace.engines import models
from tailrace.engines.scoring import prediction_schema, score_stream
from tailrace.engines.signatures import check_columns
from tailrace.engines.spark import tables
from tailrace.engines.spark.application import Application
from tailrace.engines.spark.failures import freed, guarded, spark_errors
from tailrace.engines.spark.progress import Progress, progress_reports
from tailrace.engines.spark.workers import settle
from tailrace.spec import PipelineSpec

if TYPE_CHECKING:
    from pyspark import Accumulator, Broadcast
    from pyspark.sql import DataFrame, SparkSession

PARTS_A_SLOT = 8
"""Enough parts that the last ones to finish, and those of a slow or lost executor, are a small share of the work; few
enough that starting and ending their tasks is."""

LEAST_ROWS, MOST_ROWS = 131_072, 4_194_304
"""The limits of a part's rows: below, starting a task costs more than its work; above, a retry costs too much."""

_loaded: dict[str, Model] = {}
"""The models of this worker process, by digest: the first task loads a model, later tasks reuse it."""


def part_rows(rows: int, slots: int) -> int:
    """How many rows a part should have if this many tasks run at once."""
    return min(max(-(-rows // (slots * PARTS_A_SLOT)), LEAST_ROWS), MOST_ROWS)


def score(
    application: Application, spec: PipelineSpec, model: Model, *, version: str, rows: Scan, target: Target
) -> Staged:
    """Stage the predictions for all rows. Raises SignatureMismatch, and the errors of reading, staging and Spark."""
    check_columns(model.features, rows.schema)
    spark, doing = application.session, f"Scoring {rows.rows:,} rows of {spec.name}"
    with spark_errors(doing):
        shipped, scored = spark.sparkContext.broadcast(_files_of(model)), spark.sparkContext.accumulator(0)

    def show(progress: Progress) -> None:
        application.tell(f"{progress}, {scored.value:,} of {rows.rows:,} rows scored")

    work = _Work(spec=spec, digest=model.digest(), version=version, schema=rows.schema, shipped=shipped, scored=scored)
    with freed(shipped.destroy), spark_errors(doing), progress_reports(spark, show):
        if rows.native is not None:
            return _score_frame(spark, work, tables.read(spark, rows, application.native_reader), target)
        return _score_parts(spark, work, rows.parts(part_rows(rows.rows, application.slots)), target)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What the workers receive: the rows' schema, the model's files, the counter of scored rows."""

    spec: PipelineSpec
    digest: str
    version: str
    schema: pa.Schema
    shipped: Broadcast[dict[str, bytes]]
    scored: Accumulator[int]

    @property
    def predictions(self) -> pa.Schema:
        return prediction_schema(self.spec, self.schema)


def _score_parts(spark: SparkSession, work: _Work, parts: Sequence[Part], target: Target) -> Staged:
    def write(writer: PartWriter) -> Iterable[Any]:
        if not parts:
            return []
        task = guarded(functools.partial(_score_part, work, writer))
        return spark.sparkContext.parallelize(list(enumerate(parts)), len(parts)).map(task).collect()

    return target.write_parts(work.predictions, write)


def _score_part(work: _Work, writer: PartWriter, item: tuple[int, Part]) -> Any:
    """Runs in a worker: read, score and write one part."""
    number, part = item
    predictions = _scored(work, part.batches())
    return writer.write(number, pa.RecordBatchReader.from_batches(work.predictions, predictions))


def _score_frame(spark: SparkSession, work: _Work, rows: DataFrame, target: Target) -> Staged:
    """For rows that only Spark can read: they go to the Python workers and back as Arrow batches."""
    from pyspark.sql.pandas.types import from_arrow_schema

    from tailrace.engines.spark.columns import in_workers

    scored = guarded(functools.partial(_scored, work))
    predictions = in_workers(rows, work.schema.names, scored, from_arrow_schema(work.predictions))
    return tables.write(predictions, target)


def _scored(work: _Work, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Runs in a worker: the predictions for a stream of rows."""
    if work.digest not in _loaded:
        # One thread each: the executor already runs as many tasks as it has cores.
        pa.set_cpu_count(1)
        _loaded.clear()
        _loaded[work.digest] = _load(work.shipped.value)
    rows = pa.RecordBatchReader.from_batches(work.schema, (_in_schema(batch, work.schema) for batch in batches))
    for batch in score_stream(work.spec, _loaded[work.digest], work.version, rows):
        work.scored.add(batch.num_rows)
        yield batch
    settle()


def _in_schema(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Convert Spark's batches to the schema: Spark uses its session's time zone and its own nullability."""
    return batch if batch.schema == schema else batch.cast(schema)


def _files_of(model: Model) -> dict[str, bytes]:
    """The files that `Model.save` writes, by name."""
    with tempfile.TemporaryDirectory(prefix="tailrace-model-") as folder:
        model.save(Path(folder))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _load(files: Mapping[str, bytes]) -> Model:
    with tempfile.TemporaryDirectory(prefix="tailrace-model-") as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        return models.load(Path(folder))
