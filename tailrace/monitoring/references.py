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
from tailrace.problems import Problem
from tailrace.problems.distributions import (
    furthest_day,
    in_order,
    index_of_shares,
    of_enough_rows,
    quantile_edges,
    shares_of_counts,
)
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
    number. `repeats` is the greatest share of rows with one value on a day, `nulls` that of rows without a value.
    `common` is the most common number, `common_share` its share of the rows, and `common_least` that of the day on
    which fewest had it. All of these are None where they are not known: the last three, `low` and `high` of categories,
    and all of trainings of earlier releases.
    """

    edges: tuple[float, ...]
    values: tuple[str, ...]
    shares: tuple[float, ...]
    usual: float = 0.0
    low: float | None = None
    high: float | None = None
    repeats: float | None = None
    nulls: float | None = None
    common: float | None = None
    common_share: float | None = None
    common_least: float | None = None

    def fits(self, kind: str) -> bool:
        """Whether a feature of this kind can be compared: a category has no edges, and a number no values."""
        return not (self.edges if kind == "categorical" else self.values)

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
    def of(
        cls, column: pa.ChunkedArray, days: pa.ChunkedArray, *, edges: tuple[float, ...] = (), fewest: int = 1
    ) -> Reference:
        """The reference of a column, from its rows and the day of each row; needs at least one row.

        Without `edges`, numbers are counted in bins between their quantiles. Of days with fewer than `fewest` rows
        nothing is learned about single days, unless all days are so small.
        """
        bare = cls(edges=edges or _edges(column), values=_values(column), shares=())
        of_days = of_enough_rows([column.filter(pc.equal(days, day)) for day in pc.unique(days)], fewest)
        low, high = range_of(column)
        common = _most_common(column)
        return cls(
            edges=bare.edges,
            values=bare.values,
            shares=tuple(shares_of_counts(bare._counts(column)).tolist()),
            usual=furthest_day(np.array([bare._counts(each) for each in of_days])),
            low=low,
            high=high,
            repeats=max(repeats_of(each) for each in of_days),
            nulls=max(nulls_of(each) for each in of_days),
            common=common,
            common_share=share_of(column, common),
            common_least=min((share_of(each, common) for each in of_days), default=None, key=lambda share: share or 0),
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


def share_of(column: pa.ChunkedArray, value: float | None) -> float | None:
    """The share of rows with that value; None without a value."""
    if value is None:
        return None
    return (pc.sum(pc.equal(column, value)).as_py() or 0) / len(column) if len(column) else 0.0


def _most_common(column: pa.ChunkedArray) -> float | None:
    """The number that most rows have; None for texts, and where there is none."""
    if pa.types.is_string(column.type):
        return None
    modes = pc.mode(column)
    return modes[0]["mode"].as_py() if len(modes) else None


def _chunks(found: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return found.chunks if isinstance(found, pa.ChunkedArray) else [found]


@dataclass(frozen=True)
class References:
    """The reference of each feature, and of the scores on the holdout.

    `classes` are what 0, 1, 2 ... stand for where the scores are classes; empty also in trainings of earlier releases.
    """

    features: Mapping[str, Reference]
    score: Reference
    classes: tuple[Any, ...] = ()

    def score_of(self, problem: Problem) -> Reference:
        """The reference of the scores, with classes in the order that the problem has them in."""
        *known, null = self.score.shares
        return replace(self.score, shares=(*in_order(tuple(known), self.classes, problem.drift_classes), null))

    def compared(self, spec: PipelineSpec) -> list[str]:
        """The features whose drift can be told: that both the spec and the training have, as one kind of feature."""
        return [name for name, held in self._shared(spec) if held.fits(spec.features.columns[name])]

    def of_another_kind(self, spec: PipelineSpec) -> list[str]:
        """The features that are numbers in the spec and categories in the training, or the other way round."""
        return [name for name, held in self._shared(spec) if not held.fits(spec.features.columns[name])]

    def _shared(self, spec: PipelineSpec) -> Iterator[tuple[str, Reference]]:
        """Others left the spec since, or had no part in the model."""
        return ((name, self.features[name]) for name in spec.features.columns if name in self.features)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> References:
        fields = json.loads(text)
        of_features = {name: _reference(fields) for name, fields in fields["features"].items()}
        return cls(of_features, _reference(fields["score"]), tuple(fields.get("classes", ())))


def keep(
    services: Services,
    spec: PipelineSpec,
    training_run: str,
    *,
    window: WindowSample,
    holdout: pa.Table,
    scores: np.ndarray,
    usual: float | None = None,
) -> None:
    """Store with a training run the distributions of its features over the window and of its scores on the holdout.

    `holdout` has `ds`; `scores` are what drift is told by, in the order of the holdout. `usual` is how far single days
    are by the scores; by default, how far those of the holdout are.
    """
    rows, fewest = window.rows, window.at_least(spec.monitor.rows)
    of_features = {
        name: Reference.of(comparable(spec, rows, name), rows["ds"], fewest=fewest) for name in spec.features.columns
    }
    finite = np.isfinite(scores)
    edges = spec.problem.drift_edges or tuple(quantile_edges(scores[finite], BINS).tolist())
    column = pa.chunked_array([pa.array(np.where(finite, scores, np.nan), pa.float64(), from_pandas=True)])
    of_scores = Reference.of(column, holdout["ds"], edges=edges, fewest=spec.monitor.rows)
    of_scores = of_scores if usual is None else replace(of_scores, usual=usual)
    made = References(of_features, of_scores, spec.problem.drift_classes)
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


@dataclass(frozen=True)
class WindowSample:
    """Evenly spread rows of a training window, one of `step`: the feature columns and `ds`."""

    rows: pa.Table
    step: int = 1

    def at_least(self, rows: int) -> int:
        """How many of the rows here a day has that has so many in the window."""
        return max(1, rows // self.step)


def window(lake: LakeReader, spec: PipelineSpec, features: Pin, holdout: pa.Table) -> WindowSample:
    """Rows of the training window; those of the holdout if the window needs the format's own reader."""
    columns = ["ds", *spec.features.columns]
    scan = lake.scan(features, columns)
    if scan.native is not None:
        return WindowSample(holdout.select(columns))
    rows, step = scan.reader(), max(1, math.ceil(scan.rows / SAMPLE_ROWS))
    return WindowSample(pa.Table.from_batches(_every(step, rows), rows.schema), step)


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
    more = {
        name: fields.get(name) for name in ("low", "high", "repeats", "nulls", "common", "common_share", "common_least")
    }
    edges, values, shares = (tuple(fields[name]) for name in ("edges", "values", "shares"))
    return Reference(edges=edges, values=values, shares=shares, usual=fields["usual"], **more)
