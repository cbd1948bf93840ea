"""The smallest engine: for every row it predicts the share of positives in the training rows."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.contracts import DryRun, Joined, LabelledRows, Model, Scan, Staged, Target, Trained, Trial
from tailrace.engines.encoding import check_numbers
from tailrace.engines.scoring import score_stream
from tailrace.engines.signatures import check_columns
from tailrace.errors import SignatureMismatch, TrainingFailed
from tailrace.spec import PipelineSpec


class BaseRate:
    """A model that is one number."""

    kind = "base_rate"

    def __init__(self, rate: float, features: Mapping[str, str]) -> None:
        self.rate, self.features = rate, dict(features)

    def predict(self, rows: pa.RecordBatch) -> pa.Array:
        check_columns(self.features, rows.schema)
        check_numbers(rows, [name for name, kind in self.features.items() if kind == "numeric"])
        return pa.repeat(self.rate, rows.num_rows)

    def save(self, folder: Path) -> None:
        (folder / "model.json").write_text(
            json.dumps({"kind": self.kind, "rate": self.rate, "features": self.features})
        )

    def digest(self) -> str:
        return hashlib.sha256(repr((self.rate, self.features)).encode()).hexdigest()

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
        labels = rows.labels()
        if len(pc.unique(labels)) < 2:
            raise TrainingFailed(f"{spec.name}: the {len(labels)} rows have only one class of {spec.outcome.label!r}.")
        rate = pc.mean(labels.cast(pa.float64())).as_py()
        trial = Trial(number=0, candidate="base_rate", parameters={}, value=rate, state="complete", seconds=0.0)
        on_trial(trial)
        return Trained(BaseRate(rate, spec.features.columns), trial, (trial,))

    def load(self, folder: Path) -> Model:
        description = json.loads((folder / "model.json").read_text())
        if description["kind"] != BaseRate.kind:
            raise SignatureMismatch(f"The model in {folder} is of kind {description['kind']!r}, not {BaseRate.kind!r}.")
        return BaseRate(description["rate"], description["features"])

    def score(self, spec: PipelineSpec, model: Model, *, version: str, rows: Scan, target: Target) -> Staged:
        return target.write(score_stream(spec, model, version, rows.reader()))
