"""Small trial runs of distributed candidates, fitted on a few rows, for `engines/dry_run.py`."""

# ruff: noqa: TID253 - a leaf: the engine imports it when it trains or checks.

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import SparkContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tailrace.contracts import Model
from tailrace.engines.dry_run import FEW, SEED, SMALL, SampleFit
from tailrace.engines.encoding import to_numpy
from tailrace.engines.spark import distributed
from tailrace.engines.spark.columns import ascending, named
from tailrace.engines.spark.failures import spark_errors
from tailrace.engines.spark.preflight import of_this_machine
from tailrace.engines.spark.rows import FrameRows, handed_over
from tailrace.engines.spark.session import open_session
from tailrace.problems import Problem
from tailrace.settings import SparkSettings
from tailrace.spec import LABEL, Candidate, PipelineSpec


@contextmanager
def fitting(session: SparkSession, spec: PipelineSpec) -> Iterator[SampleFit]:
    """Fits distributed candidates on few rows, with few trees and rounds, and XGBoost on one worker.

    A candidate's rows are encoded once for all its parameter sets. Raises the errors of `spark_errors` and `learning`.
    """
    with ExitStack() as stack:
        opened: dict[tuple[str, int], distributed.Fit] = {}

        def fitted(candidate: Candidate, parameters: Mapping[str, Any], rows: pa.Table, labels: np.ndarray) -> Model:
            place = (candidate.name, rows.num_rows)
            with spark_errors(f"The dry run of {candidate.name}"):
                if place not in opened:
                    sample = handed_over(session, rows, pa.array(labels))
                    # Without the number of workers that the candidate may set: there are too few rows to distribute.
                    plain = replace(candidate, parameters={})
                    opened[place] = stack.enter_context(distributed.learning(spec, plain, sample, seed=SEED, workers=1))
                return opened[place]({**_few_of(candidate), **parameters})

        yield fitted


@contextmanager
def on_this_machine(settings: SparkSettings) -> Iterator[SparkSession]:
    """The running session, or one on this machine only that ends afterwards: a check must not use executors."""
    running = SparkContext._active_spark_context is not None
    session = open_session(of_this_machine(settings))
    try:
        yield session
    finally:
        if not running:
            session.stop()


def some_of(problem: Problem, rows: FrameRows) -> tuple[pa.Table, np.ndarray]:
    """A few rows and their labels, with each label that the problem lists; the same rows always give the same ones."""
    by_hash = [F.xxhash64(*named(rows.order)), *ascending(rows.order)]
    listed = problem.label_values
    parts = [rows.frame] if listed is None else [rows.frame.where(F.col(LABEL) == F.lit(label)) for label in listed]
    chosen = [part.orderBy(*by_hash).limit(SMALL // len(parts)) for part in parts]
    few = functools.reduce(DataFrame.union, chosen).select(*named(rows.columns), LABEL).toArrow()
    return few.select(list(rows.columns)), to_numpy(few[LABEL].combine_chunks())


def _few_of(candidate: Candidate) -> dict[str, int]:
    """Few trees or rounds where the candidate uses its estimator's default."""
    module, _, name = candidate.estimator.rpartition(".")
    estimator = getattr(importlib.import_module(module), name)
    return {parameter: few for parameter, few in FEW.items() if hasattr(estimator, parameter)}
