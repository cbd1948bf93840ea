"""The interface of a problem kind: all that depends on the kind of question that a pipeline asks.

A kind is imported wherever a spec is, for each parse of a DAG file, so this package imports NumPy and Arrow only where
numbers are computed. Labels and predictions are NumPy arrays with one entry for each row: predictions have the shape
(rows,) if the kind has one raw column, else (rows, columns).
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

from tailrace.errors import did_you_mean
from tailrace.problems.metrics import METRICS, Metric

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

LabelKind = Literal["flag", "text", "number"]

SCORE = "score"
"""The raw column of a kind that predicts one number."""


class Publication(Protocol):
    """What a spec says about the published columns."""

    @property
    def score(self) -> str: ...

    @property
    def decision(self) -> str: ...

    @property
    def threshold(self) -> float: ...


class Adjustment(Protocol):
    """What is made of an estimator's predictions, learned from rows that the estimator was not fitted on."""

    def applied(self, predictions: np.ndarray) -> np.ndarray:
        """The problem's predictions from those of an estimator, shape (rows,). Pure."""
        ...

    def described(self) -> dict[str, Any]:
        """Its numbers, in a form for JSON: `Problem.adjustment_of` reads it."""
        ...


class Bin(NamedTuple):
    """Rows whose prediction is in low..high: how many, their mean prediction, and what was observed on average."""

    low: float
    high: float
    rows: int
    predicted: float
    observed: float


class WrongLabels(NamedTuple):
    """What is wrong with a column of labels, and in which rows; `rows` is None if it is the column's type."""

    what: str
    rows: Any = None


@dataclass(frozen=True)
class Problem(ABC):
    """One kind of question. What differs between kinds is a method here; nothing asks which kind it is."""

    kind: ClassVar[str]
    estimators: ClassVar[str]
    """What scikit-learn calls estimators that answer it: classifier or regressor."""
    distribution: ClassVar[str]
    """How labels are distributed, given the features: bernoulli, categorical, gaussian or poisson.

    Libraries of boosted trees name their objectives and metrics by it.
    """
    spark_estimators: ClassVar[tuple[str, ...]]
    """The estimators that a cluster's executors can train together."""
    xgboost_objectives: ClassVar[tuple[str, ...]]
    """XGBoost's objectives that a candidate may choose from; the first one is the default unless the kind says more."""
    search_metric: ClassVar[str]
    gate_metric: ClassVar[str]
    baselines: ClassVar[tuple[str, ...]]
    """What a gate may demand that a model beats, by name."""
    pictures: ClassVar[tuple[str, ...]]
    """The pictures of the evaluation report that only this kind has, by their names in `reporting.pictures`."""
    label_rule: ClassVar[str]
    """Which labels are allowed, as the end of a sentence."""
    uses_threshold: ClassVar[bool] = False
    """Whether the spec's `predictions.threshold` decides anything."""
    policy_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that decide what is published of a model's output: they are recorded with each promotion."""
    slice_heading: ClassVar[str]
    """What `slice_words` tells about the labels of a slice."""
    calibration_words: ClassVar[tuple[str, str, str, str]]
    """A sentence on the table of `calibration_bins`, and its headings: bins, mean prediction, what was observed."""

    # What a spec may say

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """The metrics by which models can be compared."""

    @property
    def described_by(self) -> tuple[str, ...]:
        """Metrics that are measured too, and by which nothing is chosen."""
        return ()

    @property
    def search_metrics(self) -> tuple[str, ...]:
        """Those by which trials can be compared: trials have no adjustment."""
        return self.metrics

    def problems(self) -> Iterator[str]:
        """A sentence for each thing that is wrong with the problem's own fields."""
        yield from ()

    def publication_problems(self, columns: Publication) -> Iterator[str]:
        """A sentence for each thing that is wrong with what is said about the published columns."""
        yield from ()

    def baseline_problems(self, name: str, features: Mapping[str, str]) -> Iterator[str]:
        """A sentence if a gate cannot compare with this baseline; `features` maps columns to kinds."""
        if name not in self.baselines:
            yield (
                f"gate.beat is {name!r}; it must be one of {', '.join(self.baselines)}."
                f"{did_you_mean(name, self.baselines)}"
            )

    @abstractmethod
    def published_names(self, columns: Publication) -> list[tuple[str, str]]:
        """The published columns in their order: the part of the spec that names it, and the column's name."""

    def optional_columns(self, columns: Publication) -> list[str]:
        """Columns that a day is published with only if the policy of the day asks for them; else they are null."""
        return []

    def described(self) -> dict[str, Any]:
        """The kind and its fields, in a form for JSON: `problems.from_description` reads it.

        A field that has its default is left out, so that a new field changes no digest of a spec or model.
        """
        return {"kind": self.kind, **self._fields_in_use()}

    def _fields_in_use(self) -> dict[str, Any]:
        held = ((each, getattr(self, each.name)) for each in fields(self))
        return {each.name: value for each, value in held if value != each.default}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={it!r}' for name, it in self._fields_in_use().items())})"

    # Labels

    @property
    @abstractmethod
    def label_kind(self) -> LabelKind:
        """What a table's labels are, before they are encoded."""

    @abstractmethod
    def wrong_labels(self, column: pa.ChunkedArray) -> WrongLabels | None:
        """What is wrong with the labels of a table, if anything is; a null means that the outcome is unknown."""

    @abstractmethod
    def encoded(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Right labels in the one form in which models learn from them; null stays null."""

    @property
    def label_values(self) -> tuple[Any, ...] | None:
        """Every encoded label that there is; None if any number may be one."""
        return None

    @abstractmethod
    def unlearnable(self, seen: Sequence[Any]) -> str:
        """Why rows teach nothing whose encoded labels are only these, as the rest of a sentence; empty if they do."""

    @abstractmethod
    def made_up_labels(self, rows: int) -> np.ndarray:
        """Encoded labels for a dry run, of all values if there are only some."""

    @property
    def weighs_classes(self) -> bool:
        """Whether rows count by their class."""
        return False

    def row_weights(self, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray | None:
        """How much each row counts while models learn and trials are compared; `weights` are the rows' own.

        None if all count the same.
        """
        return weights

    # Adjustments of what an estimator predicts

    @property
    def unadjusted(self) -> Problem:
        """The question as estimators answer it, without what an adjustment adds; the same one if it adds nothing."""
        return self

    @property
    def one_machine_for(self) -> tuple[str, ...]:
        """The fields of the problem that no candidate of a cluster can do."""
        return ()

    def too_few(self, rows: int) -> str:
        """Why an adjustment cannot learn from so few rows, as the rest of a sentence; empty if it can."""
        return ""

    def adjustment(self, labels: np.ndarray, predictions: np.ndarray) -> Adjustment:
        """The adjustment that these rows teach, of which the estimator has not learned."""
        raise NotImplementedError(f"{type(self).__name__} adjusts no predictions")

    def adjustment_of(self, description: Mapping[str, Any]) -> Adjustment:
        """The adjustment that `Adjustment.described` described."""
        raise NotImplementedError(f"{type(self).__name__} adjusts no predictions")

    # Predictions

    @property
    @abstractmethod
    def raw_columns(self) -> tuple[str, ...]:
        """The columns that a model predicts, all float64."""

    def answered_by(self, trained: Problem) -> bool:
        """Whether a model that was trained for the other problem predicts what this one publishes."""
        return trained.kind == self.kind and set(self.raw_columns) <= set(trained.raw_columns)

    def comparable(self, trained: Problem) -> bool:
        """Whether this problem's metrics can measure a model that was trained for the other one."""
        return self.unadjusted.answered_by(trained.unadjusted)

    @abstractmethod
    def of_estimator(self, estimator: Any, rows: Any) -> np.ndarray:
        """The predictions of a fitted scikit-learn estimator for a data frame."""

    def bounded(self, predictions: np.ndarray) -> np.ndarray:
        """Predictions inside the problem's bounds, where an estimator may go beyond them."""
        return predictions

    def lacks(self, estimator: Any) -> str:
        """What an estimator of scikit-learn, or its class, lacks to answer the question, as the rest of a sentence."""
        return ""

    @property
    def spark_lacks(self) -> Mapping[str, str]:
        """What other estimators of a cluster lack to answer the question, as the rest of a sentence, by estimator."""
        return {}

    def spark_settings(self, estimator: str) -> dict[str, Any]:
        """Parameters that an estimator of Spark ML needs to answer the question."""
        return {}

    def xgboost_settings(self) -> dict[str, Any]:
        """Parameters that XGBoost needs besides its objective."""
        return {}

    def xgboost_metric(self, metric: str) -> str:
        """XGBoost's name for a metric, or for the nearest one that it has."""
        return METRICS[metric].xgboost

    @abstractmethod
    def published_types(self, columns: Publication) -> tuple[pa.DataType, ...]:
        """The Arrow types of the published columns."""

    @abstractmethod
    def published(self, columns: Publication, raw: pa.RecordBatch) -> list[pa.Array]:
        """The published columns of a batch of a model's predictions."""

    def needed_columns(self, columns: Publication) -> list[str]:
        """The published columns that `of_published` reads."""
        return [name for _, name in self.published_names(columns)]

    def columns_due(self, columns: Publication) -> list[str]:
        """Those without which a row counts as not predicted."""
        return self.needed_columns(columns)

    @abstractmethod
    def of_published(self, columns: Publication, rows: pa.Table) -> np.ndarray:
        """The predictions from their published columns."""

    def wrong_published(self, columns: Publication, rows: pa.Table) -> dict[str, int]:
        """How many published rows cannot be used, by what is wrong with them as the rest of a sentence."""
        import pyarrow.compute as pc

        infinite = [pc.is_inf(rows[name]).fill_null(False) for name in self.needed_columns(columns)]
        return {"are infinite": pc.sum(functools.reduce(pc.or_, infinite)).as_py() or 0}

    def decision_of(self, columns: Publication) -> str | None:
        """The published column that holds a decision, if the kind decides."""
        return columns.decision

    @abstractmethod
    def output_words(self, columns: Publication, label: str) -> dict[str, tuple[str, str]]:
        """The type and the meaning of each published column; `label` says what the label means."""

    # Rules: predictions that nothing has to learn

    @property
    def rule_kinds(self) -> tuple[str, ...]:
        """The kinds of feature columns whose values can be predictions as they are."""
        return ("numeric",)

    @property
    def rule_type(self) -> pa.DataType:
        """The type in which an expression gives its values."""
        import pyarrow as pa

        return pa.float64()

    def wrong_rule_value(self, value: Any) -> str:
        """Why a rule cannot predict this value, as the rest of a sentence; empty if it can."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if number else "a prediction is a number"

    def rule_values(self, column: pa.Array) -> pa.Array:
        """The values of a rule as numbers that `of_rule` reads; null where they are missing or cannot be predicted."""
        import pyarrow as pa
        import pyarrow.compute as pc

        numbers = column.cast(pa.float64(), safe=False)
        return pc.if_else(pc.is_finite(numbers), numbers, pa.scalar(None, pa.float64()))

    def of_rule(self, values: np.ndarray) -> np.ndarray:
        """The predictions that these values stand for."""
        return values

    # Drift

    def drift_column(self, columns: Publication) -> str:
        """The published column by which predictions are said to have moved."""
        return columns.score

    def drift_values(self, column: pa.ChunkedArray) -> np.ndarray:
        """That column without nulls and NaN, as float64."""
        import pyarrow.compute as pc

        return column.filter(pc.invert(pc.is_null(column, nan_is_null=True))).to_numpy()

    def drift_of(self, predictions: np.ndarray) -> np.ndarray:
        """The same numbers from a model's predictions."""
        return self.scores(predictions)

    @property
    def drift_edges(self) -> tuple[float, ...]:
        """The edges of the bins for these numbers; empty: quantiles."""
        return ()

    @property
    def drift_classes(self) -> tuple[Any, ...]:
        """The classes that these numbers are the places of; empty if they are no classes."""
        return ()

    @property
    def drift_range(self) -> tuple[float, float] | None:
        """The lowest and the highest of these numbers that a picture shows; None: those of the rows."""
        return (0.0, 1.0)

    @property
    def drift_names(self) -> tuple[str, ...]:
        """What the numbers 0, 1, 2 ... stand for, if they stand for something."""
        return ()

    @abstractmethod
    def scores(self, predictions: np.ndarray) -> np.ndarray:
        """The number that is published as the score, shape (rows,)."""

    # Numbers about predictions

    @property
    def measured(self) -> tuple[Metric, ...]:
        """All metrics of this kind, in the order in which they are shown."""
        return tuple(METRICS[name] for name in (*self.metrics, *self.described_by))

    def measure(self, labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
        """Every metric of the predictions; NaN where these rows do not define it."""
        return {metric.name: self.value(metric.name, labels, predictions) for metric in self.measured}

    @abstractmethod
    def value(self, metric: str, labels: np.ndarray, predictions: np.ndarray) -> float:
        """One metric; NaN where these rows do not define it."""

    @abstractmethod
    def weighted(self, metric: str, labels: np.ndarray, predictions: np.ndarray) -> Callable[[np.ndarray], float]:
        """The metric as a function of the rows' weights; work that does not depend on them is done only once."""

    def figures(self, labels: np.ndarray, predictions: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
        """The metrics, and what else the evaluation report shows; `threshold` is that of the published decisions."""
        return self.measure(labels, predictions) | {"rows": float(len(labels))}

    @abstractmethod
    def calibration_bins(self, labels: np.ndarray, predictions: np.ndarray) -> list[Bin]:
        """Predictions against what was observed; the bins depend on the labels only, so that models share them."""

    def coverage_bins(self, labels: np.ndarray, predictions: np.ndarray) -> list[Bin]:
        """How many labels are inside their intervals, by the prediction; empty without intervals."""
        return []

    @abstractmethod
    def baseline(self, name: str, learned: np.ndarray, rows: pa.Table) -> np.ndarray:
        """The baseline's predictions for rows with feature columns; `learned` are the labels of the learning rows."""

    @abstractmethod
    def tally(self, labels: np.ndarray, predictions: np.ndarray) -> dict[str, np.ndarray]:
        """Columns to add up by `group`, from which `of_tally` computes the metrics of all rows together."""

    @abstractmethod
    def of_tally(self, added: pa.Table) -> dict[str, float]:
        """`measure` from the added columns, sorted by `group`; ranking metrics round scores to one in a million."""

    # Words

    @abstractmethod
    def mean_label(self, labels: np.ndarray) -> float | None:
        """The mean of the labels, if they have one."""

    @abstractmethod
    def known_words(self, mean_label: float | None, mean_score: float | None) -> str:
        """What the known outcomes of a day were like compared with the predictions; empty if nothing is known."""

    @abstractmethod
    def slice_words(self, labels: np.ndarray) -> str:
        """What the labels of a slice are like."""

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences for a model card: what a reader of the predictions must know of them."""
        return ()

    def label_words(self, label: Any) -> str:
        """An encoded label, for people."""
        return str(label)


def not_among(column: pa.ChunkedArray, values: Sequence[Any]) -> WrongLabels | None:
    """The labels that are none of these values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(column):
        # a check of the type alone; pyarrow would import pandas to make an array of the values
        return None
    labels = as_int64(column)
    wrong = pc.and_(pc.is_valid(labels), pc.invert(pc.is_in(labels, pa.array(values, labels.type))))
    if not pc.any(wrong).as_py():
        return None
    found = sorted(pc.unique(column.filter(wrong)).to_pylist())
    return WrongLabels(", ".join(map(str, found[:3])), wrong)


def as_int64(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whole numbers as int64, which holds every class, while the column's own type may not; texts as they are."""
    import pyarrow as pa

    # Not `safe`: a number beyond int64 becomes negative, and no class is negative.
    return column.cast(pa.int64(), safe=False) if pa.types.is_integer(column.type) else column


def no_probabilities(estimator: Any) -> str:
    """What a classifier, or its class, lacks to give probabilities, as the rest of a sentence; or empty.

    One with decision values is calibrated when it is fitted.
    """
    if hasattr(estimator, "predict_proba") or hasattr(estimator, "decision_function"):
        return ""
    return "gives neither probabilities nor decision values that could be calibrated to probabilities"


def unused_threshold(columns: Publication, why: str) -> Iterator[str]:
    """A sentence if a threshold is set that nothing would use."""
    if columns.threshold != 0.5:
        yield f"predictions.threshold is {columns.threshold}, and nothing would use it: {why}. Leave it out."
