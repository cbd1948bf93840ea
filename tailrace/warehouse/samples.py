"""A repeatable sample of rows that stream by: those with the smallest hashes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

_SLACK = 4
"""How many times the sample's rows are gathered before all but the smallest are dropped again."""


def smallest_hashes(batches: Iterable[pa.RecordBatch], schema: pa.Schema, rows: int) -> pa.Table:
    """At most `rows` rows, in the order of their hashes, whatever order the batches come in.

    A hash depends on all values of a row, so the same table gives the same sample. A few times as many rows as the
    sample has are in memory.
    """
    kept, hashes = schema.empty_table(), np.empty(0, np.uint64)
    gathered: list[pa.Table] = []
    waiting = 0
    for batch in batches:
        gathered.append(pa.Table.from_batches([batch]))
        waiting += batch.num_rows
        if waiting >= _SLACK * rows:
            kept, hashes = _smallest(kept, hashes, new=pa.concat_tables(gathered), rows=rows)
            gathered, waiting = [], 0
    if gathered:
        kept, hashes = _smallest(kept, hashes, new=pa.concat_tables(gathered), rows=rows)
    return kept


def _smallest(kept: pa.Table, hashes: np.ndarray, *, new: pa.Table, rows: int) -> tuple[pa.Table, np.ndarray]:
    """The rows with the smallest hashes among those `kept` and the new ones, with their hashes, sorted."""
    together = np.concatenate([hashes, _hashes(new)])
    smallest = np.argsort(together, kind="stable")[:rows]
    return pa.concat_tables([kept, new]).take(pa.array(smallest)).combine_chunks(), together[smallest]


def _hashes(table: pa.Table) -> np.ndarray:
    import duckdb

    with duckdb.connect() as connection:
        connection.register("given", table)
        found = connection.sql("select hash(given) as hash from given").to_arrow_table()
    hashes: np.ndarray = found["hash"].to_numpy()
    return hashes
