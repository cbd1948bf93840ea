#!/usr/bin/env bash
# Brings Airflow's metadata to this version. Makes the warehouse's pool if it is missing; you may change it in the UI.
set -euo pipefail

airflow db migrate
airflow pools get warehouse > /dev/null 2>&1 || airflow pools set warehouse 1 "one dbt build at a time"
