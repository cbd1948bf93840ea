"""The smallest engine: for every row it predicts the problem's first baseline, such as the share of positives."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tailrace.contracts import DryRun, Joined, LabelledRows, Model, Scan, Staged, Target, Trained, Trial
from tailrace.engines.encoding import check_numbers, to_numpy
from tailrace.engines.scoring import score_stream
from tailrace.engines.signatures import check_columns
from tailrace.errors import SignatureMismatch
from tailrace.problems import Problem, from_description
from tailrace.rows import refusals
from tailrace.spec import PipelineSpec


class BaseRate:
    """A model that predicts the same for each row: `values` has a number for each raw column."""

    kind = "base_rate"

    def __init__(self, problem: Problem, values: Sequence[float], features: Mapping[str, str]) -> None:
        self.problem, self.values, self.features = problem, tuple(values), dict(features)

    def predict(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        check_columns(self.features, rows.schema)
        check_numbers(rows, [name for name, kind in self.features.items() if kind == "numeric"])
        columns = [pa.repeat(value, rows.num_rows) for value in self.values]
        return pa.record_batch(columns, names=list(self.problem.raw_columns))

    def save(self, folder: Path) -> None:
        described = {"kind": self.kind, "problem": self.problem.described(), "values": self.values}
        (folder / "model.json").write_text(json.dumps({**described, "features": self.features}))

    def digest(self) -> str:
        return hashlib.sha256(repr((self.problem, self.values, self.features)).encode()).hexdigest()

    def importance(self) -> Mapping[str, float]:
        return {}


class MemoryEngine:
    """Trains instantly: for tests of everything around a model, and as the baseline of benchmarks."""

    name = "memory"

    def dry_run(self, specs: Sequence[PipelineSpec]) -> DryRun:
        return DryRun()

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
        labels = to_numpy(rows.labels())
        problem = spec.problem
        if why := problem.unlearnable(np.unique(labels).tolist()):
            raise refusals.unlearnable(spec, len(labels), "training", why)
        values = problem.baseline(problem.baselines[0], labels, rows.table().slice(0, 1)).ravel().tolist()
        trial = Trial(number=0, candidate="base_rate", parameters={}, value=values[0], state="complete", seconds=0.0)
        on_trial(trial)
        return Trained(BaseRate(problem, values, spec.features.columns), trial, (trial,))

    def load(self, folder: Path) -> Model:
        description = json.loads((folder / "model.json").read_text())
        if description["kind"] != BaseRate.kind:
            raise SignatureMismatch(f"The model in {folder} is of kind {description['kind']!r}, not {BaseRate.kind!r}.")
        return BaseRate(from_description(description["problem"]), description["values"], description["features"])

    def score(self, spec: PipelineSpec, model: Model, *, version: str, rows: Scan, target: Target) -> Staged:
        return target.write(score_stream(spec, model, version, rows.reader()))
