"""Train a model, and repeat a training to compare it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import typer

from tailrace import days, settings
from tailrace.commands import options, output, stale_days
from tailrace.contracts import Trial
from tailrace.spec import registry
from tailrace.work import Work


class DataChoice(StrEnum):
    """What `tailrace reproduce` trains on."""

    pinned = "pinned"
    current = "current"


def train(
    pipeline: options.Pipeline,
    date: options.Date,
    trials: options.Trials = None,
    engine: options.EngineOption = None,
    reason: options.Reason = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Train and evaluate, but promote nothing.")] = False,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Train as of a day, evaluate the challenger, and promote it if it passes the gate."""
    from tailrace.stages import evaluate, promote

    day = days.parse(date, "--date")
    services, spec = options.services(engine), registry.get(pipeline, estimators=True)
    request = options.request(reason=reason, engine=engine)
    work = Work(services=services, spec=spec, run_id=options.new_run_id(), request=request)
    stale_days.warn("train", services, spec, day, day)
    trained = train_with_progress(work, day, trials=trials, force=force, challenge=not dry_run)
    evaluated = evaluate.run(work, trained.training_run)
    if dry_run:
        outcome, why = "dry run", "Nothing was promoted."
    else:
        decided = promote.run(work, trained.training_run, recorded_at=options.now())
        outcome, why = decided.outcome, decided.reason
    output.table(
        f"train {pipeline} as of {date}",
        [
            {
                "run": trained.training_run,
                "version": trained.version,
                "candidate": trained.candidate,
                spec.gate.metric: evaluated.metrics[spec.gate.metric],
                f"champion {spec.gate.metric}": (evaluated.champion_metrics or {}).get(spec.gate.metric),
                "outcome": outcome,
                "why": why,
            }
        ],
        as_json,
    )


def reproduce(
    run: Annotated[str, typer.Argument(help="The id of a training run.")],
    data: Annotated[
        DataChoice, typer.Option(help="Train on the pinned data, or on what its days contain now.")
    ] = DataChoice.pinned,
    as_json: options.Json = False,
) -> None:
    """Repeat a training run and compare inputs, model and metrics. The exit code is 1 if they differ."""
    from tailrace.operations import reproduce as reproduction

    services = options.services()
    record = services.tracker.run(run)
    spec = registry.get(record.pipeline)
    with _progress_of_trials("reproduce", int(record.params.get("trials", 0))) as on_trial:
        found = reproduction.run(services, spec, run, data=data.value, on_trial=on_trial)
    rows = [
        {"what": compared.name, "recorded": compared.recorded, "now": compared.now, "same": compared.same}
        for compared in (*found.inputs, *found.results)
    ]
    output.table(f"reproduce {run}", rows, as_json, sentence=found.sentence())
    if not found.same:
        raise typer.Exit(1)


def train_with_progress(work: Work, day: dt.date, *, trials: int | None, force: bool, challenge: bool) -> Any:
    from tailrace.stages import train as stage

    seed = settings.load().seed
    with _progress_of_trials(f"train {work.spec.name}", trials or work.spec.search.trials) as on_trial:
        return stage.run(
            work,
            day,
            seed=seed,
            trials=trials,
            on_trial=on_trial,
            force=force,
            challenge=challenge,
        )


@contextmanager
def _progress_of_trials(what: str, trials: int) -> Iterator[Callable[[Trial], None]]:
    with output.steps(what, trials) as advance:
        yield lambda trial: advance(
            f"trial {trial.number} {trial.candidate}: {trial.state}"
            + (f" {trial.value:.4f}" if trial.value is not None else f" {trial.parameters.get('error', '')}")
        )
