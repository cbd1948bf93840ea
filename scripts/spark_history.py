"""Spark's history server on loopback. `make up` starts it next to Airflow if the engine is `spark`."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from tailrace import settings

HOST = "127.0.0.1"


def main(port: str) -> None:
    """Replace this process by the history server for the event logs that the settings name. Raises SettingsError."""
    configured = settings.load()
    events = configured.spark.event_log
    if "://" not in events:
        # The history server can watch only a folder that exists.
        Path(events).mkdir(parents=True, exist_ok=True)
        events = Path(events).absolute().as_uri()
    options = {
        "spark.history.fs.logDirectory": events,
        "spark.history.fs.update.interval": "5s",
        "spark.history.fs.cleaner.enabled": "true",
        "spark.history.ui.port": port,
        # Tasks link to this port, so the server must not choose another one.
        "spark.port.maxRetries": "0",
    }
    pyspark = importlib.util.find_spec("pyspark")
    assert pyspark and pyspark.submodule_search_locations  # noqa: S101  it is a dependency
    spark = Path(pyspark.submodule_search_locations[0])
    environment = os.environ | {
        "SPARK_LOCAL_IP": HOST,
        "SPARK_DAEMON_MEMORY": "512m",
        "SPARK_HISTORY_OPTS": " ".join(f"-D{name}={value}" for name, value in options.items()),
    }
    command = str(spark / "bin" / "spark-class")
    os.execve(command, [command, "org.apache.spark.deploy.history.HistoryServer"], environment)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1])
