"""Spark's JVM, of which a process has one."""

from __future__ import annotations

from contextlib import suppress


def end_jvm() -> None:
    """The next session of this process starts another, with settings and an environment of its own."""
    from pyspark import SparkContext

    if (running := SparkContext._active_spark_context) is not None:
        with suppress(ConnectionError):  # it has ended already
            running.stop()
        running._jsc = SparkContext._active_spark_context = None
    if SparkContext._gateway is not None:
        SparkContext._gateway.shutdown()
        SparkContext._gateway = SparkContext._jvm = None
