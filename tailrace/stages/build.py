"""Build the warehouse's tables of the days with dbt, in one invocation.

The tables of pipelines that none of the days concerns are left out. A model or test that fails stops the pipelines that
need it, and no others.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tailrace.contracts import ModelResult, Services
from tailrace.errors import BuildFailed, PipelinesStopped
from tailrace.spec import PARTS, registry
from tailrace.warehouse.stopped_marts import stopped

_NAMED_NODES = 3


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
    only: Collection[str] = (),
    run_id: str = "",
    on_node: Callable[[ModelResult], None] = lambda node: None,
) -> Built:
    """Build the days; where an earlier try of the same run failed, only what failed and what depends on it.

    `absent` are the pipelines that none of the days concerns, as `scheduled_days.absent` finds them. `only` are the
    pipelines that are wanted: nothing is built but what they need; none: everything. `on_node` is given every node's
    result, also where the build fails.

    Raises PipelinesStopped if nodes failed: the pipelines that it does not name are built and may go on. Raises what
    `Warehouse.build` raises besides; then no pipeline may go on.
    """
    heard: list[ModelResult] = []

    def hear(node: ModelResult) -> None:
        heard.append(node)
        on_node(node)

    without, wanted = scope(absent, only)
    try:
        nodes = services.warehouse.build(first, last, run_id, hear, without=without, only=wanted)
    except BuildFailed as error:
        if not any(node.failed for node in heard):
            # dbt ended before it reached the nodes: what is in the tables is not of this build
            raise
        of = marts()
        concerned = only or [pipeline for pipeline in of if pipeline not in absent]
        raise _stopped(error, heard, {pipeline: of[pipeline] for pipeline in concerned}) from error
    return Built(first, last, nodes)


def scope(absent: Collection[str], only: Collection[str]) -> tuple[list[str], list[str]]:
    """The marts that only the pipelines `absent` need, and those that the pipelines `only` need."""
    of = marts()
    read = {mart for pipeline, its_marts in of.items() if pipeline not in absent for mart in its_marts}
    without = [mart for pipeline in absent for mart in of[pipeline] if mart not in read]
    return without, [mart for pipeline in only for mart in of[pipeline]]


def marts() -> Mapping[str, tuple[str, ...]]:
    """The marts of each pipeline as dbt names them; of a pipeline whose spec is wrong, those that have its name."""
    specs, _ = registry.load(estimators=False)
    by_name = {name: tuple(f"{name}_{part}" for part in PARTS) for name in registry.names()}
    return by_name | {spec.name: tuple(mart.table for mart in spec.marts) for spec in specs}


def _stopped(
    error: BuildFailed, nodes: Sequence[ModelResult], pipelines: Mapping[str, Collection[str]]
) -> PipelinesStopped:
    """The error that says which of the pipelines, each with its marts, the failed nodes stop, and which go on."""
    causes = stopped(nodes, pipelines)
    sentences = {pipeline: _sentence(pipeline, of_it) for pipeline, of_it in causes.items()}
    go_on = [pipeline for pipeline in sorted(pipelines) if pipeline not in causes]
    said = [str(error)]
    said += [f"Stopped: {', '.join(sorted(causes))}." if causes else "No pipeline needs what failed."]
    said += [f"Not stopped: {', '.join(go_on)}."] if go_on else []
    return PipelinesStopped("\n".join(said), sentences)


def _sentence(pipeline: str, nodes: Sequence[ModelResult]) -> str:
    """Why a pipeline may not go on."""
    listed = "; ".join(_failure(node) for node in nodes[:_NAMED_NODES])
    what = "Its marts are late:" if all(node.kind == "mart" for node in nodes) else "dbt failed on"
    more = f"; and {len(nodes) - _NAMED_NODES} more" if len(nodes) > _NAMED_NODES else ""
    return (
        f"{pipeline}: its tables were not built as they should be. {what} {listed}{more}. Nothing of these days "
        "was taken into the lake. Correct that, and build the days again; in Airflow, clear what failed in this run."
    )


def _failure(node: ModelResult) -> str:
    """A failed node and what dbt said of it."""
    if node.kind == "test" and node.rows:
        return f"test {node.name} ({node.rows} rows fail)"
    said = " ".join(node.message.split()).rstrip(".") or node.status
    return f"{node.kind} {node.name} ({said})"


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
