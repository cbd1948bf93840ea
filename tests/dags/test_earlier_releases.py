"""What Airflow stored of the DAGs of earlier releases can still be read."""

from __future__ import annotations

import pytest
from airflow import plugins_manager
from airflow.serialization import serialized_objects

from tailrace.orchestration.priority import NightsFirst


@pytest.mark.parametrize("module", ["pipelines.orchestration.priority", "tailrace.orchestration.priority"])
def test_the_priority_of_a_stored_task_is_known_by_both_names(airflow_db, module):
    assert f"{module}.NightsFirst" in plugins_manager.get_priority_weight_strategy_plugins()
    strategy = serialized_objects._decode_priority_weight_strategy(f"{module}.NightsFirst")
    assert isinstance(strategy, NightsFirst)
