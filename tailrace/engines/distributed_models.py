"""Models that Spark ML fitted, as plain arrays: they predict without a JVM and are stored without pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from tailrace.engines.encoding import check_numbers
from tailrace.engines.signatures import DESCRIPTION, PROBLEM, check_columns, identity, problem_of
from tailrace.engines.vectors import VectorEncoding
from tailrace.problems import Problem, as_batch

ARRAYS = "model.npz"
LinearLink = Literal["log_odds", "softmax", "identity", "log"]
TreesLink = Literal["share", "log_odds", "mean", "sum"]


class NotConverted(ValueError):
    """A model that a cluster fitted, and that cannot be taken out of it."""


class _VectorModel:
    """What all models on encoded vectors share.

    A subclass provides its arrays, and the predictions (float64) for a matrix of vectors.
    """

    kind: ClassVar[str]

    def __init__(self, encoding: VectorEncoding, problem: Problem) -> None:
        self.encoding, self.problem = encoding, problem
        self.features = dict(encoding.features)

    def predict(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        check_columns(self.features, rows.schema)
        check_numbers(rows, [name for name, kind in self.features.items() if kind == "numeric"])
        return as_batch(self.problem, self.predicted(self.encoding.matrix(rows)))

    def save(self, folder: Path) -> None:
        described = {"kind": self.kind, PROBLEM: self.problem.described(), "encoding": self.encoding.described()}
        description = {**described, **self.settings()}
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=2))
        np.savez_compressed(folder / ARRAYS, allow_pickle=False, **self.arrays())

    def digest(self) -> str:
        said = [self.encoding.described(), self.settings(), *identity(self.problem)]
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
        # JSON sorts its keys, so the order of the features, which is that of the vectors, is hashed separately.
        digest.update(json.dumps(list(self.features)).encode())
        for name, array in self.arrays().items():
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def importance(self) -> Mapping[str, float]:
        """Share of each feature in the absolute coefficients, or in the impurity decreases."""
        shares = dict.fromkeys(self.features, 0.0)
        for name, weight in zip(self.encoding.origins, self.weights(), strict=True):
            shares[name] += float(weight)
        total = sum(shares.values()) or 1.0
        return {name: share / total for name, share in shares.items()}

    def predicted(self, vectors: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def weights(self) -> np.ndarray:
        """The weight of each position of the vectors."""
        raise NotImplementedError

    def arrays(self) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        return {}


class LinearModel(_VectorModel):
    """A logistic regression (`log_odds`, of several classes `softmax`), or a linear one (`identity`, `log`).

    `coefficients` has the shape (positions,), or (classes, positions); `intercept` (1,), or (classes,).
    """

    kind = "spark_linear"

    def __init__(
        self,
        encoding: VectorEncoding,
        problem: Problem,
        coefficients: np.ndarray,
        intercept: float | np.ndarray,
        *,
        link: LinearLink = "log_odds",
    ) -> None:
        super().__init__(encoding, problem)
        self.coefficients, self.intercept, self.link = coefficients, np.atleast_1d(intercept).astype(float), link

    def predicted(self, vectors: np.ndarray) -> np.ndarray:
        return INVERSE[self.link](vectors @ self.coefficients.T + self.intercept)

    def weights(self) -> np.ndarray:
        return np.abs(np.atleast_2d(self.coefficients)).sum(axis=0)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"coefficients": self.coefficients, "intercept": self.intercept}

    def settings(self) -> dict[str, Any]:
        # Models of release 0.1 do not name their link; their digests stay the same.
        return {} if self.link == "log_odds" else {"link": self.link}


@dataclass(frozen=True, kw_only=True)
class Trees:
    """Decision trees in flat arrays, one tree after the other, one entry per node.

    A node with `feature` -1 is a leaf; `value` has the shape (nodes,), or (nodes, classes). A row goes to `left` if its
    number is at most `threshold` or, at a node with `subset` 0 or more, if that row of `subsets` (splits, codes) is
    true at the row's code. `roots` are the trees' first nodes; each tree's value is multiplied by `scale`.
    """

    roots: np.ndarray
    scale: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    subset: np.ndarray
    subsets: np.ndarray

    def sum(self, vectors: np.ndarray) -> np.ndarray:
        """The scaled values of all trees, added up for each row: shape (rows,), or (rows, classes)."""
        total = np.zeros((len(vectors), *self.value.shape[1:]))
        for root, scale in zip(self.roots, self.scale, strict=True):
            total += scale * self.value[self._leaves(vectors, root)]
        return total

    def _leaves(self, vectors: np.ndarray, root: int) -> np.ndarray:
        nodes = np.full(len(vectors), root)
        moving = np.flatnonzero(self.feature[nodes] >= 0)
        while len(moving):
            at = nodes[moving]
            numbers = vectors[moving, self.feature[at]]
            goes_left = numbers <= self.threshold[at]
            by_code = self.subset[at] >= 0
            if by_code.any():
                goes_left[by_code] = self.subsets[self.subset[at[by_code]], numbers[by_code].astype(np.intp)]
            nodes[moving] = np.where(goes_left, self.left[at], self.right[at])
            moving = moving[self.feature[nodes[moving]] >= 0]
        return nodes


class TreesModel(_VectorModel):
    """A random forest or boosted trees.

    A forest predicts the trees' mean (`share`: of probabilities; `mean`: of numbers), boosted trees their sum (`sum`),
    which may be half the log-odds (`log_odds`).
    """

    kind = "spark_trees"

    def __init__(
        self, encoding: VectorEncoding, problem: Problem, trees: Trees, *, link: TreesLink, decreases: np.ndarray
    ) -> None:
        super().__init__(encoding, problem)
        self.trees, self.link, self.decreases = trees, link, decreases

    def predicted(self, vectors: np.ndarray) -> np.ndarray:
        total = self.trees.sum(vectors)
        if self.link == "sum":
            return total
        # Friedman (1999), "Greedy Function Approximation", section 4.5: the sum is half the log-odds.
        return logistic(2 * total) if self.link == "log_odds" else total / len(self.trees.roots)

    def weights(self) -> np.ndarray:
        return self.decreases

    def arrays(self) -> dict[str, np.ndarray]:
        return {field.name: getattr(self.trees, field.name) for field in fields(Trees)} | {"decreases": self.decreases}

    def settings(self) -> dict[str, Any]:
        return {"link": self.link}


KINDS = (LinearModel.kind, TreesModel.kind)


def logistic(margin: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-margin)) without overflow: on both sides only the smaller exponential is computed."""
    small = np.exp(-np.abs(margin))
    return np.where(margin >= 0, 1.0, small) / (1.0 + small)


def softmax(margins: np.ndarray) -> np.ndarray:
    """The shares of exp(margins) in each row, without overflow: the largest exponential is 1."""
    raised = np.exp(margins - margins.max(axis=1, keepdims=True))
    shares: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return shares


INVERSE: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "log_odds": logistic,
    "softmax": softmax,
    "identity": np.asarray,
    "log": np.exp,
}
"""What turns the sum of a linear model into its predictions, by link."""


def load(folder: Path, description: Mapping[str, Any]) -> LinearModel | TreesModel:
    """The model that `save` stored in the same folder as this description."""
    encoding, problem = VectorEncoding(**description["encoding"]), problem_of(description)
    with np.load(folder / ARRAYS, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    if description["kind"] == LinearModel.kind:
        link = description.get("link", "log_odds")
        return LinearModel(encoding, problem, arrays["coefficients"], arrays["intercept"], link=link)
    decreases = arrays.pop("decreases")
    return TreesModel(encoding, problem, Trees(**arrays), link=description["link"], decreases=decreases)
