"""Each kind of question on a few rows, with what answers it: for the suites that every engine and model keeps to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from tailrace.problems import Problem
from tailrace.problems.binary import Binary
from tailrace.problems.multiclass import Multiclass
from tailrace.problems.regression import Regression
from tailrace.spec import Candidate, Gate, IntRange, PipelineSpec
from tests.support import churn_rows

ROWS = 300


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind, its encoded labels for rows of `churn_rows`, and candidates of one machine and of a cluster."""

    problem: Problem
    labels: Callable[[pa.Table, pa.Array], pa.Array]
    candidates: tuple[Candidate, ...]
    on_cluster: tuple[Candidate, ...]

    def rows(self, seed: int = 0, count: int = ROWS) -> tuple[pa.Table, pa.Array]:
        features, left = churn_rows(count, seed)
        return features, self.labels(features, left)

    def spec(self, spec: PipelineSpec, candidates: tuple[Candidate, ...] = ()) -> PipelineSpec:
        return replace(
            spec,
            outcome=replace(spec.outcome, problem=self.problem),
            search=replace(spec.search, metric=self.problem.search_metric),
            gate=Gate(metric=self.problem.gate_metric, beat=self.problem.baselines[0]),
            candidates=candidates or self.candidates,
        )


def _visits(features: pa.Table) -> np.ndarray:
    visits: np.ndarray = features["visits"].to_numpy()
    return visits


def _candidates(*, kind: str, baseline: str, linear: str) -> tuple[Candidate, ...]:
    return (
        Candidate("baseline", f"sklearn.dummy.{baseline}"),
        Candidate("linear", f"sklearn.linear_model.{linear}"),
        Candidate("trees", f"xgboost.XGB{kind}", {"n_estimators": 12}, {"max_depth": IntRange(2, 3)}),
    )


FEW_TREES = {"numTrees": 3, "maxDepth": 3}
SPARK_CLASSES, SPARK_NUMBERS = "pyspark.ml.classification", "pyspark.ml.regression"

KINDS = {
    "binary": Kind(
        problem=Binary(),
        labels=lambda features, left: left,
        candidates=_candidates(kind="Classifier", baseline="DummyClassifier", linear="LogisticRegression"),
        on_cluster=(Candidate("forest", f"{SPARK_CLASSES}.RandomForestClassifier", FEW_TREES),),
    ),
    "multiclass": Kind(
        problem=Multiclass(classes=("few", "some", "many")),
        labels=lambda features, left: pa.array(np.digitize(_visits(features), (4, 6)).astype(np.int32)),
        candidates=_candidates(kind="Classifier", baseline="DummyClassifier", linear="LogisticRegression"),
        on_cluster=(Candidate("forest", f"{SPARK_CLASSES}.RandomForestClassifier", FEW_TREES),),
    ),
    "regression": Kind(
        problem=Regression(link="log"),
        labels=lambda features, left: pa.array(_visits(features) * 2.0 + left.to_numpy(zero_copy_only=False)),
        candidates=_candidates(kind="Regressor", baseline="DummyRegressor", linear="PoissonRegressor"),
        on_cluster=(Candidate("general", f"{SPARK_NUMBERS}.GeneralizedLinearRegression", {"regParam": 0.01}),),
    ),
}
KINDS["intervals"] = replace(KINDS["regression"], problem=Regression(link="log", intervals=(0.1, 0.9)))
