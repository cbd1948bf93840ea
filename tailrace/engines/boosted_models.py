"""What the models of all boosting libraries have in common: native categories, one matrix, importance by gain."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from tailrace.engines.encoding import Workspace, matrix
from tailrace.engines.signatures import check_columns, describe, identity, no_predictions
from tailrace.problems import Problem, as_batch


class BoostedModel(ABC):
    """A library's booster on native categories; `categories` has the codes of each categorical column."""

    kind: ClassVar[str]

    def __init__(
        self, booster: Any, features: Mapping[str, str], categories: Mapping[str, Sequence[str]], problem: Problem
    ) -> None:
        self.booster, self.problem = booster, problem
        self.features = dict(features)
        self.categories = {name: list(values) for name, values in categories.items()}
        self._workspace = Workspace()

    def predict(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        check_columns(self.features, rows.schema)
        if rows.num_rows == 0:
            return no_predictions(self.problem)
        return as_batch(
            self.problem, self.predicted(matrix(rows, list(self.features), self.categories, self._workspace))
        )

    def save(self, folder: Path) -> None:
        self.write(folder)
        describe(folder, self, features=self.features, categories=self.categories)

    def digest(self) -> str:
        description = json.dumps([self.features, self.categories, *identity(self.problem)], sort_keys=True).encode()
        return hashlib.sha256(self.content() + description).hexdigest()

    def importance(self) -> Mapping[str, float]:
        """Share of each feature in the sum of all sizes; 0 for features that the model does not use."""
        sizes = self.sizes()
        total = sum(sizes.values()) or 1.0
        return {name: float(sizes.get(name, 0.0) / total) for name in self.features}

    @abstractmethod
    def predicted(self, encoded: np.ndarray) -> np.ndarray:
        """Predictions for encoded rows, on one thread: shape (rows,), or (rows, raw columns) if there are several.

        The result does not use the memory of `encoded`, which the next call overwrites.
        """

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Store the booster in the library's own format, without pickle."""

    @abstractmethod
    def content(self) -> bytes:
        """All that was learned: the same before and after storing, and for any number of threads."""

    @abstractmethod
    def sizes(self) -> Mapping[str, float]:
        """How much each feature counts, by the library's own measure."""
