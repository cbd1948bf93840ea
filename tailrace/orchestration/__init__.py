"""From specs to Airflow DAGs: the only part of the package that imports Airflow."""
