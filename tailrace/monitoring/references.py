"""The distributions of a model's features and scores at training time; drift is measured against them."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tailrace.contracts import LakeReader, Pin, Services, Tracker
from tailrace.errors import UnknownName
from tailrace.problems.distributions import furthest_day, index_of_shares, shares_of_counts
from tailrace.rows import role_values
from tailrace.spec import PipelineSpec

FOLDER, FILE = "references", "references.json"
BINS, VALUES = 10, 50
SAMPLE_ROWS = 200_000
"""How many rows of the training window are read, evenly spread over it."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The shares of a column's values: in bins between `edges` or of the most frequent `values`, all others, and nulls.

    The rest is what single days of the training window were like. `usual` is how far the furthest of them is from the
    others by the population stability index (PSI), beyond chance. `low` and `high` are the least and the greatest
    number. `repeats` is the greatest share of rows with one value on a day, `nulls` that of rows without a value. Those
    four are None where they are not known: `low` and `high` of categories, and all of trainings of earlier releases.
    """

    edges: tuple[float, ...]
    values: tuple[str, ...]
    shares: tuple[float, ...]
    usual: float = 0.0
    low: float | None = None
    high: float | None = None
    repeats: float | None = None
    nulls: float | None = None

    def psi(self, column: pa.ChunkedArray) -> float:
        """The population stability index (PSI) of one or more rows of counts against this reference."""
        return index_of_shares(np.array(self.shares), shares_of_counts(self._counts(column)))

    def _counts(self, column: pa.ChunkedArray) -> np.ndarray:
        """The number of rows in each bin, with other values, and with null."""
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
    def of(cls, column: pa.ChunkedArray, days: pa.ChunkedArray, *, edges: tuple[float, ...] = ()) -> Reference:
        """The reference of a column, from its rows and the day of each row; needs at least one row.

        Without `edges`, numbers are counted in bins between their quantiles.
        """
        bare = cls(edges=edges or _edges(column), values=_values(column), shares=())
        of_days = [column.filter(pc.equal(days, day)) for day in pc.unique(days)]
        low, high = range_of(column)
        return cls(
            edges=bare.edges,
            values=bare.values,
            shares=tuple(shares_of_counts(bare._counts(column)).tolist()),
            usual=furthest_day(np.array([bare._counts(each) for each in of_days])),
            low=low,
            high=high,
            repeats=max(repeats_of(each) for each in of_days),
            nulls=max(nulls_of(each) for each in of_days),
        )


def range_of(column: pa.ChunkedArray) -> tuple[float | None, float | None]:
    """The least and the greatest finite number; None where there is none, and for texts."""
    if pa.types.is_string(column.type):
        return None, None
    found = pc.min_max(_finite(column))
    return found["min"].as_py(), found["max"].as_py()


def median_of(column: pa.ChunkedArray) -> float | None:
    """The median of the finite numbers, as one of them; None where there is none, and for texts."""
    if pa.types.is_string(column.type):
        return None
    return pc.quantile(_finite(column), q=0.5, interpolation="lower")[0].as_py()


def _finite(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.filter(pc.is_finite(column).fill_null(False))


def repeats_of(column: pa.ChunkedArray) -> float:
    """The share of rows with the most common value that is not null; 0 without rows."""
    counted = column.drop_null().value_counts()
    most = max((pc.max(each.field("counts")).as_py() or 0 for each in _chunks(counted)), default=0)
    return most / len(column) if len(column) else 0.0


def nulls_of(column: pa.ChunkedArray) -> float:
    """The share of rows without a value; 0 without rows."""
    return column.null_count / len(column) if len(column) else 0.0


def _chunks(found: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return found.chunks if isinstance(found, pa.ChunkedArray) else [found]


@dataclass(frozen=True)
class References:
    """The reference of each feature, and of the scores on the holdout."""

    features: Mapping[str, Reference]
    score: Reference

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> References:
        fields = json.loads(text)
        return cls(
            {name: _reference(fields) for name, fields in fields["features"].items()}, _reference(fields["score"])
        )


def keep(
    services: Services,
    spec: PipelineSpec,
    training_run: str,
    *,
    window: pa.Table,
    holdout: pa.Table,
    scores: np.ndarray,
    usual: float | None = None,
) -> None:
    """Store with a training run the distributions of its features over the window and of its scores on the holdout.

    `window` and `holdout` have the feature columns and `ds`; `scores` are what drift is told by, in the order of the
    holdout. `usual` is how far single days are by the scores; by default, how far those of the holdout are.
    """
    of_features = {name: Reference.of(comparable(spec, window, name), window["ds"]) for name in spec.features.columns}
    column = pa.chunked_array([pa.array(scores, pa.float64())])
    of_scores = Reference.of(column, holdout["ds"], edges=spec.problem.drift_edges)
    made = References(of_features, of_scores if usual is None else replace(of_scores, usual=usual))
    with tempfile.TemporaryDirectory(prefix="tailrace-references-") as folder:
        Path(folder, FILE).write_text(made.to_json())
        services.tracker.log_files(training_run, Path(folder), FOLDER)


def of_run(tracker: Tracker, training_run: str) -> References | None:
    """The references that `keep` stored; None for a run of an earlier release of Tailrace."""
    with tempfile.TemporaryDirectory(prefix="tailrace-references-") as folder:
        try:
            return References.from_json(tracker.fetch(training_run, f"{FOLDER}/{FILE}", Path(folder)).read_text())
        except UnknownName:
            return None


def comparable(spec: PipelineSpec, rows: pa.Table, name: str) -> pa.ChunkedArray:
    """A feature in the form that is counted: numbers as float64 without NaN, categories as text, texts as lengths."""
    column, kind = rows[name], spec.features.columns[name]
    if kind == "categorical":
        return role_values.as_text(column)
    number = pc.utf8_length(column) if kind == "text" else column
    # In a lake that an earlier release filled, an integer may be too large for float64 to represent it exactly.
    number = number.cast(pa.float64(), safe=False)
    return pc.if_else(pc.is_nan(number), pa.scalar(None, pa.float64()), number)


def window(lake: LakeReader, spec: PipelineSpec, features: Pin, holdout: pa.Table) -> pa.Table:
    """Evenly spread rows of the training window; rows of the holdout if the window needs the format's own reader."""
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
    more = {name: fields.get(name) for name in ("low", "high", "repeats", "nulls")}
    edges, values, shares = (tuple(fields[name]) for name in ("edges", "values", "shares"))
    return Reference(edges=edges, values=values, shares=shares, usual=fields["usual"], **more)
