"""Hyperparameter search: the same trials, in the same order, on any number of cores.

Trials are asked for in rounds of fixed size and told in order after each round. What a trial
is given, and whether it is pruned, depends on finished rounds alone, never on which of its
neighbours was faster.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import optuna
import pyarrow as pa

from pipelines.engines.estimators import fit_watched
from pipelines.errors import TrainingFailed
from pipelines.interfaces import Trial
from pipelines.metrics import METRICS
from pipelines.spec import Candidate, Choice, FloatRange, IntRange, PipelineSpec

ROUND = 4
"""Trials asked for at once. A constant: with the number of cores it would change the search."""

WATCH_SHARE = 0.2
"""Share of the training rows, the latest ones, that trials are compared on."""


def shares(candidates: Sequence[Candidate], trials: int) -> list[int]:
    """Trials for each candidate: one at least, the rest in proportion to the parameters it searches."""
    weights = np.array([len(candidate.search) for candidate in candidates], dtype=float)
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
    rows: pa.Table,
    labels: np.ndarray,
    *,
    seed: int,
    trials: int,
    workers: int,
    on_trial: Callable[[Trial], None],
) -> tuple[Trial, ...]:
    """Every trial, in order. Rows are sorted by time; the last fifth is what trials are compared on.

    Raises TrainingFailed if the rows cannot be compared on (one class only) or no trial completed.
    """
    boundary = int(rows.num_rows * (1 - WATCH_SHARE))
    parts = (rows.slice(0, boundary), labels[:boundary], rows.slice(boundary), labels[boundary:])
    for name, part in (("learning", parts[1]), ("comparison", parts[3])):
        if len(np.unique(part)) < 2:
            raise TrainingFailed(
                f"{spec.name}: the {len(part)} {name} rows hold one class of {spec.outcome.label!r} only; "
                "train on a longer window or a day with more known outcomes."
            )
    deadline = time.monotonic() + spec.search.seconds
    done: list[Trial] = []
    with ThreadPoolExecutor(workers) as pool:
        for candidate, budget in zip(spec.candidates, shares(spec.candidates, trials), strict=True):
            for trial in _search_candidate(spec, candidate, parts, seed, budget, deadline, pool, len(done)):
                done.append(trial)
                on_trial(trial)
    if not any(trial.state == "complete" for trial in done):
        raise TrainingFailed(f"{spec.name}: none of {len(done)} trials completed; the log names each one's error.")
    return tuple(done)


def best_of(spec: PipelineSpec, trials: Sequence[Trial]) -> Trial:
    """The completed trial with the best metric; the earliest of equals."""
    sign = 1 if METRICS[spec.search.metric] else -1
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    return max(complete, key=lambda trial: (sign * trial.value, -trial.number))  # type: ignore[operator]


def _search_candidate(
    spec: PipelineSpec,
    candidate: Candidate,
    parts: Any,
    seed: int,
    budget: int,
    deadline: float,
    pool: ThreadPoolExecutor,
    first_number: int,
) -> Iterator[Trial]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize" if METRICS[spec.search.metric] else "minimize",
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=ROUND * 2),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=ROUND, n_warmup_steps=20),
    )
    asked = 0
    while asked < budget and (asked == 0 or time.monotonic() < deadline):
        round_ = [study.ask() for _ in range(min(ROUND, budget - asked))]
        asked += len(round_)
        chosen = [dict(candidate.parameters) | _parameters(candidate, trial) for trial in round_]
        outcomes = list(pool.map(functools.partial(_try, spec, candidate, parts, seed), round_, chosen))
        for trial, parameters, (state, value, found, seconds) in zip(round_, chosen, outcomes, strict=True):
            number = first_number + trial.number
            study.tell(trial, value, _OPTUNA_STATES[state])
            yield Trial(number, candidate.name, parameters | found, value, state, seconds)


_OPTUNA_STATES = {
    "complete": optuna.trial.TrialState.COMPLETE,
    "pruned": optuna.trial.TrialState.PRUNED,
    "failed": optuna.trial.TrialState.FAIL,
}


def _try(spec: PipelineSpec, candidate: Candidate, parts: Any, seed: int, trial: optuna.Trial, parameters: Any) -> Any:
    """(state, metric on the watched rows, what early stopping found, seconds) of one trial."""
    rows, labels, watch, watch_labels = parts
    started = time.monotonic()

    def report(step: int, value: float) -> None:
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        model, found = fit_watched(
            spec, candidate, parameters, rows, labels, watch, watch_labels, seed=seed, report=report
        )
        from pipelines.metrics import measure

        scores = np.concatenate([model.predict(batch).to_numpy() for batch in watch.to_batches()])
        return "complete", measure(watch_labels, scores)[spec.search.metric], found, time.monotonic() - started
    except optuna.TrialPruned:
        return "pruned", None, {}, time.monotonic() - started
    except (ValueError, RuntimeError, ArithmeticError) as error:
        # A bad combination of parameters ends its own trial; the search goes on.
        return "failed", None, {"error": str(error)}, time.monotonic() - started


def _parameters(candidate: Candidate, trial: optuna.Trial) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    for name, domain in candidate.search.items():
        if isinstance(domain, IntRange):
            drawn[name] = trial.suggest_int(name, domain.low, domain.high, log=domain.log)
        elif isinstance(domain, FloatRange):
            drawn[name] = trial.suggest_float(name, domain.low, domain.high, log=domain.log)
        elif isinstance(domain, Choice):
            drawn[name] = trial.suggest_categorical(name, domain.options)
    return drawn
