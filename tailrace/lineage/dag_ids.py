"""The ids of the DAGs. They are stored in Airflow's history: never change one."""

from __future__ import annotations

from tailrace.spec.pipeline import WAREHOUSE

__all__ = ["WAREHOUSE", "approve", "kind_of", "monitor", "predict", "rollback", "train"]

_SEPARATOR = "__"


def train(pipeline: str) -> str:
    return f"train{_SEPARATOR}{pipeline}"


def approve(pipeline: str) -> str:
    return f"approve{_SEPARATOR}{pipeline}"


def rollback(pipeline: str) -> str:
    return f"rollback{_SEPARATOR}{pipeline}"


def monitor(pipeline: str) -> str:
    return f"monitor{_SEPARATOR}{pipeline}"


def predict(pipeline: str) -> str:
    return f"predict{_SEPARATOR}{pipeline}"


def kind_of(dag_id: str) -> str:
    """The kind of a DAG: `predict` for predict__churn."""
    return dag_id.partition(_SEPARATOR)[0]
