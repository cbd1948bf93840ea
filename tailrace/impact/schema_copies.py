"""Throw-away schemas of a Postgres database, in which both sides of an edit are built.

Nothing is copied but the earlier days of incremental tables: what is not built again is read where it is.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tailrace.contracts import Warehouse
from tailrace.impact import sandbox
from tailrace.impact.dbt_sides import DbtNode
from tailrace.impact.sandbox import ReadCopy, Since
from tailrace.warehouse import throwaway_schemas
from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.reader import MartReader

PREFIX = "tailrace_diff_"


class SchemaCopy:
    """The schema `schema`, which exists and is empty, of the database that `original` connects to.

    `built` are the nodes that are read from other throw-away schemas, each with its schema. `folder` is for what dbt
    writes down.
    """

    def __init__(
        self, schema: str, original: DbtAdapter, folder: Path, *, built: Mapping[str, str] | None = None
    ) -> None:
        self._schema, self._original, self._folder = schema, original, folder
        self.built: dict[str, str] = dict(built or {})

    def adapter(self, project: Path, original: DbtAdapter, days: tuple[dt.date, dt.date]) -> DbtAdapter:
        """See `WarehouseCopy`: the same profile and target."""
        return sandbox.adapter_for(project, original, days, work=self._folder / "dbt", profiles=original.profiles)

    def missing(self, nodes: Collection[DbtNode]) -> set[str]:
        """See `WarehouseCopy`: those without a table in the database."""
        known = self._original.manifest.nodes
        tables = {node.id: str(known[node.id].relation_name or "") for node in nodes if node.id in known}
        return {node.id for node in nodes if not _columns(self._original, tables.get(node.id, ""))}

    def refuse_other_places(self, nodes: Collection[DbtNode]) -> None:
        """See `WarehouseCopy`. Hooks that may write elsewhere are refused too."""
        sandbox.refuse_other_places(nodes, str(self._original.credentials.database))

    def prepare(self, adapter: DbtAdapter, nodes: Collection[DbtNode], since: Since) -> None:
        """See `WarehouseCopy`: the earlier days of an incremental table are copied, and a snapshot as it is.

        A table of which neither day column nor first day is known is built as if for the first time.
        """
        throwaway_schemas.refuse_hooks_elsewhere([adapter.manifest.nodes[node.id] for node in nodes])
        for node in nodes:
            if node.kind != "snapshot" and not sandbox.is_incremental(node):
                continue
            dbts = adapter.manifest.nodes[node.id]
            before = self.built.get(node.id)
            table = f'"{before}"."{dbts.name}"' if before else str(dbts.relation_name)
            there = _columns(adapter, table)
            column, first = since.get(node.id, ("", None))
            if not there or (node.kind != "snapshot" and column not in there):
                continue
            where = f" where \"{column}\" < date '{first}'" if column and first else ""
            made = f'create table {self._schema}."{dbts.name}" as select * from {table}{where}'  # noqa: S608 - quoted
            throwaway_schemas.statements(adapter, [made])

    def manifest(self, adapter: DbtAdapter, nodes: Collection[DbtNode]) -> Any:
        """See `WarehouseCopy`: dbt's manifest with other schemas, and without the hooks of the whole run."""
        found = throwaway_schemas.without_hooks(adapter.manifest.deepcopy())
        self.built |= {node.id: self._schema for node in nodes if node.kind in ("model", "seed", "snapshot")}
        for id_, schema in self.built.items():
            if id_ in found.nodes:
                throwaway_schemas.moved(adapter, found.nodes[id_], schema)
        return found

    def warehouse(self, adapter: DbtAdapter, zone: str) -> Warehouse:
        """See `WarehouseCopy`."""
        places = {id_: schema for id_, schema in self.built.items() if id_ in adapter.manifest.nodes}

        def called(table: str) -> str:
            from tailrace.warehouse import graph

            node = graph.made_by(table, adapter.manifest.nodes)
            schema = places.get(node.unique_id) if node is not None else None
            return f"{schema}.{node.name}" if node is not None and schema else table

        return ReadCopy(MartReader(adapter, zone=zone), called)  # type: ignore[return-value]  # only `read` is used


def _columns(adapter: DbtAdapter, table: str) -> set[str]:
    """The columns of a table, by its quoted name; none if there is no such table."""
    if not table:
        return set()
    name = table.replace("'", "''")
    query = (
        "select attname from pg_attribute where attnum > 0 and not attisdropped "  # noqa: S608 - it is quoted
        f"and attrelid = to_regclass('{name}')"
    )
    found = throwaway_schemas.statements(adapter, [query])
    return {str(column) for (column,) in found}
