"""The point-in-time join in Spark: the rows to learn from stay in Spark, the holdout comes to the driver."""

# ruff: noqa: TID253 - a leaf: the engine imports it when it trains.

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import operator
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import arrow_udf
from pyspark.sql.pandas.types import from_arrow_type, to_arrow_type
from pyspark.sql.types import BooleanType, DataType, DecimalType, DoubleType, FloatType, LongType, NumericType

from tailrace.contracts import Joined, Scan
from tailrace.engines.spark import tables
from tailrace.engines.spark.columns import ascending, column, named
from tailrace.engines.spark.failures import spark_errors
from tailrace.engines.spark.rows import FrameRows
from tailrace.rows import refusals, role_values, roles
from tailrace.spec import LABEL, PipelineSpec, cutoff

COUNT = "__count"
WRONG_ROWS = 10_000
"""At most this many bad rows are brought to this process; an error message counts them up to this number."""


def join(
    session: SparkSession,
    spec: PipelineSpec,
    features: Scan,
    outcomes: Scan,
    *,
    known_by: dt.datetime,
    holdout_from: dt.date,
    native_reader: str = "",
) -> Joined:
    """`Engine.join` on the cluster. Raises LookAhead, KeysRepeated, and the errors of reading and of `spark_errors`."""
    with spark_errors(f"Joining {spec.features_table} and {spec.outcomes_table}"):
        rows, known = (tables.read(session, scan, native_reader) for scan in (features, outcomes))
        return _join(spec, rows, known, known_by=known_by, holdout_from=holdout_from)


def _join(
    spec: PipelineSpec, rows: DataFrame, known: DataFrame, *, known_by: dt.datetime, holdout_from: dt.date
) -> Joined:
    refuse_broken_contracts(spec, rows, known)
    refuse_look_ahead(spec, rows)
    refuse_repeated_keys(spec, rows)
    refuse_repeated_outcomes(spec, known)

    key = spec.features.key
    labels = _last_known(spec, known, known_by).where(F.col(LABEL).isNotNull())
    joined = rows.join(labels, list(key))
    in_holdout = F.col("ds") >= F.lit(holdout_from)
    order = (spec.features.event_time, *key)
    return Joined(
        _frame_rows(joined.where(~in_holdout), spec.features.learned_from, order),
        joined.where(in_holdout).orderBy(*ascending(order)).toArrow(),
        {"features": rows_digest(rows), "outcomes": rows_digest(known)},
    )


def refuse_broken_contracts(spec: PipelineSpec, rows: DataFrame, known: DataFrame) -> None:
    """Raises ContractBroken: the bad rows go through the check of the join on one machine, for the same message."""
    rows_without_key = functools.reduce(operator.or_, [_missing(rows, name) for name in spec.features.key])
    too_large = [_too_large(rows, name) for name in spec.features.of_kind("numeric")]
    weights = [_no_weight(rows, spec.features.weight)] if spec.features.weight else []
    wrong = functools.reduce(operator.or_, [*too_large, *weights], rows_without_key)
    wrong_outcomes = functools.reduce(operator.or_, [_missing(known, name) for name in spec.features.key])
    wrong_outcomes |= column(spec.outcome.order_column).isNull() & column(spec.outcome.label).isNotNull()
    wrong_outcomes |= _wrong_label(spec, known)
    outcomes = _some(spec, known, wrong_outcomes)
    roles.check_joinable(spec, _some(spec, rows, wrong), outcomes)
    roles.labels(spec, spec.outcomes_table, outcomes[spec.outcome.label])


def _wrong_label(spec: PipelineSpec, known: DataFrame) -> Column:
    """Whether a label is wrong, by the problem's own check; a column of a wrong type is refused without its values."""
    wrong_labels = spec.problem.wrong_labels
    if wrong_labels(pa.chunked_array([], _label_type(spec, known))) is not None:
        return F.lit(False)

    def wrong(labels: pa.ChunkedArray) -> pa.ChunkedArray:
        found = wrong_labels(labels)
        return pa.chunked_array([pa.repeat(False, len(labels))]) if found is None else pc.fill_null(found.rows, False)

    return _from_label(spec, wrong, BooleanType())


def _encoded_label(spec: PipelineSpec, known: DataFrame) -> Column:
    """A right label, encoded by the problem: the same as on one machine."""
    encoded = spec.problem.encoded
    return _from_label(spec, encoded, from_arrow_type(encoded(pa.chunked_array([], _label_type(spec, known))).type))


def _label_type(spec: PipelineSpec, known: DataFrame) -> pa.DataType:
    return to_arrow_type(known.schema[spec.outcome.label].dataType)


def _from_label(spec: PipelineSpec, work: Callable[[pa.ChunkedArray], pa.ChunkedArray], kind: DataType) -> Column:
    """What Spark's Python workers compute from the labels."""

    def compute(labels: pa.Array) -> pa.Array:
        return work(pa.chunked_array([labels])).combine_chunks()

    # Spark's stubs demand a third argument that may be left out.
    in_python = arrow_udf(compute, kind)  # type: ignore[call-overload]
    computed: Column = in_python(column(spec.outcome.label))
    return computed


def _missing(rows: DataFrame, name: str) -> Column:
    floating = isinstance(rows.schema[name].dataType, FloatType | DoubleType)
    return column(name).isNull() | F.isnan(column(name)) if floating else column(name).isNull()


def _too_large(rows: DataFrame, name: str) -> Column:
    """Whether a number is too large for models; NaN, which Spark sorts above infinity, counts as missing."""
    kind = rows.schema[name].dataType
    if isinstance(kind, LongType | DecimalType):
        return ~column(name).between(-role_values.LARGEST_WHOLE, role_values.LARGEST_WHOLE)
    if isinstance(kind, FloatType | DoubleType):
        return ~F.isnan(column(name)) & ~column(name).cast("double").between(-role_values.LARGEST, role_values.LARGEST)
    return F.lit(False)


def _no_weight(rows: DataFrame, name: str) -> Column:
    if not isinstance(rows.schema[name].dataType, NumericType):
        return F.lit(True)
    return _missing(rows, name) | ~column(name).cast("double").between(0.0, role_values.LARGEST)


def _some(spec: PipelineSpec, rows: DataFrame, wrong: Column) -> pa.Table:
    return rows.where(wrong).orderBy(*ascending(spec.features.key)).limit(WRONG_ROWS).toArrow()


def refuse_look_ahead(spec: PipelineSpec, rows: DataFrame) -> None:
    """Raises LookAhead if a row of features contains values that were unknown at its day's cutoff."""
    if spec.features.known_at is None:
        return
    known = F.unix_micros(column(spec.features.known_at))
    last = rows.groupBy("ds").agg(F.max(known).alias("known"), F.count_if(known.isNull()).alias("unknown")).collect()
    cutoffs = {row["ds"]: _micros(cutoff(spec, row["ds"])) for row in last}
    wrong = [row["ds"] for row in last if row["unknown"] or row["known"] > cutoffs[row["ds"]]]
    if not wrong:
        return
    of_days = [(F.col("ds") == F.lit(day)) & (known.isNull() | (known > cutoffs[day])) for day in sorted(wrong)]
    late = rows.where(functools.reduce(operator.or_, of_days))
    shown = late.orderBy(*ascending(["ds", *spec.features.key])).limit(refusals.EXAMPLES).toArrow().to_pylist()
    raise refusals.look_ahead(spec, late.count(), shown)


def refuse_repeated_keys(spec: PipelineSpec, features: DataFrame) -> None:
    """Raises KeysRepeated, with examples, if a key has more than one row of features."""
    keys, examples = _repeated(spec, features, spec.features.key)
    if keys:
        raise refusals.repeated_keys(spec, keys, examples)


def refuse_repeated_outcomes(spec: PipelineSpec, outcomes: DataFrame) -> None:
    """Raises KeysRepeated, with examples, if two outcomes of a key became known at the same moment."""
    keys, examples = _repeated(spec, outcomes, (*spec.features.key, spec.outcome.order_column))
    if keys:
        raise refusals.repeated_outcomes(spec, keys, examples)


def _repeated(spec: PipelineSpec, rows: DataFrame, by: Sequence[str]) -> tuple[int, list[dict[str, Any]]]:
    """How many keys have several rows with the same values of `by`, and some of these keys."""
    key = spec.features.key
    counted = rows.groupBy(*named(by)).agg(F.count("*").alias(COUNT))
    repeated = counted.where(F.col(COUNT) > 1).select(*named(key)).distinct()
    shown = repeated.orderBy(*ascending(key)).limit(refusals.EXAMPLES).toArrow().to_pylist()
    return (repeated.count() if shown else 0), shown


def _last_known(spec: PipelineSpec, outcomes: DataFrame, known_by: dt.datetime) -> DataFrame:
    """The keys with the label, as `LABEL`, that became known last up to that moment."""
    order = column(spec.outcome.order_column)
    in_time = outcomes
    if spec.outcome.known_at is not None:  # else their days say it, and no later day is pinned
        order = F.unix_micros(order)
        in_time = outcomes.where(order <= _micros(known_by))
    # A UDF cannot stand inside an aggregate.
    labelled = in_time.withColumn(LABEL, _encoded_label(spec, outcomes))
    return labelled.groupBy(*named(spec.features.key)).agg(F.max_by(LABEL, order).alias(LABEL))


def rows_digest(rows: DataFrame) -> str:
    """SHA-256 over the number of rows and two sums of their 64-bit hashes, so that their order does not matter."""
    found = rows.agg(F.count("*"), *[F.sum(_hash(rows.columns, seed)) for seed in (1, 2)]).collect()[0]
    content = [[(field.name, field.dataType.simpleString()) for field in rows.schema], [str(value) for value in found]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _hash(names: Sequence[str], seed: int) -> Column:
    # Spark's hash skips nulls, so it is also hashed which columns are null.
    nulls = [F.isnull(column(name)) for name in names]
    return F.xxhash64(F.lit(seed), *named(names), *nulls).cast("decimal(38,0)")


def _frame_rows(frame: DataFrame, columns: tuple[str, ...], order: tuple[str, ...]) -> FrameRows:
    count, first, last = frame.agg(F.count("*"), F.min("ds"), F.max("ds")).collect()[0]
    return FrameRows(frame=frame, columns=columns, order=order, rows=count, days=(first, last))


def _micros(moment: dt.datetime) -> int:
    """Microseconds since 1970: as Python datetimes, times would be shifted by this process's time zone."""
    return (moment - dt.datetime.fromtimestamp(0, dt.UTC)) // dt.timedelta(microseconds=1)
