"""The engine that trains and scores with Spark, on a cluster or on one machine."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tailrace.contracts import DryRun, Joined, LabelledRows, Model, Scan, Staged, Target, Trained, Trial
from tailrace.engines import dry_run, models
from tailrace.engines.estimators import barrier_workers, is_distributed
from tailrace.engines.spark import cluster, preflight
from tailrace.engines.spark.application import Application
from tailrace.engines.spark.session import open_session
from tailrace.settings import Settings, SparkSettings
from tailrace.spec import PipelineSpec

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger("tailrace")


class SparkEngine:
    """The first training or scoring starts the session; `tell` receives the progress of jobs.

    `on_start` receives the application's id once it runs.
    """

    name = "spark"

    def __init__(
        self,
        settings: SparkSettings,
        tell: Callable[[str], None] = log.info,
        on_start: Callable[[str], None] = lambda application: None,
    ) -> None:
        self.settings, self._tell, self._on_start = settings, tell, on_start

    @classmethod
    def from_settings(cls, settings: Settings, *, on_spark: Callable[[str], None]) -> SparkEngine:
        return cls(settings.spark, on_start=on_spark)

    @cached_property
    def session(self) -> SparkSession:
        session = open_session(self.settings)
        self._on_start(session.sparkContext.applicationId)
        return session

    def dry_run(self, specs: Sequence[PipelineSpec]) -> DryRun:
        """Candidates of a cluster are fitted by a JVM of this machine; where it cannot be started they get a note."""
        if not any(is_distributed(candidate) for spec in specs for candidate in spec.candidates):
            return dry_run.without_cluster(specs, "")
        if problems := preflight.problems_of(preflight.of_this_machine(self.settings)):
            return dry_run.without_cluster(specs, " ".join(problems).rstrip("."))
        from tailrace.engines.spark.dry_run import fitting, on_this_machine

        found: list[str] = []
        with on_this_machine(self.settings) as session:
            for spec in specs:
                with fitting(session, spec) as on_cluster:
                    found += dry_run.problems(spec, on_cluster)
        return DryRun(tuple(found), dry_run.calibrated(specs))

    def join(
        self, spec: PipelineSpec, features: Scan, outcomes: Scan, *, known_by: dt.datetime, holdout_from: dt.date
    ) -> Joined | None:
        """If a distributed candidate learns, the rows stay on the executors."""
        if not any(is_distributed(candidate) for candidate in spec.candidates):
            return None
        self._check(spec)
        from tailrace.engines.spark import joining

        return joining.join(
            self.session,
            spec,
            features,
            outcomes,
            known_by=known_by,
            holdout_from=holdout_from,
            native_reader=self.settings.native_reader,
        )

    def train(
        self,
        spec: PipelineSpec,
        rows: LabelledRows,
        *,
        seed: int,
        trials: int,
        on_trial: Callable[[Trial], None],
    ) -> Trained:
        from tailrace.engines.spark.training import train

        self._check(spec)
        application = self._application
        if barrier_workers(spec):
            cluster.wait_for_slots(self.session.sparkContext, self.settings, application.slots)
        return train(application, spec, rows, seed=seed, trials=trials, on_trial=on_trial)

    def load(self, folder: Path) -> Model:
        return models.load(folder)

    def score(self, spec: PipelineSpec, model: Model, *, version: str, rows: Scan, target: Target) -> Staged:
        from tailrace.engines.spark.scoring import score

        return score(self._application, spec, model, version=version, rows=rows, target=target)

    @property
    def _application(self) -> Application:
        slots, native = preflight.slots_of(self.settings), self.settings.native_reader
        return Application(session=self.session, slots=slots, tell=self._tell, native_reader=native)

    def _check(self, spec: PipelineSpec) -> None:
        """Refuse candidates that this cluster cannot train before any work is sent."""
        workers = barrier_workers(spec)
        preflight.check(self.settings, distributed=workers > 0, workers=workers)
