"""The driver's JVM: started without output on the terminal; the end of its output is kept for error messages."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tailrace.errors import SettingsError

if TYPE_CHECKING:
    from py4j.java_gateway import JavaGateway

BEFORE_THE_JVM = (
    "spark.driver.memory",
    "spark.driver.defaultJavaOptions",
    "spark.driver.extraJavaOptions",
    "spark.driver.extraClassPath",
    "spark.driver.extraLibraryPath",
    "spark.jars",
    "spark.jars.packages",
    "spark.jars.excludes",
    "spark.jars.repositories",
    "spark.jars.ivy",
    "spark.jars.ivySettings",
    "spark.submit.pyFiles",
    "spark.kerberos.principal",
    "spark.kerberos.keytab",
    "spark.log.level",
    "spark.ui.showConsoleProgress",
)
"""What spark-submit needs to start the JVM. It goes on the command line, which every user of the machine can
read; so everything else, including tokens and keys, goes to the SparkContext through the gateway."""

_said: deque[str] = deque(maxlen=2000)


def start_jvm(conf: Mapping[str, str], log: str) -> JavaGateway | None:
    """The gateway of a new JVM, or None if the process has one already.

    Of `conf` it receives only `BEFORE_THE_JVM`; the context must be given all of it. The output of the JVM and of the
    Python workers below it goes to the file `log` (`-`: standard error). Raises SettingsError if that cannot be opened.
    """
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway

    _said.clear()
    # These loggers print every failure a second time on the terminal; `spark_errors` reports it.
    for noisy in ("SQLQueryContextLogger", "DataFrameQueryContextLogger", "py4j"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    if SparkContext._gateway is not None:
        return None
    options = [(name, value) for name, value in conf.items() if name in BEFORE_THE_JVM]
    sink = _opened(log)
    # A pipe of our own: PySpark does not return the process before it has connected.
    read, write = os.pipe()
    threading.Thread(target=_keep, args=(read, sink, log != "-"), name="spark-log", daemon=True).start()
    try:
        return launch_gateway(SparkConf().setAll(options), popen_kwargs={"stdout": write, "stderr": write})
    finally:
        os.close(write)


def has_ended() -> bool:
    """Whether a JVM was started and has ended."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    process = getattr(gateway, "proc", None)
    return process is not None and process.poll() is not None


def last_words() -> list[str]:
    """The last lines the JVM printed."""
    return list(_said)


def _opened(log: str) -> TextIO:
    if log == "-":
        return sys.stderr
    try:
        with suppress(FileExistsError):  # it is a file: opening the log reports that better
            Path(log).parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: a line that cannot be written is not kept for later.
        return TextIOWrapper(Path(log).open("ab", buffering=0), encoding="utf-8", write_through=True)
    except OSError as error:
        raise SettingsError(
            "Spark cannot start:",
            [
                f"TAILRACE_SPARK_LOG is {log!r} and cannot be written ({error.strerror}); name a file in a writable "
                "folder, or - for standard error."
            ],
        ) from error


def _keep(read: int, sink: TextIO, own: bool) -> None:
    """Copy lines to the sink until the JVM ends: if nobody read its output, the JVM would block.

    If the sink accepts no more, as on a full disk, lines are read and dropped. A sink that we opened is closed.
    """
    with os.fdopen(read, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            _said.append(line.rstrip("\n"))
            with suppress(OSError, ValueError):  # ValueError: standard error was closed
                sink.write(line)
    if own:
        with suppress(OSError):
            sink.close()
