"""The holdout as a training run scored it: what later scores are compared with."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import UnknownName
from pipelines.interfaces import Services
from pipelines.spec import PipelineSpec

FOLDER, FILE = "holdout", "scores.parquet"


def write(folder: Path, scores: np.ndarray) -> None:
    """Write the holdout's scores, float64, for `Tracker.log_files`."""
    pq.write_table(pa.table({"score": scores}), folder / FILE)


def scores(services: Services, spec: PipelineSpec, version: str) -> np.ndarray:
    """The holdout's scores of a version, float64. Raises UnknownName."""
    run_ids = {known.version: known.run_id for known in services.tracker.versions(spec.name)}
    if version not in run_ids:
        raise UnknownName(f"version of model {spec.name}", version, run_ids)
    with tempfile.TemporaryDirectory(prefix="tailrace-holdout-") as folder:
        path = services.tracker.fetch(run_ids[version], f"{FOLDER}/{FILE}", Path(folder))
        return pq.read_table(path)["score"].to_numpy()
