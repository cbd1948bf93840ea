"""How MLflow's own tools load and call a Tailrace model (`mlflow.pyfunc.load_model`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from tailrace.engines import models


class PyfuncModel:
    """Takes a pandas DataFrame of features, returns a NumPy array of probabilities."""

    def __init__(self, folder: Path) -> None:
        self.model = models.load(folder)

    def predict(self, frame: Any, params: Any = None) -> Any:
        batch = pa.RecordBatch.from_pandas(frame[list(self.model.features)], preserve_index=False)
        return self.model.predict(batch).to_numpy()


def _load_pyfunc(path: str) -> PyfuncModel:
    """MLflow's entry point for a loader module."""
    return PyfuncModel(Path(path))
