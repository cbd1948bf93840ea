"""Which task gets the next free worker: a night's before a backfill's."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

from airflow import plugins_manager
from airflow.sdk import WeightRule
from airflow.task.priority_strategy import PriorityWeightStrategy, get_airflow_priority_weight_strategies

if TYPE_CHECKING:
    from airflow.models import TaskInstance

log = logging.getLogger("tailrace")

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


def nights_first() -> PriorityWeightStrategy | str:
    """The weight rule of the tasks: `NightsFirst` if Airflow has loaded Tailrace's plugin, else Airflow's default.

    Airflow refuses every DAG with a rule that no plugin registers ("Unknown priority strategy"). This happens where
    Tailrace is on the path but is not installed, and where its plugin does not import.
    """
    return NightsFirst() if plugin_is_loaded() else WeightRule.DOWNSTREAM


@functools.cache
def plugin_is_loaded() -> bool:
    """Whether Airflow knows `NightsFirst`; if not, it says so once. Airflow loads plugins once per process."""
    if f"{NightsFirst.__module__}.{NightsFirst.__qualname__}" in plugins_manager.get_priority_weight_strategy_plugins():
        return True
    log.warning(
        "Airflow has not loaded Tailrace's plugin, so a backfill's tasks may take workers before a night's. Install "
        "Tailrace as a package: pip install 'tailrace[airflow]'. `airflow plugins` lists what is loaded."
    )
    return False


NightsFirstOfEarlierReleases = type("NightsFirst", (NightsFirst,), {"__module__": "pipelines.orchestration.priority"})
"""The same under the name that earlier releases gave it: Airflow keeps it in the versions of DAGs that it stored then.

Without it the pages of their runs could not be opened, and such a run could not go on.
"""
