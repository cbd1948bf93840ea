"""`tailrace diff` of days that the engine `spark` scored, with a champion that Spark ML trained."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tailrace.engines.spark.engine import SparkEngine
from tailrace.settings import SparkSettings
from tests.impact import small_project
from tests.impact.small_project import FILES, ROWS_A_DAY, Shop
from tests.stages.conftest import embedded

pytestmark = pytest.mark.spark

LOCAL = 'Candidate("logistic", "sklearn.linear_model.LogisticRegression", {"max_iter": 500})'
BY_SPARK = 'Candidate("logistic", "pyspark.ml.classification.LogisticRegression", {"regParam": 0.01})'


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with pytest.MonkeyPatch.context() as patch:
        files = FILES | {"pipelines/churn.py": FILES["pipelines/churn.py"].replace(LOCAL, BY_SPARK)}
        assert BY_SPARK in files["pipelines/churn.py"]
        engine = SparkEngine(SparkSettings(master="local[2]", driver_memory="1g"))
        root, parts = tmp_path_factory.mktemp("shop"), tmp_path_factory.mktemp("parts")
        raw = {"visits": small_project.landed()}
        yield small_project.made(root, patch, files, raw, engine, lambda root: embedded(parts))


@pytest.fixture(autouse=True)
def restored(shop: Shop) -> Iterator[None]:
    yield
    shop.restore()


def published(shop: Shop, days: tuple) -> pa.Table:
    read = shop.services.lake.read
    return pa.concat_tables([read("predictions/churn", first=day, last=day).read_all() for day in days])


def test_both_sides_are_scored_as_spark_scored_them(shop: Shop) -> None:
    shop.edit("pipelines/churn.py", "threshold=0.5", "threshold=0.6")
    (each,) = shop.diff().pipelines
    assert not each.error
    scores = published(shop, each.days)["score"].to_numpy()
    assert each.flips == ((scores >= 0.5) & (scores < 0.6)).sum() > 0


def test_a_unit_is_loud(shop: Shop) -> None:
    shop.edit("dbt/models/churn_features.sql", "visits from", "visits * 10 as visits from")
    (each,) = (found := shop.diff()).pipelines
    assert found.failed and each.rows == 3 * ROWS_A_DAY and each.flips > 10
    assert [moved.column for moved in each.features.moved] == ["visits"]
    before = each.predictions.of("score").before[2]
    assert before == pytest.approx(float(pc.quantile(published(shop, each.days)["score"], 0.5)[0].as_py()))
