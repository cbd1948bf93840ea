"""How well each column alone predicts a label, measured on rows that were not learned from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tailrace.problems import Problem
from tailrace.problems.metrics import METRICS, Metric
from tailrace.profiling.columns import contents_of, numbers, plain

MOST_ROWS, MOST_ROWS_OF_WIDE = 6_000, 2_000
"""More rows say little more about one column, and each column takes longer."""
WIDE = 200
"""From so many columns on, a table is wide."""
FEWEST_ROWS = 30
FOLDS = 3
LEAVES, LEAF_ROWS = 32, 5
ALMOST = 0.98
"""From this share of the way from chance to perfect on, a column predicts the label nearly perfectly."""


class Association(NamedTuple):
    """How well a column alone predicts the label: a metric's value, and its share of the way from chance to perfect."""

    column: str
    metric: str
    value: float
    strength: float


def metric_of(problem: Problem) -> Metric:
    """The problem's metric whose value is known for a model that has learned nothing."""
    return next(METRICS[name] for name in problem.metrics if METRICS[name].chance is not None)


def name_of(problem: Problem) -> str:
    """What the metric is called here: numbers are compared by their ranks, so that a few large ones do not decide."""
    return metric_of(problem).name + ("" if problem.label_values else " of ranks")


def associations(
    rows: pa.Table,
    label: str,
    problem: Problem,
    *,
    names: Sequence[str],
    progress: Callable[[str], None] = lambda name: None,
) -> Mapping[str, Association]:
    """The association of each column with the label; without those on which too few rows are known.

    A decision tree learns the label from the one column, and predicts the rows that it has not seen: it finds any
    relation, also in the values that are missing. The same rows give the same numbers.
    """
    encoded = problem.encoded(plain(rows[label]))
    rows, encoded = rows.filter(pc.is_valid(encoded)), encoded.drop_null()
    most = MOST_ROWS if len(names) < WIDE else MOST_ROWS_OF_WIDE
    chosen = _chosen(encoded.to_numpy(), problem, most)
    labels = _comparable(encoded.take(chosen).to_numpy(), problem)
    seen, counts = np.unique(labels, return_counts=True)
    if len(labels) < FEWEST_ROWS or problem.unlearnable(seen.tolist()):
        return {}
    if problem.estimators == "classifier" and counts.min() < FOLDS:
        return {}
    found = {}
    for name in names:
        column = plain(rows[name]).take(chosen)
        if contents_of(column.type) != "other" and column.null_count < len(column):
            found[name] = _association(name, column, labels, problem)
        progress(name)
    return found


def _chosen(labels: np.ndarray, problem: Problem, most: int) -> pa.Array:
    """The positions of at most `most` rows, in random order; of a rare class more than its share.

    The area under the ROC curve does not depend on how many rows each class has.
    """
    order = np.random.default_rng(0).permutation(len(labels))
    values = problem.label_values
    if values is None:
        return pa.array(order[:most])
    of_class = [order[labels[order] == value][: max(FOLDS, most // len(values))] for value in values]
    found = np.concatenate(of_class)
    return pa.array(found[np.random.default_rng(1).permutation(len(found))])


def _comparable(labels: np.ndarray, problem: Problem) -> np.ndarray:
    """The labels, or if they are numbers their ranks between 0 and 1."""
    from scipy.stats import rankdata

    return labels if problem.label_values else rankdata(labels) / len(labels)


def _association(name: str, column: pa.ChunkedArray, labels: np.ndarray, problem: Problem) -> Association:
    metric = metric_of(problem)
    predicted = _predicted(column, labels, problem)
    value = float(problem.value(metric.name, labels, predicted))
    chance = float(metric.chance or 0.0)
    return Association(
        name, name_of(problem), value, float(np.clip((value - chance) / (metric.bounds[1] - chance), 0, 1))
    )


def _predicted(column: pa.ChunkedArray, labels: np.ndarray, problem: Problem) -> np.ndarray:
    from sklearn.model_selection import KFold, StratifiedKFold

    values, is_text = _values(column), contents_of(column.type) == "text"
    folds = StratifiedKFold if problem.estimators == "classifier" else KFold
    found: np.ndarray | None = None
    for learned, unseen in folds(FOLDS).split(values, labels):
        encoder = _encoder(problem).fit(values[learned], labels[learned]) if is_text else None
        known, others = (encoder.transform(values[rows]) if encoder else values[rows] for rows in (learned, unseen))
        part = problem.of_estimator(_tree(problem).fit(known, labels[learned]), others)
        found = np.zeros((len(labels), *part.shape[1:])) if found is None else found
        found[unseen] = part
    assert found is not None  # noqa: S101 - there are folds
    return problem.bounded(found)


def _values(column: pa.ChunkedArray) -> np.ndarray:
    if contents_of(column.type) != "text":
        values: np.ndarray = numbers(column).to_numpy()
        return np.clip(values, -1e30, 1e30).reshape(-1, 1)
    # Texts are told apart by their first letters: what follows says no more about one text among thousands.
    texts = pc.fill_null(pc.utf8_slice_codeunits(column, 0, 200), "\0missing").to_numpy()
    return np.asarray(texts, dtype=object).reshape(-1, 1)


def _encoder(problem: Problem) -> Any:
    """Texts as the mean label of the rows with the same text."""
    from sklearn.preprocessing import TargetEncoder

    return TargetEncoder(target_type="auto" if problem.estimators == "classifier" else "continuous")


def _tree(problem: Problem) -> Any:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeClassifier if problem.estimators == "classifier" else DecisionTreeRegressor
    return kind(max_leaf_nodes=LEAVES, min_samples_leaf=LEAF_ROWS, random_state=0)
