#!/usr/bin/env bash
# Starts MLflow's server behind its login: mlflow.sh OPTION ... Users and passwords come from the environment, and they
# are set before the port opens.
set -euo pipefail
umask 077

export MLFLOW_AUTH_CONFIG_PATH=${TMPDIR:-/tmp}/mlflow-login.ini
PYTHONPATH=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH
python3 "$PYTHONPATH/mlflow_login.py"
unset MLFLOW_ADMIN_PASSWORD MLFLOW_AIRFLOW_PASSWORD MLFLOW_NOTEBOOK_PASSWORD MLFLOW_PAGES_PASSWORD
# Deny every route that MLflow's login has no rule for.
export MLFLOW_BASIC_AUTH_FAIL_CLOSED=true
exec mlflow server --app-name=basic-auth "$@"
