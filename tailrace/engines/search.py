"""Hyperparameter search: the same trials with the same results, on any machine and any number of cores.

Every candidate is searched in rounds of fixed size. One round of each candidate makes up the jobs that
may run in parallel; the caller decides where they run. A trial's parameters, and whether it is pruned,
depend only on its candidate's finished rounds, never on which parallel trial was faster.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import optuna
import pyarrow as pa
from threadpoolctl import threadpool_limits

from tailrace.contracts import Model, Trial, not_trained
from tailrace.engines.adjusted import Adjusted
from tailrace.engines.encoding import check_numbers
from tailrace.engines.estimators import fit, fit_watched
from tailrace.engines.fitting import TrialRows, row_weights
from tailrace.engines.library_errors import error_text
from tailrace.engines.signatures import predictions
from tailrace.errors import TrainingFailed
from tailrace.problems.metrics import METRICS
from tailrace.rows import refusals
from tailrace.spec import Candidate, Choice, FloatRange, IntRange, PipelineSpec

ROUND = 4
"""How many trials of a candidate are drawn per round. A constant: by number of cores, it would change the search."""

WATCH_SHARE = 0.2
"""The share of the training rows, the latest ones, on which trials are compared."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """How a trial ended: its metric, the result of early stopping or the error, and the (step, metric) it reported."""

    state: Literal["complete", "pruned", "failed"]
    value: float | None
    found: Mapping[str, Any]
    seconds: float
    reports: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Job:
    """A trial to run, sent to workers as a pickle. Pruning compares it with `finished`, the completed trials."""

    candidate: Candidate
    parameters: Mapping[str, Any]
    finished: tuple[TrialResult, ...] = ()


Run = Callable[[Sequence[Job]], Iterable[TrialResult]]
"""Runs jobs, in parallel or not, and returns their outcomes in the jobs' order."""


def trial_rows(spec: PipelineSpec, rows: pa.Table, labels: np.ndarray) -> TrialRows:
    """The rows split in two; they are sorted by time.

    Raises TrainingFailed if a part teaches nothing, SignatureMismatch if it has numbers that no model accepts.
    """
    check_numbers(rows, spec.features.of_kind("numeric"), where=f"The rows that {spec.name} learns from")
    boundary = int(rows.num_rows * (1 - WATCH_SHARE))
    one_batch = rows.combine_chunks()  # the size of a batch shows in the last digits of what is predicted for it
    parts = TrialRows(one_batch.slice(0, boundary), labels[:boundary], one_batch.slice(boundary), labels[boundary:])
    for name, part, its_labels in (
        ("learning", parts.rows, parts.labels),
        ("comparison", parts.watch, parts.watch_labels),
    ):
        weights = row_weights(spec, part, its_labels)
        counting = its_labels if weights is None else its_labels[weights > 0]
        if weights is not None and not len(counting):
            raise refusals.unlearnable(spec, len(its_labels), name, "all have the weight 0, so nothing is learned")
        if why := spec.problem.unlearnable(np.unique(counting).tolist()):
            raise refusals.unlearnable(spec, len(counting), name, why)
    if why := spec.problem.too_few(len(parts.watch_labels)):
        raise refusals.too_few(spec, len(parts.watch_labels), why)
    return parts


def shares(candidates: Sequence[Candidate], trials: int) -> list[int]:
    """Trials for each candidate: one at least, the rest in proportion to the parameters it searches."""
    weights = np.array([len(candidate.searched) for candidate in candidates], dtype=float)
    given = np.ones(len(candidates), dtype=int)
    rest = trials - len(candidates)
    if rest > 0 and weights.sum() > 0:
        exact = rest * weights / weights.sum()
        given += np.floor(exact).astype(int)
        for index in np.argsort(-(exact - np.floor(exact)), kind="stable")[: trials - given.sum()]:
            given[index] += 1
    return given.tolist()


def search(
    spec: PipelineSpec,
    *,
    seed: int,
    trials: int,
    run: Run,
    on_trial: Callable[[Trial], None],
    refused: Callable[[Job], str | None] = lambda job: None,
) -> tuple[Trial, ...]:
    """Every trial, numbered in order: round by round, within a round by candidate.

    A job for which `refused` returns a reason is not run: its trial fails with that reason. Except for the first, no
    round begins after `spec.search.seconds`. Raises TrainingFailed, with each candidate's error, if no trial completed.
    """
    deadline = time.monotonic() + spec.search.seconds
    budgets = shares(spec.candidates, trials)
    searches = [
        _Search(spec, candidate, seed, budget) for candidate, budget in zip(spec.candidates, budgets, strict=True)
    ]
    done: list[Trial] = []
    while any(each.left for each in searches) and (not done or time.monotonic() < deadline):
        round_of_trials = [(each, trial, job) for each in searches for trial, job in each.ask()]
        reasons = [refused(job) for _, _, job in round_of_trials]
        to_run = [job for (_, _, job), reason in zip(round_of_trials, reasons, strict=True) if reason is None]
        ran = iter(run(to_run)) if to_run else iter(())
        for (each, trial, job), reason in zip(round_of_trials, reasons, strict=True):
            outcome = (
                next(ran)
                if reason is None
                else TrialResult(state="failed", value=None, found={"error": reason}, seconds=0.0)
            )
            each.tell(trial, outcome)
            parameters = {**job.parameters, **outcome.found}
            done.append(
                Trial(
                    number=len(done),
                    candidate=job.candidate.name,
                    parameters=parameters,
                    value=outcome.value,
                    state=outcome.state,
                    seconds=outcome.seconds,
                )
            )
            on_trial(done[-1])
    if not any(trial.state == "complete" for trial in done):
        raise TrainingFailed(
            f"{spec.name}: none of {len(done)} trials completed.\n"
            + "\n".join(f"  - {sentence}" for sentence in not_trained(done))
        )
    return tuple(done)


def best_of(spec: PipelineSpec, trials: Sequence[Trial]) -> Trial:
    """The completed trial with the best metric; the earliest if several are equal."""
    sign = 1 if METRICS[spec.search.metric].greater_is_better else -1
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    return max(complete, key=lambda trial: (sign * trial.value, -trial.number))  # type: ignore[operator]


def refit(spec: PipelineSpec, best: Trial, rows: pa.Table, labels: np.ndarray, *, seed: int, threads: int) -> Model:
    """The best trial's candidate and parameters, fitted on all rows; the same for any number of threads.

    XGBoost and forests use the threads; others fit on one, because their number changes the fitted model. An
    adjustment, such as an interval, learns from the later rows what a model predicts for them that was fitted on the
    earlier ones.
    """
    candidate = next(candidate for candidate in spec.candidates if candidate.name == best.candidate)
    fitted = functools.partial(fit, spec, candidate, best.parameters, seed=seed, threads=threads)
    with one_thread():
        model = fitted(rows=rows.combine_chunks(), labels=labels)
        if spec.problem.unadjusted == spec.problem:
            return model
        parts = trial_rows(spec, rows, labels)
        earlier = fitted(rows=parts.rows, labels=parts.labels)
        adjustment = spec.problem.adjustment(parts.watch_labels, predictions(earlier, parts.watch))
        return Adjusted(model, adjustment, spec.problem)


def run_job(spec: PipelineSpec, data: TrialRows, seed: int, job: Job) -> TrialResult:
    """Runs one trial; the result depends only on the arguments."""
    study = _study(spec, seed)
    study.add_trials([_as_finished(outcome) for outcome in job.finished])
    trial = study.ask()
    reports: list[tuple[int, float]] = []
    started = time.monotonic()

    def ended(state: Literal["complete", "pruned", "failed"], value: float | None = None, **found: Any) -> TrialResult:
        return TrialResult(
            state=state, value=value, found=found, seconds=time.monotonic() - started, reports=tuple(reports)
        )

    def report(step: int, value: float) -> None:
        reports.append((step, value))
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        model, found = fit_watched(spec, job.candidate, job.parameters, data, seed=seed, report=report)
        value = _compared_by(spec, data, predictions(model, data.watch))
        if why := incomparable(spec, value):
            return ended("failed", error=why)
        return ended("complete", value, **found)
    except optuna.TrialPruned:
        return ended("pruned")
    except Exception as error:  # noqa: BLE001 - whatever a library raises on unsuitable parameters
        # A bad combination of parameters ends its own trial; the search goes on.
        return ended("failed", error=error_text(error))


def incomparable(spec: PipelineSpec, value: float) -> str:
    """Why a trial cannot be compared by this value of the metric, as a sentence; empty if it can."""
    if math.isfinite(value):
        return ""
    what = "not defined" if math.isnan(value) else "infinite"
    return f"{spec.search.metric} is {what} on the comparison rows"


def _compared_by(spec: PipelineSpec, data: TrialRows, predicted: np.ndarray) -> float:
    """The metric of a trial; rows with weights count by them, as they did in learning."""
    weights = row_weights(spec, data.watch, data.watch_labels)
    if weights is None:
        return spec.problem.value(spec.search.metric, data.watch_labels, predicted)
    return float(spec.problem.weighted(spec.search.metric, data.watch_labels, predicted)(weights))


@contextmanager
def in_threads(spec: PipelineSpec, data: TrialRows, seed: int, workers: int) -> Iterator[Run]:
    """Runs jobs in this process, this many in parallel."""
    with one_thread():
        # BLAS is limited per process, which is done already; OpenMP is limited per thread.
        pool = ThreadPoolExecutor(workers, initializer=threadpool_limits, initargs=(1, "openmp"))
        try:
            yield lambda jobs: pool.map(functools.partial(run_job, spec, data, seed), jobs)
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limits BLAS, and OpenMP in this thread, to one thread: with more, the last digits of sums vary."""
    import sklearn.linear_model  # noqa: F401 - libraries that are loaded later would not be limited

    with threadpool_limits(1):
        yield


class _Search:
    """The search of one candidate."""

    def __init__(self, spec: PipelineSpec, candidate: Candidate, seed: int, budget: int) -> None:
        self.candidate, self.left = candidate, budget
        self._study = _study(spec, seed)
        self._finished: list[TrialResult] = []

    def ask(self) -> list[tuple[optuna.Trial, Job]]:
        """The next round; empty once all trials are used up."""
        size = min(ROUND, self.left)
        self.left -= size
        return [(trial, self._job(trial)) for trial in [self._study.ask() for _ in range(size)]]

    def tell(self, trial: optuna.Trial, outcome: TrialResult) -> None:
        """Store the outcome of each trial of the last round, in its order."""
        for step, value in outcome.reports:
            trial.report(value, step)
        self._study.tell(trial, outcome.value, _OPTUNA_STATES[outcome.state])
        if outcome.state == "complete":
            self._finished.append(outcome)

    def _job(self, trial: optuna.Trial) -> Job:
        parameters = dict(self.candidate.parameters) | _drawn(self.candidate, trial)
        return Job(self.candidate, parameters, tuple(self._finished))


_OPTUNA_STATES = {
    "complete": optuna.trial.TrialState.COMPLETE,
    "pruned": optuna.trial.TrialState.PRUNED,
    "failed": optuna.trial.TrialState.FAIL,
}


def _study(spec: PipelineSpec, seed: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        direction="maximize" if METRICS[spec.search.metric].greater_is_better else "minimize",
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=ROUND * 2),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=ROUND, n_warmup_steps=20),
    )


def _as_finished(outcome: TrialResult) -> optuna.trial.FrozenTrial:
    return optuna.trial.create_trial(
        state=_OPTUNA_STATES[outcome.state], value=outcome.value, intermediate_values=dict(outcome.reports)
    )


def _drawn(candidate: Candidate, trial: optuna.Trial) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    for name, domain in candidate.searched.items():
        if isinstance(domain, IntRange):
            drawn[name] = trial.suggest_int(name, domain.low, domain.high, log=domain.log)
        elif isinstance(domain, FloatRange):
            drawn[name] = trial.suggest_float(name, domain.low, domain.high, log=domain.log)
        elif isinstance(domain, Choice):
            drawn[name] = trial.suggest_categorical(name, domain.options)
    return drawn
