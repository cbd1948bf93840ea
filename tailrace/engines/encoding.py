"""Arrow columns as the float matrix that XGBoost uses: categories become codes, nulls become NaN."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tailrace.errors import SignatureMismatch
from tailrace.rows.role_values import LARGEST, as_text, beyond

EXAMPLES = 3


def categories_of(rows: pa.Table, columns: Sequence[str]) -> dict[str, list[str]]:
    """The sorted distinct values of each categorical column: the order of their codes."""
    return {name: sorted(pc.unique(as_text(rows[name])).drop_null().to_pylist()) for name in columns}


class Workspace(threading.local):
    """Memory that each thread uses again: asking the system for it costs more than filling it."""

    _floats = np.empty(0, dtype=np.float32)

    def floats(self, count: int) -> np.ndarray:
        """That many float32, which this thread's next call overwrites."""
        if len(self._floats) < count:
            self._floats = np.empty(count, dtype=np.float32)
        return self._floats[:count]

    def __reduce__(self) -> tuple[type[Workspace], tuple[()]]:
        """Models travel to executors; their memory does not."""
        return Workspace, ()


def matrix(
    rows: pa.Table | pa.RecordBatch,
    columns: Sequence[str],
    categories: Mapping[str, Sequence[str]],
    workspace: Workspace | None = None,
) -> np.ndarray:
    """The rows as float32 of shape (rows, columns), in the memory of `workspace` if one is given.

    Nulls and values that are not in `categories` become NaN, which XGBoost treats as missing. The matrix is stored
    column by column, so that columns are copied in one piece; XGBoost reads either order.
    Raises SignatureMismatch as `check_numbers` does.
    """
    count = len(columns) * rows.num_rows
    floats = np.empty(count, dtype=np.float32) if workspace is None else workspace.floats(count)
    encoded = floats.reshape(len(columns), rows.num_rows)
    with np.errstate(over="ignore"):
        for position, name in enumerate(columns):
            values = rows.column(name)
            if name not in categories and not pa.types.is_floating(values.type) and beyond(values) is not None:
                check_numbers(rows, [column for column in columns if column not in categories])
            encoded[position] = _column(values, categories.get(name))
            if np.isinf(encoded[position]).any():
                check_numbers(rows, [column for column in columns if column not in categories])
    return encoded.T


def check_numbers(
    rows: pa.Table | pa.RecordBatch, columns: Iterable[str], key: Sequence[str] = (), where: str = "The features"
) -> None:
    """Raises SignatureMismatch, which names every column with numbers that no model accepts, and some of their rows.

    These are infinities, numbers beyond `LARGEST`, and integers beyond `LARGEST_WHOLE`. Nulls and NaN are missing
    values, which every model accepts.
    """
    problems = []
    for name in columns:
        too_large = beyond(rows.column(name))
        if too_large is not None:
            bad = np.flatnonzero(to_numpy(too_large))
            shown = ", ".join(_example(rows, name, int(row), key) for row in bad[:EXAMPLES])
            problems.append(f"column {name!r}: {len(bad)} of {rows.num_rows} values, for example {shown}.")
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise SignatureMismatch(
            f"{where} have numbers that no model accepts (infinite, beyond {LARGEST:.2g}, or integers beyond "
            f"2^53):\n{lines}\nCorrect them in dbt, or make them null, which means a missing value; then build "
            "these days again."
        )


def _example(rows: pa.Table | pa.RecordBatch, column: str, row: int, key: Sequence[str]) -> str:
    of = ", ".join(f"{name} {rows.column(name)[row].as_py()}" for name in key)
    return f"{rows.column(column)[row].as_py()} ({of or f'row {row}'})"


def _column(values: pa.Array | pa.ChunkedArray, categories: Sequence[str] | None) -> np.ndarray:
    if categories is not None:
        values = pc.index_in(as_text(values), value_set=pa.array(categories, pa.string()))
    if not pa.types.is_floating(values.type):
        # Through float64: Arrow refuses to cast integers that float32 cannot represent exactly.
        values = values.cast(pa.float64())
    return to_numpy(values)


def doubles_where_null(rows: pa.Table, columns: Iterable[str]) -> pa.Table:
    """The rows with these integer columns, which may have nulls, as doubles.

    pandas represents them as doubles, and MLflow rejects doubles if the signature says integers.
    """
    nullable = set(columns)
    fields = [
        field.with_type(pa.float64()) if field.name in nullable and pa.types.is_integer(field.type) else field
        for field in rows.schema
    ]
    return rows.cast(pa.schema(fields))


def to_numpy(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """A numeric column as NumPy, nulls as NaN."""
    return values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values.to_numpy()
