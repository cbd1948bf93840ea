"""Train a model, and repeat a training to compare it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tailrace import days
from tailrace.commands import options, output, stage_call, stale_days
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
    day = days.parse(date, "--date")
    services, spec = options.services(engine), registry.get(pipeline, estimators=True)
    request = options.request(reason=reason, engine=engine)
    work = Work(services=services, spec=spec, run_id=options.new_run_id(), request=request)
    stale_days.warn("train", services, spec, first=day, last=day)
    trained = stage_call.call("train", work, day=day, trials=trials, force=force, dry_run=dry_run)
    evaluated = stage_call.call("evaluate", work, training_run=trained.training_run)
    if dry_run:
        outcome, why = "dry run", "Nothing was promoted."
    else:
        decided = stage_call.call("promote", work, training_run=trained.training_run)
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
    with stage_call.progress_of_trials("reproduce", int(record.params.get("trials", 0))) as on_trial:
        found = reproduction.run(services, spec, run, data=data.value, on_trial=on_trial)
    rows = [
        {"what": compared.name, "recorded": compared.recorded, "now": compared.now, "same": compared.same}
        for compared in (*found.inputs, *found.results)
    ]
    output.table(f"reproduce {run}", rows, as_json, sentence=found.sentence())
    if not found.same:
        raise typer.Exit(1)
