"""Rows that are set aside are read at once, and lie in memory only in part."""

from __future__ import annotations

import pyarrow as pa

from tailrace.warehouse import set_aside
from tailrace.warehouse.set_aside import set_aside as aside

ROWS = pa.table({"number": range(1000), "text": ["some text"] * 1000})


def test_the_rows_are_the_same_in_memory_and_in_a_file(tmp_path, monkeypatch):
    for limit in (set_aside.IN_MEMORY, 1000, 0):
        monkeypatch.setattr(set_aside, "IN_MEMORY", limit)
        source = iter(ROWS.to_batches(max_chunksize=100))
        reader = aside(ROWS.schema, source, tmp_path / "work")
        assert next(source, None) is None, "the source was read to its end"
        assert reader.read_all() == ROWS
    assert list((tmp_path / "work").iterdir()) == []


def test_no_rows_have_their_columns(tmp_path):
    assert aside(ROWS.schema, [], tmp_path).read_all() == ROWS.slice(0, 0)


def test_what_does_not_fit_is_not_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(set_aside, "IN_MEMORY", 1 << 20)
    before = pa.total_allocated_bytes()
    reader = aside(
        ROWS.schema,
        (pa.record_batch({"number": range(1000), "text": ["text" * 30] * 1000}) for _ in range(100)),
        tmp_path,
    )
    assert pa.total_allocated_bytes() - before < 3 << 20, "of 14 MB"
    assert sum(batch.num_rows for batch in reader) == 100_000
