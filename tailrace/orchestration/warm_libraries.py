"""What a process imports before it is forked for tasks: heavy libraries, which then cost a task nothing."""

from __future__ import annotations

import importlib

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


def load() -> None:
    """Import them all. Raises ImportError naming one."""
    for library in LIBRARIES:
        importlib.import_module(library)
