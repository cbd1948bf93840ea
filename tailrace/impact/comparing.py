"""Two versions of the same rows, compared by key: DuckDB reads both from files, so memory stays flat."""

# ruff: noqa: S608 - the names in the SQL are quoted, and the rest is our own

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tailrace.lineage.digests import rows_digest

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_MEMORY = "512MB"
_MOST_VALUES = 50
"""So many new or vanished values of a column are named."""


@dataclass(frozen=True, kw_only=True)
class MovedColumn:
    """A column whose values differ. `rows` are those that are on both sides; `share` is how many of them differ.

    Quantiles (5, 25, 50, 75 and 95 %) are of the values before and after, and of the difference; empty for a column
    that is not a number. `new` and `gone` are values that only one side has. `types` has both types if they differ.
    """

    column: str
    rows: int
    changed: int
    missing: tuple[int, int] = (0, 0)
    before: tuple[float, ...] = ()
    after: tuple[float, ...] = ()
    difference: tuple[float, ...] = ()
    mean_size: float = 0.0
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    types: tuple[str, str] | None = None

    @property
    def share(self) -> float:
        return self.changed / self.rows if self.rows else 0.0


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Two versions of a table. `equal` is proven by the digests of both. `moved` are the columns that differ.

    `gone` and `new` are keys that only one side has. `repeated` are keys that a side has more than once: their rows
    cannot be compared, so `both`, the rows that were, is without them.
    """

    rows: tuple[int, int]
    both: int = 0
    repeated: tuple[int, int] = (0, 0)
    gone: int = 0
    new: int = 0
    equal: bool = False
    moved: tuple[MovedColumn, ...] = ()
    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()

    def of(self, column: str) -> MovedColumn | None:
        return next((each for each in self.moved if each.column == column), None)


def digest(rows: pa.Table, key: Sequence[str]) -> str:
    """SHA-256 of the rows, whatever order rows and columns are in; texts and NaN by their bytes."""
    ordered = rows.select(sorted(rows.column_names))
    return rows_digest(ordered.sort_by([(name, "ascending") for name in key]))


@contextmanager
def opened(before: Sequence[Path], after: Sequence[Path], key: Sequence[str], folder: Path) -> Iterator[JoinedSides]:
    """A comparison of two sets of Parquet files with the same key."""
    import duckdb

    settings = {"memory_limit": _MEMORY, "temp_directory": str(folder)}
    with duckdb.connect(config=settings) as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield JoinedSides(connection, [before, after], key)


class JoinedSides:
    """The joined rows of both sides; columns are named `b."x"` and `a."x"`. Rows of a repeated key are left out."""

    def __init__(self, connection: Any, sides: Sequence[Sequence[Path]], key: Sequence[str]) -> None:
        self._connection, self._key = connection, list(key)
        self._types: list[dict[str, str]] = []
        self._repeated: list[int] = []
        names = ", ".join(map(q, self._key))
        for name, files in zip(("b", "a"), sides, strict=True):
            listed = ", ".join(f"'{str(file).replace(chr(39), chr(39) * 2)}'" for file in files)
            connection.execute(
                f"create view all_{name} as select * from read_parquet([{listed}], union_by_name = true)"
            )
            counted = f"select {names} from all_{name} group by {names} having count(*) > 1"
            self._repeated.append(self._one(f"select count(*) from ({counted})")[0])
            once = f"qualify count(*) over (partition by {names}) = 1" if self._repeated[-1] else ""
            connection.execute(f"create view {name} as select * from all_{name} {once}")
            described = connection.execute(f"describe {name}").fetchall()
            self._types.append({column: kind for column, kind, *_ in described})
        matched = " and ".join(f"b.{q(name)} = a.{q(name)}" for name in self._key)
        self._both = f"from b inner join a on {matched}"
        self._matched = matched

    @property
    def columns(self) -> list[str]:
        """The columns that both sides have, without the key."""
        return [name for name in self._types[0] if name in self._types[1] and name not in self._key]

    def compared(self, columns: Sequence[str]) -> Compared:
        """Both sides, by these columns."""
        before, after = (self._one(f"select count(*) from all_{side}")[0] for side in ("b", "a"))
        (both,) = self._one(f"select count(*) {self._both}")
        there = [name for name in columns if name in self.columns]
        moved = [found for name in there if (found := self._moved(name, both)) is not None]
        return Compared(
            rows=(before, after),
            both=both,
            repeated=(self._repeated[0], self._repeated[1]),
            gone=self._only("b", "a"),
            new=self._only("a", "b"),
            equal=not moved and before == after == both,
            moved=tuple(sorted(moved, key=lambda each: -each.share)),
            only_before=tuple(name for name in columns if name in self._types[0] and name not in self._types[1]),
            only_after=tuple(name for name in columns if name in self._types[1] and name not in self._types[0]),
        )

    def _only(self, side: str, other: str) -> int:
        """How many keys only the first of these sides has."""
        names = ", ".join(map(q, self._key))
        keys = [f"select distinct {names} from all_{each}" for each in (side, other)]
        return int(self._one(f"select count(*) from ({keys[0]}) anti join ({keys[1]}) using ({names})")[0])

    def _moved(self, name: str, both: int) -> MovedColumn | None:
        column, kinds = q(name), tuple(side[name] for side in self._types)
        changed = self.changed(name)
        types = None if kinds[0] == kinds[1] else (kinds[0], kinds[1])
        if not changed and types is None:
            return None
        missing = self._one(
            f"select count(*) filter (where b.{column} is null), count(*) filter (where a.{column} is null) "
            f"{self._both}"
        )
        plain: dict[str, Any] = {"column": name, "rows": both, "changed": changed, "missing": missing, "types": types}
        if all(map(_is_number, kinds)):
            return MovedColumn(**plain, **self._numbers(column))
        if all(kind == "VARCHAR" for kind in kinds):
            return MovedColumn(**plain, **self._values(column))
        return MovedColumn(**plain)

    def _numbers(self, column: str) -> dict[str, Any]:
        wanted = f"[{', '.join(map(str, QUANTILES))}]"
        sides = [f"quantile_cont({finite(f'{side}.{column}')}, {wanted})" for side in ("b", "a")]
        step = f"{finite(f'a.{column}')} - {finite(f'b.{column}')}"
        found = self._one(f"select {', '.join(sides)}, quantile_cont({step}, {wanted}), avg(abs({step})) {self._both}")
        before, after, difference, size = found
        return {
            "before": tuple(before or ()),
            "after": tuple(after or ()),
            "difference": tuple(difference or ()),
            "mean_size": size or 0.0,
        }

    def _values(self, column: str) -> dict[str, Any]:
        found = {}
        for what, one, other in (("new", "a", "b"), ("gone", "b", "a")):
            rows = self._connection.execute(
                f"select distinct {column} from {one} where {column} is not null and {column} not in "
                f"(select {column} from {other} where {column} is not null) order by 1 limit {_MOST_VALUES}"
            ).fetchall()
            found[what] = tuple(str(value) for (value,) in rows)
        return found

    def changed(self, column: str) -> int:
        """How many rows differ in a column."""
        return int(self.scalar(f"count(*) filter (where b.{q(column)} is distinct from a.{q(column)})"))

    def scalar(self, sql: str) -> Any:
        """One value of the joined rows."""
        return self._one(f"select {sql} {self._both}")[0]

    def differences(self, column: str) -> Any:
        """Before and after, as two arrays, of the rows that differ: at most 5,000."""
        before, after = f"b.{q(column)}", f"a.{q(column)}"
        key = ", ".join(f"b.{q(name)}" for name in self._key)
        return self._connection.sql(
            f"select {before} as before, {after} as after {self._both} where {before} is distinct from {after} "
            f"order by hash({key}) limit 5000"
        ).to_arrow_table()

    def _one(self, sql: str) -> Any:
        return self._connection.execute(sql).fetchall()[0]


def q(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def finite(sql: str) -> str:
    """A number as a double, null for NaN and infinities."""
    return f"case when isfinite(cast({sql} as double)) then cast({sql} as double) end"


def _is_number(kind: str) -> bool:
    return kind.split("(")[0] in {
        *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"),
        *("FLOAT", "DOUBLE", "DECIMAL"),
    }
