"""Fits an estimator of scikit-learn behind the preprocessing that it needs, repeatably: seeds reach every level."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tailrace.engines.classes import estimator_class
from tailrace.engines.fitting import Report, TrialRows, row_weights
from tailrace.engines.neighbours import refuse_dependent_rows, use_trees
from tailrace.engines.sklearn_columns import preprocessing, tags_of, takes_categories
from tailrace.engines.sklearn_models import SklearnModel, frame
from tailrace.problems import Problem
from tailrace.spec import Candidate, PipelineSpec
from tailrace.spec.nested import TRANSFORMERS, made, replaced
from tailrace.spec.parameters import is_splitter

FOLDS = 5
"""Into how many folds the rows are split to calibrate a classifier; fewer if a class has fewer rows."""

_ONE_FIT_AT_A_TIME = threading.Lock()
"""For fits by libsvm and liblinear, which trials would otherwise run in several threads of this process."""


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
    weights, inputs = row_weights(spec, rows, labels), frame(rows, spec.features.columns)
    pipeline = _pipeline(
        spec, candidate, parameters, labels, inputs=inputs, weights=weights, seed=seed, threads=threads
    )
    _refuse_negative(candidate, pipeline[-1], labels)
    weighted = {} if weights is None else {"estimator__sample_weight": weights}
    if weighted and not _passes_weights_on(pipeline[-1]):
        name = candidate.estimator.rpartition(".")[2]
        raise ValueError(f"{name} learns without weights of rows inside the calibration of its decision values.")
    with _ONE_FIT_AT_A_TIME if _shares_a_generator(pipeline) else contextlib.nullcontext():
        _fit(pipeline, inputs, labels, candidate=candidate, weighted=weighted)
    if lacking := spec.problem.lacks(pipeline):
        hint = " Set voting to 'soft'." if "voting" in pipeline[-1].get_params(deep=False) else ""
        raise ValueError(f"{candidate.estimator.rpartition('.')[2]} {lacking} with these parameters.{hint}")
    if "n_jobs" in pipeline[-1].get_params():
        # With threads, a forest adds its votes in random order, so that scores would differ in their last digits.
        pipeline[-1].set_params(n_jobs=None)
    refuse_dependent_rows(pipeline)
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


def _fit(pipeline: Any, inputs: Any, labels: np.ndarray, *, candidate: Candidate, weighted: Mapping[str, Any]) -> None:
    """Fit on a data frame of the features. Errors that name no column are raised again with the columns' names."""
    try:
        use_trees(pipeline, inputs, labels)
        pipeline.fit(inputs, labels, **weighted)
    except ValueError as error:
        if why := _columns_at_fault(str(error), inputs, candidate):
            raise ValueError(why) from error
        raise


def _columns_at_fault(message: str, inputs: Any, candidate: Candidate) -> str:
    """What is wrong with which columns, if scikit-learn's message is one that names none; empty otherwise."""
    if "empty vocabulary" in message or "no terms remain" in message:
        texts = [name for name in inputs.select_dtypes(exclude="number") if name in candidate.transformers]
        return (
            f"the transformer of {' or '.join(map(repr, texts))} finds no words to learn in the learning rows, where "
            "all may be null; take it out of the candidate's transformers: a text without words is then left out"
        )
    if "window shape cannot be larger" in message:
        filled = inputs.select_dtypes("number").count()
        return (
            f"the numeric feature {filled.idxmin()!r} has a value in only {filled.min():,} of {len(inputs):,} learning "
            "rows, so few that none is in the sample that histogram gradient boosting bins; leave the feature out"
        )
    return ""


def _pipeline(
    spec: PipelineSpec,
    candidate: Candidate,
    parameters: Mapping[str, Any],
    labels: np.ndarray,
    *,
    inputs: Any,
    weights: np.ndarray | None,
    seed: int,
    threads: int,
) -> Any:
    """The preprocessing that the estimator needs, followed by the estimator."""
    from sklearn.pipeline import Pipeline

    kind = estimator_class(candidate.estimator)
    extra: dict[str, Any] = {}
    # scikit-learn is removing n_jobs from the other estimators, and warns if it is set.
    if "n_jobs" in inspect.signature(kind).parameters and candidate.estimator.startswith("sklearn.ensemble."):
        extra["n_jobs"] = threads
    if takes_categories(kind):
        plain = [name for name in spec.features.of_kind("categorical") if name not in candidate.transformers]
        extra["categorical_features"] = list(range(len(plain)))
    estimator = _made(candidate, {**extra, **parameters}, seed)
    if "n_jobs" in extra and _shares_a_generator(estimator):
        estimator.set_params(n_jobs=None)
    transformers = _transformers(spec.problem, candidate, parameters, seed)
    columns = preprocessing(spec.features, estimator, transformers, rows=inputs, weights=weights)
    return Pipeline([("columns", columns), ("estimator", _with_probabilities(spec.problem, estimator, labels))])


def _shares_a_generator(part: Any) -> bool:
    """Whether libsvm or liblinear fits this estimator, or a part of it; `part` may be any parameter of one.

    Each of them draws from one random generator of the whole process, so two fits in two threads disturb each other.
    """
    if isinstance(part, Mapping):
        return any(map(_shares_a_generator, part.values()))
    if isinstance(part, list | tuple):
        return any(map(_shares_a_generator, part))
    if hasattr(part, "get_params") and not inspect.isclass(part):
        # its text would be made of all its parts, each with its own parts: that takes as long as many a fit
        own = part.get_params(deep=False).values()
        return type(part).__module__.startswith("sklearn.svm.") or any(map(_shares_a_generator, own))
    return "liblinear" in str(part)


def _with_probabilities(problem: Problem, estimator: Any, labels: np.ndarray) -> Any:
    """The estimator; a classifier without probabilities is calibrated by Platt's sigmoid, and gets them.

    Its decision values for each of a few folds, predicted by a copy that was fitted on the others, teach the sigmoid;
    the estimator itself is fitted on all rows. The folds are blocks of rows in time order, with the classes in equal
    shares, so nothing is drawn at random.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import StratifiedKFold

    if not _decides_only(problem, estimator):
        return estimator
    rarest = int(np.unique(labels, return_counts=True)[1].min())
    if rarest < 2:
        raise ValueError("its probabilities need at least 2 rows of each class, because they are calibrated")
    if "n_jobs" in estimator.get_params(deep=False):
        estimator.set_params(n_jobs=None)  # it is copied into the fitted model
    folds = StratifiedKFold(min(FOLDS, rarest))
    return CalibratedClassifierCV(estimator, method="sigmoid", cv=folds, ensemble=False)


def _refuse_negative(candidate: Candidate, estimator: Any, labels: np.ndarray) -> None:
    """Raises ValueError for negative labels where scikit-learn's tags say that the estimator learns from none."""
    tags = tags_of(estimator)
    if tags is not None and tags.target_tags.positive_only and labels.min() < 0:
        raise ValueError(
            f"{candidate.estimator.rpartition('.')[2]} learns from no negative labels, and the least one is "
            f"{labels.min():g}; use another estimator, or make such labels null in dbt."
        )


def _passes_weights_on(estimator: Any) -> bool:
    """Whether weights reach what a calibration fits; without a word it would use them for the sigmoid alone."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.utils.validation import has_fit_parameter

    calibrates = isinstance(estimator, CalibratedClassifierCV) and estimator.estimator is not None
    return not calibrates or bool(has_fit_parameter(estimator.estimator, "sample_weight"))


def is_calibrated(problem: Problem, candidate: Candidate, drawn: Mapping[str, Any]) -> bool:
    """Whether a candidate with these searched parameters is a classifier that gives no probabilities itself."""
    try:
        estimator = _made(candidate, {**candidate.parameters, **drawn}, 0)
    except Exception:  # noqa: BLE001 - what the library says of it is told when it is fitted
        return False
    return _decides_only(problem, estimator)


def _decides_only(problem: Problem, estimator: Any) -> bool:
    """Whether it is a classifier with decision values and without probabilities; it need not be fitted yet."""
    classifies = problem.estimators == "classifier"
    return classifies and not _gives(estimator, "predict_proba") and _gives(estimator, "decision_function")


def _gives(estimator: Any, method: str) -> bool:
    """Whether the estimator has a method once it is fitted. Before that, a stack never seems to have one."""
    if hasattr(estimator, method):
        return True
    if hasattr(estimator, "final_estimator"):
        last = estimator.final_estimator
        return last is None or _gives(last, method)
    inner = estimator.steps[-1][1] if hasattr(estimator, "steps") else getattr(estimator, "estimator", None)
    return hasattr(inner, "final_estimator") and _gives(inner, method)


def _made(candidate: Candidate, parameters: Mapping[str, Any], seed: int) -> Any:
    """The estimator, with seeds at every level. Nested estimators are copied: other trials use the spec's."""
    from sklearn.base import clone

    own = {name: value for name, value in parameters.items() if not name.startswith(f"{TRANSFORMERS}__")}
    given = {name: replaced(value, made) for name, value in own.items()}
    own = {name: value for name, value in given.items() if "__" not in name}
    estimator = clone(estimator_class(candidate.estimator)(**own))
    estimator.set_params(**{name: value for name, value in given.items() if "__" in name})
    return estimator.set_params(**_seeds(estimator, seed))


def _transformers(problem: Problem, candidate: Candidate, parameters: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The candidate's transformers by column, with what was drawn for them, and with seeds at every level."""
    found = {}
    for column, each in candidate.transformers.items():
        start = f"{TRANSFORMERS}__{column}__"
        transformer = made(each)
        drawn = {name.removeprefix(start): value for name, value in parameters.items() if name.startswith(start)}
        transformer.set_params(**drawn)
        transformer.set_params(**_seeds(transformer, seed, start))
        if problem.estimators == "regressor":
            transformer.set_params(**_continuous(transformer))
        found[column] = transformer
    return found


def _continuous(transformer: Any) -> dict[str, Any]:
    """The setting of target encoders that would take whole numbers for classes."""
    given = transformer.get_params(deep=True)
    return {path: "continuous" for path, value in given.items() if path.endswith("target_type") and value == "auto"}


def _seeds(estimator: Any, seed: int, start: str = "") -> dict[str, Any]:
    """Settings that make a fit repeatable: a seed for each random_state without one, and one thread for nested ones."""
    from sklearn.model_selection import KFold

    found: dict[str, Any] = {}
    given = estimator.get_params(deep=True)
    for path, value in given.items():
        outer, _, name = path.rpartition("__")
        cv = f"{outer}__cv" if outer else "cv"
        if name == "random_state" and value is None:
            found[path] = _seed_at(start + path, seed)
        elif name == "random_state" and isinstance(value, str) and isinstance(given.get(cv), int):
            # Where scikit-learn calls its own seed 'deprecated', it shuffles by chance.
            found[cv] = KFold(given[cv], shuffle=True, random_state=_seed_at(start + path, seed))
        elif name == "n_jobs" and path != name:
            # With threads, a forest adds its votes in random order.
            found[path] = None
        elif is_splitter(value) and getattr(value, "random_state", 0) is None and getattr(value, "shuffle", True):
            value.random_state = _seed_at(start + path, seed)
    return found


def _seed_at(path: str, seed: int) -> int:
    """A seed for a nested estimator, different for each path; the outermost has the seed of the training."""
    if path == "random_state":
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} {path}".encode()).digest()[:4])
