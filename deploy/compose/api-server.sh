#!/usr/bin/env bash
# Airflow reads its users' passwords from a file. Here this file is in a file system in memory.
set -euo pipefail
umask 077

printf '%s\n' "$AIRFLOW_PASSWORDS" > "$AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
unset AIRFLOW_PASSWORDS
exec airflow api-server --host 0.0.0.0 --port 8080
