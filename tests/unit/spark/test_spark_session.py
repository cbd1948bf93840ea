"""A real session on this machine: faults planted in its workers come out as sentences."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from tailrace.engines.spark import cluster, jvm
from tailrace.engines.spark.failures import guarded, spark_errors
from tailrace.engines.spark.progress import progress_reports
from tailrace.engines.spark.session import open_session
from tailrace.errors import (
    ClusterRefused,
    ClusterUnavailable,
    JobFailed,
    OutOfMemory,
    PinLost,
    SpecError,
    UnknownName,
)
from tailrace.settings import SparkSettings

SETTINGS = SparkSettings(master="local[2]", driver_memory="512m", executor_wait_seconds=1)


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    log = tmp_path_factory.mktemp("spark") / "spark.log"
    session = open_session(replace(SETTINGS, log=str(log)), "tests")
    yield session
    session.stop()


def run(spark, function):
    """Two tasks that call it."""
    with spark_errors("Scoring churn"):
        return spark.sparkContext.parallelize(range(2), 2).map(function).collect()


def test_a_second_caller_gets_the_running_session(spark):
    assert open_session(SparkSettings(master="local[7]")).sparkContext is spark.sparkContext


def test_the_workers_python_error_comes_first(spark):
    def fault(_):
        raise ValueError("column 'age' is text")

    with pytest.raises(
        JobFailed, match=r"^Scoring churn failed in task \d of stage \d+: ValueError: column 'age'"
    ) as e:
        run(spark, fault)
    assert "PythonException" in str(e.value.__cause__)


def test_an_error_in_an_arrow_function_is_the_same(spark):
    def fault(batches):
        raise ValueError("in Arrow")
        yield from batches

    with pytest.raises(JobFailed, match="ValueError: in Arrow"), spark_errors("Scoring churn"):
        spark.range(4).mapInArrow(fault, "id long").collect()


def make_error(kind):
    return {
        "plain": PinLost("Day 2013-03-01 of flights is gone;\nmake it again."),
        "list": SpecError("Wrong specs:", ["one", "two"]),
        "name": UnknownName("table", "flihgts", ["flights"]),
    }[kind]


@pytest.mark.parametrize("kind", ["plain", "list", "name"])
def test_an_error_of_ours_comes_out_as_itself(spark, kind):
    make = make_error

    def fault(_):
        raise make(kind)

    with pytest.raises(type(make_error(kind))) as raised:
        run(spark, guarded(fault))
    assert str(raised.value) == str(make_error(kind))
    assert getattr(raised.value, "problems", None) == getattr(make_error(kind), "problems", None)


def test_an_error_of_ours_comes_out_of_a_generator(spark):
    def fault(batches):
        yield from batches
        raise PinLost("The pinned bytes are gone.")

    with pytest.raises(PinLost, match=r"^The pinned bytes are gone\.$"), spark_errors("Scoring churn"):
        spark.range(4).mapInArrow(guarded(fault), "id long").collect()


def test_a_crash_in_native_code_is_no_lack_of_memory(spark):
    with pytest.raises(JobFailed, match="crashed in native code"):
        run(spark, lambda _: os.kill(os.getpid(), signal.SIGSEGV))


def test_a_killed_worker_names_the_memory_setting(spark):
    with pytest.raises(OutOfMemory, match="TAILRACE_SPARK_EXECUTOR_MEMORY"):
        run(spark, lambda _: os.kill(os.getpid(), signal.SIGKILL))


def test_a_missing_module_is_the_clusters_fault(spark):
    def fault(_):
        import no_such_module  # noqa: F401

    with pytest.raises(ClusterRefused, match="no module 'no_such_module'"):
        run(spark, fault)


def test_an_error_in_sql_is_said(spark):
    with pytest.raises(JobFailed, match="PATH_NOT_FOUND"), spark_errors("Reading flights"):
        spark.read.parquet("/no/such/file").collect()


def test_errors_that_are_not_sparks_pass():
    with pytest.raises(KeyError), spark_errors("Scoring churn"):
        raise KeyError("age")


def test_progress_is_told_while_a_job_runs_and_up_to_the_last_task(spark, tmp_path):
    heard, seen = [], tmp_path / "seen"

    def tell(progress):
        heard.append(progress)
        seen.touch()

    def until_seen(_):
        deadline = time.monotonic() + 30
        while not seen.exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    with progress_reports(spark, tell):
        spark.sparkContext.parallelize(range(4), 4).map(until_seen).collect()
    assert heard[0].done == 0
    assert (heard[-1].done, heard[-1].total, heard[-1].failed) == (4, 4, 0)
    assert str(heard[-1]).endswith("collect: 4 of 4 tasks done")


def test_tasks_that_start_at_once_need_as_many_slots(spark):
    cluster.wait_for_slots(spark.sparkContext, SETTINGS, 2)
    with pytest.raises(ClusterUnavailable, match=r"SPARK_EXECUTOR_WAIT_SECONDS"):
        cluster.wait_for_slots(spark.sparkContext, SETTINGS, 3)


def test_what_the_jvm_says_goes_to_the_log_and_not_to_the_terminal(tmp_path):
    """In a process of its own: a process has one JVM, which keeps the log it was started with."""
    script = f"""
from tailrace.engines.spark.failures import spark_errors
from tailrace.engines.spark.session import open_session
from tailrace.errors import JobFailed
from tailrace.settings import SparkSettings
spark = open_session(SparkSettings(master="local[1]", driver_memory="512m", log={str(tmp_path / "spark.log")!r}))
try:
    with spark_errors("Scoring churn"):
        spark.sparkContext.parallelize([0], 1).map(lambda x: 1 / x).collect()
except JobFailed as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert "ZeroDivisionError: division by zero" in done.stdout
    assert done.stderr == ""
    assert "ZeroDivisionError" in (tmp_path / "spark.log").read_text()


def test_secrets_reach_the_context_and_not_the_command_line(tmp_path):
    """In a process of its own: a command line is told when a JVM starts."""
    secrets = {
        "spark.hadoop.fs.s3a.secret.key": "hush-s3",
        "spark.kubernetes.authenticate.oauthToken": "hush-token",
        "spark.authenticate.secret": "hush-secret",
    }
    conf = {**secrets, "spark.driver.extraJavaOptions": "-Dtold.to.all=yes"}
    script = f"""
from pathlib import Path
from pyspark import SparkContext
from tailrace.engines.spark.session import open_session
from tailrace.settings import SparkSettings
spark = open_session(
    SparkSettings(master="local[1]", driver_memory="512m", log={str(tmp_path / "spark.log")!r}, conf={conf!r})
)
for name in {list(secrets)!r}:
    print(spark.sparkContext.getConf().get(name))
print("command:", Path(f"/proc/{{SparkContext._gateway.proc.pid}}/cmdline").read_text().replace("\\0", " "))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    arrived, _, command = done.stdout.partition("command:")
    assert arrived.split() == list(secrets.values())
    assert "-Dtold.to.all=yes" in command
    assert "-Xmx512m" in command
    assert "hush" not in command


@pytest.mark.parametrize(
    ("field", "below", "why"),
    [
        ("log", "file/spark.log", "Not a directory"),
        ("event_log", "file/events", "Not a directory"),
        ("event_log", "/proc", "No such file or directory"),
    ],
)
def test_logs_that_cannot_be_written_are_said_before_the_jvm_starts(tmp_path, field, below, why):
    """In a process of its own: only the first session starts a JVM."""
    (tmp_path / "file").touch()
    given = {"log": str(tmp_path / "spark.log"), field: str(tmp_path / below)}
    script = f"""
from pyspark import SparkContext
from tailrace.engines.spark.session import open_session
from tailrace.errors import SettingsError
from tailrace.settings import SparkSettings
try:
    open_session(SparkSettings(master="local[1]", **{given!r}))
except SettingsError as error:
    print(error, SparkContext._gateway)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert f"TAILRACE_SPARK_{field.upper()} is {given[field]!r} and cannot be written ({why})" in done.stdout
    assert done.stdout.endswith("None\n")


def test_a_full_disk_under_the_log_does_not_stop_the_jvm():
    """More lines than a pipe holds: who writes them would wait for ever if they were not read."""
    read, write = os.pipe()
    keeping = threading.Thread(target=jvm._keep, args=(read, jvm._opened("/dev/full"), True), daemon=True)
    keeping.start()
    with subprocess.Popen(["seq", "100000"], stdout=write) as process:
        os.close(write)
        try:
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
    keeping.join(timeout=30)
    assert not keeping.is_alive()
    assert jvm.last_words()[-1] == "100000"


def test_another_minor_version_of_python_on_the_executors_is_said(tmp_path):
    """The executors' interpreter is the driver's, told to take itself for the next minor version.

    In a process of its own: a process has one session.
    """
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, collections\n"
        "given = collections.namedtuple('version_info', 'major minor micro releaselevel serial')\n"
        "sys.version_info = given(sys.version_info[0], sys.version_info[1] + 1, *sys.version_info[2:])\n"
    )
    python = tmp_path / "python-next"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}:$PYTHONPATH" exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    script = f"""
from tailrace.engines.spark.session import open_session
from tailrace.errors import ClusterRefused
from tailrace.settings import SparkSettings
settings = SparkSettings(
    master="local[1]", driver_memory="512m", log={str(tmp_path / "spark.log")!r}, python={str(python)!r}
)
try:
    open_session(settings)
except ClusterRefused as error:
    print(error, type(error.__cause__).__name__)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    major, minor = sys.version_info[:2]
    assert f"the executors run Python {major}.{minor + 1} and the driver {major}.{minor}" in done.stdout
    assert "set TAILRACE_SPARK_PYTHON" in done.stdout
