"""Build the warehouse's tables of the days with dbt, in one invocation."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.interfaces import ModelResult, Services


@dataclass(frozen=True)
class Built:
    """What dbt did: each node's result, and how many nodes ended in which status."""

    first: dt.date
    last: dt.date
    nodes: tuple[ModelResult, ...]

    @property
    def statuses(self) -> Mapping[str, int]:
        return dict(Counter(node.status for node in self.nodes))


def run(services: Services, first: dt.date, last: dt.date) -> Built:
    """Raises what `Warehouse.build` raises; the tables are then as they were."""
    return Built(first, last, services.warehouse.build(first, last))
