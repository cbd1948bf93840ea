"""### Moods of texts

Will people find a text negative, neutral or positive? Predictions for the texts that were received on the evening
before are due at 00:00 of the day, UTC.

**predict__journal_mood** scores a day with the champion *as of* that day, audits the staged predictions, and publishes
them in one transaction. You can backfill any range: if a day is run again with the same features and model, nothing
changes. **train__journal_mood** trains a challenger as of the day, compares it with the champion on the same holdout,
and promotes it if it is better. If the task *promote* is skipped, it says why the champion stays.
"""

from airflow.sdk import DAG  # noqa: F401  Airflow looks for DAGs only in files that name DAG

from tailrace.orchestration.dags import pipeline_dags

train, approve, rollback, predict, monitor = pipeline_dags("journal_mood", __doc__)
