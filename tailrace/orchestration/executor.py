"""Airflow's LocalExecutor, started with the heavy libraries in memory.

Each task is a fork of a waiting worker, and each worker a fork of the scheduler: what the scheduler has imported costs
a task nothing. Without it, imports are about half of what the tasks of one day's prediction compute.
"""

from __future__ import annotations

import importlib

from airflow.executors.local_executor import LocalExecutor

# Both say what must be said before the library that they are about is imported.
from tailrace import validation  # noqa: F401
from tailrace.tracking import mlflow_switches  # noqa: F401

LIBRARIES = (
    "dbt.adapters.duckdb.impl",
    "dbt.cli.main",
    "deltalake",
    "duckdb",
    "great_expectations.datasource.fluent",
    "mlflow.pyfunc",
    "mlflow.store.db.utils",
    "optuna",
    "pyarrow.dataset",
    "sklearn.compose",
    "sklearn.linear_model",
    "xgboost",
)
"""Libraries alone, none of which starts a thread at its import, which a fork would lose.

The project's own modules are not among them: each task reads them anew, so that an edit needs no restart.
"""


class WarmExecutor(LocalExecutor):
    """Runs tasks as LocalExecutor does, and spares each the imports that most tasks need."""

    def start(self) -> None:
        """Import the libraries where workers are forks, then start the workers. Raises ImportError naming one."""
        if self.is_mp_using_fork:
            for library in LIBRARIES:
                importlib.import_module(library)
        super().start()
