"""Candidates that learn on all executors together: xgboost.spark and Spark ML, on rows that stay in the cluster."""

# ruff: noqa: TID253 - a leaf: the engine imports it when it trains.

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import DoubleType, StructField, StructType

from tailrace.contracts import Model
from tailrace.engines.classes import estimator_class
from tailrace.engines.distributed_models import LinearModel, NotConverted, TreesLink, TreesModel
from tailrace.engines.encoding import to_numpy
from tailrace.engines.estimators import unadjusted
from tailrace.engines.library_errors import NO_CANDIDATES_FAULT, error_text
from tailrace.engines.spark.columns import Batches, InWorkers, in_workers, places
from tailrace.engines.spark.encoding import (
    DIGITS,
    FEATURES,
    as_floats,
    as_vectors,
    categories,
    vector_encoding,
)
from tailrace.engines.spark.failures import freed, spark_errors
from tailrace.engines.spark.rows import FrameRows
from tailrace.engines.spark.trees import Node, class_shares_of, predictions_of, trees_of
from tailrace.engines.vectors import VectorEncoding
from tailrace.engines.xgboost_fits import refuse_beyond_gains, splits_by_squares
from tailrace.engines.xgboost_models import XgboostModel
from tailrace.problems import Problem, as_array
from tailrace.spec import LABEL, Candidate, PipelineSpec

Fit = Callable[[Mapping[str, Any]], Model]
"""Fits the candidate with these parameters (fixed ones included) on the rows that were opened.

Raises NotConverted if the model that Spark fitted cannot be converted to one that works without Spark.
"""

Parts = tuple[DataFrame, Callable[[Mapping[str, Any]], Any], Callable[[Any], Model]]
"""The encoded rows, the function that fits a Spark model on them, and the function that converts it to a model."""

Rounded = Callable[[np.ndarray], np.ndarray]
Convert = Callable[[Any, VectorEncoding, Problem, Rounded], LinearModel | TreesModel]

LINEAR = ("Regression",)
"""How the names of linear estimators end: their vectors are one-hot, centred and scaled."""

WORKER_ROWS = 1000
"""An XGBoost worker without rows fails; a worker with fewer rows than this is not worth starting."""


@contextmanager
def learning(spec: PipelineSpec, candidate: Candidate, rows: FrameRows, *, seed: int, workers: int) -> Iterator[Fit]:
    """Keep the rows, encoded for a candidate, in the cluster's memory while it is fitted on them repeatedly.

    `workers` is the number of tasks that run at once: XGBoost trains in one stage with that many tasks. Its models
    answer `spec.problem.unadjusted`.
    """
    spec = unadjusted(spec)
    if candidate.estimator.startswith("xgboost."):
        encoded, fit, convert = _xgboost(spec, candidate, rows, seed=seed, slots=workers)
    else:
        encoded, fit, convert = _spark_ml(spec, candidate, rows, seed)
    encoded.persist()
    with freed(encoded.unpersist):
        yield lambda parameters: _converted(candidate, fit(parameters), convert)


def _converted(candidate: Candidate, fitted: Any, convert: Callable[[Any], Model]) -> Model:
    try:
        with spark_errors(f"Taking the model of {candidate.name} out of Spark"):
            return convert(fitted)
    except NO_CANDIDATES_FAULT:
        raise
    except Exception as error:
        what = candidate.estimator.rpartition(".")[2]
        raise NotConverted(f"The model that {what} fitted cannot be taken out of Spark: {error_text(error)}") from error


def workers_of(candidate: Candidate, rows: int, slots: int) -> int:
    """How many workers XGBoost uses: the candidate's number, else as many as run at once and have enough rows."""
    return int(candidate.parameters.get("num_workers") or max(1, min(slots, rows // WORKER_ROWS)))


def measured(rows: FrameRows, model: Model) -> dict[str, float]:
    """Every metric of a model's predictions for the rows, computed on the executors: no row comes to the driver.

    Means are exact; for ranking metrics, scores count as equal within one in a million.
    """
    few = model.problem.made_up_labels(2)
    tallied = pa.table(model.problem.tally(few, np.zeros((2, len(model.problem.raw_columns))).squeeze()))
    names = [name for name in tallied.column_names if name != "group"]
    added = (
        in_workers(rows.frame, [*rows.columns, LABEL], _judging(model), from_arrow_schema(tallied.schema))
        .groupBy("group")
        .agg(*[F.sum(name).alias(name) for name in names])
        .toArrow()
        .sort_by("group")
    )
    return model.problem.of_tally(added)


def labels_and_predictions(rows: FrameRows, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """The rows' labels and a model's predictions for them, brought to this process, in one order on any cluster."""
    names = model.problem.raw_columns
    label = rows.frame.schema[LABEL]
    schema = StructType([label, *[StructField(name, DoubleType()) for name in names]])

    def predict(batches: Batches) -> Batches:
        for batch in batches:
            predicted = model.predict(batch)
            yield pa.record_batch([batch.column(LABEL), *predicted.columns], names=[LABEL, *names])

    found = in_workers(rows.frame, [*rows.columns, LABEL], predict, schema).toArrow()
    found = found.sort_by([(name, "ascending") for name in (*names, LABEL)])
    return to_numpy(found[LABEL].combine_chunks()), as_array(found.select(list(names)))


def _judging(model: Model) -> InWorkers:
    def judge(batches: Batches) -> Batches:
        for batch in batches:
            labels = batch.column(LABEL).to_numpy(zero_copy_only=False)
            yield pa.record_batch(model.problem.tally(labels, as_array(model.predict(batch))))

    return judge


def _xgboost(spec: PipelineSpec, candidate: Candidate, rows: FrameRows, *, seed: int, slots: int) -> Parts:
    features, problem = spec.features.columns, spec.problem
    codes = categories(rows, spec.features)
    workers = workers_of(candidate, rows.rows, slots)
    # As many partitions as workers, or XGBoost would redistribute the rows in random order.
    encoded = as_floats(rows.partitioned(workers).frame, features, codes)

    @functools.cache
    def squares() -> float:
        return float(encoded.agg(F.var_pop(LABEL)).collect()[0][0]) * rows.rows

    def fit(parameters: Mapping[str, Any]) -> Any:
        settings = {"random_state": seed, **parameters, "num_workers": workers}
        objective = settings.pop("objective", problem.xgboost_objectives[0])
        if splits_by_squares({**settings, "objective": objective}):
            refuse_beyond_gains(squares())
        if len(problem.xgboost_objectives) > 1:
            # Where there is only one, XGBoost's estimator sets it itself and accepts no other.
            settings["objective"] = objective
        estimator = estimator_class(candidate.estimator)(
            features_col=places(features),
            label_col=LABEL,
            verbose=False,
            feature_types=["c" if name in codes else "q" for name in features],
            **settings,
        )
        return estimator.fit(encoded)

    def convert(fitted: Any) -> XgboostModel:
        booster = fitted.get_booster()
        booster.set_param({"nthread": 1})
        booster.feature_names = list(features)
        return XgboostModel(booster, features, codes, problem)

    return encoded, fit, convert


def _spark_ml(spec: PipelineSpec, candidate: Candidate, rows: FrameRows, seed: int) -> Parts:
    encoding = vector_encoding(rows, spec.features, one_hot=candidate.estimator.endswith(LINEAR))
    encoded = as_vectors(rows.partitioned().frame, encoding)

    def fit(parameters: Mapping[str, Any]) -> Any:
        estimator = estimator_class(candidate.estimator)(featuresCol=FEATURES, labelCol=LABEL)
        settings: dict[str, Any] = {**parameters, **spec.problem.spark_settings(candidate.estimator)}
        if estimator.hasParam("seed"):
            settings.setdefault("seed", seed)
        if estimator.hasParam("maxBins"):
            most = max((len(values) + 1 for values in encoding.categories.values()), default=0)
            settings["maxBins"] = max(most, settings.get("maxBins", estimator.getOrDefault("maxBins")))
        return estimator.setParams(**settings).fit(encoded)

    return encoded, fit, lambda fitted: model_of(fitted, encoding, spec.problem, digits=DIGITS)


def model_of(
    fitted: Any, encoding: VectorEncoding, problem: Problem, *, digits: int | None = None
) -> LinearModel | TreesModel:
    """A fitted Spark ML model, converted so that it works without Spark.

    If a number of digits is given, sums of floats are rounded to that many significant digits, so that the order in
    which a cluster adds its partial sums does not change the model.
    """
    rounded = functools.partial(_rounded, digits=digits)
    convert = _CONVERT[type(fitted).__name__]
    return convert(fitted, encoding, problem, rounded)


def _linear(fitted: Any, encoding: VectorEncoding, problem: Problem, rounded: Rounded) -> LinearModel:
    # A generalized model names the link that it was fitted with; the other one has none.
    link: Any = fitted.getLink() if fitted.hasParam("link") else "identity"
    coefficients, intercept = rounded(fitted.coefficients.toArray()), rounded(np.array([fitted.intercept]))
    return LinearModel(encoding, problem, coefficients, intercept, link=link)


def _logistic(fitted: Any, encoding: VectorEncoding, problem: Problem, rounded: Rounded) -> LinearModel:
    coefficients, intercept = rounded(fitted.coefficientMatrix.toArray()), rounded(fitted.interceptVector.toArray())
    # The matrix of a yes/no model has one row, that of several classes one for each class.
    if len(coefficients) == 1:
        return LinearModel(encoding, problem, coefficients[0], intercept)
    return LinearModel(encoding, problem, coefficients, intercept, link="softmax")


def _class_forest(fitted: Any, encoding: VectorEncoding, problem: Problem, rounded: Rounded) -> TreesModel:
    def shares(nodes: Sequence[Node]) -> np.ndarray:
        of_classes = class_shares_of(nodes)
        return of_classes if len(problem.raw_columns) > 1 else of_classes[:, 1]

    return _trees(fitted, encoding, problem, rounded, values=shares, link="share")


def _number_trees(link: TreesLink) -> Convert:
    def convert(fitted: Any, encoding: VectorEncoding, problem: Problem, rounded: Rounded) -> TreesModel:
        return _trees(
            fitted, encoding, problem, rounded, values=lambda nodes: rounded(predictions_of(nodes)), link=link
        )

    return convert


def _trees(
    fitted: Any,
    encoding: VectorEncoding,
    problem: Problem,
    rounded: Rounded,
    *,
    values: Callable[[Sequence[Node]], np.ndarray],
    link: TreesLink,
) -> TreesModel:
    decreases = rounded(fitted.featureImportances.toArray())
    return TreesModel(encoding, problem, trees_of(fitted, values=values), link=link, decreases=decreases)


_CONVERT: Mapping[str, Convert] = {
    "LogisticRegressionModel": _logistic,
    "LinearRegressionModel": _linear,
    "GeneralizedLinearRegressionModel": _linear,
    "RandomForestClassificationModel": _class_forest,
    "RandomForestRegressionModel": _number_trees("mean"),
    "GBTClassificationModel": _number_trees("log_odds"),
    "GBTRegressionModel": _number_trees("sum"),
}
"""What converts each class of Spark's models."""


def _rounded(numbers: np.ndarray, digits: int | None) -> np.ndarray:
    if digits is None:
        return numbers
    flat = [float(f"{number:.{digits}g}") for number in numbers.ravel()]
    return np.array(flat, dtype=np.float64).reshape(numbers.shape)
