"""What the tests of boosted trees share: each kind of question on small rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from tailrace.engines.estimators import fit
from tailrace.engines.search import one_thread
from tailrace.problems import Problem
from tailrace.problems.binary import Binary
from tailrace.problems.multiclass import Multiclass
from tailrace.problems.regression import Regression
from tailrace.spec import Candidate, Gate, PipelineSpec, SearchBudget
from tests.support import churn_rows

KINDS: Mapping[str, Problem] = {
    "binary": Binary(),
    "multiclass": Multiclass(("low", "middle", "high")),
    "identity": Regression(),
    "log": Regression(link="log"),
}
NUMBERS = {"age": "numeric", "visits": "numeric"}


def asking(
    spec: PipelineSpec,
    problem: Problem,
    estimator: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    search: Mapping[str, Any] | None = None,
    columns: Mapping[str, str] | None = None,
) -> PipelineSpec:
    """The spec with this kind of question and one candidate."""
    return replace(
        spec,
        outcome=replace(spec.outcome, problem=problem),
        gate=Gate(beat=problem.baselines[0]),
        search=SearchBudget(trials=1),
        features=replace(spec.features, columns=dict(columns or spec.features.columns)),
        candidates=(Candidate("it", estimator, parameters or {}, search or {}),),
    )


def rows_of(problem: Problem, count: int = 400) -> tuple[pa.Table, np.ndarray]:
    """Features, and encoded labels that depend on them."""
    rows, left = churn_rows(count)
    risen = left.to_numpy(zero_copy_only=False) * 1.0 + np.nan_to_num(rows["visits"].to_numpy()) / 5
    if problem.label_values is None:
        return rows, np.round(risen * 4)
    cuts = np.quantile(risen, np.arange(1, len(problem.label_values)) / len(problem.label_values))
    codes = np.digitize(risen, cuts)
    return rows, codes.astype(bool) if problem.label_kind == "flag" else codes.astype(np.int32)


def fitted(spec: PipelineSpec, *, threads: int = 1, count: int = 400, **parameters: Any) -> Any:
    """The spec's first candidate, fitted on rows of its kind of question."""
    rows, labels = rows_of(spec.problem, count)
    (candidate,) = spec.candidates
    given = {**candidate.parameters, **parameters}
    with one_thread():  # as a training fits
        return fit(spec, candidate, given, rows=rows, labels=labels, seed=1, threads=threads)
