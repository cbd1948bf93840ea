"""Arrow columns as the float64 vectors for Spark ML: one encoder for training and scoring, without a JVM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tailrace.engines.encoding import to_numpy

NO_VALUE = ""
"""The category that stands for nulls, as in scikit-learn's estimators."""


@dataclass(frozen=True, kw_only=True)
class VectorEncoding:
    """What the encoder learned about the columns of the training rows.

    `categories` has each categorical column's kept values, `medians` the replacement for missing numbers. With
    `one_hot` there is a column for each kept category, all 0 for any other value, and numbers are centred and scaled
    by `centres` and `scales`. Otherwise there is one column for each feature: a category's position among the kept
    ones, or their number for any other value; numbers stay as they are.
    """

    features: Mapping[str, str]
    categories: Mapping[str, list[str]]
    medians: Mapping[str, float]
    one_hot: bool
    centres: Mapping[str, float]
    scales: Mapping[str, float]

    @property
    def origins(self) -> list[str]:
        """The feature that each position of a vector comes from."""
        return [
            name
            for name, kind in self.features.items()
            for _ in range(len(self.categories[name]) if self.one_hot and kind == "categorical" else 1)
        ]

    def matrix(self, rows: pa.Table | pa.RecordBatch) -> np.ndarray:
        """The rows' vectors, float64 of shape (rows, positions)."""
        encoded = np.empty((rows.num_rows, len(self.origins)))
        position = 0
        for name, kind in self.features.items():
            if kind == "numeric":
                encoded[:, position] = self._numbers(name, rows.column(name))
                position += 1
                continue
            codes = self._codes(name, rows.column(name))
            if self.one_hot:
                width = len(self.categories[name])
                encoded[:, position : position + width] = codes[:, None] == np.arange(width)
                position += width
            else:
                encoded[:, position] = codes
                position += 1
        return encoded

    def described(self) -> dict[str, Any]:
        """Everything the encoder knows, in a form for JSON."""
        return asdict(self)

    def _numbers(self, name: str, values: pa.Array | pa.ChunkedArray) -> np.ndarray:
        numbers = to_numpy(values.cast(pa.float64()))
        filled = np.where(np.isnan(numbers), self.medians[name], numbers)
        return (filled - self.centres[name]) / self.scales[name] if self.one_hot else filled

    def _codes(self, name: str, values: pa.Array | pa.ChunkedArray) -> np.ndarray:
        kept = pa.array(self.categories[name], pa.string())
        found = pc.index_in(as_categories(values), value_set=kept)
        return to_numpy(found.fill_null(len(kept)))


def as_categories(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """A categorical column as strings, nulls as `NO_VALUE`."""
    return values.cast(pa.string()).fill_null(NO_VALUE)
