"""The graph of dbt's nodes: what certain marts need, and what only they need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

BUILT = ("model", "seed", "snapshot")
"""The kinds of nodes that make a table."""


def only_for(marts: Collection[str], nodes: Mapping[str, Any]) -> list[str]:
    """The names of these marts, of what nothing but them needs, and of what is made from them.

    `nodes` are the nodes of dbt's manifest, by unique id. A name that is no node's is passed over.
    """
    parents = _parents(nodes)
    children = defaultdict(set)
    for name, of_it in parents.items():
        for parent in of_it:
            children[parent].add(name)
    named = _named(marts, nodes, parents)
    concerned = reached(named, parents) | reached(named, children)
    needed = reached(parents.keys() - concerned, parents)
    return sorted(nodes[name].name for name in concerned - needed)


def not_for(marts: Collection[str], nodes: Mapping[str, Any], sources: Mapping[str, Any]) -> list[str]:
    """What none of these marts needs: the names of models, seeds and snapshots, and dbt's selectors of sources.

    `nodes` and `sources` are those of dbt's manifest, by unique id.
    """
    parents = _parents(nodes)
    needed = reached(_named(marts, nodes, parents), parents)
    read = {parent for name in needed for parent in nodes[name].depends_on_nodes}
    unread = [source for name, source in sources.items() if name not in read]
    return sorted(
        [nodes[name].name for name in parents.keys() - needed]
        + [f"source:{source.source_name}.{source.name}" for source in unread]
    )


def unneeded(marts: Collection[str], manifest: Mapping[str, Any]) -> list[str]:
    """The unique ids of the models, seeds and snapshots that none of these marts needs.

    `manifest` is what dbt wrote as JSON.
    """
    built = _built(manifest)
    parents = {name: built.keys() & set(node["depends_on"].get("nodes", ())) for name, node in built.items()}
    return sorted(parents.keys() - reached(_wanted(marts, built), parents))


def unread(marts: Collection[str], manifest: Mapping[str, Any]) -> frozenset[str]:
    """The names of the sources that none of these marts is made from; none if no node makes one of the marts.

    `manifest` is what dbt wrote as JSON.
    """
    wanted = _wanted(marts, _built(manifest))
    if not wanted:
        return frozenset()
    read = reached(wanted, manifest["parent_map"])
    names = {key: source["name"] for key, source in manifest["sources"].items()}
    return frozenset(names.values()) - {name for key, name in names.items() if key in read}


def _built(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {name: node for name, node in manifest["nodes"].items() if node["resource_type"] in BUILT}


def _wanted(marts: Collection[str], built: Mapping[str, Any]) -> list[str]:
    """The unique ids of the nodes that make these marts."""
    return [
        name
        for name, node in built.items()
        if called(node["name"], full_name(node["database"], node["schema"], node["alias"]), marts)
    ]


def called(model: str, table: str, names: Collection[str]) -> bool:
    """Whether one of these names of marts is the model's, or the end of its table's: `schema.name`, in any case."""
    full = f".{table}".casefold()
    return any(name == model or full.endswith(f".{name}".casefold()) for name in names)


def table_of(node: Any) -> str:
    """The full name of a node's table."""
    return full_name(node.database, node.schema, node.alias)


def full_name(database: str | None, schema: str | None, alias: str) -> str:
    """The name with which a database finds a table; some have no databases or schemas."""
    return ".".join(filter(None, (database, schema, alias)))


def sources_of(tables: Collection[str], sources: Mapping[str, Any]) -> list[str]:
    """dbt's selectors of the sources of these names; `sources` are those of dbt's manifest."""
    return [f"source:{one.source_name}.{one.name}" for one in sources.values() if one.name in tables]


def made_by(mart: str, nodes: Mapping[str, Any]) -> Any | None:
    """The model, seed or snapshot that makes the mart; None if none does."""
    found = _named([mart], nodes, _parents(nodes))
    return nodes[found[0]] if found else None


def _named(marts: Collection[str], nodes: Mapping[str, Any], of: Iterable[str]) -> list[str]:
    return [name for name in of if called(nodes[name].name, table_of(nodes[name]), marts)]


def _parents(nodes: Mapping[str, Any]) -> dict[str, set[str]]:
    """The models, seeds and snapshots, each with those that it is made from."""
    built = {name: node for name, node in nodes.items() if str(node.resource_type) in BUILT}
    return {name: built.keys() & set(node.depends_on_nodes) for name, node in built.items()}


def reached(begin: Iterable[str], edges: Mapping[str, Iterable[str]]) -> set[str]:
    """The nodes that can be reached along the edges, with those where it begins."""
    found: set[str] = set()
    open_nodes = list(begin)
    while open_nodes:
        node = open_nodes.pop()
        if node not in found:
            found.add(node)
            open_nodes.extend(edges.get(node, ()))
    return found
