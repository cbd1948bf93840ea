"""Marts by the names that dbt gives them: the model's name, `schema.name` or `database.schema.name`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tailrace.errors import BadInput, did_you_mean

_WITH_ROWS = ("model", "seed", "snapshot", "source")
_MOST_PARTS = 3


@dataclass(frozen=True)
class MartRelation:
    """A table or view of the database.

    `relation` is dbt's object for it, and `sql` its quoted name. `contract` has the types that the dbt project
    declares for its columns, by the column's name; empty if it declares none, or does not know the table.
    """

    name: str
    relation: Any
    sql: str
    node: str = field(default="", kw_only=True)
    contract: Mapping[str, str] = field(default_factory=dict, kw_only=True)


def find(name: str, manifest: Any, adapter: Any) -> MartRelation:
    """The mart of that name: from the manifest if it has it, else as a table that only the database knows.

    Raises BadInput for a name that is none, that several models share, or whose model has no table.
    """
    parts = name.split(".")
    if not all(parts) or len(parts) > _MOST_PARTS:
        raise BadInput(f"{name!r} names no table: write model, schema.table or database.schema.table.")
    found = _matching(parts, manifest)
    if len(found) > 1:
        listed = ", ".join(sorted(_full_name(node) for node in found))
        raise BadInput(f"The dbt project has {len(found)} tables named {name!r}: {listed}. Write one of these.")
    return _of_node(name, found[0], adapter) if found else _of_database(name, parts, adapter)


def nearest(name: str, manifest: Any, others: Sequence[str] = ()) -> str:
    """' Did you mean X?' for the nearest name of the manifest or of `others`; empty if none is near."""
    parts = name.count(".") + 1
    return did_you_mean(name, {*(".".join(_parts(node)[-parts:]) for node in _nodes(manifest)), *others})


def _matching(parts: Sequence[str], manifest: Any) -> list[Any]:
    """The nodes of that name; names that differ only in case count if no node has exactly this one."""
    nodes = _nodes(manifest)
    for same in (lambda text: text, str.casefold):
        wanted = [same(part) for part in parts]
        found = [node for node in nodes if [same(part) for part in _parts(node)[-len(parts) :]] == wanted]
        if len(parts) == 1:
            # a model's name is its file's, even if its table has another
            found = [node for node in nodes if same(node.name) == wanted[0]] or found
        if found:
            return found
    return []


def _nodes(manifest: Any) -> list[Any]:
    nodes = [*manifest.nodes.values(), *manifest.sources.values()]
    return [node for node in nodes if str(node.resource_type) in _WITH_ROWS]


def _parts(node: Any) -> list[str]:
    """Database, schema and name of the node's table."""
    table = node.identifier if str(node.resource_type) == "source" else node.alias
    return [node.database or "", node.schema or "", table]


def _full_name(node: Any) -> str:
    return ".".join(filter(None, _parts(node)))


def _of_node(name: str, node: Any, adapter: Any) -> MartRelation:
    if getattr(node.config, "materialized", "") == "ephemeral":
        raise BadInput(
            f"The dbt model {node.name!r} is ephemeral, so it has no table to read. "
            f"Materialise it as a table, an incremental table or a view: {node.original_file_path}."
        )
    relation = adapter.Relation.create_from(adapter.config, node)
    contract = {column.name: column.data_type for column in node.columns.values() if column.data_type}
    return MartRelation(name, relation, relation.render(), node=node.unique_id, contract=contract)


def _of_database(name: str, parts: Sequence[str], adapter: Any) -> MartRelation:
    from dbt_common.exceptions import DbtRuntimeError

    credentials = adapter.config.credentials
    named: list[str | None] = [*[None] * (_MOST_PARTS - len(parts)), *parts]
    database, schema, table = named
    try:
        relation = adapter.Relation.create(
            database=database or credentials.database,
            schema=schema or credentials.schema,
            identifier=table,
            quote_policy=adapter.config.quoting,
        )
        return MartRelation(name, relation, relation.render())
    except DbtRuntimeError as error:
        raise BadInput(f"{name!r} names no table of {credentials.type}: {' '.join(str(error).split())}.") from error
