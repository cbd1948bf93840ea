#!/usr/bin/env bash
# Runs once, on an empty volume: a database and its own role for Airflow, MLflow and the warehouse. No role sees the
# others' databases. Passwords come from the environment and stand on no command line.
set -euo pipefail

psql --username postgres --dbname postgres --set ON_ERROR_STOP=1 --quiet <<'SQL'
\getenv airflow AIRFLOW_DATABASE_PASSWORD
\getenv mlflow MLFLOW_DATABASE_PASSWORD
\getenv warehouse WAREHOUSE_DATABASE_PASSWORD
CREATE ROLE airflow LOGIN PASSWORD :'airflow';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow';
CREATE ROLE warehouse LOGIN PASSWORD :'warehouse';
CREATE DATABASE airflow OWNER airflow;
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE warehouse OWNER warehouse;
REVOKE CONNECT, TEMPORARY ON DATABASE airflow, mlflow, warehouse, postgres FROM PUBLIC;
SQL
