"""The text of Spark's failures -> the error it amounts to; the texts are Spark's own."""

from __future__ import annotations

import pytest

from tailrace.engines.spark.failures import error_of
from tailrace.errors import ClusterRefused, ExecutorsLost, JobFailed, OutOfMemory, StorageFull

LOST = (
    "Py4JJavaError: An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.\n"
    ": org.apache.spark.SparkException: Job aborted due to stage failure: Task 1 in stage 1.0 failed 4 times, most "
    "recent failure: Lost task 1.3 in stage 1.0 (TID 8) (127.0.0.1 executor 6): "
)
EXITED = LOST + "ExecutorLostFailure (executor 6 exited caused by one of the running tasks) Reason: "


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (
            EXITED + "Command exited with code 137\nDriver stacktrace:\n",
            OutOfMemory,
            "exit code 137, out of memory [6]",
        ),
        (
            EXITED + "\nThe executor with id 6 exited with exit code 137(SIGKILL, possible container OOM).",
            OutOfMemory,
            "TAILRACE_SPARK_EXECUTOR_MEMORY",
        ),
        (LOST + "java.lang.OutOfMemoryError: Java heap space\n\tat x", OutOfMemory, "heap is full"),
        (EXITED + "Remote RPC client disassociated.\nDriver stacktrace:", ExecutorsLost, "Remote RPC client"),
        (LOST + "java.io.IOException: No space left on device", StorageFull, "nothing was published"),
        (
            LOST + 'java.io.IOException: Cannot run program "/opt/python": error=2, No such file or directory',
            ClusterRefused,
            "no Python at /opt/python",
        ),
        (
            LOST + "pyspark.errors.exceptions.base.PySparkRuntimeError: [PYTHON_VERSION_MISMATCH] Python in worker has "
            "different version: 3.12 than that in driver: 3.11, PySpark cannot run with different minor versions.",
            ClusterRefused,
            "run Python 3.12 and the driver 3.11",
        ),
        (LOST + "java.lang.IllegalStateException: odd\n\tat x\nCaused by: java.io.IOException: why", JobFailed, "why"),
    ],
)
def test_a_failure_is_recognised(text, kind, words):
    error = error_of("Scoring churn", text, lambda executor: f" [{executor}]")
    assert type(error) is kind
    assert words in str(error)
    assert "in task 1 of stage 1 on executor 6 (127.0.0.1)" in str(error)
