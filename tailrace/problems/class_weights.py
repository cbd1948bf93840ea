"""Weights of classes: how much a row counts by its label, the same for every estimator."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tailrace.errors import did_you_mean

if TYPE_CHECKING:
    import numpy as np

BALANCED = "balanced"
WHERE = "outcome.problem.class_weight"

ClassWeight = Mapping[Any, float] | str
"""The weight of each class, or "balanced": the classes have equal weights in sum."""


def as_given(class_weight: Any) -> Any:
    """A description's pairs of class and weight as a mapping; everything else as it is."""
    if not (isinstance(class_weight, list | tuple) and all(isinstance(it, list | tuple) for it in class_weight)):
        return class_weight
    try:
        return dict(class_weight)
    except (TypeError, ValueError):  # not pairs, or none that a dict can have: the check of types says so
        return class_weight


def in_description(description: dict[str, Any]) -> dict[str, Any]:
    """A problem's description with weights by class as pairs: in JSON, a mapping has texts as keys only."""
    given = description.get("class_weight")
    return {**description, "class_weight": [*given.items()]} if isinstance(given, Mapping) else description


def problems(class_weight: ClassWeight | None, classes: Sequence[Any]) -> Iterator[str]:
    """A sentence for each thing that is wrong."""
    if class_weight is None:
        return
    if isinstance(class_weight, str):
        if class_weight != BALANCED:
            nearest = did_you_mean(class_weight, [BALANCED])
            yield f"{WHERE} is {class_weight!r}; it must be {BALANCED!r}, or a dict with each class's weight.{nearest}"
        return
    for name in class_weight:
        if name not in classes:
            nearest = did_you_mean(str(name), [str(each) for each in classes])
            yield f"{WHERE} has {name!r}, which is no class; the classes are {_listed(classes)}.{nearest}"
    if missing := [name for name in classes if name not in class_weight]:
        yield f"{WHERE} has no weight for {_listed(missing)}; give every class one (1.0 changes nothing)."
    for name, weight in class_weight.items():
        if not (weight > 0 and math.isfinite(weight)):
            yield f"{WHERE}[{name!r}] is {weight}; a weight is a finite number above 0."


def row_weights(
    class_weight: ClassWeight | None, classes: Sequence[Any], codes: np.ndarray, weights: np.ndarray | None
) -> np.ndarray | None:
    """The weight of each row: its class's one times its own. `codes` are the places of the rows' classes in `classes`.

    Balanced weights give each class the same sum, and all rows together the sum that they had:
    sum / (number of classes * sum of the class), as scikit-learn does it.
    """
    import numpy as np

    if class_weight is None:
        return weights
    own = np.ones(len(codes)) if weights is None else weights
    if isinstance(class_weight, str):
        sums = np.bincount(codes, weights=own, minlength=len(classes))
        of_class = np.divide(sums.sum(), len(classes) * sums, out=np.zeros(len(classes)), where=sums > 0)
    else:
        of_class = np.array([class_weight[name] for name in classes], dtype=float)
    found: np.ndarray = own * of_class[codes]
    return found


def cautions(class_weight: ClassWeight | None) -> tuple[str, ...]:
    """What a reader of the probabilities must know."""
    if class_weight is None:
        return ()
    return (
        "It learned with weights of classes, so its probabilities are shifted: they rank the rows, and are not the "
        "shares in which the labels come.",
    )


def _listed(classes: Sequence[Any]) -> str:
    return ", ".join(map(repr, classes))
