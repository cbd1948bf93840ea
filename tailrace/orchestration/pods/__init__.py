"""Heavy stages in pods of their own, by Airflow's KubernetesPodOperator."""
