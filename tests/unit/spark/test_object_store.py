"""The engine on a lake in an object store whose credentials are in the environment alone."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailrace import settings
from tailrace.engines.local import LocalEngine
from tailrace.spec import LABEL
from tailrace.training.arrow_rows import ArrowRows
from tailrace.wiring import Wiring
from tests.jvm import end_jvm
from tests.object_store import s3_server
from tests.support import churn_rows, keyed

DAY = dt.date(2013, 3, 1)
HUSHED = "hush-of-the-environment"


@pytest.fixture(scope="module")
def services(tmp_path_factory) -> Iterator[Wiring]:
    """An installation as its settings make it, the engine `spark` on a lake in S3."""
    folder = tmp_path_factory.mktemp("home")
    end_jvm()
    with s3_server() as variables, pytest.MonkeyPatch.context() as patched:
        own = {
            "TAILRACE_HOME": str(folder),
            "TAILRACE_LAKE": "s3://lake/tailrace",
            "TAILRACE_ENGINE": "spark",
            "TAILRACE_SPARK_MASTER": "local[2]",
            "TAILRACE_SPARK_DRIVER_MEMORY": "512m",
        }
        for name, value in {**variables, "AWS_SECRET_ACCESS_KEY": HUSHED, **own}.items():
            patched.setenv(name, value)
        yield Wiring(settings.load())
        end_jvm()


@pytest.fixture
def sent(monkeypatch) -> list[bytes]:
    """All that PySpark pickles for the workers."""
    from pyspark.serializers import CloudPickleSerializer

    pickled = []
    dumps = CloudPickleSerializer.dumps

    def kept(serializer, value):
        pickled.append(dumps(serializer, value))
        return pickled[-1]

    monkeypatch.setattr(CloudPickleSerializer, "dumps", kept)
    return pickled


def test_workers_score_with_the_credentials_of_their_own_environment(services, spec, rows, sent, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    lake = services.lake
    features = keyed(churn_rows(2_000, seed=3)[0], DAY)
    lake.publish(lake.stage("features", DAY, "r", features.to_reader()), {})
    table, labels = rows
    held = ArrowRows(table.append_column(LABEL, labels), tuple(spec.features.columns))
    model = LocalEngine().train(spec, held, seed=1, trials=3, on_trial=lambda trial: None).model
    scan = lake.scan(lake.pin("features", first=DAY, last=DAY))
    for name, engine in (("expected", LocalEngine()), ("predictions", services.engine)):
        lake.publish(engine.score(spec, model, version="1", rows=scan, target=lake.target(name, DAY, name)), {})
    assert lake.read("predictions").read_all().equals(lake.read("expected").read_all())
    assert any(b"s3://lake/tailrace" in pickled for pickled in sent), "the parts are among what was seen"
    assert not [pickled for pickled in sent if HUSHED.encode() in pickled]
    assert HUSHED not in caplog.text
    assert HUSHED not in Path(services.settings.spark.log).read_text()
