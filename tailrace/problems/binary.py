"""Yes or no: the probability that a label is true, and a decision by a threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tailrace.errors import did_you_mean
from tailrace.problems import calibrations, class_weights
from tailrace.problems.base import (
    SCORE,
    Adjustment,
    Bin,
    LabelKind,
    Problem,
    Publication,
    WrongLabels,
    no_probabilities,
    not_among,
)

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@dataclass(frozen=True, repr=False)
class Binary(Problem):
    """A boolean label; predictions are probabilities of true, shape (rows,)."""

    class_weight: Mapping[bool, float] | str | None = None
    """`"balanced"`, or the weights of both classes, such as `{True: 5.0, False: 1.0}`: how much a row counts while
    models learn and trials are compared. It shifts the probabilities towards the class with the larger weight; the
    holdout shows by how much, and a calibration repairs it. None: all rows count the same."""
    calibration: Literal["sigmoid", "isotonic"] | None = None
    """`"sigmoid"`, or `"isotonic"` (for a thousand comparison rows or more): the model is fitted on the first 80 % of
    the training rows, its probabilities are compared with the labels of the later 20 %, and it is fitted again on all
    rows. None: probabilities stay as the model gives them."""

    kind: ClassVar[str] = "binary"
    estimators: ClassVar[str] = "classifier"
    uses_threshold: ClassVar[bool] = True
    distribution: ClassVar[str] = "bernoulli"
    spark_estimators: ClassVar[tuple[str, ...]] = (
        "xgboost.spark.SparkXGBClassifier",
        "pyspark.ml.classification.LogisticRegression",
        "pyspark.ml.classification.RandomForestClassifier",
        "pyspark.ml.classification.GBTClassifier",
    )
    xgboost_objectives: ClassVar[tuple[str, ...]] = ("binary:logistic",)
    search_metric: ClassVar[str] = "log_loss"
    gate_metric: ClassVar[str] = "roc_auc"
    baselines: ClassVar[tuple[str, ...]] = ("prior", "most_frequent")
    pictures: ClassVar[tuple[str, ...]] = ("roc", "precision_recall", "calibration")
    label_rule: ClassVar[str] = "a label is a boolean, or 0 or 1 as an integer, and null while the outcome is unknown"
    slice_heading: ClassVar[str] = "Positives"
    calibration_words: ClassVar[tuple[str, str, str, str]] = (
        "The share of true labels, by score: the closer to the mean score, the better.",
        "Score",
        "mean score",
        "true share",
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_weight", class_weights.as_given(self.class_weight))

    def problems(self) -> Iterator[str]:
        yield from class_weights.problems(self.class_weight, (True, False))
        known = tuple(calibrations.CALIBRATIONS)
        if self.calibration is not None and self.calibration not in known:
            nearest = did_you_mean(self.calibration, known)
            yield (
                f"outcome.problem.calibration is {self.calibration!r}; it must be one of {', '.join(known)}, or None."
                f"{nearest}"
            )

    def described(self) -> dict[str, Any]:
        return class_weights.in_description(super().described())

    @property
    def weighs_classes(self) -> bool:
        return self.class_weight is not None

    def row_weights(self, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray | None:
        return class_weights.row_weights(self.class_weight, (False, True), labels.astype(int), weights)

    @property
    def unadjusted(self) -> Binary:
        return replace(self, calibration=None)

    @property
    def one_machine_for(self) -> tuple[str, ...]:
        return () if self.class_weight is None else ("class_weight",)

    def adjustment(self, labels: np.ndarray, predictions: np.ndarray) -> Adjustment:
        return calibrations.CALIBRATIONS[self.calibration or "sigmoid"].learned(labels, predictions)

    def adjustment_of(self, description: Mapping[str, Any]) -> Adjustment:
        return calibrations.stored(self.calibration or "sigmoid", description)

    @property
    def cautions(self) -> tuple[str, ...]:
        return class_weights.cautions(self.class_weight) if self.calibration is None else ()

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("roc_auc", "pr_auc", "log_loss", "brier")

    def wrong_rule_value(self, value: Any) -> str:
        if isinstance(value, bool) or (isinstance(value, int | float) and 0 <= value <= 1):
            return ""
        return "a prediction is a probability, between 0 and 1"

    def of_rule(self, values: np.ndarray) -> np.ndarray:
        return values.clip(0, 1)

    def published_names(self, columns: Publication) -> list[tuple[str, str]]:
        return [("predictions.score", columns.score), ("predictions.decision", columns.decision)]

    @property
    def label_kind(self) -> LabelKind:
        return "flag"

    def wrong_labels(self, column: pa.ChunkedArray) -> WrongLabels | None:
        import pyarrow as pa

        if pa.types.is_boolean(column.type):
            return None
        if not pa.types.is_integer(column.type):
            return WrongLabels(str(column.type))
        return not_among(column, (0, 1))

    def encoded(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        import pyarrow as pa

        # Only here do 0 and 1 become false and true.
        return column.cast(pa.bool_())

    @property
    def label_values(self) -> tuple[bool, ...]:
        return (True, False)

    def unlearnable(self, seen: Sequence[Any]) -> str:
        return "" if len(seen) > 1 else "have only one class"

    def made_up_labels(self, rows: int) -> np.ndarray:
        import numpy as np

        return np.arange(rows) % 3 == 0

    @property
    def raw_columns(self) -> tuple[str, ...]:
        return (SCORE,)

    def of_estimator(self, estimator: Any, rows: Any) -> np.ndarray:
        positive = list(estimator.classes_).index(True)
        probabilities: np.ndarray = estimator.predict_proba(rows)[:, positive]
        return probabilities

    def lacks(self, estimator: Any) -> str:
        return no_probabilities(estimator)

    def published_types(self, columns: Publication) -> tuple[pa.DataType, ...]:
        import pyarrow as pa

        return (pa.float64(), pa.bool_())

    def published(self, columns: Publication, raw: pa.RecordBatch) -> list[pa.Array]:
        import pyarrow.compute as pc

        scores = raw.column(SCORE)
        return [scores, pc.greater_equal(scores, columns.threshold)]

    def needed_columns(self, columns: Publication) -> list[str]:
        return [columns.score]

    def of_published(self, columns: Publication, rows: pa.Table) -> np.ndarray:
        scores: np.ndarray = rows[columns.score].to_numpy()
        return scores

    def output_words(self, columns: Publication, label: str) -> dict[str, tuple[str, str]]:
        return {
            columns.score: ("double", f"probability that {label}"),
            columns.decision: ("boolean", f"the probability is {columns.threshold:g} or more"),
        }

    def publication_problems(self, columns: Publication) -> Iterator[str]:
        if not 0 <= columns.threshold <= 1:
            yield f"predictions.threshold is {columns.threshold}; it must be between 0 and 1."

    def scores(self, predictions: np.ndarray) -> np.ndarray:
        return predictions

    def value(self, metric: str, labels: np.ndarray, predictions: np.ndarray) -> float:
        from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

        from tailrace.problems.probabilities import clipped

        if metric in ("roc_auc", "pr_auc"):
            ranking = {"roc_auc": roc_auc_score, "pr_auc": average_precision_score}[metric]
            return float(ranking(labels, predictions)) if 0 < labels.sum() < len(labels) else math.nan
        if metric == "log_loss":
            return float(log_loss(labels, clipped(predictions), labels=[False, True]))
        return float(brier_score_loss(labels, clipped(predictions)))

    def weighted(self, metric: str, labels: np.ndarray, predictions: np.ndarray) -> Callable[[np.ndarray], float]:
        from tailrace.problems import probabilities

        if metric == "roc_auc":
            return probabilities.roc_area(labels, predictions)
        if metric == "pr_auc":
            return probabilities.average_precision(labels, predictions)
        return probabilities.averaged(_losses(labels, predictions)[metric])

    def figures(self, labels: np.ndarray, predictions: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
        from tailrace.problems import probabilities

        return self.measure(labels, predictions) | {
            f"accuracy (decisions at threshold {threshold:g})": float((labels == (predictions >= threshold)).mean()),
            "calibration_error": probabilities.calibration_error(labels, predictions),
            "positive_rate": float(labels.mean()),
            "rows": float(len(labels)),
        }

    def calibration_bins(self, labels: np.ndarray, predictions: np.ndarray) -> list[Bin]:
        from tailrace.problems import probabilities

        return probabilities.probability_bins(labels, predictions)

    def baseline(self, name: str, learned: np.ndarray, rows: pa.Table) -> np.ndarray:
        import numpy as np

        share = float(learned.mean())
        return np.full(rows.num_rows, share if name == "prior" else float(share >= 0.5))

    def tally(self, labels: np.ndarray, predictions: np.ndarray) -> dict[str, np.ndarray]:
        import numpy as np

        from tailrace.problems import probabilities

        return {
            "group": probabilities.buckets(predictions),
            "rows": np.ones(len(labels), dtype=np.int64),
            "positive": labels.astype(np.int64),
            **_losses(labels, predictions),
        }

    def of_tally(self, added: pa.Table) -> dict[str, float]:
        from tailrace.problems import probabilities

        bucket, positive, rows = (added[name].to_numpy() for name in ("group", "positive", "rows"))
        roc_auc, pr_auc = probabilities.ranking_of_counts(bucket, positive, rows)
        total = int(rows.sum())
        return {
            "roc_auc": roc_auc,
            "pr_auc": pr_auc,
            # Rounded, because a cluster adds its partial sums in random order.
            **{name: round(math.fsum(added[name].to_pylist()) / total, 12) for name in ("log_loss", "brier")},
        }

    def mean_label(self, labels: np.ndarray) -> float | None:
        return float(labels.mean()) if len(labels) else None

    def known_words(self, mean_label: float | None, mean_score: float | None) -> str:
        if mean_label is None:
            return ""
        mean = "–" if mean_score is None else f"{100 * mean_score:.1f}"
        return f"{100 * mean_label:.1f}% of them true; the mean score was {mean}%"

    def slice_words(self, labels: np.ndarray) -> str:
        return f"{int(labels.sum()):,}"

    def label_words(self, label: Any) -> str:
        return "true" if label else "false"


def _losses(labels: np.ndarray, predictions: np.ndarray) -> dict[str, np.ndarray]:
    """What each row adds to log loss and Brier score."""
    import numpy as np

    from tailrace.problems.probabilities import clipped

    inside, truth = clipped(predictions), labels.astype(float)
    return {
        "log_loss": -(truth * np.log(inside) + (1 - truth) * np.log1p(-inside)),
        "brier": (inside - truth) ** 2,
    }
