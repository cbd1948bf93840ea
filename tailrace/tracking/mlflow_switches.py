"""Environment variables that MLflow reads at import: quiet, no telemetry, and short timeouts.

A variable that is already set in the environment is kept.
"""

from __future__ import annotations

import logging
import os

SWITCHES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    # Otherwise every model folder would receive the uv.lock of the process's working directory.
    "MLFLOW_UV_AUTO_DETECT": "false",
    # The orchestration retries, so a stage should learn within seconds that a server is down.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0.2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}

for _name, _value in SWITCHES.items():
    os.environ.setdefault(_name, _value)
logging.getLogger("alembic").setLevel(logging.WARNING)
