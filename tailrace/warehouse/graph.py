"""The graph of dbt's nodes: what is needed only for certain marts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

_BUILT = ("model", "seed", "snapshot")


def only_for(marts: Collection[str], nodes: Mapping[str, Any]) -> list[str]:
    """The names of these marts, of what nothing but them needs, and of what is made from them.

    `nodes` are the nodes of dbt's manifest, by unique id. A name that is no node's is passed over.
    """
    built = {name: node for name, node in nodes.items() if str(node.resource_type) in _BUILT}
    parents = {name: built.keys() & set(node.depends_on_nodes) for name, node in built.items()}
    children = defaultdict(set)
    for name, of_it in parents.items():
        for parent in of_it:
            children[parent].add(name)
    named = [name for name in parents if nodes[name].name in marts]
    concerned = _reached(named, parents) | _reached(named, children)
    needed = _reached(parents.keys() - concerned, parents)
    return sorted(nodes[name].name for name in concerned - needed)


def _reached(begin: Iterable[str], edges: Mapping[str, Iterable[str]]) -> set[str]:
    """The nodes that can be reached along the edges, with those where it begins."""
    found: set[str] = set()
    open_nodes = list(begin)
    while open_nodes:
        node = open_nodes.pop()
        if node not in found:
            found.add(node)
            open_nodes.extend(edges.get(node, ()))
    return found
