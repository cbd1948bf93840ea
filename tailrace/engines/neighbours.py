"""Nearest neighbours that do not depend on the other rows of a batch.

scikit-learn's "brute" search takes Euclidean distances between dense rows from a product of matrices. Their last digits
differ with the number of rows in the batch, so equally distant neighbours change places, and a score with them. Trees,
other metrics such as "manhattan", and sparse rows have no such product.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

PRODUCTS = frozenset({"euclidean", "sqeuclidean", "nan_euclidean", "cosine", "correlation"})
"""Metrics that are computed by a product of matrices; with other metrics, "brute" measures each pair of rows alone."""

PACKAGES = ("sklearn.neighbors.", "sklearn.manifold.")


def use_trees(pipeline: Any, inputs: Any, labels: Any) -> None:
    """Set "ball_tree" where an estimator, at any depth, chooses how to search dense rows by Euclidean distance.

    With "auto" it would choose "brute" for more than 15 columns. Sparse rows can only be searched by "brute".
    """
    from scipy.sparse import issparse
    from sklearn.base import clone

    columns, estimator = pipeline[0], pipeline[-1]
    chosen = list(_left_to_choose(estimator))
    if chosen and not issparse(clone(columns).fit_transform(inputs, labels)):
        estimator.set_params(**dict.fromkeys(chosen, "ball_tree"))


def refuse_dependent_rows(pipeline: Any) -> None:
    """Raises ValueError if a part of the fitted pipeline searches neighbours by a product of matrices."""
    for part in _parts(pipeline, set()):
        if _multiplies(part):
            raise ValueError(
                f"{type(part).__name__} searches neighbours by algorithm='brute' with metric={part.metric!r}, so that "
                "a row's score would depend on the other rows of its batch; set algorithm='ball_tree', or another "
                "metric, such as 'manhattan' (LabelPropagation and LabelSpreading: kernel='rbf')"
            )


def _left_to_choose(estimator: Any) -> Iterator[str]:
    """The paths of the parameters by which an estimator, or one inside it, searches neighbours as it likes."""
    given = estimator.get_params(deep=True)
    for path, value in given.items():
        outer, _, name = path.rpartition("__")
        owner = given.get(outer) if outer else estimator
        if name in ("algorithm", "neighbors_algorithm") and value == "auto" and _is_euclidean(owner):
            yield path


def _is_euclidean(owner: Any) -> bool:
    if not type(owner).__module__.startswith(PACKAGES):
        return False
    metric, power = (getattr(owner, name, default) for name, default in (("metric", "euclidean"), ("p", 2)))
    return isinstance(metric, str) and (metric == "euclidean" or (metric == "minkowski" and power == 2))


def _multiplies(part: Any) -> bool:
    from scipy.sparse import issparse

    brute = getattr(part, "_fit_method", None) == "brute"
    return brute and not issparse(part._fit_X) and part.effective_metric_ in PRODUCTS


def _parts(value: Any, seen: set[int]) -> Iterator[Any]:
    """Every object of scikit-learn's in a fitted one, at any depth."""
    if id(value) in seen:
        return
    seen.add(id(value))
    inside: Iterable[Any] = ()
    if isinstance(value, dict):
        inside = value.values()
    elif isinstance(value, list | tuple):
        inside = value
    elif getattr(type(value), "__module__", "").startswith("sklearn.") and not inspect.isclass(value):
        yield value
        inside = getattr(value, "__dict__", {}).values()
    for each in inside:
        yield from _parts(each, seen)
