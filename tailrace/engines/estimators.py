"""Fits a candidate of the spec on rows: a module for each family of estimators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

from tailrace.contracts import Model
from tailrace.engines import lightgbm_fits, sklearn_fits, xgboost_fits
from tailrace.engines.boosted_models import BoostedModel
from tailrace.engines.fitting import Report, TrialRows
from tailrace.engines.sklearn_models import SklearnModel
from tailrace.spec import Candidate, PipelineSpec

Fitted = BoostedModel | SklearnModel

FAMILIES: Mapping[str, ModuleType] = {
    "xgboost.": xgboost_fits,
    "lightgbm.": lightgbm_fits,
    "sklearn.": sklearn_fits,
}
"""What fits the estimators of each library, by the start of their paths."""


def always_stored(candidate: Candidate) -> bool:
    """Whether every model of this candidate that was fitted on one machine can be stored."""
    return not candidate.estimator.startswith("sklearn.")


def is_distributed(candidate: Candidate) -> bool:
    """Whether it trains on all of Spark's executors together, without collecting its rows in one process."""
    return candidate.estimator.startswith(("xgboost.spark.", "pyspark."))


def barrier_workers(spec: PipelineSpec) -> int:
    """How many tasks, at least, must start together for the spec's candidates; 0 if no candidate needs this.

    XGBoost needs it; it uses all tasks there are, unless the candidate sets the number.
    """
    boosted = [each for each in spec.candidates if each.estimator.startswith("xgboost.spark.")]
    return max((int(candidate.parameters.get("num_workers", 1)) for candidate in boosted), default=0)


def fit(
    spec: PipelineSpec,
    candidate: Candidate,
    parameters: Mapping[str, Any],
    *,
    rows: pa.Table,
    labels: np.ndarray,
    seed: int,
    threads: int,
) -> Fitted:
    """The candidate with these parameters (fixed ones included), fitted on all rows.

    The model answers `spec.problem.unadjusted`.
    """
    return _family(candidate).fit(
        unadjusted(spec), candidate, parameters, rows=rows, labels=labels, seed=seed, threads=threads
    )


def fit_watched(
    spec: PipelineSpec,
    candidate: Candidate,
    parameters: Mapping[str, Any],
    data: TrialRows,
    *,
    seed: int,
    report: Report,
) -> tuple[Fitted, dict[str, Any]]:
    """Fit on some rows while evaluating on others; also returns what early stopping found (XGBoost's n_estimators).

    `report` is called every few boosting rounds. It uses one thread, so that the result does not depend
    on how many trials run in parallel.
    """
    return _family(candidate).fit_watched(unadjusted(spec), candidate, parameters, data, seed=seed, report=report)


def not_in_force(candidate: Candidate, model: Model, parameters: Mapping[str, Any]) -> list[str]:
    """A sentence for each parameter that the candidate's library does not use, or uses with another value."""
    find = getattr(_family(candidate), "not_in_force", None)
    return find(model, parameters) if find else []


def unadjusted(spec: PipelineSpec) -> PipelineSpec:
    """The spec that estimators are fitted for: its problem without what an adjustment adds to their predictions."""
    return replace(spec, outcome=replace(spec.outcome, problem=spec.problem.unadjusted))


def _family(candidate: Candidate) -> Any:
    # Estimators of others that keep to scikit-learn's interface are fitted as its own.
    return next((each for start, each in FAMILIES.items() if candidate.estimator.startswith(start)), sklearn_fits)
