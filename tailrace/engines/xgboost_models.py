"""Boosted trees of XGBoost, stored as UBJSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tailrace.engines.encoding import matrix
from tailrace.engines.signatures import check_columns, describe, identity, no_predictions, problem_of
from tailrace.problems import Problem, as_batch


class XgboostModel:
    """Boosted trees on native categories; `categories` has the codes of each categorical column."""

    kind = "xgboost"

    def __init__(
        self, booster: Any, features: Mapping[str, str], categories: Mapping[str, Sequence[str]], problem: Problem
    ) -> None:
        self.booster, self.problem = booster, problem
        self.features = dict(features)
        self.categories = {name: list(values) for name, values in categories.items()}

    def predict(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        check_columns(self.features, rows.schema)
        if rows.num_rows == 0:
            return no_predictions(self.problem)
        encoded = matrix(rows, list(self.features), self.categories)
        return as_batch(self.problem, self.booster.inplace_predict(encoded, validate_features=False))

    def save(self, folder: Path) -> None:
        self.booster.save_model(folder / "model.ubj")
        describe(folder, self, features=self.features, categories=self.categories)

    def digest(self) -> str:
        description = json.dumps([self.features, self.categories, *identity(self.problem)], sort_keys=True).encode()
        return hashlib.sha256(bytes(self.booster.save_raw("ubj")) + description).hexdigest()

    def importance(self) -> Mapping[str, float]:
        """Share of each feature in the total gain of all splits."""
        gains = self.booster.get_score(importance_type="total_gain")
        total = sum(gains.values()) or 1.0
        return {name: gains.get(name, 0.0) / total for name in self.features}


def load(folder: Path, description: Mapping[str, Any]) -> XgboostModel:
    """The model that `save` stored with this description."""
    import xgboost

    # Batches are scored in parallel, each on one thread: several threads on one batch would wait for each other.
    booster = xgboost.Booster({"nthread": 1}, model_file=folder / "model.ubj")
    return XgboostModel(booster, description["features"], description["categories"], problem_of(description))
