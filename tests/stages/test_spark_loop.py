"""The stages with the engine `spark`: the same night, the same tables."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from tailrace.engines.local import LocalEngine
from tailrace.engines.spark.engine import SparkEngine
from tailrace.errors import BadInput
from tailrace.settings import SparkSettings
from tailrace.spec import Candidate, SearchBudget
from tailrace.stages import train
from tests.stages.conftest import Installation, Loop, embedded, tables, write_suites

pytestmark = pytest.mark.spark

DAY, NEXT = dt.date(2013, 1, 12), dt.date(2013, 1, 13)
SPARK = SparkSettings(master="local[2]", driver_memory="1g")


@pytest.fixture
def loop(tmp_path, spec) -> Loop:
    from tailrace.validation.memory import MemoryValidator
    from tailrace.warehouse.memory import MemoryWarehouse

    lake, tracker = embedded(tmp_path)
    validator = MemoryValidator(write_suites(tmp_path / "expectations", spec))
    held = tables(spec)
    services = Installation(lake, tracker, validator, MemoryWarehouse(held), SparkEngine(SPARK), held)
    return Loop(services, spec)


def test_both_engines_train_the_same_model_and_publish_the_same_rows(loop):
    loop.take()
    on_spark = loop.challenge(DAY)
    published = loop.predict(NEXT, "spark")
    assert published.model_version == on_spark.version
    rows = loop.published(NEXT)

    loop.services.engine = LocalEngine()
    again = train.run(loop.work(), DAY, seed=1)
    assert again.unchanged, "the same inputs on another engine are the same training"
    loop.predict(NEXT, "local")
    assert loop.published(NEXT).equals(rows)
    assert loop.predict(NEXT, "local-again").unchanged


def test_candidates_of_both_kinds_stand_in_one_spec(loop):
    trees = Candidate("big_trees", "xgboost.spark.SparkXGBClassifier", {"n_estimators": 30, "max_depth": 3})
    linear = Candidate("big_linear", "pyspark.ml.classification.LogisticRegression", {"regParam": 0.01})
    loop.spec = replace(loop.spec, candidates=(*loop.spec.candidates, trees, linear), search=SearchBudget(trials=5))
    loop.take()
    trained = loop.train(DAY)
    assert trained.metrics["roc_auc"] > 0.6
    loop.spec = replace(loop.spec, candidates=(trees,))
    decided = loop.challenge(NEXT)
    assert decided.outcome == "promoted", decided.reason
    assert loop.predict(NEXT).model_version == decided.version

    loop.services.engine = LocalEngine()
    with pytest.raises(BadInput, match=r"'big_trees'.*TAILRACE_ENGINE=spark"):
        loop.train(NEXT, seed=2)
    assert loop.predict(NEXT, "local").model_version == decided.version, "any engine scores what Spark trained"
