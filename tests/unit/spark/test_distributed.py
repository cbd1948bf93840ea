"""Candidates that learn on the cluster: the model that comes out is Spark's own, without Spark."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tailrace.engines import models
from tailrace.engines.spark.session import open_session
from tailrace.problems import as_array
from tailrace.problems.binary import Binary
from tailrace.problems.multiclass import Multiclass
from tailrace.problems.regression import Regression
from tailrace.settings import SparkSettings
from tailrace.spec import LABEL, Candidate
from tailrace.training.arrow_rows import ArrowRows
from tests.support import churn_rows

LOGISTIC = Candidate("logistic", "pyspark.ml.classification.LogisticRegression", {"maxIter": 30, "regParam": 0.01})
FOREST = Candidate("forest", "pyspark.ml.classification.RandomForestClassifier", {"numTrees": 7, "maxDepth": 4})
BOOSTED = Candidate("boosted", "pyspark.ml.classification.GBTClassifier", {"maxIter": 4, "maxDepth": 3})
XGBOOST = Candidate("xgboost", "xgboost.spark.SparkXGBClassifier", {"n_estimators": 10, "max_depth": 3})
CLASSES, NUMBERS, COUNTS = Multiclass(("a", "b", "c")), Regression(), Regression(link="log")
REGRESSION = "pyspark.ml.regression"
LINEAR = Candidate("linear", f"{REGRESSION}.LinearRegression", {"regParam": 0.01})
HUBER = Candidate("huber", f"{REGRESSION}.LinearRegression", {"loss": "huber", "maxIter": 20})
GENERAL = Candidate("general", f"{REGRESSION}.GeneralizedLinearRegression", {"regParam": 0.01})
MEANS = Candidate("means", f"{REGRESSION}.RandomForestRegressor", {"numTrees": 5, "maxDepth": 4})
SUMS = Candidate("sums", f"{REGRESSION}.GBTRegressor", {"maxIter": 4, "maxDepth": 3})
POISSON = Candidate(
    "poisson", "xgboost.spark.SparkXGBRegressor", {"n_estimators": 10, "max_depth": 3, "objective": "count:poisson"}
)
SPARK_ML = [
    (Binary(), LOGISTIC),
    (Binary(), FOREST),
    (Binary(), BOOSTED),
    (CLASSES, LOGISTIC),
    (CLASSES, FOREST),
    (Multiclass(("no", "yes")), LOGISTIC),
    (NUMBERS, LINEAR),
    (NUMBERS, HUBER),
    (NUMBERS, GENERAL),
    (COUNTS, GENERAL),
    (COUNTS, MEANS),
    (NUMBERS, SUMS),
]
TWICE = [(Binary(), LOGISTIC), (Binary(), XGBOOST), (CLASSES, XGBOOST), (COUNTS, GENERAL), (COUNTS, POISSON)]
ROWS = 2500


def named(case):
    problem, candidate = case
    return f"{problem.kind}-{candidate.name}"


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    log = tmp_path_factory.mktemp("spark") / "spark.log"
    conf = {"spark.sql.shuffle.partitions": "2"}
    session = open_session(SparkSettings(master="local[2]", driver_memory="1g", log=str(log), conf=conf))
    yield session
    session.stop()


@pytest.fixture(scope="module")
def table():
    features, labels = churn_rows(ROWS)
    rare = ["rare"] * 5 + features["plan"].to_pylist()[5:-5] + [None] * 5
    return features.set_column(0, "plan", pa.array(rare)).append_column(LABEL, labels)


@pytest.fixture(scope="module")
def rows(session, table):
    from tailrace.engines.spark.rows import framed

    return framed(session, ArrowRows(table, tuple(table.column_names[:-1])))


def scores(model, table):
    return as_array(model.predict(table.combine_chunks().to_batches()[0]))


def labels_of(problem, table):
    """Labels of the kind, which depend on the features: the boolean ones, a class of the visits, or the visits."""
    visits, plus = table["visits"].to_numpy(), table[LABEL].to_numpy()
    if problem == Binary():
        return pa.array(plus)
    if problem.kind == "multiclass":
        return pa.array(np.digitize(visits, (4, 6)[: len(problem.classes) - 1]).astype(np.int32))
    return pa.array(visits + 2.0 * plus)


def with_labels(problem, rows, table):
    """The same rows with labels of the kind, in Spark and here."""
    from tailrace.engines.spark.rows import framed

    if problem == Binary():
        return rows, table
    here = table.set_column(table.column_names.index(LABEL), LABEL, labels_of(problem, table))
    return framed(rows.frame.sparkSession, ArrowRows(here, rows.columns)), here


def predicted_by_spark(problem, fitted, frame):
    from pyspark.ml.functions import vector_to_array
    from pyspark.sql import functions as F

    of_classes = fitted.hasParam("probabilityCol")
    said = fitted.transform(frame).select(vector_to_array("probability") if of_classes else F.col("prediction"))
    found = np.array(said.toArrow().column(0).to_pylist())
    return problem.bounded(found[:, 1] if problem == Binary() else found)


@pytest.mark.parametrize("case", SPARK_ML, ids=named)
def test_a_model_predicts_what_spark_predicts_and_is_stored(session, spec, rows, table, case, tmp_path):
    from tailrace.engines.classes import estimator_class
    from tailrace.engines.spark.distributed import model_of
    from tailrace.engines.spark.encoding import FEATURES, as_vectors, vector_encoding

    problem, candidate = case
    assert candidate.estimator in problem.spark_estimators
    rows, table = with_labels(problem, rows, table)
    linear = candidate.estimator.endswith("Regression")
    encoding = vector_encoding(rows, spec.features, one_hot=linear)
    frame = as_vectors(rows.frame.coalesce(1).sortWithinPartitions(*rows.order), encoding)
    parameters = {**candidate.parameters, **problem.spark_settings(candidate.estimator)}
    estimator = estimator_class(candidate.estimator)(featuresCol=FEATURES, labelCol=LABEL)
    fitted = estimator.setParams(**parameters).fit(frame)
    model = model_of(fitted, encoding, problem)
    assert model.predict(table.to_batches()[0]).schema.names == list(problem.raw_columns)
    expected = predicted_by_spark(problem, fitted, frame)
    np.testing.assert_allclose(scores(model, table), expected, rtol=1e-12, atol=1e-12)
    model.save(tmp_path)
    loaded = models.load(tmp_path)
    assert loaded.digest() == model.digest()
    np.testing.assert_array_equal(scores(loaded, table), scores(model, table))
    assert not list(tmp_path.glob("*.pkl"))
    shares = model.importance()
    assert set(shares) == set(spec.features.columns)
    assert sum(shares.values()) == pytest.approx(1)
    if not linear:
        assert (model.trees.subset >= 0).any(), "the categories were split on as such"


def fit(spec, rows, candidate, seed=1):
    from tailrace.engines.spark.distributed import learning

    with learning(spec, candidate, rows, seed=seed, workers=2) as fitted:
        return fitted(candidate.parameters)


@pytest.mark.parametrize("case", TWICE, ids=named)
def test_the_same_rows_give_the_same_model_and_metrics(spec, rows, table, case):
    from tailrace.engines.spark.distributed import measured

    problem, candidate = case
    assert candidate.estimator in problem.spark_estimators
    spec = replace(spec, outcome=replace(spec.outcome, problem=problem))
    rows, table = with_labels(problem, rows, table)
    model = fit(spec, rows, candidate)
    shuffled = replace(rows, frame=rows.frame.orderBy("visits").repartition(5))
    assert fit(spec, shuffled, candidate).digest() == model.digest()
    here = problem.measure(table[LABEL].to_numpy(), scores(model, table))
    assert measured(rows, model) == pytest.approx(here, abs=1e-5)
    assert here.get("roc_auc", 1) > 0.75
    assert here.get("macro_f1", 1) > 0.75
    assert here.get("r2", 1) > 0.75
    assert rows.frame.sparkSession.sparkContext._jsc.getPersistentRDDs().isEmpty()


def test_xgboost_trains_on_two_workers_together(session, spec, rows, table, tmp_path):
    """In a stage of two tasks, each with half of the rows; the model is that of one worker with all of them."""
    alone, together = (
        replace(XGBOOST, parameters={**XGBOOST.parameters, "num_workers": workers}) for workers in (1, 2)
    )
    session.sparkContext.setJobGroup("together", "")
    model = fit(spec, rows, together)
    tracker = session.sparkContext.statusTracker()
    last = tracker.getJobInfo(max(tracker.getJobIdsForGroup("together")))
    assert tracker.getStageInfo(max(last.stageIds)).numCompletedTasks == 2
    model.save(tmp_path)
    learned = scores(models.load(tmp_path), table)
    assert Binary().measure(table[LABEL].to_numpy(), learned)["roc_auc"] > 0.75
    halved = replace(rows, frame=rows.frame.sample(0.5, seed=1))
    apart = [np.abs(learned - scores(fit(spec, of, alone), table)).mean() for of in (rows, halved)]
    assert apart[0] < 0.01 < apart[1]


@pytest.mark.parametrize(("scale", "unit"), [(1e-8, "smaller"), (1, None), (1e20, "larger")])
def test_labels_by_which_xgboost_would_make_no_good_split_are_refused(spec, rows, table, scale, unit):
    """It returns a model without splits, or with any splits, without a word."""
    from tailrace.engines.spark.rows import framed

    position = table.column_names.index(LABEL)
    scaled = table.set_column(position, LABEL, pa.array(labels_of(Regression(), table).to_numpy() * scale))
    spec = replace(spec, outcome=replace(spec.outcome, problem=Regression()))
    candidate = Candidate("trees", "xgboost.spark.SparkXGBRegressor", {"n_estimators": 2})
    refused = pytest.raises(ValueError, match=f"give the label a {unit} unit") if unit else nullcontext()
    with refused:
        fit(spec, framed(rows.frame.sparkSession, ArrowRows(scaled, rows.columns)), candidate)


OFFSETS = {"none": 0.0, "days as yyyymmdd": 20240100.0, "cents": 123_456_789.0, "identifiers": 1_234_567_890.0}


@pytest.mark.parametrize("offset", OFFSETS.values(), ids=OFFSETS)
def test_what_a_column_is_filled_and_scaled_with_is_as_exact_as_its_spread(session, spec, offset):
    from tailrace.engines.spark.encoding import vector_encoding
    from tailrace.engines.spark.rows import framed

    numbers = np.random.default_rng(1).normal(size=2000)
    known = np.random.default_rng(2).random(2000) < 0.7
    values = pa.array(offset + numbers, mask=~known)
    table = pa.table({"age": values, LABEL: pa.array(numbers > 0)})
    features = replace(spec.features, columns={"age": "numeric"})
    encoding = vector_encoding(framed(session, ArrowRows(table, ("age",))), features, one_hot=True)
    exact = (offset + numbers)[known]
    assert encoding.medians["age"] == np.median(exact)
    assert encoding.centres["age"] == pytest.approx(exact.mean(), rel=0, abs=1e-5)
    assert encoding.scales["age"] == pytest.approx(exact.std(), rel=1e-5)
    encoded = encoding.matrix(pa.table({"age": values}))[:, 0]
    assert abs(encoded[~known].mean()) < 0.1, "a missing number stands in the middle of the known ones"
