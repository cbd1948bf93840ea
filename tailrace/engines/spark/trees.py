"""Tree ensembles that Spark ML fitted, read from a file that the driver's JVM writes."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tailrace.engines.distributed_models import Trees

LEAF = -1


@dataclass(kw_only=True)
class Node:
    """A node of a tree, as Spark describes it."""

    tree: int
    identity: int
    prediction: float
    statistics: tuple[float, ...]
    left: int
    right: int
    feature: int
    split: tuple[float, ...]
    categories: int


def predictions_of(nodes: Sequence[Node]) -> np.ndarray:
    """The nodes' values as numbers, shape (nodes,)."""
    return np.array([node.prediction for node in nodes], dtype=np.float64)


def class_shares_of(nodes: Sequence[Node]) -> np.ndarray:
    """The shares of the classes in the nodes' rows, shape (nodes, classes); 0 without rows."""
    counts = np.array([node.statistics for node in nodes], dtype=np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)


def trees_of(fitted: Any, *, values: Callable[[Sequence[Node]], np.ndarray]) -> Trees:
    """The trees of a fitted forest or of boosted trees; `values` has the nodes' values.

    The file is in Spark's own format (`MLWriter.saveToLocal`): through Py4J, each field of each node would be one call.
    """
    with tempfile.TemporaryDirectory(prefix="tailrace-trees-") as folder:
        path = Path(folder, "model")
        fitted.write()._jwrite.saveToLocal(str(path))
        nodes = _read_nodes((path / "data").read_bytes())
    if len(nodes) != fitted.totalNumNodes:
        raise ValueError(f"Spark wrote {len(nodes)} nodes of a model that has {fitted.totalNumNodes}.")
    return _laid_out(nodes, list(fitted.treeWeights), values(nodes))


@dataclass
class _Bytes:
    """Big-endian numbers, as Java's DataOutputStream writes them."""

    content: bytes
    at: int = field(default=0)

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f">{layout}", self.content, self.at)
        self.at += struct.calcsize(f">{layout}")
        return values

    def doubles(self) -> tuple[float, ...]:
        (count,) = self.take("i")
        return self.take(f"{count}d")


def _read_nodes(content: bytes) -> list[Node]:
    """The nodes in the format of `EnsembleModelReadWrite` in Spark 4.1."""
    source = _Bytes(content)
    (count,) = source.take("i")
    nodes = []
    for _ in range(count):
        tree, identity, prediction, _impurity = source.take("iidd")
        statistics = source.doubles()
        _rows, _gain, left, right, feature = source.take("qdiii")
        split = source.doubles()
        (categories,) = source.take("i")
        nodes.append(
            Node(
                tree=tree,
                identity=identity,
                prediction=prediction,
                statistics=statistics,
                left=left,
                right=right,
                feature=feature,
                split=split,
                categories=categories,
            )
        )
    if source.at != len(content):
        raise ValueError(
            f"Spark's file of trees has {len(content)} bytes, but only {source.at} of them could be parsed."
        )
    return sorted(nodes, key=lambda node: (node.tree, node.identity))


def _laid_out(nodes: list[Node], scale: list[float], values: np.ndarray) -> Trees:
    roots = np.array([place for place, node in enumerate(nodes) if node.identity == 0], dtype=np.int32)
    by_code = [place for place, node in enumerate(nodes) if node.left != LEAF and node.categories >= 0]
    widest = max((nodes[place].categories for place in by_code), default=0)
    subset = np.full(len(nodes), -1, dtype=np.int32)
    subset[by_code] = np.arange(len(by_code))
    subsets = np.zeros((len(by_code), widest), dtype=bool)
    for row, place in enumerate(by_code):
        subsets[row, np.array(nodes[place].split, dtype=np.intp)] = True

    def child(node: Node, identity: int) -> int:
        return LEAF if identity == LEAF else int(roots[node.tree]) + identity

    return Trees(
        roots=roots,
        scale=np.array(scale),
        feature=np.array([node.feature if node.left != LEAF else LEAF for node in nodes], dtype=np.int32),
        threshold=np.array(
            [node.split[0] if node.left != LEAF and node.categories < 0 else 0.0 for node in nodes], dtype=np.float64
        ),
        left=np.array([child(node, node.left) for node in nodes], dtype=np.int32),
        right=np.array([child(node, node.right) for node in nodes], dtype=np.int32),
        value=values,
        subset=subset,
        subsets=subsets,
    )
