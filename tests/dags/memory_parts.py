"""Parts in memory that a project's tailrace.toml can name, for runs of DAGs in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tailrace.lake.memory import MemoryLake
from tailrace.tracking.memory import MemoryTracker
from tailrace.validation.memory import MemoryValidator
from tailrace.warehouse.memory import MemoryWarehouse

HELD: dict[str, Any] = {}
"""The parts that all tasks share, by name."""
TOML = """
[use]
warehouse = "tests.dags.memory_parts:Warehouse"
lake = "tests.dags.memory_parts:Lake"
validator = "tests.dags.memory_parts:Validator"
"""


class Warehouse(MemoryWarehouse):
    """The warehouse of this process."""

    @classmethod
    def from_settings(cls, settings: Any, *, landing: Any) -> MemoryWarehouse:
        return HELD["warehouse"]


class Lake(MemoryLake):
    """The lake of this process."""

    @classmethod
    def from_settings(cls, settings: Any, *, keep_open: bool) -> MemoryLake:
        return HELD.setdefault("lake", cls())


class Validator(MemoryValidator):
    """Judges by the project's suites."""

    @classmethod
    def from_settings(cls, settings: Any) -> Validator:
        return cls(Path(settings.suites))


class Tracker(MemoryTracker):
    """The tracker of this process."""

    @classmethod
    def from_settings(cls, settings: Any) -> Tracker:
        return cls(Path(settings.home) / "tracker")
