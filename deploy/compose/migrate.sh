#!/usr/bin/env bash
# Brings Airflow's metadata to this version; the warehouse's pool is made once and may be changed in the UI.
set -euo pipefail

airflow db migrate
airflow pools get warehouse > /dev/null 2>&1 || airflow pools set warehouse 1 "one dbt build at a time"
