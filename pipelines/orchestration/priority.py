"""Which task gets the next free worker: a night's before a backfill's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.task.priority_strategy import PriorityWeightStrategy

if TYPE_CHECKING:
    from airflow.models import TaskInstance

BEFORE_BACKFILLS = 1000
"""More than the tasks of any DAG here add up to."""


class NightsFirst(PriorityWeightStrategy):
    """The task's weight with those of all tasks after it, as Airflow's `downstream`; tasks of a backfill weigh less.

    Runs of a backfill are known by their id, which Airflow makes: at this moment a task knows nothing else of its run.
    """

    def get_weight(self, ti: TaskInstance) -> int:
        """The weight: at least `BEFORE_BACKFILLS`, but for a backfill."""
        task = ti.task
        if task is None:
            return 1
        dag = task.get_dag()
        after = [dag.task_dict[name] for name in task.get_flat_relative_ids(upstream=False)] if dag else []
        weight = sum(each.priority_weight for each in (task, *after))
        return weight if ti.run_id.startswith("backfill__") else weight + BEFORE_BACKFILLS
