"""The engine on `spark://`: a master and a worker of Spark's own, on this machine."""

from __future__ import annotations

import datetime as dt
import os
import queue
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.engines.local import LocalEngine
from pipelines.engines.spark import cluster
from pipelines.engines.spark.engine import SparkEngine
from pipelines.errors import ClusterUnavailable
from pipelines.lake.delta import DeltaLake
from pipelines.settings import SparkSettings
from pipelines.spec import LABEL
from pipelines.training_set import ArrowRows
from tests.support import churn_rows, keyed

DAY = dt.date(2013, 3, 1)
SPARK_HOME = Path(find_spec("pyspark").origin).parent
HUSHED = "hush-between-nodes"
AUTHENTICATED = {"spark.authenticate": "true", "spark.authenticate.secret": HUSHED}
START_SECONDS = 60


@pytest.fixture(scope="module")
def master(tmp_path_factory) -> Iterator[str]:
    """The URL of a standalone master whose one worker has two cores; who has not its secret is not let in."""
    folder = tmp_path_factory.mktemp("standalone")
    conf = folder / "spark.conf"
    conf.write_text("".join(f"{name} {value}\n" for name, value in AUTHENTICATED.items()))
    conf.chmod(0o600)
    given = ["--host", "127.0.0.1", "--port", "0", "--webui-port", "0", "--properties-file", str(conf)]
    with daemon("master.Master", *given) as said:
        url = until(said, r"Starting Spark master at (spark://\S+)")
        sizes = ["--cores", "2", "--memory", "1g", "--work-dir", str(folder / "work")]
        with daemon("worker.Worker", *given, *sizes, url) as of_worker:
            until(of_worker, r"Successfully registered with master (\S+)")
            yield url


@contextmanager
def daemon(name: str, *arguments: str) -> Iterator[queue.SimpleQueue[str | None]]:
    """One of Spark's daemons, ended with all that it started; gives the lines it prints, and None at its end."""
    process = subprocess.Popen(
        [SPARK_HOME / "bin" / "spark-class", f"org.apache.spark.deploy.{name}", *arguments],
        env={**os.environ, "SPARK_HOME": str(SPARK_HOME), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said.put(line)
        said.put(None)

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    try:
        yield said
    finally:
        # The daemon leads the group of its executors.
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        reading.join(timeout=20)
        process.stdout.close()


def until(said: queue.SimpleQueue[str | None], pattern: str) -> str:
    """The first group of the first line that has the pattern."""
    before = []
    while (line := said.get(timeout=START_SECONDS)) is not None:
        if found := re.search(pattern, line):
            return found[1]
        before.append(line)
    raise AssertionError(f"It ended without a word of {pattern!r}:\n{''.join(before)}")


@pytest.fixture(scope="module")
def settings(master, tmp_path_factory) -> SparkSettings:
    return SparkSettings(
        master=master,
        driver_host="127.0.0.1",
        driver_memory="512m",
        executor_memory="512m",
        executors=2,
        executor_wait_seconds=60,
        log=str(tmp_path_factory.mktemp("spark") / "spark.log"),
        conf=AUTHENTICATED,
    )


@pytest.fixture(scope="module")
def engine(settings) -> Iterator[SparkEngine]:
    """With a session of its own: one that other tests left running is ended."""
    from pyspark import SparkContext

    if SparkContext._active_spark_context is not None:
        SparkContext._active_spark_context.stop()
    engine = SparkEngine(settings)
    yield engine
    if "session" in vars(engine):
        engine.session.stop()


def test_its_rows_are_those_of_one_machine(engine, spec, rows, tmp_path):
    lake = DeltaLake(str(tmp_path / "lake"))
    features = keyed(churn_rows(50_000, seed=3)[0], DAY)
    lake.publish(lake.stage("features", DAY, "r", features.to_reader()), {})
    table, labels = rows
    held = ArrowRows(table.append_column(LABEL, labels), tuple(spec.features.columns))
    model = LocalEngine().train(spec, held, seed=1, trials=3, on_trial=lambda trial: None).model
    scan = lake.scan(lake.pin("features", first=DAY, last=DAY))
    for name, one in (("expected", LocalEngine()), ("predictions", engine)):
        lake.publish(one.score(spec, model, "1", scan, lake.target(name, DAY, name)), {})
    scored: pa.Table = lake.read("predictions").read_all()
    assert scored.num_rows == 50_000
    assert scored.equals(lake.read("expected").read_all())


def test_too_few_executors_for_tasks_that_start_together_are_said(engine, settings):
    context = engine.session.sparkContext
    cluster.wait_for_slots(context, settings, 2)
    hurried = replace(settings, executors=3, executor_wait_seconds=1)
    with pytest.raises(ClusterUnavailable, match="had given 2 of 3 executors, with room for 2") as raised:
        cluster.wait_for_slots(context, hurried, 3)
    assert "TAILRACE_SPARK_EXECUTORS" in str(raised.value)


def test_what_is_shared_in_secret_stands_on_no_command_line(engine):
    assert engine.session.sparkContext.getConf().get("spark.network.crypto.enabled") == "true"
    commands = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(process.read_text(errors="replace"))
        except OSError:
            continue  # it has just ended
    assert sum("CoarseGrainedExecutorBackend" in command for command in commands) >= 2
    assert not [command for command in commands if HUSHED in command]
