"""Airflow with a metadata database of its own."""

from tests.airflow_home import airflow_db

__all__ = ["airflow_db"]
