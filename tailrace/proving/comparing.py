"""Two builds of the same day compared, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

EXAMPLES = 3
ROUNDING = 1e-12
"""Numbers whose relative difference is smaller differ by the order in which they were added up."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A row that differs: its key, and its value with everything that is there now and at the cutoff."""

    key: str
    now: str
    at_cutoff: str

    def __str__(self) -> str:
        return f"{self.key}: {self.now} now, {self.at_cutoff} at the cutoff"


@dataclass(frozen=True, kw_only=True)
class ColumnDifference:
    """A column that differs in so many rows; `column` is empty where rows are in one of both only."""

    column: str
    rows: int
    examples: tuple[Example, ...]
    rounding: bool = False
    """Whether only the last digits of floating-point numbers differ."""


def differences(now: pa.Table, cut: pa.Table, key: Sequence[str]) -> list[ColumnDifference]:
    """Every column in which the rows differ, and one difference for rows that are in one of both only."""
    numbered_now, numbered_cut = (_numbered(rows, key) for rows in (now, cut))
    found = []
    common = numbered_now.join(numbered_cut, keys=[*key, _COPY], join_type="inner", right_suffix=_RIGHT)
    if rows := _one_sided(numbered_now, numbered_cut, key):
        found.append(rows)
    at_now, at_cut = common[_ROW], common[_ROW + _RIGHT]
    names = [name for name in now.column_names if name not in key]
    for name in names:
        if name not in cut.column_names:
            found.append(ColumnDifference(column=name, rows=now.num_rows, examples=()))
            continue
        left, right = now[name].take(at_now), cut[name].take(at_cut)
        if difference := _of_column(name, left, right, keys=now.select(key).take(at_now)):
            found.append(difference)
    return found


_ROW, _COPY, _RIGHT = "__row", "__copy", "__cut"


def _numbered(rows: pa.Table, key: Sequence[str]) -> pa.Table:
    """The keys with each row's number, and the number of the row among those of the same key."""
    import duckdb

    keys = rows.select(key).append_column(_ROW, pa.array(range(rows.num_rows), pa.int64()))
    names = ", ".join('"' + name.replace('"', '""') + '"' for name in key)
    # The names are quoted.
    statement = f"select *, row_number() over (partition by {names} order by {_ROW}) as {_COPY} from keys"  # noqa: S608
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.register("keys", keys)
        numbered = connection.sql(statement).to_arrow_table()
    return numbered.cast(keys.schema.append(pa.field(_COPY, pa.int64())))


def _one_sided(now: pa.Table, cut: pa.Table, key: Sequence[str]) -> ColumnDifference | None:
    on = [*key, _COPY]
    gained = now.join(cut.select(on), keys=on, join_type="left anti")
    lost = cut.join(now.select(on), keys=on, join_type="left anti")
    if not gained.num_rows and not lost.num_rows:
        return None
    examples = [Example(key=_key(row, key), now="a row", at_cutoff="none") for row in _first(gained)]
    examples += [Example(key=_key(row, key), now="none", at_cutoff="a row") for row in _first(lost)]
    return ColumnDifference(column="", rows=gained.num_rows + lost.num_rows, examples=tuple(examples[:EXAMPLES]))


def _of_column(name: str, left: pa.ChunkedArray, right: pa.ChunkedArray, *, keys: pa.Table) -> ColumnDifference | None:
    if left.type != right.type:
        return ColumnDifference(column=name, rows=len(left), examples=())
    differ = _differ(left, right)
    rows = pc.sum(differ).as_py() or 0
    if not rows:
        return None
    keys, left, right = keys.filter(differ), left.filter(differ), right.filter(differ)
    examples = tuple(
        Example(key=_key(row, keys.column_names), now=_shown(one), at_cutoff=_shown(other))
        for row, one, other in zip(_first(keys), left[:EXAMPLES].to_pylist(), right[:EXAMPLES].to_pylist(), strict=True)
    )
    return ColumnDifference(column=name, rows=rows, examples=examples, rounding=_by_rounding(left, right))


def _differ(left: pa.ChunkedArray, right: pa.ChunkedArray) -> pa.ChunkedArray:
    """Where the bytes differ: NaN equals NaN, and 0.0 differs from -0.0."""
    if pa.types.is_nested(left.type) or pa.types.is_dictionary(left.type):
        pairs = zip(left.to_pylist(), right.to_pylist(), strict=True)
        return pa.chunked_array([pa.array([one != other for one, other in pairs], pa.bool_())])
    bits = {pa.float64(): pa.int64(), pa.float32(): pa.int32()}.get(left.type)
    one, other = left.combine_chunks(), right.combine_chunks()
    if bits is not None:
        one, other = one.view(bits), other.view(bits)
    unequal = pc.fill_null(pc.not_equal(one, other), False)
    return pa.chunked_array([pc.or_(unequal, pc.xor(pc.is_null(one), pc.is_null(other)))])


def _by_rounding(left: pa.ChunkedArray, right: pa.ChunkedArray) -> bool:
    if not pa.types.is_floating(left.type) or left.null_count or right.null_count:
        return False
    size = pc.max_element_wise(pc.abs(left), pc.abs(right))
    return bool(pc.all(pc.less_equal(pc.abs(pc.subtract(left, right)), pc.multiply(size, ROUNDING))).as_py())


def _first(rows: pa.Table) -> list[dict[str, object]]:
    return rows[:EXAMPLES].to_pylist()


def _key(row: dict[str, object], key: Sequence[str]) -> str:
    return ", ".join(f"{name} {_shown(row[name])}" for name in key)


def _shown(value: object) -> str:
    return "null" if value is None else str(value)[:60]
