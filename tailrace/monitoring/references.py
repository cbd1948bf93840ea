"""What a model's features and scores were like when it was trained: what drift is told by."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tailrace.contracts import LakeReader, Pin, Tracker
from tailrace.errors import UnknownName
from tailrace.problems.metrics import index_of_shares, shares_of_counts
from tailrace.rows import roles
from tailrace.spec import PipelineSpec

FOLDER, FILE = "references", "references.json"
BINS, VALUES = 10, 50
SAMPLE_ROWS = 200_000
"""Rows of the training window that are looked at, evenly spread over it."""


@dataclass(frozen=True)
class Reference:
    """Shares of a column's values: of bins between `edges`, or of the most frequent `values`, of all others, of nulls.

    `usual` is the highest population stability index that a single day of the training window had.
    """

    edges: tuple[float, ...]
    values: tuple[str, ...]
    shares: tuple[float, ...]
    usual: float = 0.0

    def psi(self, column: pa.ChunkedArray) -> float:
        """The population stability index of one or more rows against this."""
        return index_of_shares(np.array(self.shares), shares_of_counts(self._counts(column)))

    def _counts(self, column: pa.ChunkedArray) -> np.ndarray:
        """Rows in each bin, of other values, and nulls."""
        known = column.drop_null()
        if pa.types.is_string(column.type):
            found = pc.index_in(known, pa.array(self.values, pa.string())).fill_null(len(self.values))
            bins = found.to_numpy()
            size = len(self.values) + 1
        else:
            bins = np.searchsorted(np.array(self.edges), known.to_numpy(), side="right")
            size = len(self.edges) + 1
        return np.append(np.bincount(bins, minlength=size), len(column) - len(known))

    @classmethod
    def of(cls, column: pa.ChunkedArray, days: pa.ChunkedArray) -> Reference:
        """Of the column's rows and the day of each; there is at least one row."""
        bare = cls(_edges(column), _values(column), ())
        shares = tuple(shares_of_counts(bare._counts(column)).tolist())
        whole = cls(bare.edges, bare.values, shares)
        each_day = [whole.psi(column.filter(pc.equal(days, day))) for day in pc.unique(days)]
        return cls(bare.edges, bare.values, shares, max(each_day))


@dataclass(frozen=True)
class References:
    """Of each feature, and of the scores on the holdout."""

    features: Mapping[str, Reference]
    score: Reference

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> References:
        held = json.loads(text)
        return cls({name: _reference(fields) for name, fields in held["features"].items()}, _reference(held["score"]))


def keep(
    lake: LakeReader,
    tracker: Tracker,
    spec: PipelineSpec,
    run_id: str,
    features: Pin,
    holdout: pa.Table,
    scores: np.ndarray,
) -> None:
    """Store with a training run what its features were like over the window, and its scores on the holdout.

    `holdout` has the feature columns and `ds`; `scores` are in its order.
    """
    rows = _window(lake, spec, features, holdout)
    made = References(
        {name: Reference.of(comparable(spec, rows, name), rows["ds"]) for name in spec.features.columns},
        Reference.of(pa.chunked_array([pa.array(scores, pa.float64())]), holdout["ds"]),
    )
    with tempfile.TemporaryDirectory(prefix="tailrace-references-") as folder:
        Path(folder, FILE).write_text(made.to_json())
        tracker.log_files(run_id, Path(folder), FOLDER)


def of_run(tracker: Tracker, run_id: str) -> References | None:
    """What `keep` stored; None for a run that an earlier version of Tailrace made."""
    with tempfile.TemporaryDirectory(prefix="tailrace-references-") as folder:
        try:
            return References.from_json(tracker.fetch(run_id, f"{FOLDER}/{FILE}", Path(folder)).read_text())
        except UnknownName:
            return None


def comparable(spec: PipelineSpec, rows: pa.Table, name: str) -> pa.ChunkedArray:
    """A feature as it is counted: numbers as float64 without NaN, categories as text, texts by their length."""
    column, kind = rows[name], spec.features.columns[name]
    if kind == "categorical":
        return roles.as_text(column)
    number = pc.utf8_length(column) if kind == "text" else column
    # Of a lake that an earlier release filled, a whole number may be beyond what float64 holds exactly.
    number = number.cast(pa.float64(), safe=False)
    return pc.if_else(pc.is_nan(number), pa.scalar(None, pa.float64()), number)


def _window(lake: LakeReader, spec: PipelineSpec, features: Pin, holdout: pa.Table) -> pa.Table:
    """Rows of the training window, evenly spread; the holdout's where only a table's own reader can read the window."""
    columns = ["ds", *spec.features.columns]
    scan = lake.scan(features, columns)
    if scan.native is not None:
        return holdout.select(columns)
    rows = scan.reader()
    return pa.Table.from_batches(_every(max(1, math.ceil(scan.rows / SAMPLE_ROWS)), rows), rows.schema)


def _every(step: int, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    seen = 0
    for batch in batches:
        yield batch.take(pa.array(range(-seen % step, batch.num_rows, step), pa.int64()))
        seen += batch.num_rows


def _edges(column: pa.ChunkedArray) -> tuple[float, ...]:
    if pa.types.is_string(column.type):
        return ()
    known = column.drop_null().to_numpy()
    return tuple(np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])).tolist()) if len(known) else ()


def _values(column: pa.ChunkedArray) -> tuple[str, ...]:
    if not pa.types.is_string(column.type):
        return ()
    counted = column.drop_null().value_counts()
    ordered = sorted(counted.to_pylist(), key=lambda found: (-found["counts"], found["values"]))
    return tuple(found["values"] for found in ordered[:VALUES])


def _reference(fields: Mapping[str, Any]) -> Reference:
    return Reference(tuple(fields["edges"]), tuple(fields["values"]), tuple(fields["shares"]), fields["usual"])
