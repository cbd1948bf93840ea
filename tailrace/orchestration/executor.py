"""Airflow's LocalExecutor, started with the heavy libraries in memory.

Each task is a fork of a waiting worker, and each worker a fork of the scheduler: what the scheduler has imported costs
a task nothing. Without it, imports are about half of what the tasks of one day's prediction compute.
"""

from __future__ import annotations

from airflow.executors.local_executor import LocalExecutor

from tailrace.orchestration import warm_libraries


class WarmExecutor(LocalExecutor):
    """Runs tasks as LocalExecutor does, and spares each the imports that most tasks need."""

    def start(self) -> None:
        """Import the libraries where workers are forks, then start the workers. Raises ImportError naming one."""
        if self.is_mp_using_fork:
            warm_libraries.load()
        super().start()
