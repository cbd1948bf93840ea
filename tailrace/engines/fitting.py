"""What the search gives to whatever fits a candidate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tailrace.engines.encoding import to_numpy
from tailrace.problems.metrics import METRICS
from tailrace.spec import PipelineSpec

REPORT_EVERY = 10
"""How many boosting rounds lie between two reports of a trial."""

PATIENCE = 30
"""After how many boosting rounds without a better metric a trial stops, unless the candidate sets a number."""

Report = Callable[[int, float], None]
"""Called with (boosting rounds done, metric on the validation rows); may raise to stop the fit."""


def row_weights(spec: PipelineSpec, rows: pa.Table, labels: np.ndarray) -> np.ndarray | None:
    """How much each of these rows counts while models learn and trials are compared; None if all count the same."""
    name = spec.features.weight
    # Unlike a feature, a weight may be a whole number that float64 rounds: only its share of the others counts.
    weights = to_numpy(rows[name].cast(pa.float64(), safe=False)) if name else None
    return spec.problem.row_weights(labels, weights)


@dataclass(frozen=True)
class TrialRows:
    """The rows that trials learn from, and the later rows on which they are compared; labels are encoded."""

    rows: pa.Table
    labels: np.ndarray
    watch: pa.Table
    watch_labels: np.ndarray


def sign_of(compared_by: str, *, rises: bool) -> int:
    """The factor, 1 or -1, with which a library's metric rises and falls like the one that compares trials.

    `rises` says whether more is better in the library's metric.
    """
    return 1 if METRICS[compared_by].greater_is_better == rises else -1
