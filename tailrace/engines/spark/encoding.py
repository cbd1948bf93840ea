"""Computes in Spark what an encoder must know about the training rows, and encodes rows in Spark's Python workers."""

# ruff: noqa: TID253 - a leaf: the engine imports it when it trains.

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from tailrace.engines.encoding import matrix
from tailrace.engines.spark.columns import Batches, InWorkers, column, in_workers, named, places
from tailrace.engines.spark.rows import FrameRows
from tailrace.engines.vectors import NO_VALUE, VectorEncoding
from tailrace.spec import LABEL, Features

LEAST_ROWS = 20
"""Categories rarer than this have no column in a one-hot vector, as in scikit-learn's estimators."""

MOST_CATEGORIES = 254
"""The number of categories that a tree distinguishes; rarer ones are combined."""

SAMPLE_ROWS = 100_000
DIGITS = 6
"""Sums are rounded: the order in which a cluster adds its partial sums changes the last digits."""

FEATURES = "features"


def vector_encoding(rows: FrameRows, features: Features, *, one_hot: bool) -> VectorEncoding:
    """The encoder for these rows, for linear models (`one_hot`) or for trees."""
    kept = {}
    for name, counts in value_counts(rows.frame, features.of_kind("categorical")).items():
        filled = {NO_VALUE if value is None else value: count for value, count in counts.items()}
        if one_hot:
            kept[name] = sorted(value for value, count in filled.items() if count >= LEAST_ROWS)
        else:
            kept[name] = sorted(sorted(filled, key=lambda value: (-filled[value], value))[:MOST_CATEGORIES])
    medians, means, deviations = _statistics(rows, features.of_kind("numeric"))
    return VectorEncoding(
        features=dict(features.columns),
        categories=kept,
        medians=medians,
        one_hot=one_hot,
        centres=means if one_hot else {},
        scales=deviations if one_hot else {},
    )


def categories(rows: FrameRows, features: Features) -> dict[str, list[str]]:
    """The sorted distinct values of each categorical column: the order of XGBoost's codes."""
    counted = value_counts(rows.frame, features.of_kind("categorical"))
    return {name: sorted(value for value in counts if value is not None) for name, counts in counted.items()}


def value_counts(frame: DataFrame, columns: Sequence[str]) -> dict[str, dict[str | None, int]]:
    """How many rows have each value of some columns, as strings; nulls are None.

    Arrow converts the values to strings, as in scoring: Spark formats some numbers differently.
    """
    found: dict[str, dict[str | None, int]] = {name: {} for name in columns}
    if not columns:
        return found
    schema = "name string, value string, count bigint"
    counted = in_workers(frame, columns, _counting(columns), schema)
    for row in counted.groupBy("name", "value").agg(F.sum("count").alias("count")).collect():
        found[row["name"]][row["value"]] = row["count"]
    return found


def as_vectors(frame: DataFrame, encoding: VectorEncoding) -> DataFrame:
    """The rows for Spark ML: a vector `features`, with the positions that are codes marked, and a double label."""
    from pyspark.ml.functions import array_to_vector

    columns = [*encoding.features, LABEL]
    encoded = in_workers(frame, columns, _vectors(encoding), f"{FEATURES} array<double>, {LABEL} double")
    return encoded.select(array_to_vector(F.col(FEATURES)).alias(FEATURES, metadata=_attributes(encoding)), LABEL)


def as_floats(frame: DataFrame, features: Mapping[str, str], categories: Mapping[str, list[str]]) -> DataFrame:
    """The rows for XGBoost: a float column for each feature, as in scoring, and a double label.

    The columns are named by `places`: XGBoost would read `a.b` as a field of a column a.
    """
    floats = ", ".join(f"{place} float" for place in places(features))
    work = _floats(list(features), categories)
    return in_workers(frame, [*features, LABEL], work, f"{floats}, {LABEL} double")


def _statistics(rows: FrameRows, columns: Sequence[str]) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Median, mean and standard deviation of each numeric column; 0, 0 and 1 for a column without values.

    Computed on about `SAMPLE_ROWS` rows, chosen by the hash of their keys: an exact median needs its values together.
    """
    if not columns:
        return {}, {}, {}
    one_in = max(1, rows.rows // SAMPLE_ROWS)
    chosen = F.pmod(F.xxhash64(*named(rows.order)), F.lit(one_in)) == 0
    plain = places(columns)
    numbers = [_number(name).alias(x) for x, name in zip(plain, columns, strict=True)]
    sample = rows.frame.where(chosen).select(*numbers)
    # A median is not a sum: it is the same to the last digit for any order of the rows.
    medians = [value or 0.0 for value in sample.agg(*[F.median(x) for x in plain]).collect()[0]]
    # Sums around the median are as small as the spread, so rounding keeps their digits under any offset.
    about = [F.col(x) - F.lit(median) for x, median in zip(plain, medians, strict=True)]
    sums = sample.agg(*[F.avg(x) for x in about], *[F.stddev_pop(x) for x in about]).collect()[0]
    offsets = [value or 0.0 for value in sums[: len(columns)]]
    deviations = [_rounded(value or 0.0) or 1.0 for value in sums[len(columns) :]]
    means = [
        median + deviation * round(offset / deviation, DIGITS)
        for median, offset, deviation in zip(medians, offsets, deviations, strict=True)
    ]
    return _by_name(columns, medians), _by_name(columns, means), _by_name(columns, deviations)


def _by_name(columns: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    return dict(zip(columns, values, strict=True))


def _number(name: str) -> Column:
    number = column(name).cast("double")
    return F.when(~F.isnan(number), number)


def _rounded(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")


def _attributes(encoding: VectorEncoding) -> dict[str, object]:
    """Spark ML's description of a vector: without it, trees treat codes as quantities."""
    if encoding.one_hot:
        return {}
    attributes: dict[str, list[dict[str, object]]] = {"numeric": [], "nominal": []}
    for position, (name, kind) in enumerate(encoding.features.items()):
        if kind == "numeric":
            attributes["numeric"].append({"idx": position, "name": name})
        else:
            codes = [str(code) for code in range(len(encoding.categories[name]) + 1)]
            attributes["nominal"].append({"idx": position, "name": name, "vals": codes})
    return {"ml_attr": {"attrs": attributes, "num_attrs": len(encoding.features)}}


def _counting(columns: Sequence[str]) -> InWorkers:
    def count(batches: Batches) -> Batches:
        for batch in batches:
            for name in columns:
                # Nulls are counted as nulls; the encoder decides about their category.
                counted = batch.column(name).cast(pa.string()).value_counts()
                values, counts = counted.field("values"), counted.field("counts")
                names = pa.repeat(name, len(counted)).cast(pa.string())
                yield pa.record_batch([names, values, counts], names=["name", "value", "count"])

    return count


def _vectors(encoding: VectorEncoding) -> InWorkers:
    def encode(batches: Batches) -> Batches:
        for batch in batches:
            vectors = encoding.matrix(batch)
            ends = np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1]
            nested = pa.ListArray.from_arrays(pa.array(ends), pa.array(vectors.ravel()))
            yield pa.record_batch([nested, _labels(batch)], names=[FEATURES, LABEL])

    return encode


def _floats(features: Sequence[str], categories: Mapping[str, list[str]]) -> InWorkers:
    def encode(batches: Batches) -> Batches:
        for batch in batches:
            encoded = matrix(batch, features, categories)
            columns = [pa.array(encoded[:, position]) for position in range(len(features))]
            yield pa.record_batch([*columns, _labels(batch)], names=[*places(features), LABEL])

    return encode


def _labels(batch: pa.RecordBatch) -> pa.Array:
    return pc.cast(batch.column(LABEL), pa.float64())
