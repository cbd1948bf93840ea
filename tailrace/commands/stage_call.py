"""Calls a stage's `run` with what its signature takes."""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tailrace import days, settings, stages
from tailrace.commands import options, output
from tailrace.contracts import Trial
from tailrace.errors import BadInput
from tailrace.lineage import run_tags
from tailrace.problems.metrics import written
from tailrace.rows import scheduled_days
from tailrace.work import Work

SUPPLIED = ("work", "services", "first", "last", "absent", "day", "training_run", "seed", "recorded_at", "taken_at")
"""What a stage may require without its being an option of the command."""


def check(stage: str, chosen: Mapping[str, Any]) -> None:
    """Raises BadInput naming the options that the stage does not take, and those that it takes."""
    taken = stages.options_of(stage)
    refused = [stages.OPTIONS[name] for name in chosen if name not in taken]
    if not refused:
        return
    takes = ", ".join(stages.OPTIONS[name] for name in taken) or f"none of {', '.join(stages.OPTIONS.values())}"
    raise BadInput(f"The stage {stage} does not take {' or '.join(refused)}; it takes {takes}.")


def call_for_days(stage: str, work: Work, *, first: dt.date, last: dt.date, chosen: Mapping[str, Any]) -> list[Any]:
    """The stage's results: one for the whole range if the stage takes ranges, else one for each day."""
    takes = inspect.signature(stages.entry(stage)).parameters
    if "first" in takes:
        return [call(stage, work, first=first, last=last, **chosen)]
    if "day" in takes:
        return [call(stage, work, day=day, **chosen) for day in days.span(first, last)]
    if "training_run" in chosen:
        return [call(stage, work, **chosen)]
    return [call(stage, work, training_run=_latest_training_run(work, day), **chosen) for day in days.span(first, last)]


def call(stage: str, work: Work, **given: Any) -> Any:
    """The stage's result. It gets `given`, and from here what else its signature takes."""
    run = stages.entry(stage)
    takes = inspect.signature(run).parameters
    available: Mapping[str, Callable[[], Any]] = {
        "work": lambda: work,
        "services": lambda: work.services,
        "seed": lambda: settings.load().seed,
        "recorded_at": options.now,
        "taken_at": options.now,
        "absent": lambda: scheduled_days.absent(given["first"], given["last"]),
    }
    given = {name: value() for name, value in available.items() if name in takes} | given
    if "on_trial" not in takes:
        return run(**given)
    with progress_of_trials(f"{stage} {work.spec.name}", given.get("trials") or work.spec.search.trials) as on_trial:
        return run(**given, on_trial=on_trial)


@contextmanager
def progress_of_trials(what: str, trials: int) -> Iterator[Callable[[Trial], None]]:
    """Show each trial when it ends."""
    with output.steps(what, trials) as advance:
        yield lambda trial: advance(
            f"trial {trial.number} {trial.candidate}: {trial.state}"
            + (f" {written(trial.value)}" if trial.value is not None else f" {trial.parameters.get('error', '')}")
        )


def _latest_training_run(work: Work, day: dt.date) -> str:
    """The last finished training run as of a day. Raises BadInput if there is none."""
    for record in work.services.tracker.runs(work.spec.name):
        trained = record.tags.get(run_tags.MODEL_KIND) != run_tags.BASELINE
        if trained and record.status == "finished" and record.tags.get(run_tags.DAY) == str(day):
            return record.training_run
    raise BadInput(
        f"{work.spec.name} has no finished training run as of {day}; "
        f"run one with: tailrace run train {work.spec.name} --date {day}."
    )
