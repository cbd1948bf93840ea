"""A small installation on real flights, and the two commands that act on it."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from scripts import stack
from tailrace import settings
from tailrace.spec import registry
from tailrace.wiring import Wiring

BIN = Path(sys.executable).parent
FIRST, LAST = dt.date(2013, 1, 1), dt.date(2013, 2, 14)
TRAINED, NEXT = dt.date(2013, 2, 12), dt.date(2013, 2, 13)
PREDICT = "predict__flight_delay"


def airflow(made: stack.Stack, *command: str) -> None:
    done = subprocess.run([BIN / "airflow", *command], env=made.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def tailrace(home: settings.Settings, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TAILRACE_HOME": str(home.home), **more}
    return subprocess.run([BIN / "tailrace", *command], env=environment, capture_output=True, text=True)


def published(home: settings.Settings) -> dict[dt.date, str]:
    """The version of each day's last publication."""
    days = Wiring(home).lake.days(registry.get("flight_delay").predictions_table)
    return {day: commit.version for day, commit in days.items()}


def of_flights(states: Mapping[str, str]) -> dict[str, str]:
    """The states of a warehouse run's tasks, without those of other pipelines: these are skipped on such days."""
    others = [name for name in registry.names() if name != "flight_delay"]
    found = {task: state for task, state in states.items() if task.partition(".")[0] not in others}
    assert {states[task] for task in states.keys() - found.keys()} <= {"skipped"}, states
    return found
