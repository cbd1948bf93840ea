"""Build the warehouse's tables of the days with dbt, in one invocation.

The tables of pipelines that none of the days concerns are left out.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.contracts import ModelResult, Services


@dataclass(frozen=True)
class Built:
    """What dbt did: each node's result, and how many nodes ended in which status."""

    first: dt.date
    last: dt.date
    nodes: tuple[ModelResult, ...]

    @property
    def statuses(self) -> Mapping[str, int]:
        return dict(Counter(node.status for node in self.nodes))

    def summary(self) -> list[dict[str, Any]]:
        """A row for each node, without SQL and log."""
        return [brief(node) for node in self.nodes]


def run(
    services: Services,
    first: dt.date,
    last: dt.date,
    *,
    absent: Collection[str] = (),
    run_id: str = "",
    on_node: Callable[[ModelResult], None] = lambda node: None,
) -> Built:
    """Build the days; where an earlier try of the same run failed, only what failed and what depends on it.

    `absent` are the pipelines that none of the days concerns, as `scheduled_days.absent` finds them. `on_node` is given
    every node's result, also where the build fails. Raises what `Warehouse.build` raises.
    """
    without = [f"{pipeline}_{part}" for pipeline in absent for part in ("features", "outcomes")]
    return Built(first, last, services.warehouse.build(first, last, run_id, on_node, without=without))


def brief(node: ModelResult) -> dict[str, Any]:
    """A node's result in a line for people: without SQL and log."""
    return {
        "status": f"{node.status}, kept" if node.kept else node.status,
        "kind": node.kind,
        "name": node.name,
        "seconds": round(node.seconds, 2),
        "rows": node.rows,
        "message": node.message,
    }
