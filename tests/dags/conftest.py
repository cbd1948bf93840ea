"""Airflow with a metadata database of its own, and the environment as it was after each test."""

import os
from collections.abc import Iterator

import pytest

from tests.airflow_home import airflow_db

__all__ = ["airflow_db"]


@pytest.fixture(autouse=True)
def environment_as_before() -> Iterator[None]:
    """`dag.test` runs tasks in this process, and Cosmos sets what a dbt profile needs in the process's environment."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
