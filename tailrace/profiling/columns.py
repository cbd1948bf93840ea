"""Describes each column of a table: type, missing and distinct values, range, the most frequent values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.rows import role_values

Holds = Literal["flag", "number", "text", "day", "moment", "other"]
LONGEST = 60
"""Texts are shown with at most so many letters."""
FREQUENT = 5
"""How many of a column's most frequent values are listed."""


@dataclass(frozen=True, kw_only=True)
class ColumnProfile:
    """What a sample of a table says about one column.

    `missing` counts nulls and NaN, `distinct` the other values that differ. `least`, `middle` and `most` are minimum,
    median and maximum, of texts their lengths; None where there are none. `frequent` has the most frequent values with
    their rows, the most frequent first.
    """

    name: str
    type: str
    kind: Holds
    rows: int
    missing: int
    distinct: int
    least: float | str | None = None
    middle: float | str | None = None
    most: float | str | None = None
    frequent: tuple[tuple[str, int], ...] = ()

    @property
    def known(self) -> int:
        """The rows that have a value."""
        return self.rows - self.missing

    @property
    def missing_share(self) -> float:
        return self.missing / self.rows if self.rows else 0.0


def profiled(rows: pa.Table, names: Iterable[str] | None = None) -> tuple[ColumnProfile, ...]:
    """A profile of each column, in the table's order."""
    return tuple(_profile(name, plain(rows[name])) for name in (rows.column_names if names is None else names))


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without dictionaries and large types, and with null in place of NaN."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    return column


def contents_of(type_: pa.DataType) -> Holds:
    """What a column of this Arrow type holds."""
    if pa.types.is_boolean(type_):
        return "flag"
    if pa.types.is_date(type_):
        return "day"
    if pa.types.is_timestamp(type_):
        return "moment"
    if pa.types.is_null(type_) or not role_values.fits(type_, "categorical"):
        return "other"
    return "number" if role_values.fits(type_, "numeric") else "text"


def numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers and flags as float64, lengths of texts, days and moments as seconds; null where a value is missing."""
    column = plain(column)
    kind = contents_of(column.type)
    if kind == "text":
        column = pc.utf8_length(column)
    elif kind == "day":
        column = column.cast(pa.timestamp("s")).cast(pa.int64())
    elif kind == "moment":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64())
        column = pc.divide(column.cast(pa.float64(), safe=False), 1e6)
    elif kind == "flag":
        column = column.cast(pa.int8())
    return column.cast(pa.float64(), safe=False)


def in_short(value: object) -> str:
    """A value as people read it, in one short line."""
    text = " ".join(f"{value:.6g}".split() if isinstance(value, float) else str(value).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _profile(name: str, column: pa.ChunkedArray) -> ColumnProfile:
    kind = contents_of(column.type)
    about: dict[str, Any] = {
        "name": name,
        "type": str(column.type),
        "kind": kind,
        "rows": len(column),
        "missing": column.null_count,
    }
    if kind == "other":
        return ColumnProfile(**about, distinct=_distinct_of_others(column))
    counted = column.value_counts()
    values, counts = counted.field("values"), counted.field("counts")
    known = values.is_valid()
    values, counts = values.filter(known), counts.filter(known)
    return ColumnProfile(**about, distinct=len(values), **_range(column, kind), frequent=_frequent(values, counts))


def _distinct_of_others(column: pa.ChunkedArray) -> int:
    """The different values of a column of bytes; 0 for lists and other types that cannot be compared."""
    try:
        return int(pc.count_distinct(column, mode="only_valid").as_py())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return 0


def _range(column: pa.ChunkedArray, kind: Holds) -> dict[str, Any]:
    if column.null_count == len(column):
        return {}
    if kind in ("day", "moment"):
        ends = pc.min_max(column)
        return {"least": text_of(ends["min"])[:19], "most": text_of(ends["max"])[:19]}
    found = pc.quantile(numbers(column), [0, 0.5, 1]).to_pylist()
    return dict(zip(("least", "middle", "most"), found, strict=True))


def text_of(value: pa.Scalar) -> str:
    """A value as text, also where Python has none like it, as of years beyond 9999."""
    if pa.types.is_timestamp(value.type):
        value = value.cast(pa.timestamp("s"), safe=False)
    try:
        return str(value.cast(pa.string()).as_py())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return str(value)


def _frequent(values: pa.Array, counts: pa.Array) -> tuple[tuple[str, int], ...]:
    best = pc.select_k_unstable(counts, k=FREQUENT, sort_keys=[("counts", "descending")]) if len(counts) else []
    found = [(in_short(_readable(values[row.as_py()])), counts[row.as_py()].as_py()) for row in best]
    return tuple(sorted(found, key=lambda each: (-each[1], each[0])))


def _readable(value: pa.Scalar) -> object:
    return text_of(value) if contents_of(value.type) in ("day", "moment") else value.as_py()
