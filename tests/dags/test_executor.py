"""The executor has in memory what tasks need, and nothing that a fork would break."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.airflow_home import ENVIRONMENT

SCRIPT = """
import json, multiprocessing, os, sys, threading
from tailrace.orchestration.executor import WarmExecutor
from tailrace.orchestration.warm_libraries import LIBRARIES

cold = [name for name in LIBRARIES if name not in sys.modules]
multiprocessing.set_start_method(sys.argv[1])
executor = WarmExecutor(parallelism=1)
executor.start()
found = {
    "cold": cold,
    "missing": [name for name in LIBRARIES if name not in sys.modules],
    "own": sorted(name for name in sys.modules if name.startswith(("tailrace.", "pipelines."))),
    "threads": [thread.name for thread in threading.enumerate()],
    "told": os.environ["MLFLOW_DISABLE_TELEMETRY"] + os.environ["GX_ANALYTICS_ENABLED"],
}
executor.end()
print("FOUND", json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> dict:
    return started("fork")


def started(method: str) -> dict:
    """What an executor knows after its start in a process of its own."""
    command = [sys.executable, "-c", SCRIPT, method]
    done = subprocess.run(command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.rpartition("FOUND")[2])


def test_the_libraries_are_in_memory_before_workers_are_forked(found):
    assert found["missing"] == []
    assert "great_expectations.datasource.fluent" in found["cold"], "importing the class alone must not cost that"


def test_no_import_starts_a_thread_that_a_fork_would_lose(found):
    assert found["threads"] == ["MainThread"]


def test_an_edit_to_a_pipeline_needs_no_restart(found):
    once = {"tailrace.spec.registry", "tailrace.stages", "tailrace.engines", "tailrace.spec"}
    assert not once & set(found["own"])


def test_libraries_are_told_to_be_quiet_before_they_are_imported(found):
    assert found["told"] == "truefalse"


def test_nothing_is_imported_where_workers_would_not_inherit_it():
    assert "mlflow.pyfunc" in started("spawn")["missing"]
