"""Trials of the search as Spark tasks: one task each, on one thread; each executor receives the rows once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tailrace.engines.search import Job, Run, TrialResult, one_thread, run_job, trial_rows
from tailrace.engines.spark.failures import freed, guarded, spark_errors
from tailrace.engines.spark.progress import progress_reports
from tailrace.engines.spark.workers import settle
from tailrace.spec import PipelineSpec

if TYPE_CHECKING:
    from pyspark import Broadcast
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class _Shipment:
    """What every trial of a search needs; Spark keeps a copy in each worker process until the process ends."""

    spec: PipelineSpec
    rows: pa.Table
    labels: np.ndarray
    seed: int


@contextmanager
def in_tasks(
    spark: SparkSession,
    spec: PipelineSpec,
    rows: pa.Table,
    labels: np.ndarray,
    *,
    seed: int,
    tell: Callable[[str], None],
) -> Iterator[Run]:
    """Runs jobs on the executors, as many at once as there are cores; labels are encoded, rows sorted by time.

    `tell` receives how many trials of a round are done. Raises TrainingFailed if trials cannot be compared on
    these rows, and the errors of `spark_errors`.
    """
    trial_rows(spec, rows, labels)
    doing = f"The hyperparameter search of {spec.name}"
    context = spark.sparkContext
    with spark_errors(doing):
        shipment = context.broadcast(_Shipment(spec, rows.combine_chunks(), labels, seed))

    def run(jobs: Sequence[Job]) -> list[TrialResult]:
        with spark_errors(doing), progress_reports(spark, lambda progress: tell(f"Searching {spec.name}, {progress}")):
            return context.parallelize(jobs, len(jobs)).map(functools.partial(_run_shipped, shipment)).collect()

    with freed(shipment.destroy):
        yield run


@guarded
def _run_shipped(shipment: Broadcast[_Shipment], job: Job) -> TrialResult:
    shipped = shipment.value
    with one_thread():
        outcome = run_job(shipped.spec, trial_rows(shipped.spec, shipped.rows, shipped.labels), shipped.seed, job)
    settle()
    return outcome
