"""Small trial runs of every candidate before hours of training: make, fit, predict, store and load.

`problems` serves `tailrace check`, on rows made up from the spec; `refusals` serves a training, on some of its rows.
Both include the candidates that need a cluster if they receive a function that fits them there.
"""

from __future__ import annotations

import itertools
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tailrace.contracts import DryRun, Model
from tailrace.engines import models, sklearn_fits
from tailrace.engines.baseline_models import BaselineModel, wrong_sql
from tailrace.engines.distributed_models import NotConverted
from tailrace.engines.estimators import always_stored, fit, is_distributed, not_in_force
from tailrace.engines.library_errors import NO_CANDIDATES_FAULT, error_text
from tailrace.engines.search import Job, one_thread
from tailrace.engines.signatures import predictions
from tailrace.errors import SignatureMismatch
from tailrace.problems import Problem, as_array
from tailrace.spec import Baseline, Candidate, Choice, Domain, PipelineSpec
from tailrace.spec.nested import replaced

SMALL, LARGER = 240, 2000
"""Rows of a dry run, and of a second one if the first failed: some estimators need more rows."""

MOST_SETS, SECONDS = 24, 10
"""At most this many parameter sets are tried per candidate, and none is started after this many seconds."""

FEW = {"n_estimators": 5, "max_iter": 50, "numTrees": 5, "maxIter": 5}
"""Fewer trees and rounds suffice in a dry run; at most this many."""

SEED = 0
FIT, PREDICT, STORE = "cannot be fitted", "cannot be scored with", "cannot be stored"
OTHERWISE = "would not be trained as the spec says"


@dataclass(frozen=True)
class Failed:
    """Parameters with which a candidate fails, the step at which it fails, and the library's message."""

    parameters: Mapping[str, Any]
    step: str
    message: str


Tried = tuple[Mapping[str, Any], Failed | None]

Sample = tuple[pa.Table, np.ndarray]
"""Rows to learn from, and their labels."""

SampleFit = Callable[[Candidate, Mapping[str, Any], pa.Table, np.ndarray], Model]
"""Fits a candidate with these parameters (fixed ones included) on rows and their encoded labels."""


def problems(spec: PipelineSpec, on_cluster: SampleFit | None = None) -> list[str]:
    """A sentence for each candidate, and each searched option, that cannot be trained, scored with or stored."""
    with warnings.catch_warnings(action="ignore"):  # a dry run is too short to converge
        found = [
            problem
            for candidate, fitted in _fits(spec, on_cluster)
            for problem in _problems_of(spec, candidate, fitted)
        ]
    found += (problem for baseline in spec.baselines for problem in _wrong_baseline(spec, baseline))
    return [f"{spec.name}: {problem}" for problem in found]


def without_cluster(specs: Sequence[PipelineSpec], why: str) -> DryRun:
    """The dry run of single-machine candidates, with a note on each spec that has other candidates."""
    skipped = [_not_tried(spec, why) for spec in specs if any(is_distributed(each) for each in spec.candidates)]
    return DryRun(tuple(problem for spec in specs for problem in problems(spec)), (*skipped, *calibrated(specs)))


def calibrated(specs: Sequence[PipelineSpec]) -> tuple[str, ...]:
    """A note on each spec with classifiers that are calibrated because they give no probabilities themselves."""
    found = []
    for spec in specs:
        named = [
            f"{each.name!r} ({each.estimator})"
            for each in spec.candidates
            if each.estimator.startswith("sklearn.")
            and any(sklearn_fits.is_calibrated(spec.problem, each, drawn) for drawn in _one_by_one(each))
        ]
        if named:
            found.append(
                f"{spec.name}: calibrated by a sigmoid, because it gives no probabilities itself: {', '.join(named)}."
            )
    return tuple(found)


def _not_tried(spec: PipelineSpec, why: str) -> str:
    named = ", ".join(f"{each.name!r} ({each.estimator})" for each in spec.candidates if is_distributed(each))
    return (
        f"{spec.name}: trained on a cluster, so checked by name and parameters only ({why}): {named}. The dry run "
        "comes before the search on the engine 'spark'."
    )


def refusals(
    spec: PipelineSpec, rows: pa.Table, labels: np.ndarray, on_cluster: SampleFit | None = None
) -> Callable[[Job], str | None]:
    """Why a job would end without a model that can be stored, from a test on some of the rows; None if it may work.

    Errors during fitting are left to the trial itself: it may only need more rows than these. A distributed candidate
    is also refused if its model cannot predict, because its trials take long.
    """
    rows, labels = _some(spec.problem, rows, labels)
    refused: dict[str, list[Failed]] = {}
    with warnings.catch_warnings(action="ignore"):  # a dry run is too short to converge
        for candidate, fitted in _fits(spec, on_cluster):
            if is_distributed(candidate) or not always_stored(candidate):
                refused[candidate.name] = _refused(candidate, fitted, rows, labels)

    def reason(job: Job) -> str | None:
        for failed in refused.get(job.candidate.name, ()):
            if all(job.parameters.get(name) == value for name, value in failed.parameters.items()):
                return failed.message
        return None

    return reason


def _wrong_baseline(spec: PipelineSpec, baseline: Baseline) -> Iterator[str]:
    """What is wrong with a rule: its SQL, and that it has no prediction for some of the made-up rows."""
    if baseline.sql is not None:
        wrong = [f"{baseline.where}.sql {found}" for found in wrong_sql(baseline.sql, spec.features.columns)]
        if wrong:
            yield from wrong
            return
    rows, _ = _made_up(spec, SMALL)
    model = BaselineModel(baseline, spec.problem, spec.features.columns)
    try:
        before = predictions(model, rows)
        if not (np.isfinite(before).all() and np.array_equal(before, predictions(_stored_and_loaded(model), rows))):
            yield f"{baseline.where} does not predict the same once it is stored, or predicts no number."
    except SignatureMismatch as error:
        yield f"{baseline.where}: {error}"


def _fits(spec: PipelineSpec, on_cluster: SampleFit | None) -> Iterator[tuple[Candidate, SampleFit]]:
    """The candidates that can be tried here, each with the function that fits it."""

    def here(candidate: Candidate, parameters: Mapping[str, Any], rows: pa.Table, labels: np.ndarray) -> Model:
        return fit(spec, candidate, parameters, rows=rows, labels=labels, seed=SEED, threads=1)

    for candidate in spec.candidates:
        if not is_distributed(candidate):
            yield candidate, here
        elif on_cluster is not None:
            yield candidate, on_cluster


def _problems_of(spec: PipelineSpec, candidate: Candidate, fitted: SampleFit) -> Iterator[str]:
    tried = _all_tried(spec, candidate, fitted)
    where = f"candidates[{candidate.name!r}]"
    if first := _common(tried):
        yield f"{where} {first.step}: {first.message}"
        return
    for name, domain in candidate.searched.items():
        for option in domain.options if isinstance(domain, Choice) else ():
            if failed := _common([(drawn, failed) for drawn, failed in tried if drawn[name] == option]):
                yield f"{where}.search[{name!r}]: with {option!r} it {failed.step}: {failed.message}"


def _all_tried(spec: PipelineSpec, candidate: Candidate, fitted: SampleFit) -> list[Tried]:
    """Each option with the other parameters' first options; if one fails, it is tried in other combinations too."""
    tried: list[Tried] = []
    for drawn in _as_time_allows(itertools.chain(_one_by_one(candidate), _together(candidate))):
        complete = len(tried) > sum(len(_values(domain)) - 1 for domain in candidate.searched.values())
        if complete and not any(failed for _, failed in tried):
            break
        tried.append((drawn, _tried(spec, candidate, drawn, fitted)))
    return tried


def _as_time_allows(sets: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The first of these sets of parameters, and so many more as `MOST_SETS` and `SECONDS` allow."""
    began = time.monotonic()
    for number, drawn in enumerate(itertools.islice(sets, MOST_SETS)):
        if number and time.monotonic() - began > SECONDS:
            break
        yield drawn


def _common(tried: Sequence[Tried]) -> Failed | None:
    """The first failure, if there are any results and all of them failed."""
    return tried[0][1] if tried and all(failed for _, failed in tried) else None


def _tried(spec: PipelineSpec, candidate: Candidate, drawn: Mapping[str, Any], fitted: SampleFit) -> Failed | None:
    failed = _attempt(candidate, drawn, fitted, _made_up(spec, SMALL))
    if failed is None or failed.step in (STORE, OTHERWISE):
        return failed
    return _attempt(candidate, drawn, fitted, _made_up(spec, LARGER))


def _refused(candidate: Candidate, fitted: SampleFit, rows: pa.Table, labels: np.ndarray) -> list[Failed]:
    """The searched options that make a model which cannot be used; no options if that is every model."""
    sets: Iterable[dict[str, Any]] = _one_by_one(candidate)
    refusing = {STORE}
    if is_distributed(candidate):
        sets, refusing = _as_time_allows(sets), {STORE, PREDICT}
    tried = [(drawn, _attempt(candidate, drawn, fitted, (rows, labels))) for drawn in sets]
    bad = [(drawn, failed) for drawn, failed in tried if failed is not None and failed.step in refusing]
    if len(bad) == len(tried):
        return [Failed({}, bad[0][1].step, bad[0][1].message)]
    good = [drawn for drawn, failed in tried if failed is None]
    return [
        Failed({name: value}, failed.step, failed.message)
        for drawn, failed in bad
        for name, value in drawn.items()
        if isinstance(candidate.searched[name], Choice) and all(other[name] != value for other in good)
    ]


def _attempt(candidate: Candidate, drawn: Mapping[str, Any], fitted: SampleFit, sample: Sample) -> Failed | None:
    """Fit, predict, save, load and predict again. Raises errors that are not its fault, such as an outage."""
    parameters = _fewer({**candidate.parameters, **drawn})
    rows, labels = sample
    step = FIT
    try:
        with one_thread():
            model = fitted(candidate, parameters, rows, labels)
            step = PREDICT
            batch = rows.combine_chunks().to_batches()[0]
            predicted = model.predict(batch)
            if np.isnan(as_array(predicted)).any():
                return Failed(drawn, step, "some of its predictions are NaN")
            model.importance()
            step = STORE
            loaded = _stored_and_loaded(model)
            if not loaded.predict(batch).equals(predicted) or loaded.digest() != model.digest():
                return Failed(drawn, step, "after storing and loading it, it is a different model")
    except NO_CANDIDATES_FAULT:
        raise
    except NotConverted as error:
        return Failed(drawn, STORE, error_text(error))
    except Exception as error:  # noqa: BLE001 - this run exists to find out what the library raises
        return Failed(drawn, step, error_text(error))
    if is_distributed(candidate):
        return None  # a booster that was trained on a cluster has no configuration
    idle = not_in_force(candidate, model, parameters)
    return Failed(drawn, OTHERWISE, " ".join(idle)) if idle else None


def _stored_and_loaded(model: Model) -> Model:
    with tempfile.TemporaryDirectory(prefix="tailrace-dry-run-") as folder:
        model.save(Path(folder))
        return models.load(Path(folder))


def _fewer(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with fewer trees and rounds, at every depth."""
    return {
        name: replaced(_few(name, value), lambda each: replace(each, parameters=_fewer(each.parameters)))
        for name, value in parameters.items()
    }


def _few(name: str, value: Any) -> Any:
    most = FEW.get(name.rpartition("__")[2])
    return min(value, most) if most and isinstance(value, int) and not isinstance(value, bool) else value


def _one_by_one(candidate: Candidate) -> Iterator[dict[str, Any]]:
    """Every searched parameter with its first value, then each other value with the other parameters' first values."""
    values = {name: _values(domain) for name, domain in candidate.searched.items()}
    first = {name: options[0] for name, options in values.items()}
    yield first
    for name, options in values.items():
        yield from ({**first, name: option} for option in options[1:])


def _together(candidate: Candidate) -> Iterator[dict[str, Any]]:
    """The combinations that `_one_by_one` omits."""
    values = {name: _values(domain) for name, domain in candidate.searched.items()}
    for chosen in itertools.product(*values.values()):
        if sum(value != options[0] for value, options in zip(chosen, values.values(), strict=True)) > 1:
            yield dict(zip(values, chosen, strict=True))


def _values(domain: Domain) -> list[Any]:
    """The options, or the lower end of a range, which is usually faster."""
    return list(domain.options) if isinstance(domain, Choice) else [domain.low]


def _made_up(spec: PipelineSpec, count: int) -> Sample:
    """Rows of the kinds in the spec, with missing values, rare and frequent categories, and labels of all values."""
    random = np.random.default_rng(SEED)
    labels = spec.problem.made_up_labels(count)
    columns: dict[str, pa.Array] = {}
    for place, (name, kind) in enumerate(spec.features.columns.items()):
        missing = random.random(count) < 0.1
        if kind == "numeric":
            values: list[Any] = (random.normal(place, 10, count) + labels).tolist()
        elif kind == "categorical":
            values = [f"value {int(number)}" for number in np.minimum(random.geometric(0.2, count), 30)]
        else:
            about = [spec.problem.label_words(label) for label in labels]
            values = [f"text about {what} of {number}" for number, what in enumerate(about)]
        columns[name] = pa.array(
            [None if gone else value for value, gone in zip(values, missing, strict=True)],
            pa.float64() if kind == "numeric" else pa.string(),
        )
    if spec.features.weight is not None:
        columns[spec.features.weight] = pa.array(1.0 + np.arange(count) % 3)
    return pa.table(columns), labels


def _some(problem: Problem, rows: pa.Table, labels: np.ndarray) -> tuple[pa.Table, np.ndarray]:
    """Rows spread over the table, with every label that the problem lists and the table has."""
    listed = problem.label_values
    strata = [np.arange(len(labels))] if listed is None else [np.flatnonzero(labels == label) for label in listed]
    chosen = [
        positions[np.unique(np.linspace(0, len(positions) - 1, SMALL // len(strata)).astype(int))]
        for positions in strata
        if len(positions)
    ]
    order = np.sort(np.concatenate(chosen)) if chosen else np.array([], dtype=int)
    return rows.take(pa.array(order)), labels[order]
