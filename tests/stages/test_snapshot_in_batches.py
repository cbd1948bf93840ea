"""A snapshot passes batches from the warehouse to the lake; a refused day leaves nothing behind."""

from __future__ import annotations

import datetime as dt
import functools
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tailrace.errors import ContractBroken, KeysRepeated, SchemaMismatch, Unavailable, UpstreamMissing
from tailrace.lake import rows as accepted
from tailrace.lake.delta import DeltaLake
from tailrace.lineage import digests
from tailrace.spec import PipelineSpec
from tailrace.stages import snapshot
from tailrace.warehouse.memory import MemoryWarehouse
from tests.stages.conftest import Installation
from tests.support import work

DAY = dt.date(2013, 1, 10)
DUE = dt.datetime(2013, 1, 10, 5, tzinfo=dt.UTC)
LATER = DUE + dt.timedelta(days=7)
TIME = pa.timestamp("us", tz="UTC")
BATCHES = 20
HALF_A_GROUP = 500
MOST = 9
"""Two or three each to make a row group and to wait for the digest, and one each that is made, read and handed over."""


class ManyBatches(MemoryWarehouse):
    """Makes the rows of a batch when it is read, and counts the batches that are in memory."""

    alive = most = read_batches = 0

    def __init__(self, size: int, *, last_outcomes: pa.Array | None = None) -> None:
        super().__init__({})
        self._size, self._last_outcomes = size, last_outcomes

    def read(
        self, table: str, day: dt.date, order_by: Sequence[str], *, day_column: str = "ds"
    ) -> pa.RecordBatchReader:
        of_features = table.endswith("features")
        return pa.RecordBatchReader.from_batches(self._batch(0, of_features).schema, self._batches(of_features))

    def _batches(self, of_features: bool) -> Iterator[pa.RecordBatch]:
        for number in range(BATCHES):
            yield self._batch(number, of_features)
        if self._last_outcomes is not None and not of_features:
            last = self._batch(BATCHES, of_features).slice(0, len(self._last_outcomes))
            yield last.set_column(0, last.schema.field(0), self._last_outcomes)

    def _batch(self, number: int, of_features: bool) -> pa.RecordBatch:
        numbers = np.arange(number * self._size, (number + 1) * self._size, dtype=np.int64)
        self.alive += 1
        self.most = max(self.most, self.alive)
        self.read_batches += 1
        weakref.finalize(numbers, self._gone)
        at = pa.repeat(pa.scalar(DUE, TIME), self._size)
        columns = {"customer": pa.array(numbers), "known_at": at, "ds": pa.repeat(pa.scalar(DAY), self._size)}
        if of_features:
            columns |= {"event_time": at, **dict.fromkeys(("plan", "age", "visits"), pa.array(numbers))}
        else:
            columns["left"] = pa.repeat(pa.scalar(True), self._size)
        return pa.record_batch(columns)

    def _gone(self) -> None:
        self.alive -= 1


def services(lake: DeltaLake, warehouse: MemoryWarehouse) -> Installation:
    return Installation(lake, None, None, warehouse, None, {})


@pytest.fixture
def lake(tmp_path: Path) -> DeltaLake:
    return DeltaLake(str(tmp_path / "lake"))


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = functools.partial(accepted.row_groups, rows=2 * HALF_A_GROUP)
    monkeypatch.setattr(accepted, "row_groups", cut)
    monkeypatch.setattr(digests, "_ROWS", 2 * HALF_A_GROUP)


@pytest.fixture
def files(tmp_path: Path):
    return lambda: sorted(path for path in (tmp_path / "lake").rglob("*") if path.is_file())


@pytest.mark.usefixtures("small_groups")
def test_few_batches_are_in_memory_at_once(lake: DeltaLake, spec: PipelineSpec) -> None:
    warehouse = ManyBatches(HALF_A_GROUP)
    taken = snapshot.run(work(services(lake, warehouse), spec, "r"), DAY)
    assert (taken.features.rows, taken.outcomes.rows) == (BATCHES * HALF_A_GROUP,) * 2
    assert warehouse.read_batches >= 2 * BATCHES
    assert warehouse.most <= MOST


@pytest.mark.usefixtures("small_groups")
def test_few_batches_are_in_memory_at_once_of_marts_that_do_not_say_when_rows_were_known(
    lake: DeltaLake, spec: PipelineSpec
) -> None:
    spec = replace(
        spec,
        features=replace(spec.features, known_at=None),
        outcome=replace(spec.outcome, known_at=None),
    )

    class Silent(ManyBatches):
        def _batch(self, number: int, of_features: bool) -> pa.RecordBatch:
            return super()._batch(number, of_features).drop_columns("known_at")

    night, later = (Silent(HALF_A_GROUP) for _ in range(2))
    snapshot.run(work(services(lake, night), spec, "r"), DAY, taken_at=DUE)
    again = snapshot.run(work(services(lake, later), spec, "again"), DAY, taken_at=LATER)
    assert again.features.unchanged
    assert again.outcomes.unchanged
    assert max(night.most, later.most) <= MOST


@pytest.mark.parametrize(
    ("last", "error", "said"),
    [
        (pa.array([BATCHES * 10 - 1]), KeysRepeated, f"1 key (customer) .* for example {BATCHES * 10 - 1}"),
        (pa.array([None], pa.int64()), ContractBroken, "churn_outcomes: 1 row without 'customer'"),
    ],
)
def test_a_refused_day_leaves_no_files(lake: DeltaLake, spec: PipelineSpec, files, last, error, said) -> None:
    wrong, right = ManyBatches(10, last_outcomes=last), ManyBatches(10)
    with pytest.raises(error, match=said.replace("(", r"\(").replace(")", r"\)")):
        snapshot.run(work(services(lake, wrong), spec, "r"), DAY)
    assert files() == []
    assert not lake.exists(spec.features_table)

    snapshot.run(work(services(lake, right), spec, "r"), DAY)
    published = files()
    with pytest.raises(error):
        snapshot.run(work(services(lake, wrong), spec, "again"), DAY)
    assert files() == published
    assert snapshot.run(work(services(lake, right), spec, "again"), DAY).features.unchanged


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("part", ["features", "outcomes"])
def test_a_server_that_stops_in_mid_read_leaves_no_files(lake: DeltaLake, spec: PipelineSpec, files, part: str) -> None:
    class Stops(ManyBatches):
        def _batches(self, of_features: bool) -> Iterator[pa.RecordBatch]:
            for number, batch in enumerate(super()._batches(of_features)):
                if number == BATCHES - 1 and of_features == (part == "features"):
                    raise Unavailable(f"The server stopped answering, while reading churn_{part}.")
                yield batch

    with pytest.raises(Unavailable, match=f"while reading churn_{part}"):
        snapshot.run(work(services(lake, Stops(HALF_A_GROUP)), spec, "r"), DAY)
    assert files() == []
    assert snapshot.run(work(services(lake, ManyBatches(HALF_A_GROUP)), spec, "r"), DAY).features.rows


def test_an_empty_day_that_was_not_built_leaves_no_files(lake: DeltaLake, spec: PipelineSpec, files) -> None:
    empty = {
        f"churn_{part}": ManyBatches(1).read(part, DAY, []).schema.empty_table() for part in ("features", "outcomes")
    }
    with pytest.raises(UpstreamMissing, match="no record that this day was built"):
        snapshot.run(work(services(lake, MemoryWarehouse(empty)), spec, "r"), DAY)
    assert files() == []


def test_a_column_that_the_lake_lacks_is_told_only_if_the_rows_have_no_problem(
    lake: DeltaLake, spec: PipelineSpec, files
) -> None:
    snapshot.run(work(services(lake, ManyBatches(10)), spec, "r"), DAY)
    before = files()

    class Wider(ManyBatches):
        def _batch(self, number: int, of_features: bool) -> pa.RecordBatch:
            batch = super()._batch(number, of_features)
            return batch.append_column("more", batch.column("customer")) if of_features else batch

    with pytest.raises(SchemaMismatch, match=r"column 'more' is not in the table(.|\n)*tailrace evolve churn"):
        snapshot.run(work(services(lake, Wider(10)), spec, "again"), DAY)
    repeated = Wider(10, last_outcomes=pa.array([BATCHES * 10 - 1]))
    with pytest.raises(KeysRepeated, match="1 key "):
        snapshot.run(work(services(lake, repeated), spec, "again"), DAY)
    assert files() == before
