"""Training on Spark: single-machine candidates as parallel tasks, distributed candidates on all executors together."""

# ruff: noqa: TID253 - a leaf: the engine imports it when it trains.

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Literal

import numpy as np
from pyspark.sql import functions as F

from tailrace.contracts import LabelledRows, Model, Trained, Trial
from tailrace.engines import dry_run
from tailrace.engines.adjusted import Adjusted
from tailrace.engines.encoding import to_numpy
from tailrace.engines.estimators import is_distributed
from tailrace.engines.library_errors import NO_CANDIDATES_FAULT, error_text
from tailrace.engines.search import WATCH_SHARE, Job, Run, TrialResult, best_of, incomparable, refit, search
from tailrace.engines.spark.application import Application
from tailrace.engines.spark.distributed import Fit, labels_and_predictions, learning, measured
from tailrace.engines.spark.dry_run import fitting, some_of
from tailrace.engines.spark.failures import freed, spark_errors
from tailrace.engines.spark.progress import progress_reports
from tailrace.engines.spark.rows import FrameRows, framed
from tailrace.engines.spark.search import in_tasks
from tailrace.rows import refusals
from tailrace.spec import LABEL, Candidate, PipelineSpec


def train(
    application: Application,
    spec: PipelineSpec,
    rows: LabelledRows,
    *,
    seed: int,
    trials: int,
    on_trial: Callable[[Trial], None],
) -> Trained:
    """`Engine.train` on a cluster.

    Rows come to the driver only for single-machine candidates: they learn there, or from a copy on each executor. A
    few rows also come for the dry run of distributed candidates.
    """
    session, tell = application.session, application.tell
    with _kept(rows):
        with _searching(application, spec, rows, seed=seed) as run:
            refused = _refusals(application, spec, rows)
            tried = search(spec, seed=seed, trials=trials, run=run, on_trial=on_trial, refused=refused)
        best = best_of(spec, tried)
        candidate = next(candidate for candidate in spec.candidates if candidate.name == best.candidate)
        if not is_distributed(candidate):
            cores = len(os.sched_getaffinity(0))
            return Trained(refit(spec, best, rows.table(), _labels(rows), seed=seed, threads=cores), best, tried)
        doing = f"Training {spec.name}'s {candidate.name}"
        with spark_errors(doing), progress_reports(session, lambda progress: tell(f"{doing}, {progress}")):
            fitted = functools.partial(_fitted, spec, candidate, best, seed=seed, workers=application.slots)
            model = fitted(framed(session, rows))
            if spec.problem.unadjusted == spec.problem:
                return Trained(model, best, tried)
            # As `search.refit` does it.
            earlier, later = framed(session, rows).split(WATCH_SHARE)
            adjustment = spec.problem.adjustment(*labels_and_predictions(later, fitted(earlier)))
            return Trained(Adjusted(model, adjustment, spec.problem), best, tried)


def _fitted(
    spec: PipelineSpec, candidate: Candidate, best: Trial, rows: FrameRows, *, seed: int, workers: int
) -> Model:
    with learning(spec, candidate, rows, seed=seed, workers=workers) as fit:
        return fit(best.parameters)


def _refusals(application: Application, spec: PipelineSpec, rows: LabelledRows) -> Callable[[Job], str | None]:
    """Problems that a dry run finds in the candidates; each is fitted in the same way as its trials."""
    session, tell = application.session, application.tell
    if isinstance(rows, FrameRows) and all(is_distributed(candidate) for candidate in spec.candidates):
        with spark_errors(f"The dry run of {spec.name}"):
            table, labels = some_of(spec.problem, rows)
    else:
        table, labels = rows.table(), _labels(rows)
    with (
        progress_reports(session, lambda progress: tell(f"The dry run of {spec.name}, {progress}")),
        fitting(session, spec) as on_cluster,
    ):
        return dry_run.refusals(spec, table, labels, on_cluster)


@contextmanager
def _kept(rows: LabelledRows) -> Iterator[None]:
    """Keep rows that are in Spark in the cluster's memory while models learn from them."""
    if not isinstance(rows, FrameRows):
        yield
        return
    rows.frame.persist()
    with freed(rows.frame.unpersist):
        yield


@contextmanager
def _searching(application: Application, spec: PipelineSpec, rows: LabelledRows, *, seed: int) -> Iterator[Run]:
    """Runs jobs of both kinds: single-machine jobs in parallel, then the others."""
    session, tell = application.session, application.tell
    together = [candidate for candidate in spec.candidates if is_distributed(candidate)]
    with ExitStack() as stack:
        if len(together) < len(spec.candidates):
            in_task = stack.enter_context(in_tasks(session, spec, rows.table(), _labels(rows), seed=seed, tell=tell))
        if together:
            on_all = stack.enter_context(_one_by_one(application, spec, framed(session, rows), seed=seed))

        def run(jobs: Sequence[Job]) -> list[TrialResult]:
            single = [job for job in jobs if not is_distributed(job.candidate)]
            done = iter(in_task(single)) if single else iter(())
            return [on_all(job) if is_distributed(job.candidate) else next(done) for job in jobs]

        yield run


@contextmanager
def _one_by_one(
    application: Application, spec: PipelineSpec, rows: FrameRows, *, seed: int
) -> Iterator[Callable[[Job], TrialResult]]:
    """Runs a distributed candidate's trial on all executors together.

    Raises TrainingFailed if trials cannot be compared on the rows, and the errors of `spark_errors` unless the
    parameters caused them.
    """
    session, tell = application.session, application.tell
    doing = f"The hyperparameter search of {spec.name}"
    with ExitStack() as stack:
        stack.enter_context(spark_errors(doing))
        learn, watch = rows.split(WATCH_SHARE)
        _refuse_unlearnable(spec, learn, "learning")
        _refuse_unlearnable(spec, watch, "comparison")
        if why := spec.problem.too_few(watch.rows):
            raise refusals.too_few(spec, watch.rows, why)
        fits: dict[str, Fit] = {}

        def run(job: Job) -> TrialResult:
            name = job.candidate.name
            started = time.monotonic()

            def ended(state: Literal["complete", "failed"], value: float | None = None, **found: str) -> TrialResult:
                return TrialResult(state=state, value=value, found=found, seconds=time.monotonic() - started)

            try:
                with (
                    spark_errors(f"A trial of {name}"),
                    progress_reports(session, lambda progress: tell(f"{doing}, {progress}")),
                ):
                    if name not in fits:
                        opened = learning(spec, job.candidate, learn, seed=seed, workers=application.slots)
                        fits[name] = stack.enter_context(opened)
                    model = fits[name](job.parameters)
                    value = measured(watch, model)[spec.search.metric]
                    if why := incomparable(spec, value):
                        return ended("failed", error=why)
                    return ended("complete", value)
            except NO_CANDIDATES_FAULT:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a library raises on unsuitable parameters
                # A bad combination of parameters ends only its own trial; the search continues.
                return ended("failed", error=error_text(error))

        yield run


def _labels(rows: LabelledRows) -> np.ndarray:
    return to_numpy(rows.labels())


def _refuse_unlearnable(spec: PipelineSpec, rows: FrameRows, name: str) -> None:
    most = len(spec.problem.label_values or (0, 1))
    seen = [row[LABEL] for row in rows.frame.select(F.col(LABEL)).distinct().limit(most).collect()]
    if why := spec.problem.unlearnable(seen):
        raise refusals.unlearnable(spec, rows.rows, name, why)
