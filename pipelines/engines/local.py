"""The engine of one machine: scikit-learn and XGBoost on all its cores, scoring in streams."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from pipelines.engines import models
from pipelines.engines.estimators import fit
from pipelines.engines.scoring import score_stream
from pipelines.engines.search import best_of, search
from pipelines.interfaces import Model, Trained, Trial
from pipelines.spec import PipelineSpec


class LocalEngine:
    """Trains and scores in this process; `cores` is how many trials run at once."""

    name = "local"

    def __init__(self, cores: int | None = None) -> None:
        self.cores = cores or len(os.sched_getaffinity(0))

    def train(
        self,
        spec: PipelineSpec,
        rows: pa.Table,
        labels: pa.Array,
        *,
        seed: int,
        trials: int,
        on_trial: Callable[[Trial], None],
    ) -> Trained:
        truth = labels.to_numpy(zero_copy_only=False).astype(bool)
        tried = search(spec, rows, truth, seed=seed, trials=trials, workers=self.cores, on_trial=on_trial)
        best = best_of(spec, tried)
        candidate = next(candidate for candidate in spec.candidates if candidate.name == best.candidate)
        model = fit(spec, candidate, best.parameters, rows, truth, seed=seed, threads=self.cores)
        return Trained(model, best, tried)

    def load(self, folder: Path) -> Model:
        return models.load(folder)

    def score(self, spec: PipelineSpec, model: Model, version: str, rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
        return score_stream(spec, model, version, rows, self.cores)
