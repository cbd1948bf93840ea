"""An installation on real flights, and Airflow running on it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from scripts import stack
from tailrace import settings
from tailrace.spec import registry, zone
from tests.e2e.flights import FIRST, LAST, PREDICT, TRAINED, airflow


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An installation whose warehouse and first model were made by `airflow dags test`."""
    folder = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "TAILRACE_HOME": str(folder)}
    configured = settings.load(environment)
    made = stack.Stack(configured, parallelism=2)
    try:
        made.prepare()
        airflow(made, "dags", "test", "warehouse", str(LAST), "-c", json.dumps({"first_day": str(FIRST)}))
        airflow(made, "dags", "test", "train__flight_delay", str(TRAINED), "-c", json.dumps({"trials": 3}))
        airflow(made, "dags", "test", PREDICT, str(TRAINED))
    finally:
        made.stop()
    return configured


@pytest.fixture(scope="module")
def dags_folder() -> Path:
    """The folder of the DAG files that Airflow runs."""
    return settings.find_project().dags


@pytest.fixture(scope="module")
def running(home, dags_folder):
    """Airflow with its scheduler, on the same home."""
    made = stack.Stack(home, parallelism=4)
    made.environment["AIRFLOW__CORE__DAGS_FOLDER"] = str(dags_folder)
    with made.started():
        yield made


@pytest.fixture(scope="module")
def api(running):
    return running.api(zone(registry.get("flight_delay")))
