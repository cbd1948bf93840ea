"""Build the warehouse's tables of the days with dbt, in one invocation.

The tables of pipelines that none of the days concerns are left out. A model or test that fails, or an extract that is
missing, stops the pipelines that need it, and no others.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from tailrace import days
from tailrace.contracts import LandedWarehouse, ModelResult, Services, Warehouse
from tailrace.errors import BuildFailed, PipelinesStopped, UpstreamMissing
from tailrace.spec import PARTS, registry
from tailrace.warehouse.graph import called
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


@dataclass(frozen=True, kw_only=True)
class _Lacking:
    """Landed tables of which days are missing: a sentence for each, and the pipelines that each of them stops."""

    tables: Mapping[str, str] = field(default_factory=dict)
    stops: Mapping[str, Sequence[str]] = field(default_factory=dict)
    since: dt.date | None = None


def run(
    services: Services,
    first: dt.date,
    last: dt.date,
    *,
    absent: Collection[str] = (),
    only: Collection[str] = (),
    run_id: str = "",
    on_node: Callable[[ModelResult], None] = lambda node: None,
    not_landed: Mapping[str, str] = MappingProxyType({}),
) -> Built:
    """Build the days; where an earlier try of the same run failed, only what failed and what depends on it.

    `absent` are the pipelines that none of the days concerns, as `scheduled_days.absent` finds them. `only` are the
    pipelines that are wanted: nothing is built but what they need; none: everything. `on_node` is given every node's
    result, also where the build fails. `not_landed` has the tables of which `ingest` could not land a day, with a
    sentence for each.

    Raises PipelinesStopped if nodes failed, or extracts are missing: the pipelines that it does not name are built and
    may go on. Raises what `Warehouse.build` raises besides; then no pipeline may go on.
    """
    heard: list[ModelResult] = []

    def hear(node: ModelResult) -> None:
        heard.append(node)
        on_node(node)

    of = marts()
    concerned = {pipeline: of[pipeline] for pipeline in only or [name for name in of if name not in absent]}
    without, wanted = scope(absent, only)
    lacking = _lacking(services.warehouse, first, last, not_landed=not_landed, pipelines=concerned)
    leave_out: dict[str, Any] = {"lacking": tuple(lacking.tables)} if lacking.tables else {}
    try:
        nodes = services.warehouse.build(first, last, run_id, hear, without=without, only=wanted, **leave_out)
    except BuildFailed as error:
        if not any(node.failed for node in heard):
            # dbt ended before it reached the nodes: what is in the tables is not of this build
            raise
        causes = stopped(heard, concerned)
        sentences = {pipeline: _sentence(pipeline, of_it) for pipeline, of_it in causes.items()}
        raise _stopped(lacking, concerned, last, said=[str(error)], sentences=sentences) from error
    if lacking.tables and (lacking.stops or not only):
        raise _stopped(lacking, concerned, last)
    return Built(first, last, nodes)


def _lacking(
    warehouse: Warehouse,
    first: dt.date,
    last: dt.date,
    *,
    not_landed: Mapping[str, str],
    pipelines: Mapping[str, Collection[str]],
) -> _Lacking:
    """The tables without which some of the pipelines, each with its marts, can go on; none if they are needed by all.

    Raises UpstreamMissing if `ingest` could not land some, and no pipeline can go on without them.
    """
    if not isinstance(warehouse, LandedWarehouse):
        return _Lacking()
    gaps = warehouse.lacking(first, last)
    tables = {table: f"{days.ranges(absent)} not landed" for table, absent in gaps.items()} | dict(not_landed)
    readers = warehouse.readers(tables) if tables else {}
    stops: dict[str, list[str]] = {}
    for table, models in (readers or {}).items():
        for pipeline, its_marts in pipelines.items():
            if any(called(name, full_name, its_marts) for name, full_name in models):
                stops.setdefault(pipeline, []).append(table)
    if tables and readers is not None and len(stops) < len(pipelines):
        since = min((day for absent in gaps.values() for day in absent), default=first)
        return _Lacking(tables=tables, stops=stops, since=min(since, first))
    if not_landed:
        raise UpstreamMissing("\n".join(dict.fromkeys(not_landed.values())))
    return _Lacking()


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
    lacking: _Lacking,
    pipelines: Mapping[str, Collection[str]],
    last: dt.date,
    *,
    said: Sequence[str] = (),
    sentences: Mapping[str, str] = MappingProxyType({}),
) -> PipelinesStopped:
    """The error that says which of the pipelines are stopped, and which go on.

    `said` is what is known of failed nodes, and `sentences` the pipelines that these stop.
    """
    lines = list(said)
    command = f"tailrace warehouse --date {lacking.since}" + (f" --to {last}" if lacking.since != last else "")
    if lacking.tables:
        listed = "\n".join(f"  - {table}: {why}" for table, why in lacking.tables.items())
        lines.append(f"Extracts are missing, so what is made from them was not built:\n{listed}")
        lines.append(f"Land them, and run these days again: {command}.")
    late = {pipeline: _late(pipeline, lacking, tables, command) for pipeline, tables in lacking.stops.items()}
    causes = {**late, **sentences}
    go_on = [pipeline for pipeline in sorted(pipelines) if pipeline not in causes]
    lines.append(f"Stopped: {', '.join(sorted(causes))}." if causes else "No pipeline needs what failed.")
    lines += [f"Not stopped: {', '.join(go_on)}."] if go_on else []
    return PipelinesStopped("\n".join(lines), causes)


def _late(pipeline: str, lacking: _Lacking, tables: Sequence[str], command: str) -> str:
    """Why a pipeline whose extracts are missing may not go on."""
    missing = "; ".join(f"{table} ({lacking.tables[table].rstrip('.')})" for table in tables)
    return (
        f"{pipeline}: its tables were not built, as extracts are missing: {missing}. Nothing of these days was taken "
        f"into the lake. Land them, and run these days again: {command}; in Airflow, clear what failed in this run."
    )


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
