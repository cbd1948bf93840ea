"""Boosted trees of XGBoost, stored as UBJSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tailrace.engines.encoding import matrix
from tailrace.engines.signatures import check_columns, describe, identity, no_predictions, problem_of
from tailrace.problems import Problem, as_batch

LINEAR = "gblinear"
"""The booster that learns weights instead of trees; to it a missing value is a zero."""


class XgboostModel:
    """Boosted trees on native categories, or weights; `categories` has the codes of each categorical column."""

    kind = "xgboost"

    def __init__(
        self, booster: Any, features: Mapping[str, str], categories: Mapping[str, Sequence[str]], problem: Problem
    ) -> None:
        self.booster, self.problem = booster, problem
        self.features = dict(features)
        self.categories = {name: list(values) for name, values in categories.items()}
        self.linear = json.loads(booster.save_config())["learner"]["gradient_booster"]["name"] == LINEAR

    def predict(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        check_columns(self.features, rows.schema)
        if rows.num_rows == 0:
            return no_predictions(self.problem)
        encoded = matrix(rows, list(self.features), self.categories)
        return as_batch(self.problem, self._predictions(encoded))

    def _predictions(self, encoded: np.ndarray) -> np.ndarray:
        import xgboost

        # Trees of dart are all used here: only training drops some of them.
        if not self.linear:
            return self.booster.inplace_predict(encoded, validate_features=False)
        return self.booster.predict(xgboost.DMatrix(encoded, nthread=1), validate_features=False)

    def save(self, folder: Path) -> None:
        self.booster.save_model(folder / "model.ubj")
        describe(folder, self, features=self.features, categories=self.categories)

    def digest(self) -> str:
        description = json.dumps([self.features, self.categories, *identity(self.problem)], sort_keys=True).encode()
        return hashlib.sha256(bytes(self.booster.save_raw("ubj")) + description).hexdigest()

    def importance(self) -> Mapping[str, float]:
        """Share of each feature in the total gain of all splits, or in the sizes of all weights."""
        found = self.booster.get_score(importance_type="weight" if self.linear else "total_gain")
        sizes = {name: float(np.abs(value).sum()) for name, value in found.items()}
        total = sum(sizes.values()) or 1.0
        return {name: sizes.get(name, 0.0) / total for name in self.features}


def load(folder: Path, description: Mapping[str, Any]) -> XgboostModel:
    """The model that `save` stored with this description."""
    import xgboost

    # Batches are scored in parallel, each on one thread: several threads on one batch would wait for each other.
    booster = xgboost.Booster({"nthread": 1}, model_file=folder / "model.ubj")
    return XgboostModel(booster, description["features"], description["categories"], problem_of(description))
