"""Which task gets the next free worker: a night's before a backfill's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.task.priority_strategy import PriorityWeightStrategy, get_airflow_priority_weight_strategies

if TYPE_CHECKING:
    from airflow.models import TaskInstance

BEFORE_BACKFILLS = 1000
"""More than the tasks of any DAG here add up to."""


class NightsFirst(PriorityWeightStrategy):
    """The weight that Airflow's own default, `downstream`, gives a task; tasks of a backfill weigh less.

    Runs of a backfill are known by their id, which Airflow makes: at this moment a task knows nothing else of its run.
    """

    def get_weight(self, ti: TaskInstance) -> int:
        """The weight: at least `BEFORE_BACKFILLS`, but for a backfill."""
        weight = get_airflow_priority_weight_strategies()["downstream"]().get_weight(ti)
        return weight if ti.run_id.startswith("backfill__") else weight + BEFORE_BACKFILLS


NightsFirstOfEarlierReleases = type("NightsFirst", (NightsFirst,), {"__module__": "pipelines.orchestration.priority"})
"""The same under the name that earlier releases gave it: Airflow keeps it in the versions of DAGs that it stored then.

Without it the pages of their runs could not be opened, and such a run could not go on.
"""
