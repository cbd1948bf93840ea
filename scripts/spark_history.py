"""Spark's history server on loopback: what `make up` starts beside Airflow where Spark is the engine."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from tailrace import settings

HOST = "127.0.0.1"


def main(port: str) -> None:
    """Become the server of the event logs that the settings name. Raises SettingsError."""
    configured = settings.load()
    events = configured.spark.event_log
    if "://" not in events:
        # Only what is there can be watched.
        Path(events).mkdir(parents=True, exist_ok=True)
        events = Path(events).absolute().as_uri()
    options = {
        "spark.history.fs.logDirectory": events,
        "spark.history.fs.update.interval": "5s",
        "spark.history.fs.cleaner.enabled": "true",
        "spark.history.ui.port": port,
        # Another port than the one that tasks link to would be none.
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
