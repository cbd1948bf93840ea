"""Airflow with a metadata database of its own, set up before Airflow is first imported: import this first."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
HOME = Path(tempfile.mkdtemp(prefix="tailrace-airflow-"))
ENVIRONMENT = {
    "TAILRACE_PROJECT": str(REPOSITORY),
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
    # Read once, when Airflow is imported: a test module that is collected later cannot name it any more.
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "ann:admin,vic:viewer",
    "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
    "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
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


def forget_dags() -> None:
    """Empty every table that tells of DAGs, their runs and tasks: all tests of a process share one database."""
    from airflow import settings
    from sqlalchemy import MetaData

    known = MetaData()
    known.reflect(settings.engine)
    with settings.engine.begin() as connection:
        for table in reversed(known.sorted_tables):
            if "dag_id" in table.columns:
                connection.execute(table.delete())
