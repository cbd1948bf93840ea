"""A warehouse whose tables are passed to it, for tests and trials."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.contracts import ModelResult
from tailrace.days import span
from tailrace.errors import BuildFailed, UpstreamMissing

_TIMESTAMP = pa.timestamp("us", tz="UTC")


class MemoryWarehouse:
    """Serves `tables`, each with a date column `ds`, as if they had been built from the days of `landed`, each with
    its digest. `empty` maps a day to the reason why it may have no rows. Before `build` is called, no day is
    recorded. `broken` maps tables whose build fails to what is said of it. `gaps` are days that were not landed, by
    landed table, and `reads` the tables that are made from each of these.
    """

    def __init__(
        self,
        tables: Mapping[str, pa.Table],
        landed: Mapping[dt.date, str] | None = None,
        empty: Mapping[dt.date, str] | None = None,
        *,
        broken: Mapping[str, str] | None = None,
        gaps: Mapping[str, Sequence[dt.date]] | None = None,
        reads: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self._tables = dict(tables)
        self._landed = dict(landed or {})
        self._empty = dict(empty or {})
        self._broken = dict(broken or {})
        self._gaps, self._reads = dict(gaps or {}), dict(reads or {})
        self._built: dict[dt.date, Mapping[str, str]] = {}

    def build(
        self,
        first: dt.date,
        last: dt.date,
        run_id: str = "",
        on_node: Callable[[ModelResult], None] = lambda node: None,
        *,
        without: Collection[str] = (),
        only: Collection[str] = (),
        lacking: Collection[str] = (),
    ) -> tuple[ModelResult, ...]:
        """Counts the rows of the days and records the days; there is nothing to build.

        Raises BuildFailed; UpstreamMissing if a landed table has gaps and is not named in `lacking`.
        """
        if unnamed := [table for table in self._gaps if table not in lacking]:
            raise UpstreamMissing(f"{', '.join(unnamed)} were not landed.")
        without = {*without, *(each for table in lacking for each in self._reads.get(table, ()))}
        results = tuple(
            ModelResult(
                name=name,
                kind="model",
                status="error" if name in self._broken else "success",
                seconds=0.0,
                rows=rows.filter((pc.field("ds") >= first) & (pc.field("ds") <= last)).num_rows,
                message=self._broken.get(name, ""),
                unique_id=f"model.memory.{name}",
            )
            for name, rows in sorted(self._tables.items())
            if name not in without and (not only or name in only)
        )
        for day in span(first, last):
            built = dict.fromkeys((result.name for result in results if result.passed), self._empty.get(day, ""))
            self._built[day] = {**self._built.get(day, {}), **built}
        for result in results:
            on_node(result)
        if failed := [f"  - model {result.name}: {result.message}" for result in results if not result.passed]:
            raise BuildFailed("\n".join([f"{len(failed)} of {len(results)} tables failed:", *failed]))
        return results

    def lacking(self, first: dt.date, last: dt.date) -> Mapping[str, Sequence[dt.date]]:
        """The gaps, whatever the days."""
        return self._gaps

    def readers(self, tables: Collection[str]) -> Mapping[str, Collection[tuple[str, str]]] | None:
        """What is made from each; None if one of them is unknown."""
        known = all(table in self._reads for table in tables)
        return {table: [(name, name) for name in self._reads[table]] for table in tables} if known else None

    def built(self, day: dt.date) -> Mapping[str, str] | None:
        """Every table, if `build` was called for the day."""
        return self._built.get(day, {}) if self._built else None

    def read(
        self, table: str, day: dt.date, order_by: Sequence[str], *, day_column: str = "ds"
    ) -> pa.RecordBatchReader:
        """Rows of the day, sorted, nulls last. Raises UpstreamMissing if there is no such table."""
        if table not in self._tables:
            known = ", ".join(sorted(self._tables)) or "none"
            raise UpstreamMissing(f"The warehouse has no table {table}; it has {known}. Build it first.")
        rows = self._tables[table].filter(pc.field(day_column) == day)
        if order_by:
            rows = rows.sort_by([(column, "ascending") for column in order_by])
        return rows.cast(pa.schema([_in_utc(field) for field in rows.schema])).to_reader()

    def schema(self, table: str) -> pa.Schema | None:
        """The types in which `read` gives the columns."""
        rows = self._tables.get(table)
        return None if rows is None else pa.schema([_in_utc(field) for field in rows.schema])

    def sources(
        self, day: dt.date, first: dt.date | None = None, *, marts: Collection[str] = ()
    ) -> Mapping[dt.date, str]:
        """The days of `landed`, up to this day, whatever the marts are made from."""
        return {landed: digest for landed, digest in sorted(self._landed.items()) if landed <= day}


def _in_utc(field: pa.Field) -> pa.Field:
    return field.with_type(_TIMESTAMP) if pa.types.is_timestamp(field.type) else field
