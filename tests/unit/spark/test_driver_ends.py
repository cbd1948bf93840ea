"""A driver's JVM that is killed while a job runs: that is what is said, whatever fails after it."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

from tailrace.engines.local import LocalEngine
from tailrace.engines.spark.engine import SparkEngine
from tailrace.engines.spark.search import in_tasks
from tailrace.errors import ClusterUnavailable, StagingGone
from tailrace.lake.delta import DeltaLake
from tailrace.settings import SparkSettings
from tailrace.spec import LABEL
from tailrace.training.arrow_rows import ArrowRows
from tests.jvm import end_jvm
from tests.support import keyed

DAY = dt.date(2013, 3, 1)
SAID = "the driver's JVM ended"


@pytest.fixture
def engine(tmp_path):
    end_jvm()
    yield SparkEngine(SparkSettings(master="local[1]", driver_memory="512m", log=str(tmp_path / "spark.log")))
    end_jvm()


def test_a_jvm_that_ends_while_rows_are_scored_is_said_and_nothing_is_staged(engine, spec, rows, tmp_path):
    from pyspark import SparkContext

    lake = DeltaLake(str(tmp_path / "lake"))
    lake.publish(lake.stage("features", DAY, "r", keyed(rows[0], DAY).to_reader()), {})
    held = ArrowRows(rows[0].append_column(LABEL, rows[1]), tuple(spec.features.columns))
    model = LocalEngine().train(spec, held, seed=1, trials=3, on_trial=lambda trial: None).model
    scan = lake.scan(lake.pin("features", first=DAY, last=DAY))
    session = engine.session

    class Target:
        def write_parts(self, schema, write):
            def killed(writer):
                SparkContext._gateway.proc.kill()
                SparkContext._gateway.proc.wait()
                return write(writer)

            return lake.target("predictions", DAY, "p").write_parts(schema, killed)

    with pytest.raises(ClusterUnavailable, match=SAID):
        engine.score(spec, model, version="1", rows=scan, target=Target())
    with pytest.raises(StagingGone):
        lake.staged("predictions", DAY, "p")
    with pytest.raises(ClusterUnavailable, match=SAID):
        engine.score(spec, model, version="1", rows=scan, target=Target())
    labels = pa.array(rows[1]).to_numpy(zero_copy_only=False)
    with pytest.raises(ClusterUnavailable, match=SAID), in_tasks(session, spec, rows[0], labels, seed=1, tell=str):
        pass
