"""How MLflow's own tools load and call a Tailrace model (`mlflow.pyfunc.load_model`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from tailrace.engines import models
from tailrace.problems import as_array


class PyfuncModel:
    """Takes a pandas DataFrame of features.

    Returns a NumPy array if the problem has one raw column, such as a probability; else a DataFrame of the columns.
    """

    def __init__(self, folder: Path) -> None:
        self.model = models.load(folder)

    def predict(self, frame: Any, params: Any = None) -> Any:
        batch = pa.RecordBatch.from_pandas(frame[list(self.model.features)], preserve_index=False)
        predicted = self.model.predict(batch)
        return as_array(predicted) if predicted.num_columns == 1 else predicted.to_pandas()


def _load_pyfunc(path: str) -> PyfuncModel:
    """MLflow's entry point for a loader module."""
    return PyfuncModel(Path(path))
