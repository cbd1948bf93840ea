#!/usr/bin/env bash
# Runs once, on an empty volume. It makes a database and a role for each of Airflow, MLflow and the warehouse. No role
# can see the other databases. Passwords come from the environment, so no command line shows them.
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
