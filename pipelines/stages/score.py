"""Score the day's features with a resolved model version, staging the predictions."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from pipelines import models, pins
from pipelines.errors import UpstreamMissing
from pipelines.interfaces import Services
from pipelines.spec import PipelineSpec


@dataclass(frozen=True)
class Scored:
    """Predictions staged by this run, which no reader sees yet."""

    pipeline: str
    day: dt.date
    run_id: str
    rows: int
    model_version: str
    model_choice: str
    features_version: str


def run(services: Services, spec: PipelineSpec, day: dt.date, run_id: str, model: str = models.AS_OF) -> Scored:
    """Raises UpstreamMissing, NoChampion, UnknownName, SignatureMismatch, StorageFull."""
    lake = services.lake
    if day not in lake.days(spec.features_table):
        raise UpstreamMissing(
            f"{spec.features_table} has no published features of {day}; "
            f"run the warehouse for this day first: tailrace warehouse --date {day}."
        )
    chosen = models.resolve(services, spec, day, model)
    expected = models.holdout_scores(services, spec, chosen.version)
    fitted = models.load(services, spec, chosen.version)
    pin = lake.pin(spec.features_table, first=day, last=day)
    rows = lake.scan(pin, [*spec.features.key, spec.features.event_time, "ds", *_inputs(services, spec)])
    target = lake.target(spec.predictions_table, day, run_id)
    staged = services.engine.score(spec, fitted, chosen.version, rows, target)
    lake.annotate(
        staged,
        {
            "model_version": chosen.version,
            "model_choice": model,
            "model_effective_from": str(chosen.effective_from or ""),
            "look_ahead": str(chosen.look_ahead).lower(),
            # Written here so that the audit needs no tracker.
            "holdout_scores": expected,
            "features_pin": pins.to_json(pin),
        },
    )
    return Scored(spec.name, day, run_id, staged.rows, chosen.version, model, pin.version)


def _inputs(services: Services, spec: PipelineSpec) -> list[str]:
    """The model's inputs that the table has; the engine says in one sentence what it lacks."""
    held = services.lake.schema(spec.features_table).names
    return [name for name in spec.features.columns if name in held]
