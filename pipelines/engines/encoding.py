"""Arrow columns as the float matrix XGBoost works on: categories become codes, nulls NaN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def categories_of(rows: pa.Table, columns: Sequence[str]) -> dict[str, list[str]]:
    """The sorted distinct values of each categorical column: the order of their codes."""
    return {name: sorted(pc.unique(rows[name].cast(pa.string())).drop_null().to_pylist()) for name in columns}


def matrix(
    rows: pa.Table | pa.RecordBatch, columns: Sequence[str], categories: Mapping[str, Sequence[str]]
) -> np.ndarray:
    """The rows as float32 of shape (rows, columns).

    Nulls and values that `categories` does not list are NaN, which XGBoost takes as missing. Columns
    lie one after the other in memory: they are copied, not scattered, and XGBoost reads either order.
    """
    encoded = np.empty((len(columns), rows.num_rows), dtype=np.float32)
    for position, name in enumerate(columns):
        encoded[position] = _column(rows.column(name), categories.get(name))
    return encoded.T


def _column(values: pa.Array | pa.ChunkedArray, categories: Sequence[str] | None) -> np.ndarray:
    if categories is not None:
        values = pc.index_in(values.cast(pa.string()), value_set=pa.array(categories, pa.string()))
    if not pa.types.is_floating(values.type):
        # By way of float64: Arrow refuses to cast whole numbers that float32 cannot hold exactly.
        values = values.cast(pa.float64())
    return to_numpy(values)


def to_numpy(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """A numeric column as NumPy, nulls as NaN."""
    return values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values.to_numpy()
