"""The DAG that deletes what nothing needs any more. The section [upkeep] of tailrace.toml says when, and what stays."""

from airflow.sdk import DAG  # noqa: F401  Airflow looks for DAGs only in files that name DAG

from tailrace.orchestration.upkeep import upkeep_dag

dag = upkeep_dag()
