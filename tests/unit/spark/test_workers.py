"""What a task leaves in its worker process."""

from __future__ import annotations

import datetime as dt
import gc
import sys
import zipfile
import zipimport

import pytest

from tailrace.engines.local import LocalEngine
from tailrace.engines.search import Job
from tailrace.engines.spark import scoring
from tailrace.engines.spark.application import Application
from tailrace.engines.spark.search import in_tasks
from tailrace.engines.spark.session import open_session
from tailrace.lake.delta import DeltaLake
from tailrace.settings import SparkSettings
from tailrace.spec import LABEL
from tailrace.training.arrow_rows import ArrowRows
from tests.support import keyed

DAY = dt.date(2013, 3, 1)


@pytest.fixture
def spark(tmp_path):
    """A session whose only worker process is used by every task."""
    session = open_session(SparkSettings(master="local[1]", driver_memory="512m", log=str(tmp_path / "log")), "tests")
    yield session
    session.stop()


def left(spark) -> tuple[int, bool]:
    """Archives that would be read again before the next task, and whether what stays is kept from being collected."""

    def look(_):
        finders = sys.path_importer_cache.values()
        return sum(isinstance(finder, zipimport.zipimporter) for finder in finders), gc.get_freeze_count() > 0

    (found,) = spark.sparkContext.parallelize([0], 1).map(look).collect()
    return found


@pytest.fixture
def unsettled(spark):
    """The session, its worker as PySpark leaves one."""

    def undo(_):
        from tailrace.engines.spark import workers

        workers._modules = 0
        gc.unfreeze()
        for place in sys.path:
            if zipfile.is_zipfile(place):
                sys.path_importer_cache[place] = zipimport.zipimporter(place)

    spark.sparkContext.parallelize([0], 1).map(undo).collect()
    archives, kept = left(spark)
    assert archives > 0
    assert not kept
    return spark


def test_a_new_worker_starts_its_first_task_at_once(spark):
    assert left(spark) == (0, True)


def test_scoring_leaves_a_worker_that_starts_the_next_task_at_once(unsettled, spec, rows, tmp_path):
    held = ArrowRows(rows[0].append_column(LABEL, rows[1]), tuple(spec.features.columns))
    model = LocalEngine(cores=1).train(spec, held, seed=1, trials=1, on_trial=lambda trial: None).model
    lake = DeltaLake(str(tmp_path / "lake"))
    lake.publish(lake.stage("features", DAY, "r", keyed(rows[0], DAY).to_reader()), {})
    scan = lake.scan(lake.pin("features", first=DAY, last=DAY))
    scoring.score(
        Application(session=unsettled, slots=1, tell=lambda text: None),
        spec,
        model,
        version="1",
        rows=scan,
        target=lake.target("p", DAY, "r"),
    )
    assert left(unsettled) == (0, True)


def test_so_does_a_search(unsettled, spec, rows):
    candidate = spec.candidates[0]
    labels = rows[1].to_numpy(zero_copy_only=False)
    with in_tasks(unsettled, spec, rows[0], labels, seed=1, tell=lambda text: None) as run:
        run([Job(candidate, candidate.parameters)])
    assert left(unsettled) == (0, True)


def test_a_module_from_an_archive_is_found_afterwards(spark, tmp_path):
    from tailrace.engines.spark.workers import settle

    with zipfile.ZipFile(tmp_path / "late.zip", "w") as archive:
        archive.writestr("arrives_late.py", "ANSWER = 42")
    context = spark.sparkContext
    context.parallelize([0], 1).map(lambda _: settle()).collect()
    context.addPyFile(str(tmp_path / "late.zip"))
    assert context.parallelize([0], 1).map(lambda _: __import__("arrives_late").ANSWER).collect() == [42]
