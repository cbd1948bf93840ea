"""### Demand for pizzas

How many of each pizza, in each size, will the shop sell today? Predictions are due at 00:00 of the day
in Rome.

**predict__pizza_demand** scores a day with the champion *as of* that day, audits the staged
predictions, and publishes them in one transaction. You can backfill any range: if a day is run again
with the same features and model, nothing changes. A day on which the shop stays closed has no rows.
**train__pizza_demand** trains a challenger as of the day, compares it with the champion and with last
week's units on the same holdout, and promotes it if it is better. If the task *promote* is skipped, it
says why the champion stays.
"""

from airflow.sdk import DAG  # noqa: F401  Airflow looks for DAGs only in files that name DAG

from tailrace.orchestration.dags import pipeline_dags

train, approve, rollback, predict, monitor = pipeline_dags("pizza_demand", __doc__)
