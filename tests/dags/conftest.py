"""Airflow with a metadata database of its own; after each test, it and the environment are as they were."""

import os
from collections.abc import Iterator

import pytest

from tests.airflow_home import airflow_db, forget_dags

__all__ = ["airflow_db"]


@pytest.fixture(autouse=True)
def environment_as_before() -> Iterator[None]:
    """`dag.test` runs tasks in this process, and Cosmos sets what a dbt profile needs in the process's environment."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def no_dags_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """`dag.test` stores the DAG and its run, and the tests of the pages read the same database."""
    yield
    if "airflow_db" in request.fixturenames:
        forget_dags()
