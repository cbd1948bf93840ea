"""The engine for one machine: scikit-learn and XGBoost on all its cores, scoring in streams."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from tailrace.contracts import DryRun, Joined, LabelledRows, Model, Scan, Staged, Target, Trained, Trial
from tailrace.engines import dry_run, models
from tailrace.engines.encoding import to_numpy
from tailrace.engines.estimators import is_distributed
from tailrace.engines.scoring import score_stream
from tailrace.engines.search import best_of, in_threads, refit, search, trial_rows
from tailrace.errors import BadInput
from tailrace.settings import Settings
from tailrace.spec import PipelineSpec


class LocalEngine:
    """Trains and scores in this process; `cores` is the number of trials that run in parallel."""

    name = "local"

    def __init__(self, cores: int | None = None) -> None:
        self.cores = cores or len(os.sched_getaffinity(0))

    @classmethod
    def from_settings(cls, settings: Settings, *, on_spark: Callable[[str], None]) -> LocalEngine:
        return cls()

    def dry_run(self, specs: Sequence[PipelineSpec]) -> DryRun:
        return dry_run.without_cluster(specs, "the engine is 'local'")

    def join(
        self, spec: PipelineSpec, features: Scan, outcomes: Scan, *, known_by: dt.datetime, holdout_from: dt.date
    ) -> Joined | None:
        return None

    def train(
        self,
        spec: PipelineSpec,
        rows: LabelledRows,
        *,
        seed: int,
        trials: int,
        on_trial: Callable[[Trial], None],
    ) -> Trained:
        _refuse_distributed(spec)
        table, labels = rows.table(), to_numpy(rows.labels())
        with in_threads(spec, trial_rows(spec, table, labels), seed, self.cores) as run:
            refused = dry_run.refusals(spec, table, labels)
            tried = search(spec, seed=seed, trials=trials, run=run, on_trial=on_trial, refused=refused)
        best = best_of(spec, tried)
        return Trained(refit(spec, best, table, labels, seed=seed, threads=self.cores), best, tried)

    def load(self, folder: Path) -> Model:
        return models.load(folder)

    def score(self, spec: PipelineSpec, model: Model, *, version: str, rows: Scan, target: Target) -> Staged:
        return target.write(score_stream(spec, model, version, rows.reader(), workers=self.cores))


def _refuse_distributed(spec: PipelineSpec) -> None:
    """Raise BadInput naming every candidate that trains on a cluster's executors."""
    named = [
        f"{candidate.name!r} ({candidate.estimator})" for candidate in spec.candidates if is_distributed(candidate)
    ]
    if named:
        raise BadInput(
            f"{spec.name}: {', '.join(named)} cannot be trained by the engine 'local'; set TAILRACE_ENGINE=spark, or "
            "take the candidate out of the spec."
        )
