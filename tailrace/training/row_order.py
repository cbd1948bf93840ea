"""The order of rows by some columns, as Arrow's stable sort gives it, in a fraction of its time for whole numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_BITS = 64
_WHOLE = (pa.types.is_signed_integer, pa.types.is_timestamp, pa.types.is_date32)


def row_order(rows: pa.Table, by: Sequence[str]) -> pa.Array:
    """The numbers of the rows as int64, sorted by these columns, nulls last; rows that are alike stay in their order.

    Arrow takes rows by int64 in a fifth of the time that it needs for uint64, whose bounds it checks one by one.
    Integers, days and moments are packed into one number for each row, with the row's own number at its end. NumPy
    sorts such numbers ten times as fast as Arrow sorts the rows. Where 64 bits are too few, the first columns may tell
    all rows apart, as a key without corrections does; else Arrow sorts.
    """
    for count in range(len(by), 0, -1):
        numbers = _packed([rows[name] for name in by[:count]], rows.num_rows)
        if numbers is None:
            continue
        numbers.sort()
        bits = np.uint64(_bits(rows.num_rows))
        if count < len(by) and _has_equal_neighbours(numbers >> bits):
            break
        numbers &= (np.uint64(1) << bits) - np.uint64(1)
        return pa.array(numbers.view(np.int64))
    return pc.sort_indices(rows.select(list(by)), [(name, "ascending") for name in by]).cast(pa.int64())


def _has_equal_neighbours(numbers: np.ndarray) -> bool:
    return bool((numbers[1:] == numbers[:-1]).any())


def _packed(columns: Sequence[pa.ChunkedArray], rows: int) -> np.ndarray | None:
    """A number for each row that sorts like the columns, then the number of the row; None if it has no room."""
    steps = [_steps(column) for column in columns] if rows else [None]
    found = [values for values in steps if values is not None]
    if len(found) < len(steps):
        return None
    widths = [_bits(int(values.max())) for values in found]
    if sum(widths) + _bits(rows) > _BITS:
        return None
    packed = np.zeros(rows, np.uint64)
    # In its own memory: new memory costs more than what is computed in it.
    for values, bits in zip([*found, np.arange(rows, dtype=np.uint64)], [*widths, _bits(rows)], strict=True):
        packed <<= np.uint64(bits)
        packed |= values
    return packed


def _steps(column: pa.ChunkedArray) -> np.ndarray | None:
    """How many steps each value is above the smallest; whole seconds are steps of a second. None for other columns."""
    kind = column.type
    if column.null_count or not any(is_whole(kind) for is_whole in _WHOLE):
        return None
    if pa.types.is_date32(kind):
        column = column.cast(pa.int32())
    values = column.cast(pa.int64()).to_numpy()
    # Two's complement: the difference is right although the subtraction may pass the largest int64.
    above = values.view(np.uint64) - np.uint64(values.min().view(np.uint64))
    step = np.gcd.reduce(above) if pa.types.is_timestamp(kind) else np.uint64(1)
    return above // step if step > 1 else above


def _bits(largest: int) -> int:
    return largest.bit_length()
