"""The driver's JVM: started quietly, with the last of what it said kept for error messages."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py4j.java_gateway import JavaGateway
    from pyspark import SparkConf

_said: deque[str] = deque(maxlen=2000)


def start_jvm(conf: SparkConf, log: str) -> JavaGateway | None:
    """The gateway of a new JVM, or None if the process has one already.

    What the JVM and the Python workers below it print goes to the file `log` (`-`: standard error).
    """
    from pyspark import SparkContext
    from pyspark.java_gateway import launch_gateway

    _said.clear()
    # These loggers print every failure once more, on the terminal; `spark_errors` has the account.
    for noisy in ("SQLQueryContextLogger", "DataFrameQueryContextLogger", "py4j"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    if SparkContext._gateway is not None:
        return None
    # A pipe of our own: PySpark does not hand out the process before it has connected.
    read, write = os.pipe()
    threading.Thread(target=_keep, args=(read, log), name="spark-log", daemon=True).start()
    try:
        return launch_gateway(conf, popen_kwargs={"stdout": write, "stderr": write})
    finally:
        os.close(write)


def has_ended() -> bool:
    """Whether there was a JVM and it is no longer running."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    process = getattr(gateway, "proc", None)
    return process is not None and process.poll() is not None


def last_words() -> list[str]:
    """The last lines the JVM printed."""
    return list(_said)


def _keep(read: int, log: str) -> None:
    """Copy lines to the log until the JVM ends."""
    to_file = log != "-"
    if to_file:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(read, errors="replace") as lines:
        sink = Path(log).open("a", buffering=1) if to_file else sys.stderr  # noqa: SIM115
        for line in lines:
            _said.append(line.rstrip("\n"))
            sink.write(line)
