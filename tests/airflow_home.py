"""Airflow with a metadata database of its own, set up before Airflow is first imported: import this first."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

HOME = Path(tempfile.mkdtemp(prefix="tailrace-airflow-"))
ENVIRONMENT = {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).resolve().parents[1] / "dags"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME}/airflow.db",
}
os.environ |= ENVIRONMENT


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """An empty metadata database."""
    from airflow.utils import db

    db.initdb()
