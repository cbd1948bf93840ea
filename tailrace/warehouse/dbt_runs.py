"""One invocation of dbt: its outcome, what its nodes tell, and the environment that it reads."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tailrace.contracts import ModelResult
from tailrace.spec import Mart
from tailrace.warehouse import graph

_FAILED = {"error", "fail", "runtime error", "partial success"}
EXPOSURES_FILE = "tailrace_exposures.yml"
"""The file of the dbt project that `tailrace exposures` writes."""
MART = "incremental"
"""How a mart that grows by its days is materialised; a model that is none must not use it."""
_OTHER_VERSION = re.compile(r"Check for a different version of the .*--no-version-check")
"""The advice that dbt gives where a project's require-dbt-version excludes it; its flag is not at hand here."""


@dataclass(frozen=True)
class DbtRun:
    """The result of a dbt invocation: its outcome, its nodes' results, and its log lines by node."""

    outcome: Any
    nodes: tuple[Any, ...]
    logs: Mapping[str, Sequence[str]]

    @property
    def messages(self) -> list[str]:
        return [str(self.outcome.exception or ""), *(node.message or "" for node in self.nodes)]

    @property
    def failed(self) -> list[Any]:
        """The nodes that failed."""
        return [node for node in self.nodes if node.status in _FAILED]

    @property
    def marts(self) -> dict[str, Mapping[str, Any]]:
        """The marts that were built, each with its `meta`."""
        built = [node for node in self.nodes if _is_built_table(node) and node.node.config.materialized == MART]
        return {node_name(node): node.node.config.meta for node in built}

    def made(self, marts: Iterable[Mart]) -> dict[str, Mapping[str, Any]]:
        """Those of the marts that were built, each with the `meta` of its model, however that is materialised."""
        nodes = {str(one.node.unique_id): one.node for one in self.nodes if one.status == "success"}
        found = ((mart.table, graph.made_by(mart.table, nodes)) for mart in marts)
        return {table: node.config.meta for table, node in found if node is not None}

    def counting(self, first: dt.date, last: dt.date) -> dict[str, str]:
        """By built table, the statement that counts its rows: the days' for a mart, all for any other."""
        return {node_name(node): _counting(node, first, last) for node in self.nodes if _is_built_table(node)}

    def results(self, rows: Mapping[str, int]) -> tuple[ModelResult, ...]:
        """The nodes' results; `rows` are the row counts of the built tables."""
        return tuple(
            ModelResult(
                name=node_name(node),
                kind=str(node.node.resource_type),
                status=str(node.status),
                seconds=node.execution_time,
                rows=rows.get(node_name(node), node.failures),
                message=node.message or "",
                unique_id=node.node.unique_id,
                sql=getattr(node.node, "compiled_code", None) or "",
                log="\n".join(self.logs.get(node.node.unique_id, ())),
                depends_on=tuple(node.node.depends_on_nodes),
                judges=_judged(node.node),
                table=graph.table_of(node.node) if _is_built(node) else "",
            )
            for node in self.nodes
        )


def in_one_line(error: object) -> str:
    """dbt's message in one line, without the full stop; its advice is what a person can do here."""
    advice = "Install a version of dbt-core that the project allows, or change its require-dbt-version"
    said = _OTHER_VERSION.sub(advice, " ".join(str(error).split()).rstrip("."))
    if EXPOSURES_FILE in said and "depends on a node named" in said:
        said += ". If a mart has another name now, correct the spec, and then write the file again: tailrace exposures"
    return said


def node_name(node: Any) -> str:
    return str(node.node.name)


def _judged(node: Any) -> tuple[str, ...]:
    """What a test judges: a generic one the node that it is written at, any other all that it reads."""
    if str(node.resource_type) != "test":
        return ()
    attached = getattr(node, "attached_node", None)
    return (attached,) if attached else tuple(node.depends_on_nodes)


def _is_built(node: Any) -> bool:
    return str(node.node.resource_type) in ("model", "seed", "snapshot")


def _is_built_table(node: Any) -> bool:
    return node.node.config.materialized in (MART, "table", "seed") and str(node.status) == "success"


def _counting(node: Any, first: dt.date, last: dt.date) -> str:
    """The statement that counts a table's rows; dbt quotes the names, and days need no quoting."""
    days = f" where ds between date '{first}' and date '{last}'" if node.node.config.materialized == MART else ""
    return f"select count(*) from {node.node.relation_name}{days}"  # noqa: S608


def collect(event: Any, logs: dict[str, list[str]]) -> None:
    """Collect dbt's log lines about a node, without debug output."""
    node = getattr(event.data, "node_info", None)
    if node is not None and node.unique_id and event.info.level != "debug" and event.info.msg.strip():
        logs[node.unique_id].append(event.info.msg.strip())


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables while the block runs."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
