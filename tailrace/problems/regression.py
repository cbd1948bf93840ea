"""How much: a number, and on request an interval around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tailrace.errors import did_you_mean
from tailrace.problems import intervals
from tailrace.problems.base import (
    SCORE,
    Adjustment,
    Bin,
    LabelKind,
    Problem,
    Publication,
    WrongLabels,
    unused_threshold,
)

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

LINKS = ("identity", "log")
SPARK_GLM = "pyspark.ml.regression.GeneralizedLinearRegression"
LARGEST_WHOLE = 2**53
LEAST = 1e-6
"""The least prediction that the Poisson deviance is computed with: at 0 it is infinite."""

BINS = 10
NEAR_BITS = 12
"""Labels whose first so many binary digits agree are added up together: at most 2,048 groups from one power of two to
the next."""
MEANS = ("error", "absolute", "squared", "poisson_deviance", "pinball", "coverage")
"""What is averaged over all rows; the labels' variance is not a mean of this kind."""
LOW, HIGH = "low", "high"


@dataclass(frozen=True, repr=False)
class Regression(Problem):
    """A label that is a number.

    Predictions have the shape (rows,), with intervals (rows, 3): the value, the low and the high end.
    """

    link: Literal["identity", "log"] = "identity"
    """`"log"` is for counts and amounts: labels are not negative, XGBoost learns the logarithm of their mean, and a
    prediction below 0 is published as 0."""
    intervals: tuple[float, ...] | None = None
    """Two quantiles of the label, such as `(0.1, 0.9)`, that are predicted too, as the ends of an interval: the model
    is fitted on the first 80 % of the training rows, and its errors on the later 20 % say how far the ends are from
    the value; then it is fitted on all rows. The holdout measures how many labels are inside (`coverage`). None: only
    the value is predicted."""

    kind: ClassVar[str] = "regression"
    estimators: ClassVar[str] = "regressor"
    policy_fields: ClassVar[tuple[str, ...]] = ("intervals",)
    spark_estimators: ClassVar[tuple[str, ...]] = (
        "xgboost.spark.SparkXGBRegressor",
        "pyspark.ml.regression.LinearRegression",
        SPARK_GLM,
        "pyspark.ml.regression.RandomForestRegressor",
        "pyspark.ml.regression.GBTRegressor",
    )
    search_metric: ClassVar[str] = "rmse"
    gate_metric: ClassVar[str] = "mae"
    baselines: ClassVar[tuple[str, ...]] = ("mean", "median")
    slice_heading: ClassVar[str] = "Mean label"
    calibration_words: ClassVar[tuple[str, str, str, str]] = (
        "The mean of the labels, by what was predicted: the closer to the mean prediction, the better.",
        "Prediction",
        "mean prediction",
        "mean label",
    )

    @property
    def pictures(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("observed", "residuals", *(("coverage",) if self.intervals else ()))

    @property
    def distribution(self) -> str:  # type: ignore[override]
        return "poisson" if self.link == "log" else "gaussian"

    @property
    def xgboost_objectives(self) -> tuple[str, ...]:  # type: ignore[override]
        if self.link == "log":
            return ("count:poisson", "reg:tweedie", "reg:gamma")
        return ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:squaredlogerror")

    def spark_settings(self, estimator: str) -> dict[str, Any]:
        family = "poisson" if self.link == "log" else "gaussian"
        return {"family": family, "link": self.link} if estimator == SPARK_GLM else {}

    @property
    def label_rule(self) -> str:  # type: ignore[override]
        least = ", 0 or more where the link is 'log'" if self.link == "log" else ""
        return f"a label is a finite number{least}, and null while the outcome is unknown"

    @property
    def metrics(self) -> tuple[str, ...]:
        poisson = ("poisson_deviance",) if self.link == "log" else ()
        return ("mae", "rmse", "r2", *poisson, *(("pinball",) if self.intervals else ()))

    @property
    def described_by(self) -> tuple[str, ...]:
        return ("bias", "coverage") if self.intervals else ("bias",)

    def problems(self) -> Iterator[str]:
        where = "outcome.problem"
        if self.link not in LINKS:
            nearest = did_you_mean(self.link, LINKS)
            yield f"{where}.link is {self.link!r}; it must be one of {', '.join(LINKS)}.{nearest}"
        if self.intervals is None:
            return
        wrong = [quantile for quantile in self.intervals if not 0 < quantile < 1]
        for quantile in wrong:
            yield f"{where}.intervals has {quantile}; a quantile is more than 0 and less than 1."
        if len(self.intervals) != 2 or (not wrong and self.intervals[0] >= self.intervals[1]):
            yield (
                f"{where}.intervals is {self.intervals!r}; it must be two quantiles, the lower one first, such as "
                "(0.1, 0.9)."
            )
        elif not wrong and not self.intervals[0] < 0.5 < self.intervals[1]:
            yield (
                f"{where}.intervals is {self.intervals!r}; the value is between the two ends, so one quantile must be "
                "less than 0.5 and the other one more."
            )

    def publication_problems(self, columns: Publication) -> Iterator[str]:
        yield from unused_threshold(columns, "a number is published as it is")
        if columns.decision != "decision":
            yield (
                f"predictions.decision is {columns.decision!r}, and nothing would be published as it: a regression "
                "decides nothing. Leave it out."
            )

    def baseline_problems(self, name: str, features: Mapping[str, str]) -> Iterator[str]:
        kind = features.get(name)
        if kind == "numeric" or (kind is None and name in self.baselines):
            return
        if kind is not None:
            yield f"gate.beat is {name!r}, which is {kind}; only a numeric feature can be compared with the label."
            return
        known = [*self.baselines, *(each for each, its_kind in features.items() if its_kind == "numeric")]
        yield (
            f"gate.beat is {name!r}; it must be {' or '.join(self.baselines)}, or a numeric feature."
            f"{did_you_mean(name, known)}"
        )

    def wrong_rule_value(self, value: Any) -> str:
        if not super().wrong_rule_value(value) and self.link == "log" and value < 0:
            return "a prediction is 0 or more where the link is 'log'"
        return super().wrong_rule_value(value)

    def of_rule(self, values: np.ndarray) -> np.ndarray:
        """With intervals, one without width: a rule does not know how far off it is."""
        import numpy as np

        return np.column_stack([values] * len(self.raw_columns)) if self.intervals else values

    def published_names(self, columns: Publication) -> list[tuple[str, str]]:
        ends = (LOW, HIGH) if self.intervals else ()
        return [
            ("predictions.score", columns.score),
            *((f"predictions.score with '_{end}'", f"{columns.score}_{end}") for end in ends),
        ]

    def optional_columns(self, columns: Publication) -> list[str]:
        return [f"{columns.score}_{end}" for end in (LOW, HIGH)]

    @property
    def label_kind(self) -> LabelKind:
        return "number"

    def wrong_labels(self, column: pa.ChunkedArray) -> WrongLabels | None:
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = column.type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
            return WrongLabels(str(kind))
        if not len(column):
            # a check of the type alone; pyarrow would import pandas to make a scalar
            return None
        numbers = column.cast(pa.float64(), safe=False)
        right = pc.is_finite(numbers)
        if not pa.types.is_floating(kind):
            right = pc.less_equal(pc.abs(numbers), pa.scalar(float(LARGEST_WHOLE)))
        if self.link == "log":
            right = pc.and_(right, pc.greater_equal(numbers, pa.scalar(0.0)))
        wrong = pc.and_(pc.is_valid(column), pc.invert(pc.fill_null(right, True)))
        if not pc.any(wrong).as_py():
            return None
        return WrongLabels(", ".join(sorted(map(str, pc.unique(column.filter(wrong)).to_pylist()))[:3]), wrong)

    def encoded(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        import pyarrow as pa

        # Whole numbers that float64 cannot represent are refused by `wrong_labels`; digits of a decimal are rounded.
        return column.cast(pa.float64(), safe=False)

    def unlearnable(self, seen: Sequence[Any]) -> str:
        return "" if len(seen) > 1 else f"have only one value ({', '.join(f'{each:g}' for each in seen)})"

    def made_up_labels(self, rows: int) -> np.ndarray:
        import numpy as np

        return (np.arange(rows) * 7 % 23 + 1).astype(float)

    @property
    def search_metrics(self) -> tuple[str, ...]:
        return tuple(name for name in self.metrics if name != "pinball")

    @property
    def unadjusted(self) -> Regression:
        return replace(self, intervals=None)

    def too_few(self, rows: int) -> str:
        needed = intervals.rows_needed(self.intervals) if self.intervals else 0
        return f"are fewer than the {needed} that intervals {self.intervals} need" if rows < needed else ""

    def adjustment(self, labels: np.ndarray, predictions: np.ndarray) -> Adjustment:
        quantiles = self.intervals or (0.5, 0.5)
        return intervals.conformal(quantiles, labels, predictions, grows_with_count=self.link == "log")

    def adjustment_of(self, description: Mapping[str, Any]) -> Adjustment:
        return intervals.Conformal(**description)

    @property
    def raw_columns(self) -> tuple[str, ...]:
        return (SCORE, LOW, HIGH) if self.intervals else (SCORE,)

    def answered_by(self, trained: Problem) -> bool:
        same_ends = self.intervals is None or self.intervals == getattr(trained, "intervals", None)
        # A model of link 'log' predicts what 'identity' asks for; the other way round, numbers below 0 would come out.
        same_bound = self.link == "identity" or self.link == getattr(trained, "link", None)
        return super().answered_by(trained) and same_ends and same_bound

    def comparable(self, trained: Problem) -> bool:
        return trained.kind == self.kind

    def of_estimator(self, estimator: Any, rows: Any) -> np.ndarray:
        import numpy as np

        return np.asarray(estimator.predict(rows), dtype=np.float64).reshape(-1)

    def bounded(self, predictions: np.ndarray) -> np.ndarray:
        return predictions.clip(min=0) if self.link == "log" else predictions

    def published_types(self, columns: Publication) -> tuple[pa.DataType, ...]:
        import pyarrow as pa

        return (pa.float64(),) * len(self.raw_columns)

    def published(self, columns: Publication, raw: pa.RecordBatch) -> list[pa.Array]:
        return [raw.column(name) for name in self.raw_columns]

    def columns_due(self, columns: Publication) -> list[str]:
        # Days that were published before the spec asked for intervals have none.
        return [columns.score]

    def of_published(self, columns: Publication, rows: pa.Table) -> np.ndarray:
        import numpy as np

        found = [rows[name].to_numpy() for name in self.needed_columns(columns)]
        return np.column_stack(found) if self.intervals else found[0]

    def wrong_published(self, columns: Publication, rows: pa.Table) -> dict[str, int]:
        import pyarrow.compute as pc

        wrong = super().wrong_published(columns, rows)
        if not self.intervals:
            return wrong
        score, low, high = (rows[name] for name in self.needed_columns(columns))
        null = pc.or_(pc.is_null(low, nan_is_null=True), pc.is_null(high, nan_is_null=True))
        # NaN is neither less nor more, and is counted as null.
        outside = pc.or_(pc.greater(low, score), pc.less(high, score))
        return wrong | {
            "have an interval without an end": pc.sum(null).as_py() or 0,
            "are outside of their own interval": pc.sum(outside).as_py() or 0,
        }

    def decision_of(self, columns: Publication) -> str | None:
        return None

    def output_words(self, columns: Publication, label: str) -> dict[str, tuple[str, str]]:
        words = {columns.score: ("double", f"what is expected of {label}")}
        for end, quantile in zip((LOW, HIGH), self.intervals or (), strict=False):
            words[f"{columns.score}_{end}"] = ("double", f"in {quantile:.0%} of cases it is this or less")
        return words

    def scores(self, predictions: np.ndarray) -> np.ndarray:
        return predictions if predictions.ndim == 1 else predictions[:, 0]

    def measure(self, labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
        import numpy as np

        parts, ones = self._parts(labels, predictions), np.ones(len(labels))
        return {metric.name: _of_parts(metric.name, parts, ones) for metric in self.measured}

    def figures(self, labels: np.ndarray, predictions: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
        found = super().figures(labels, predictions, threshold)
        if self.intervals:
            found["coverage_asked"] = self.intervals[1] - self.intervals[0]
            is_interval = predictions.ndim == 2 and len(predictions)
            found["mean_width"] = float((predictions[:, 2] - predictions[:, 1]).mean()) if is_interval else math.nan
        return found

    def value(self, metric: str, labels: np.ndarray, predictions: np.ndarray) -> float:
        import numpy as np

        return self.weighted(metric, labels, predictions)(np.ones(len(labels)))

    def weighted(self, metric: str, labels: np.ndarray, predictions: np.ndarray) -> Callable[[np.ndarray], float]:
        parts = self._parts(labels, predictions)
        return lambda weights: _of_parts(metric, parts, weights)

    @property
    def drift_range(self) -> None:
        return None

    def calibration_bins(self, labels: np.ndarray, predictions: np.ndarray) -> list[Bin]:
        import numpy as np

        scores = self.scores(predictions)
        inner = np.unique(np.quantile(labels, np.linspace(0, 1, BINS + 1)[1:-1]))
        edges = [-math.inf, *inner.tolist(), math.inf]
        place = np.searchsorted(inner, scores, side="right")
        return [
            Bin(
                edges[one],
                edges[one + 1],
                int((place == one).sum()),
                float(scores[place == one].mean()),
                float(labels[place == one].mean()),
            )
            for one in np.unique(place).tolist()
        ]

    def coverage_bins(self, labels: np.ndarray, predictions: np.ndarray) -> list[Bin]:
        """For tenths of the rows by their prediction: its mean, and the share of labels inside the intervals."""
        import numpy as np

        if predictions.ndim == 1:
            return []
        score, low, high = predictions.T
        inside = (low <= labels) & (labels <= high)
        edges = np.unique(np.quantile(score, np.linspace(0, 1, BINS + 1)))
        place = np.searchsorted(edges[1:-1], score, side="right")
        return [
            Bin(
                float(score[place == one].min()),
                float(score[place == one].max()),
                int((place == one).sum()),
                float(score[place == one].mean()),
                float(inside[place == one].mean()),
            )
            for one in np.unique(place).tolist()
        ]

    def baseline(self, name: str, learned: np.ndarray, rows: pa.Table) -> np.ndarray:
        """A feature's value, and where it is missing the mean of the labels learned from.

        With intervals, a feature's value is an interval without width, and the others have the labels' own quantiles.
        """
        import numpy as np
        import pyarrow as pa

        if name in rows.column_names:
            values = rows[name].cast(pa.float64(), safe=False).to_numpy()
            found = np.where(np.isnan(values), learned.mean(), values)
            return np.column_stack([found] * len(self.raw_columns)) if self.intervals else found
        middle = np.median(learned) if name == "median" else learned.mean()
        if not self.intervals:
            return np.full(rows.num_rows, float(middle))
        return np.tile([middle, *np.quantile(learned, self.intervals)], (rows.num_rows, 1))

    def tally(self, labels: np.ndarray, predictions: np.ndarray) -> dict[str, np.ndarray]:
        import numpy as np

        # A group is a range of near labels, and the distances from its end towards 0 are added up: sums of the labels
        # and of their squares would lose the digits that say how far large labels are apart.
        group = _first_digits(labels)
        parts = self._parts(labels, predictions)
        return {
            "group": group,
            "rows": np.ones(len(labels), dtype=np.int64),
            "above": labels - group,
            "above_squared": (labels - group) ** 2,
            **{name: parts[name] for name in MEANS},
        }

    def of_tally(self, added: pa.Table) -> dict[str, float]:
        columns = {name: added[name].to_numpy() for name in added.column_names}
        rows = int(columns["rows"].sum())
        mean = {name: float(columns[name].sum()) / rows for name in MEANS}
        # Rounded, because a cluster adds its partial sums in random order; errors of both signs cancel out.
        sizes = {**mean, "error": mean["absolute"]}
        mean = {name: _rounded(value, sizes[name]) for name, value in mean.items()}
        found = {
            **mean,
            "mae": mean["absolute"],
            "bias": mean["error"],
            "rmse": math.sqrt(mean["squared"]),
            "r2": round(_r2(mean["squared"], _variance_of_groups(columns)), 9),
        }
        return {metric.name: found[metric.name] for metric in self.measured}

    def _parts(self, labels: np.ndarray, predictions: np.ndarray) -> dict[str, np.ndarray]:
        """What each row adds to the sums that the metrics are computed from."""
        import numpy as np

        scores = self.scores(predictions)
        error, nothing = scores - labels, np.full(len(labels), math.nan)
        low, high = (predictions[:, 1], predictions[:, 2]) if predictions.ndim == 2 else (nothing, nothing)
        lower, upper = self.intervals or (0.5, 0.5)
        return {
            "error": error,
            "absolute": np.abs(error),
            "squared": error**2,
            "label": labels,
            "poisson_deviance": _poisson_deviance(labels, scores) if self.link == "log" else nothing,
            "pinball": (_pinball(labels, low, lower) + _pinball(labels, high, upper)) / 2,
            "coverage": np.where(np.isnan(low), math.nan, (low <= labels) & (labels <= high)),
        }

    def mean_label(self, labels: np.ndarray) -> float | None:
        return float(labels.mean()) if len(labels) else None

    def known_words(self, mean_label: float | None, mean_score: float | None) -> str:
        if mean_label is None:
            return ""
        return f"{mean_label:.4g} on average; {'–' if mean_score is None else f'{mean_score:.4g}'} was predicted"

    def slice_words(self, labels: np.ndarray) -> str:
        return f"{labels.mean():.4g}"

    @property
    def cautions(self) -> tuple[str, ...]:
        if not self.intervals:
            return ()
        low, high = self.intervals
        return (
            f"Intervals are made to contain {high - low:.0%} of the labels; `coverage` says how many they did. "
            "Days unlike those of the training may have another share.",
        )

    def label_words(self, label: Any) -> str:
        return f"{label:g}"


_SUM_OF = {"mae": "absolute", "bias": "error"}


def _of_parts(metric: str, parts: Mapping[str, np.ndarray], weights: np.ndarray) -> float:
    """A metric from what each row adds to the sums, and the rows' weights; NaN without rows."""
    import numpy as np

    def mean(name: str) -> float:
        return float(np.average(parts[name], weights=weights)) if weights.sum() else math.nan

    if metric == "rmse":
        return math.sqrt(mean("squared"))
    if metric == "r2":
        return _r2(mean("squared"), _variance(parts["label"], weights))
    return mean(_SUM_OF.get(metric, metric))


def _rounded(value: float, size: float) -> float:
    """The value without the digits that are beyond the twelve first ones of a number of this size."""
    return round(value, 11 - math.floor(math.log10(abs(size)))) if size and math.isfinite(size) else value


def _r2(squared: float, variance: float) -> float:
    """1 - (mean squared error) / (variance of the labels); NaN if all labels are equal."""
    return 1 - squared / variance if variance > 0 else math.nan


def _variance(labels: np.ndarray, weights: np.ndarray) -> float:
    """The weighted variance of the labels, however large they are; exactly 0 if all are equal, and NaN without rows.

    The mean of the squares minus the square of the mean would lose all digits of a spread that is small beside the
    labels. Source: Chan, Golub and LeVeque (1983), The American Statistician 37(3), the shifted two-pass algorithm.
    """
    import numpy as np

    if not weights.sum():
        return math.nan
    shifted = labels - labels[np.argmax(weights > 0)]
    return float(np.average((shifted - np.average(shifted, weights=weights)) ** 2, weights=weights))


def _first_digits(labels: np.ndarray) -> np.ndarray:
    """The labels, cut off after their first `NEAR_BITS` binary digits."""
    import numpy as np

    digits, exponent = np.frexp(labels)
    # Adding 0.0 makes one group of 0.0 and -0.0.
    cut: np.ndarray = np.ldexp(np.trunc(np.ldexp(digits, NEAR_BITS)), exponent - NEAR_BITS) + 0.0
    return cut


def _variance_of_groups(columns: Mapping[str, np.ndarray]) -> float:
    """The variance of all labels from the sums of groups of near labels; 0 if it is no more than rounding.

    Each group's squared deviations from its own mean, and from there to the mean of all.
    Source: Chan, Golub and LeVeque (1983), The American Statistician 37(3), equation 2.1.
    """
    import numpy as np

    rows, above, squared = columns["rows"], columns["above"], columns["above_squared"]
    within = float((squared - above**2 / rows).sum())
    # Differences between the groups' ends have few digits, so they are exact for near labels of any size.
    means = columns["group"] - columns["group"][0] + above / rows
    between = float((rows * (means - np.average(means, weights=rows)) ** 2).sum())
    found, rounding = within + between, 1e-12 * (float(squared.sum()) + between)
    return found / float(rows.sum()) if found > rounding else 0.0


def _pinball(labels: np.ndarray, predicted: np.ndarray, quantile: float) -> np.ndarray:
    """The loss whose expectation a quantile minimises. Source: Koenker and Bassett (1978), Econometrica 46(1)."""
    import numpy as np

    missed = labels - predicted
    losses: np.ndarray = np.maximum(quantile * missed, (quantile - 1) * missed)
    return losses


def _poisson_deviance(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """2 * (y * ln(y / p) - y + p), with p at least `LEAST`; the first term is 0 for y = 0.

    Source: McCullagh and Nelder, Generalized Linear Models (1989), section 2.3.
    """
    import numpy as np

    inside = np.maximum(predicted, LEAST)
    ratio = np.divide(labels, inside, out=np.ones(len(labels)), where=labels > 0)
    deviance: np.ndarray = 2 * (labels * np.log(ratio) - labels + inside)
    return deviance
