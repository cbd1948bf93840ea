"""What depends on the kind of question that a pipeline asks: yes or no, which class, how much.

Each kind is one file, named in `KINDS` and imported when it is first used; nothing else lists the kinds.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tailrace.problems.base import Adjustment, Bin, Problem, Publication, WrongLabels

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = [
    "KINDS",
    "Adjustment",
    "Bin",
    "Problem",
    "Publication",
    "WrongLabels",
    "as_array",
    "as_batch",
    "from_description",
]

KINDS: Mapping[str, str] = {
    "binary": "tailrace.problems.binary:Binary",
    "multiclass": "tailrace.problems.multiclass:Multiclass",
    "regression": "tailrace.problems.regression:Regression",
}
"""The kinds by their stored names."""


def from_description(description: Mapping[str, Any] | None) -> Problem:
    """The problem that `Problem.described` described; a model of release 0.1 has no description, and is binary."""
    given = dict(description or {"kind": "binary"})
    module, _, name = KINDS[given.pop("kind")].partition(":")
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    problem: Problem = getattr(importlib.import_module(module), name)(**fields)
    return problem


def as_array(raw: pa.RecordBatch | pa.Table) -> np.ndarray:
    """Raw columns as an array: shape (rows,) if there is one, else (rows, columns)."""
    import numpy as np

    columns = [raw.column(name).to_numpy() for name in raw.schema.names]
    return columns[0] if len(columns) == 1 else np.column_stack(columns)


def as_batch(problem: Problem, predictions: np.ndarray) -> pa.RecordBatch:
    """Predictions of shape (rows,) or (rows, columns) as the problem's raw columns, float64."""
    import numpy as np
    import pyarrow as pa

    names, predictions = problem.raw_columns, problem.bounded(predictions)
    columns = [predictions] if predictions.ndim == 1 else [predictions[:, place] for place in range(len(names))]
    return pa.record_batch([pa.array(np.ascontiguousarray(each, np.float64)) for each in columns], names=list(names))
