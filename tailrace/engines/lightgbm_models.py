"""Boosted trees of LightGBM, stored as its text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tailrace.engines.boosted_models import BoostedModel
from tailrace.engines.signatures import problem_of

FILE = "model.txt"
PARAMETERS = "\nparameters:"
"""Where the trees end in the text. The parameters after them include the number of threads."""


class LightgbmModel(BoostedModel):
    """Boosted trees; a missing value counts as zero in a column where training had none."""

    kind = "lightgbm"

    def predicted(self, encoded: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.booster.predict(encoded, num_threads=1)
        return found

    def write(self, folder: Path) -> None:
        (folder / FILE).write_text(self.booster.model_to_string())

    def content(self) -> bytes:
        trees, _, _ = self.booster.model_to_string().partition(PARAMETERS)
        return str(trees).encode()

    def sizes(self) -> Mapping[str, float]:
        """The total gain of a feature's splits."""
        return dict(zip(self.features, map(float, self.booster.feature_importance("gain")), strict=True))


def load(folder: Path, description: Mapping[str, Any]) -> LightgbmModel:
    """The model that `save` stored with this description."""
    import lightgbm

    booster = lightgbm.Booster(model_str=(folder / FILE).read_text())
    return LightgbmModel(booster, description["features"], description["categories"], problem_of(description))
