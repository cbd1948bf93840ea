"""A fitted model whose predictions are adjusted: intervals are put around them, or they are calibrated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from tailrace.contracts import Model
from tailrace.engines.signatures import DESCRIPTION, PROBLEM, identity, problem_of
from tailrace.problems import Adjustment, Problem, as_array, as_batch

MODEL, ADJUSTMENT = "model", "adjustment"


class Adjusted:
    """A model with an adjustment, which has learned from rows that the model was not fitted on.

    The model answers the problem as far as an estimator can (`Problem.unadjusted`). Both are stored in one folder: the
    model's files, and a description that contains the model's own one and the adjustment's numbers.
    """

    stored_kind = "adjusted"

    def __init__(self, model: Model, adjustment: Adjustment, problem: Problem) -> None:
        self.model, self.adjustment, self.problem = model, adjustment, problem
        self.features = dict(model.features)

    @property
    def kind(self) -> str:
        return f"{self.model.kind}, adjusted"

    def predict(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        return as_batch(self.problem, self.adjustment.applied(as_array(self.model.predict(rows))))

    def save(self, folder: Path) -> None:
        self.model.save(folder)
        path = folder / DESCRIPTION
        described = {
            "kind": self.stored_kind,
            PROBLEM: self.problem.described(),
            ADJUSTMENT: self.adjustment.described(),
            MODEL: json.loads(path.read_text()),
        }
        path.write_text(json.dumps(described, indent=2))

    def digest(self) -> str:
        said = [self.model.digest(), self.adjustment.described(), *identity(self.problem)]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def importance(self) -> Mapping[str, float]:
        """That of the model: an adjustment reads no feature."""
        return self.model.importance()


def load(description: Mapping[str, Any], model: Model) -> Adjusted:
    """The adjusted model that was stored with this description, around the model that is already loaded."""
    problem = problem_of(description)
    return Adjusted(model, problem.adjustment_of(description[ADJUSTMENT]), problem)
