"""Which class: a probability for each class, and the most probable one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tailrace.problems import class_weights
from tailrace.problems.base import (
    Bin,
    LabelKind,
    Problem,
    Publication,
    WrongLabels,
    as_int64,
    no_probabilities,
    not_among,
    unused_threshold,
)

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

LARGEST_CLASS = 2**63 - 1
"""Published classes are int64."""
CLASS_NAME = re.compile(r"[A-Za-z0-9_]+")
"""Classes are parts of column names."""

WHOLE = r"^([0-9]+)\.0+$"
"""A whole number as databases write it in other types."""

SPARK_XGBOOST = "xgboost.spark.SparkXGBClassifier"
SPARK_LOGISTIC = "pyspark.ml.classification.LogisticRegression"


@dataclass(frozen=True, repr=False)
class Multiclass(Problem):
    """A label that is one of `classes`: texts, or whole numbers.

    Inside, a label is the position of its class (int32). Predictions have the shape (rows, classes), in this order.
    """

    classes: tuple[str, ...] | tuple[int, ...]
    """All values that a label may have: two or more."""
    class_weight: Mapping[Any, float] | str | None = None
    """`"balanced"`, or the weight of every class, such as `{"negative": 2.0, "neutral": 1.0, "positive": 1.0}`: how
    much a row counts while models learn and trials are compared. It shifts the probabilities towards the classes with
    larger weights. None: all rows count the same."""

    kind: ClassVar[str] = "multiclass"
    estimators: ClassVar[str] = "classifier"
    policy_fields: ClassVar[tuple[str, ...]] = ("classes",)
    distribution: ClassVar[str] = "categorical"
    xgboost_objectives: ClassVar[tuple[str, ...]] = ("multi:softprob",)
    search_metric: ClassVar[str] = "log_loss"
    gate_metric: ClassVar[str] = "macro_f1"
    baselines: ClassVar[tuple[str, ...]] = ("prior", "most_frequent")
    pictures: ClassVar[tuple[str, ...]] = ("confusion", "per_class", "calibration")
    label_rule: ClassVar[str] = "a label is one of outcome.problem.classes, and null while the outcome is unknown"
    slice_heading: ClassVar[str] = "Largest class"
    calibration_words: ClassVar[tuple[str, str, str, str]] = (
        "How often the predicted class is right, by its probability: the closer to the mean probability, the better.",
        "Probability of the predicted class",
        "mean probability",
        "share right",
    )

    @property
    def spark_estimators(self) -> tuple[str, ...]:  # type: ignore[override]
        boosted = (SPARK_XGBOOST,) if len(self.classes) > 2 else ()
        return (*boosted, SPARK_LOGISTIC, "pyspark.ml.classification.RandomForestClassifier")

    @property
    def spark_lacks(self) -> Mapping[str, str]:
        two_only = f"tells two classes apart, and outcome.problem.classes has {len(self.classes)}"
        learns_a_flag = "learns two classes as yes or no; say outcome.problem = Binary(), with a boolean label"
        return {
            "pyspark.ml.classification.GBTClassifier": two_only if len(self.classes) > 2 else learns_a_flag,
            SPARK_XGBOOST: learns_a_flag,
        }

    def spark_settings(self, estimator: str) -> dict[str, Any]:
        # By default, Spark fits two classes as yes or no.
        return {"family": "multinomial"} if estimator == SPARK_LOGISTIC else {}

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("log_loss", "macro_f1", "accuracy", "roc_auc_ovr")

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_weight", class_weights.as_given(self.class_weight))

    def described(self) -> dict[str, Any]:
        return class_weights.in_description(super().described())

    @property
    def weighs_classes(self) -> bool:
        return self.class_weight is not None

    def row_weights(self, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray | None:
        return class_weights.row_weights(self.class_weight, self.classes, labels, weights)

    @property
    def one_machine_for(self) -> tuple[str, ...]:
        return () if self.class_weight is None else ("class_weight",)

    @property
    def cautions(self) -> tuple[str, ...]:
        return class_weights.cautions(self.class_weight)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes as texts."""
        return tuple(str(each) for each in self.classes)

    def problems(self) -> Iterator[str]:
        if len(self.classes) < 2:
            yield f"outcome.problem.classes is {self.classes!r}; at least 2 classes are needed."
        if len({type(each) for each in self.classes}) > 1:
            yield f"outcome.problem.classes is {self.classes!r}; classes are all texts or all whole numbers."
        lower = [name.lower() for name in self.names]
        for name in sorted({name for name in lower if lower.count(name) > 1}):
            same = [each for each in self.classes if str(each).lower() == name]
            yield (
                f"outcome.problem.classes has {' and '.join(map(repr, same))}; each class needs a column of its own, "
                "and databases take no notice of capitals."
            )
        for name in self.names:
            if not CLASS_NAME.fullmatch(name):
                yield (
                    f"outcome.problem.classes has {name!r}; a class is part of a column's name, so it has only "
                    "letters, digits and underscores. Rename it in dbt and here."
                )
        for each in self.classes:
            if isinstance(each, int) and each > LARGEST_CLASS:
                yield (
                    f"outcome.problem.classes has {each}; a class is at most {LARGEST_CLASS}, the largest number of "
                    "int64. Make the classes texts in dbt and here."
                )
        yield from class_weights.problems(self.class_weight, self.classes)

    def publication_problems(self, columns: Publication) -> Iterator[str]:
        yield from unused_threshold(columns, "the predicted class is the most probable one")

    def published_names(self, columns: Publication) -> list[tuple[str, str]]:
        of_class = [(f"predictions.score with the class {name!r}", f"{columns.score}_{name}") for name in self.names]
        return [("predictions.score", columns.score), ("predictions.decision", columns.decision), *of_class]

    @property
    def label_kind(self) -> LabelKind:
        return "text" if all(isinstance(each, str) for each in self.classes) else "number"

    def wrong_labels(self, column: pa.ChunkedArray) -> WrongLabels | None:
        import pyarrow as pa

        column = _plain(column)
        texts = all(isinstance(each, str) for each in self.classes)
        if not (pa.types.is_string(column.type) if texts else pa.types.is_integer(column.type)):
            return WrongLabels(str(column.type))
        return not_among(column, self.classes)

    def encoded(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        import pyarrow as pa
        import pyarrow.compute as pc

        column = as_int64(_plain(column))
        return pc.index_in(column, value_set=pa.array(self.classes, column.type))

    @property
    def label_values(self) -> tuple[int, ...]:
        return tuple(range(len(self.classes)))

    def unlearnable(self, seen: Sequence[Any]) -> str:
        absent = [name for code, name in enumerate(self.names) if code not in {int(each) for each in seen}]
        return f"never have the class {' nor '.join(map(repr, absent))}" if absent else ""

    def made_up_labels(self, rows: int) -> np.ndarray:
        import numpy as np

        return (np.arange(rows) % len(self.classes)).astype(np.int32)

    @property
    def raw_columns(self) -> tuple[str, ...]:
        return self.names

    def answered_by(self, trained: Problem) -> bool:
        return super().answered_by(trained) and len(trained.raw_columns) == len(self.names)

    @property
    def rule_kinds(self) -> tuple[str, ...]:
        return ("categorical",) if self.label_kind == "text" else ("categorical", "numeric")

    @property
    def rule_type(self) -> pa.DataType:
        import pyarrow as pa

        return pa.string()

    def wrong_rule_value(self, value: Any) -> str:
        if value in self.classes and type(value) in {type(each) for each in self.classes}:
            return ""
        return f"a prediction is one of the classes {', '.join(map(repr, self.classes))}"

    def rule_values(self, column: pa.Array) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        # No class has a point, so the 2.0 of a floating-point number and the 2.00 of a decimal can only be the class 2.
        texts = pc.replace_substring_regex(column.cast(pa.string()), WHOLE, r"\1")
        return pc.index_in(texts, value_set=pa.array(map(str, self.classes), pa.string()))

    def of_rule(self, values: np.ndarray) -> np.ndarray:
        import numpy as np

        certain: np.ndarray = np.eye(len(self.classes))[values.astype(int)]
        return certain

    def of_estimator(self, estimator: Any, rows: Any) -> np.ndarray:
        import numpy as np

        found = np.asarray(estimator.predict_proba(rows), dtype=np.float64)
        probabilities = np.zeros((len(found), len(self.classes)))
        probabilities[:, [int(code) for code in estimator.classes_]] = found
        return probabilities

    def lacks(self, estimator: Any) -> str:
        return no_probabilities(estimator)

    def xgboost_settings(self) -> dict[str, Any]:
        return {"num_class": len(self.classes)}

    def xgboost_metric(self, metric: str) -> str:
        return "mlogloss" if metric == "log_loss" else super().xgboost_metric(metric)

    def published_types(self, columns: Publication) -> tuple[pa.DataType, ...]:
        import pyarrow as pa

        decision = pa.string() if all(isinstance(each, str) for each in self.classes) else pa.int64()
        return (pa.float64(), decision, *[pa.float64()] * len(self.classes))

    def published(self, columns: Publication, raw: pa.RecordBatch) -> list[pa.Array]:
        import numpy as np
        import pyarrow as pa

        of_class = [raw.column(name) for name in self.names]
        highest, best = of_class[0].to_numpy(zero_copy_only=False), np.zeros(raw.num_rows, dtype=np.int32)
        for code, column in enumerate(of_class[1:], start=1):
            values = column.to_numpy(zero_copy_only=False)
            better = values > highest
            highest, best = np.where(better, values, highest), np.where(better, np.int32(code), best)
        decisions = pa.array(self.classes, self.published_types(columns)[1]).take(pa.array(best))
        return [pa.array(highest, pa.float64()), decisions, *of_class]

    def needed_columns(self, columns: Publication) -> list[str]:
        return [f"{columns.score}_{name}" for name in self.names]

    def of_published(self, columns: Publication, rows: pa.Table) -> np.ndarray:
        import numpy as np

        return np.column_stack([rows[name].to_numpy() for name in self.needed_columns(columns)])

    def output_words(self, columns: Publication, label: str) -> dict[str, tuple[str, str]]:
        kind = "text" if all(isinstance(each, str) for each in self.classes) else "whole number"
        return {
            columns.score: ("double", "probability of the predicted class"),
            columns.decision: (kind, f"the most probable class: {label}"),
            **{f"{columns.score}_{name}": ("double", f"probability of {name}") for name in self.names},
        }

    def drift_column(self, columns: Publication) -> str:
        return columns.decision

    def drift_values(self, column: pa.ChunkedArray) -> np.ndarray:
        return self.encoded(column).drop_null().to_numpy().astype(float)

    def drift_of(self, predictions: np.ndarray) -> np.ndarray:
        return predictions.argmax(axis=1).astype(float)

    @property
    def drift_classes(self) -> tuple[str | int, ...]:
        return self.classes

    @property
    def drift_range(self) -> tuple[float, float]:
        return (-0.5, len(self.classes) - 0.5)

    @property
    def drift_names(self) -> tuple[str, ...]:
        return self.names

    @property
    def drift_edges(self) -> tuple[float, ...]:
        return tuple(code - 0.5 for code in range(1, len(self.classes)))

    def scores(self, predictions: np.ndarray) -> np.ndarray:
        return predictions.max(axis=1)

    def value(self, metric: str, labels: np.ndarray, predictions: np.ndarray) -> float:
        from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

        codes = list(self.label_values)
        if metric == "log_loss":
            return float(log_loss(labels, _shares(predictions), labels=codes))
        if metric == "macro_f1":
            return float(f1_score(labels, predictions.argmax(axis=1), labels=codes, average="macro", zero_division=0.0))
        if metric == "accuracy":
            return float(accuracy_score(labels, predictions.argmax(axis=1)))
        if len({int(each) for each in labels}) < len(codes):
            return math.nan
        areas = [roc_auc_score(labels == code, predictions[:, code]) for code in codes]
        return float(sum(areas) / len(areas))

    def weighted(self, metric: str, labels: np.ndarray, predictions: np.ndarray) -> Callable[[np.ndarray], float]:
        import numpy as np

        from tailrace.problems import probabilities

        if metric == "log_loss":
            return probabilities.averaged(_losses(labels, predictions))
        best = predictions.argmax(axis=1)
        if metric == "accuracy":
            return probabilities.averaged((best == labels).astype(float))
        if metric == "macro_f1":
            count = len(self.classes)
            pairs = labels.astype(np.int64) * count + best
            return lambda weights: _macro_f1(
                np.bincount(pairs, weights=weights, minlength=count**2).reshape(count, count)
            )
        areas = [probabilities.roc_area(labels == code, predictions[:, code]) for code in self.label_values]
        return lambda weights: sum(area(weights) for area in areas) / len(areas)

    def calibration_bins(self, labels: np.ndarray, predictions: np.ndarray) -> list[Bin]:
        from tailrace.problems.probabilities import probability_bins

        return probability_bins(predictions.argmax(axis=1) == labels, predictions.max(axis=1))

    def baseline(self, name: str, learned: np.ndarray, rows: pa.Table) -> np.ndarray:
        import numpy as np

        shares = np.bincount(learned, minlength=len(self.classes)) / len(learned)
        if name == "most_frequent":
            shares = np.eye(len(shares))[shares.argmax()]
        return np.tile(shares, (rows.num_rows, 1))

    def tally(self, labels: np.ndarray, predictions: np.ndarray) -> dict[str, np.ndarray]:
        """A group is a class and a bin of its probability: each row is in one group of each class."""
        import numpy as np

        from tailrace.problems import probabilities

        best, losses = predictions.argmax(axis=1), _losses(labels, predictions)
        of_class = [
            {
                "group": code * (probabilities.BUCKETS + 1) + probabilities.buckets(predictions[:, code]),
                "rows": np.ones(len(labels), dtype=np.int64),
                "positive": (labels == code).astype(np.int64),
                "predicted": (best == code).astype(np.int64),
                "right": ((labels == code) & (best == code)).astype(np.int64),
                "log_loss": np.where(labels == code, losses, 0.0),
            }
            for code in self.label_values
        ]
        return {name: np.concatenate([each[name] for each in of_class]) for name in of_class[0]}

    def of_tally(self, added: pa.Table) -> dict[str, float]:
        import numpy as np

        from tailrace.problems import probabilities

        columns = {name: added[name].to_numpy() for name in added.column_names}
        code = columns["group"] // (probabilities.BUCKETS + 1)
        of_class = [{name: values[code == each] for name, values in columns.items()} for each in self.label_values]
        counts = ("positive", "predicted", "right")
        positive, predicted, right = (np.array([float(each[name].sum()) for each in of_class]) for name in counts)
        total = positive.sum()
        areas = [probabilities.ranking_of_counts(each["group"], each["positive"], each["rows"])[0] for each in of_class]
        return {
            # Rounded, because a cluster adds its partial sums in random order.
            "log_loss": round(math.fsum(columns["log_loss"].tolist()) / total, 12),
            "macro_f1": float(probabilities.f1_of_classes(right, predicted, positive).mean()),
            "accuracy": float(right.sum() / total),
            "roc_auc_ovr": float(sum(areas) / len(areas)),
        }

    def mean_label(self, labels: np.ndarray) -> float | None:
        return None

    def known_words(self, mean_label: float | None, mean_score: float | None) -> str:
        return "" if mean_score is None else f"the predicted classes' mean probability was {100 * mean_score:.1f}%"

    def slice_words(self, labels: np.ndarray) -> str:
        import numpy as np

        counts = np.bincount(labels, minlength=len(self.classes))
        return f"{self.names[counts.argmax()]} ({counts.max() / max(len(labels), 1):.0%})"

    def label_words(self, label: Any) -> str:
        return self.names[int(label)]


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    text = pa.types.is_dictionary(column.type) or pa.types.is_large_string(column.type)
    return column.cast(pa.string()) if text else column


def _shares(predictions: np.ndarray) -> np.ndarray:
    """Probabilities that are not 0 and add up to 1, as scikit-learn's log loss asks for."""
    from tailrace.problems.probabilities import clipped

    inside = clipped(predictions)
    shares: np.ndarray = inside / inside.sum(axis=1, keepdims=True)
    return shares


def _losses(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """What each row adds to the log loss."""
    import numpy as np

    losses: np.ndarray = -np.log(_shares(predictions)[np.arange(len(labels)), labels])
    return losses


def _macro_f1(confusion: np.ndarray) -> float:
    """From counts by label (rows) and predicted class (columns)."""
    from tailrace.problems.probabilities import f1_of_classes

    return float(f1_of_classes(confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)).mean())
