"""Fits an estimator of scikit-learn behind the preprocessing that it needs, repeatably: seeds reach every level."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tailrace.engines.classes import estimator_class
from tailrace.engines.fitting import Report, TrialRows, row_weights
from tailrace.engines.sklearn_models import SklearnModel, frame
from tailrace.spec import Candidate, PipelineSpec
from tailrace.spec.nested import made, replaced
from tailrace.spec.parameters import is_splitter


def fit(
    spec: PipelineSpec,
    candidate: Candidate,
    parameters: Mapping[str, Any],
    *,
    rows: pa.Table,
    labels: np.ndarray,
    seed: int,
    threads: int,
) -> SklearnModel:
    """The candidate with these parameters (fixed ones included), fitted on all rows."""
    pipeline = _pipeline(spec, candidate, parameters, seed=seed, threads=threads)
    weights = row_weights(spec, rows, labels)
    weighted = {} if weights is None else {"estimator__sample_weight": weights}
    pipeline.fit(frame(rows, spec.features.columns), labels, **weighted)
    if lacking := spec.problem.lacks(pipeline):
        raise ValueError(f"{candidate.estimator.rpartition('.')[2]} {lacking}.")
    if "n_jobs" in pipeline[-1].get_params():
        # With threads, a forest adds its votes in random order, so that scores would differ in their last digits.
        pipeline[-1].set_params(n_jobs=None)
    return SklearnModel(pipeline, spec.features.columns, spec.problem)


def fit_watched(
    spec: PipelineSpec,
    candidate: Candidate,
    parameters: Mapping[str, Any],
    data: TrialRows,
    *,
    seed: int,
    report: Report,
) -> tuple[SklearnModel, dict[str, Any]]:
    """As `estimators.fit_watched`; nothing is reported, because scikit-learn fits in one step."""
    return fit(spec, candidate, parameters, rows=data.rows, labels=data.labels, seed=seed, threads=1), {}


def _pipeline(
    spec: PipelineSpec, candidate: Candidate, parameters: Mapping[str, Any], *, seed: int, threads: int
) -> Any:
    """The preprocessing that the estimator needs, followed by the estimator."""
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    known = inspect.signature(estimator_class(candidate.estimator)).parameters
    # scikit-learn is removing n_jobs from the other estimators, and warns if it is set.
    extra: dict[str, Any] = {}
    if "n_jobs" in known and candidate.estimator.startswith("sklearn.ensemble."):
        extra["n_jobs"] = threads
    numeric, categorical = spec.features.of_kind("numeric"), spec.features.of_kind("categorical")
    steps: list[tuple[str, Any, Any]] = []
    if "categorical_features" in known:
        # Histogram gradient boosting handles categories and nulls itself.
        steps.append(
            (
                "categorical",
                OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, max_categories=254),
                list(categorical),
            )
        )
        steps.append(("numeric", "passthrough", list(numeric)))
        extra["categorical_features"] = list(range(len(categorical)))
    else:
        steps.append(
            (
                "categorical",
                OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20),
                list(categorical),
            )
        )
        imputer = SimpleImputer(strategy="median", keep_empty_features=True)
        steps.append(("numeric", make_pipeline(imputer, StandardScaler()), list(numeric)))
    steps += [
        (f"text_{name}", TfidfVectorizer(min_df=2, max_features=50_000), name) for name in spec.features.of_kind("text")
    ]
    estimator = _made(candidate, {**extra, **parameters}, seed)
    columns = ColumnTransformer(steps)
    makes_sparse = "categorical_features" not in known or spec.features.of_kind("text")
    if makes_sparse and not _takes_sparse(estimator):
        # Otherwise the estimator would receive sparse rows as soon as there are many categories.
        columns.set_params(sparse_threshold=0.0)
    return Pipeline([("columns", columns), ("estimator", estimator)])


def _made(candidate: Candidate, parameters: Mapping[str, Any], seed: int) -> Any:
    """The estimator, with seeds at every level. Nested estimators are copied: other trials use the spec's."""
    from sklearn.base import clone

    given = {name: replaced(value, made) for name, value in parameters.items()}
    own = {name: value for name, value in given.items() if "__" not in name}
    estimator = clone(estimator_class(candidate.estimator)(**own))
    estimator.set_params(**{name: value for name, value in given.items() if "__" in name})
    return estimator.set_params(**_seeds(estimator, seed))


def _seeds(estimator: Any, seed: int) -> dict[str, Any]:
    """Settings that make a fit repeatable: a seed for each random_state without one, and one thread for nested ones."""
    made: dict[str, Any] = {}
    for path, value in estimator.get_params(deep=True).items():
        name = path.rpartition("__")[2]
        if name == "random_state" and value is None:
            made[path] = _seed_at(path, seed)
        elif name == "n_jobs" and path != name:
            # With threads, a forest adds its votes in random order.
            made[path] = None
        elif is_splitter(value) and getattr(value, "random_state", 0) is None and getattr(value, "shuffle", True):
            value.random_state = _seed_at(path, seed)
    return made


def _seed_at(path: str, seed: int) -> int:
    """A seed for a nested estimator, different for each path; the outermost has the seed of the training."""
    if path == "random_state":
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} {path}".encode()).digest()[:4])


def _takes_sparse(estimator: Any) -> bool:
    from sklearn.utils import get_tags

    try:
        return bool(get_tags(estimator).input_tags.sparse)
    except AttributeError:
        # An estimator without the inner estimator that it needs; fitting it reports that.
        return True
