"""Candidates of a cluster that cannot be stored or scored with are found in small, before their search."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tailrace.engines import dry_run
from tailrace.engines.spark.engine import SparkEngine
from tailrace.problems.multiclass import Multiclass
from tailrace.problems.regression import Regression
from tailrace.settings import SparkSettings
from tailrace.spec import LABEL, Candidate, Choice, Gate, IntRange, SearchBudget, problems_of
from tailrace.training.arrow_rows import ArrowRows

LOGISTIC = Candidate("logistic", "pyspark.ml.classification.LogisticRegression", {"regParam": 0.01})
FOREST = Candidate("forest", "pyspark.ml.classification.RandomForestClassifier", {}, {"maxDepth": IntRange(2, 4)})
XGBOOST = Candidate(
    "xgboost",
    "xgboost.spark.SparkXGBClassifier",
    {"n_estimators": 300, "num_workers": 2},
    {"booster": Choice(("gbtree", "gblinear"))},
)
BASELINE = Candidate("baseline", "sklearn.dummy.DummyClassifier", {"strategy": "prior"})


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    log = tmp_path_factory.mktemp("spark") / "spark.log"
    conf = {"spark.sql.shuffle.partitions": "2"}
    engine = SparkEngine(SparkSettings(master="local[2]", driver_memory="1g", log=str(log), conf=conf))
    yield engine
    engine.session.stop()


@pytest.fixture
def learning(rows):
    table, labels = rows
    return ArrowRows(table.append_column(LABEL, labels), tuple(table.column_names))


def test_the_check_tries_each_candidate_and_names_what_fails(engine, spec, monkeypatch):
    monkeypatch.setattr(dry_run, "SECONDS", 600)
    assert engine.session
    found = engine.dry_run([replace(spec, candidates=(LOGISTIC, FOREST, XGBOOST))])
    assert found.notes == ()
    (linear,) = found.problems
    assert "churn: candidates['xgboost'].search['booster']: with 'gblinear' it cannot be fitted: booster" in linear
    context = engine.session.sparkContext
    assert context._jsc.getPersistentRDDs().isEmpty(), "nothing is left in the cluster's memory"


def test_a_model_that_cannot_be_taken_out_of_spark_is_refused_before_the_search(engine, spec, learning, monkeypatch):
    """As with a release of Spark that writes trees in another way."""
    from tailrace.engines.spark import distributed

    def not_understood(*args, **kwargs):
        raise ValueError("Spark's file of trees has 9 bytes, but only 8 of them could be parsed.")

    monkeypatch.setattr(distributed, "trees_of", not_understood)
    both = replace(spec, candidates=(FOREST, BASELINE))
    trained = engine.train(both, learning, seed=1, trials=2, on_trial=lambda trial: None)
    refused, complete = trained.trials
    assert (refused.candidate, refused.state, refused.seconds) == ("forest", "failed", 0)
    assert (trained.best, complete.state) == (complete, "complete")
    (sentence,) = trained.not_trained
    assert "The model that RandomForestClassifier fitted cannot be taken out of Spark: Spark's file of" in sentence


EVERY_KIND = {
    "classes": (
        Multiclass(("low", "middle", "high")),
        (LOGISTIC, FOREST, Candidate("xgboost", "xgboost.spark.SparkXGBClassifier")),
    ),
    "amounts": (
        Regression(link="log"),
        (
            Candidate("linear", "pyspark.ml.regression.LinearRegression"),
            Candidate("counts", "pyspark.ml.regression.GeneralizedLinearRegression"),
            Candidate("sums", "pyspark.ml.regression.GBTRegressor"),
            Candidate("tweedie", "xgboost.spark.SparkXGBRegressor", {"objective": "reg:tweedie"}),
        ),
    ),
}


@pytest.mark.parametrize(("problem", "candidates"), EVERY_KIND.values(), ids=EVERY_KIND)
def test_candidates_of_every_kind_are_checked_and_some_of_each_label_come_to_the_driver(
    engine, spec, learning, problem, candidates
):
    from tailrace.engines.spark.dry_run import some_of
    from tailrace.engines.spark.rows import framed

    gate, search = (
        Gate(metric=problem.gate_metric, beat=problem.baselines[0]),
        SearchBudget(metric=problem.search_metric),
    )
    outcome = replace(spec.outcome, problem=problem)
    own = replace(spec, outcome=outcome, candidates=candidates, gate=gate, search=search)
    assert problems_of(own) == []
    assert engine.session
    assert engine.dry_run([own]).problems == ()
    labels = problem.made_up_labels(learning.rows)
    rows = framed(engine.session, ArrowRows(learning.table().append_column(LABEL, pa.array(labels)), learning.columns))
    table, few = some_of(problem, rows)
    assert table.num_rows == len(few) == dry_run.SMALL
    if problem.label_values:
        assert [(few == label).sum() for label in problem.label_values] == [dry_run.SMALL // 3] * 3
    else:
        assert set(few) == set(labels)


def test_a_few_rows_of_both_classes_come_to_the_driver_and_always_the_same(engine, spec, learning):
    from tailrace.engines.spark.dry_run import some_of
    from tailrace.engines.spark.rows import framed

    rows = framed(engine.session, learning)
    table, labels = some_of(spec.problem, rows)
    assert (table.num_rows, labels.sum()) == (dry_run.SMALL, dry_run.SMALL // 2)
    again, same = some_of(spec.problem, replace(rows, frame=rows.frame.orderBy("visits").repartition(3)))
    assert table.equals(again)
    np.testing.assert_array_equal(labels, same)
