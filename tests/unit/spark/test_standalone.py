"""The engine on `spark://`: a master and two workers of Spark's own, on this machine."""

from __future__ import annotations

import datetime as dt
import os
import queue
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tailrace.engines.local import LocalEngine
from tailrace.engines.spark import cluster
from tailrace.engines.spark.engine import SparkEngine
from tailrace.errors import ClusterUnavailable
from tailrace.lake.delta import DeltaLake
from tailrace.settings import SparkSettings
from tailrace.spec import LABEL
from tailrace.training.arrow_rows import ArrowRows
from tests.support import churn_rows, keyed

DAY = dt.date(2013, 3, 1)
SPARK_HOME = Path(find_spec("pyspark").origin).parent
HUSHED = "hush-between-nodes"
AUTHENTICATED = {"spark.authenticate": "true", "spark.authenticate.secret": HUSHED}
HOSTS = ("127.0.0.1", "127.0.0.2")
"""Of the workers: Spark gives a slow task's second copy to another host."""
SPECULATION = {
    "spark.speculation": "true",
    "spark.speculation.interval": "100ms",
    "spark.speculation.quantile": "0.5",
    "spark.speculation.minTaskRuntime": "1s",
}
START_SECONDS = 60


@pytest.fixture(scope="module")
def master(tmp_path_factory) -> Iterator[str]:
    """The URL of a standalone master whose two workers have a core each; who has not its secret is not let in."""
    folder = tmp_path_factory.mktemp("standalone")
    conf = folder / "spark.conf"
    conf.write_text("".join(f"{name} {value}\n" for name, value in AUTHENTICATED.items()))
    conf.chmod(0o600)
    given = ["--port", "0", "--webui-port", "0", "--properties-file", str(conf)]
    with ExitStack() as running:
        said = running.enter_context(daemon("master.Master", "--host", "127.0.0.1", *given))
        url = until(said, r"Starting Spark master at (spark://\S+)")
        sizes = ["--cores", "1", "--memory", "1g"]
        of_workers = [
            running.enter_context(
                daemon("worker.Worker", "--host", host, *given, *sizes, "--work-dir", str(folder / host), url)
            )
            for host in HOSTS
        ]
        for said in of_workers:
            until(said, r"Successfully registered with master (\S+)")
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
        conf=AUTHENTICATED | SPECULATION,
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


@pytest.fixture
def lake(tmp_path) -> DeltaLake:
    """With a day of features that makes two parts."""
    lake = DeltaLake(str(tmp_path / "lake"))
    features = keyed(churn_rows(300_000, seed=3)[0], DAY)
    lake.publish(lake.stage("features", DAY, "r", features.to_reader()), {})
    return lake


@pytest.fixture
def model(spec, rows):
    table, labels = rows
    held = ArrowRows(table.append_column(LABEL, labels), tuple(spec.features.columns))
    return LocalEngine().train(spec, held, seed=1, trials=3, on_trial=lambda trial: None).model


def scan_of(lake):
    return lake.scan(lake.pin("features", first=DAY, last=DAY))


def expected(lake, spec, model) -> pa.Table:
    """The predictions of one machine."""
    lake.publish(
        LocalEngine().score(spec, model, version="1", rows=scan_of(lake), target=lake.target("expected", DAY, "local")),
        {},
    )
    return lake.read("expected").read_all()


def test_its_rows_are_those_of_one_machine(engine, spec, model, lake):
    lake.publish(
        engine.score(spec, model, version="1", rows=scan_of(lake), target=lake.target("predictions", DAY, "p")), {}
    )
    scored = lake.read("predictions").read_all()
    assert scored.num_rows == 300_000
    assert scored.equals(expected(lake, spec, model))


def test_a_speculative_copy_of_a_slow_task_leaves_no_second_copy_of_its_rows(engine, spec, model, lake, tmp_path):
    """The first attempt at part 1 writes its file and hangs until another attempt has written its own."""
    slow, other = tmp_path / "slow", tmp_path / "other"

    @dataclass(frozen=True)
    class Hanging:  # defined here so that it travels by value: executors have no tests
        writer: Any

        def write(self, number: int, rows: Any) -> Any:
            import time

            written = self.writer.write(number, rows)
            if number == 1:
                try:
                    slow.touch(exist_ok=False)
                except FileExistsError:
                    other.touch()
                while not other.exists():
                    time.sleep(0.02)
            return written

    class Target:
        def write_parts(self, schema: Any, write: Any) -> Any:
            def all_written(writer: Any) -> Any:
                answered = write(Hanging(writer))
                found.extend(files(lake))
                return answered

            return lake.target("predictions", DAY, "p").write_parts(schema, all_written)

    found: list[str] = []
    staged = engine.score(spec, model, version="1", rows=scan_of(lake), target=Target())
    assert other.exists(), "Spark made a second attempt"
    numbers = sorted(name.rpartition("/")[2].split("-")[1] for name in found)
    assert numbers == ["00000", "00001", "00001"], "both attempts wrote their rows"
    assert files(lake) == sorted(staged.files), "of the two copies one is left"
    lake.publish(staged, {})
    assert lake.read("predictions").read_all().equals(expected(lake, spec, model))


def files(lake) -> list[str]:
    return sorted(file.path for file in lake.tables.files("predictions").list() if file.path.endswith(".parquet"))


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
