"""Boosted trees of XGBoost, stored as UBJSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tailrace.engines.boosted_models import BoostedModel
from tailrace.engines.signatures import problem_of
from tailrace.problems import Problem

LINEAR = "gblinear"
"""The booster that learns weights instead of trees; to it a missing value is a zero."""


class XgboostModel(BoostedModel):
    """Boosted trees, or weights if `linear`."""

    kind = "xgboost"

    def __init__(
        self, booster: Any, features: Mapping[str, str], categories: Mapping[str, Sequence[str]], problem: Problem
    ) -> None:
        super().__init__(booster, features, categories, problem)
        self.linear = json.loads(booster.save_config())["learner"]["gradient_booster"]["name"] == LINEAR

    def predicted(self, encoded: np.ndarray) -> np.ndarray:
        import xgboost

        if self.linear:
            found: np.ndarray = self.booster.predict(xgboost.DMatrix(encoded, nthread=1), validate_features=False)
        else:
            # It uses all trees of dart, too: only training drops some of them.
            found = self.booster.inplace_predict(encoded, validate_features=False)
        return found

    def write(self, folder: Path) -> None:
        self.booster.save_model(folder / "model.ubj")

    def content(self) -> bytes:
        return bytes(self.booster.save_raw("ubj"))

    def sizes(self) -> Mapping[str, float]:
        """The total gain of a feature's splits, or the sizes of its weights."""
        found = self.booster.get_score(importance_type="weight" if self.linear else "total_gain")
        return {name: float(np.abs(value).sum()) for name, value in found.items()}


def load(folder: Path, description: Mapping[str, Any]) -> XgboostModel:
    """The model that `save` stored with this description."""
    import xgboost

    # Batches are scored in parallel, each on one thread: several threads on one batch would wait for each other.
    booster = xgboost.Booster({"nthread": 1}, model_file=folder / "model.ubj")
    return XgboostModel(booster, description["features"], description["categories"], problem_of(description))
