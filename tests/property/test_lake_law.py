"""The lake's law: whatever the order of stage, publish, kill, rerun and upkeep, a day is one run's rows."""

from __future__ import annotations

import contextlib
import datetime as dt
import tempfile
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.contracts import Lake, Staged
from tailrace.errors import PublishConflict, StagingGone
from tailrace.lake.delta import DeltaLake
from tailrace.lake.memory import MemoryLake

DAYS = (dt.date(2013, 3, 1), dt.date(2013, 3, 2))
RUNS = ("a", "b")
ACTIONS = ("stage", "die", "publish", "publish", "discard", "optimize", "vacuum", "widen")
STEPS = st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from(DAYS), st.sampled_from(RUNS)), max_size=14)


def batches(schema: pa.Schema, run: str, attempt: int, *, dies: bool) -> Iterator[pa.RecordBatch]:
    """Two batches of three rows; every column besides `run` and `n` has the attempt's number."""
    for part in range(2):
        rows = [{**dict.fromkeys(schema.names, attempt), "run": f"{run}{attempt}", "n": part * 3 + n} for n in range(3)]
        yield pa.RecordBatch.from_pylist(rows, schema=schema)
        if dies:
            raise KeyError("killed")


def stage(lake: Lake, day: dt.date, run: str, attempt: int, *, dies: bool = False) -> Staged:
    schema = pa.schema({"run": pa.string(), "n": pa.int64()})
    if lake.exists("t"):
        schema = pa.schema([field for field in lake.schema("t") if field.name != "ds"])
    rows = pa.RecordBatchReader.from_batches(schema, batches(schema, run, attempt, dies=dies))
    return lake.stage("t", day, run, rows)


def days_later() -> dt.datetime:
    """A time at which everything is old enough for vacuum."""
    return dt.datetime.now(dt.UTC) + dt.timedelta(days=2)


def follow(lake: Lake, steps: list[tuple[str, dt.date, str]]) -> None:
    handles: dict[tuple[dt.date, str], tuple[Staged, dict[str, object]]] = {}
    expected: dict[dt.date, tuple[dict[str, object], Staged]] = {}
    publications = 0
    for attempt, (action, day, run) in enumerate(steps):
        held = handles.get((day, run))
        if action == "stage":
            staged = stage(lake, day, run, attempt)
            values = {**dict.fromkeys(lake.schema("t").names, attempt), "run": f"{run}{attempt}"}
            handles[day, run] = staged, values
        elif action == "die":
            with pytest.raises(KeyError):
                stage(lake, day, run, attempt, dies=True)
        elif action == "publish" and held:
            fence = sum(1 for _ in lake.commits("t", day))
            with contextlib.suppress(StagingGone, PublishConflict):
                lake.publish(held[0], {})
                if held[0].fence == fence:
                    expected[day] = held[1], held[0]
                    publications += 1
        elif action == "discard" and held:
            lake.discard(held[0])
        elif action in ("optimize", "vacuum") and lake.exists("t"):
            lake.optimize("t") if action == "optimize" else lake.vacuum("t", older_than=dt.timedelta(0))
        elif action == "widen":
            lake.add_columns("t", pa.schema({f"c{attempt}": pa.int64()}))
        for known in DAYS:
            seen = lake.read("t", first=known, last=known).read_all() if lake.exists("t") else None
            if known in expected:
                assert seen is not None
                for name in set(seen.column_names) - {"n", "ds"}:
                    assert seen[name].to_pylist() == [expected[known][0].get(name)] * 6
                assert seen["n"].to_pylist() == list(range(6))
                assert lake.days("t")[known].metadata["digest"] == expected[known][1].digest
            else:
                assert seen is None or seen.num_rows == 0
        assert len(lake.commits("t")) == publications


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_in_memory(steps):
    follow(MemoryLake(now=days_later), steps)


@given(STEPS)
@settings(max_examples=25, deadline=None)
def test_on_delta(steps):
    with tempfile.TemporaryDirectory() as root:
        follow(DeltaLake(root, now=days_later), steps)
