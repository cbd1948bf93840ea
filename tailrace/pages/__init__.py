"""The pages in Airflow's UI: what is gathered for each, how it is shown, and who may see it.

`overview`, `pipeline` and `day` gather, `rendering` shows; `metadata`, `access` and `app` alone know Airflow.
"""
