"""The ids of the DAGs. They are stored in Airflow's history: never change one."""

from __future__ import annotations

from tailrace.spec.pipeline import WAREHOUSE

__all__ = [
    "UPKEEP",
    "WAREHOUSE",
    "approve",
    "baseline",
    "broken",
    "kind_of",
    "monitor",
    "pipeline_of",
    "predict",
    "rollback",
    "threshold",
    "train",
]

UPKEEP = "upkeep"
"""The DAG of upkeep, unless the setting `upkeep.dag` gives it another id."""
_SEPARATOR = "__"


def train(pipeline: str) -> str:
    return f"train{_SEPARATOR}{pipeline}"


def approve(pipeline: str) -> str:
    return f"approve{_SEPARATOR}{pipeline}"


def rollback(pipeline: str) -> str:
    return f"rollback{_SEPARATOR}{pipeline}"


def baseline(pipeline: str) -> str:
    return f"baseline{_SEPARATOR}{pipeline}"


def threshold(pipeline: str) -> str:
    return f"threshold{_SEPARATOR}{pipeline}"


def monitor(pipeline: str) -> str:
    return f"monitor{_SEPARATOR}{pipeline}"


def predict(pipeline: str) -> str:
    return f"predict{_SEPARATOR}{pipeline}"


def broken(name: str) -> str:
    """The DAG that stands for those that cannot be made: it says why."""
    return f"broken{_SEPARATOR}{name}"


def kind_of(dag_id: str) -> str:
    """The kind of a DAG: `predict` for predict__churn."""
    return dag_id.partition(_SEPARATOR)[0]


def pipeline_of(dag_id: str) -> str:
    """The pipeline of a DAG: `churn` for predict__churn; empty for the DAG `warehouse`."""
    return dag_id.partition(_SEPARATOR)[2]
