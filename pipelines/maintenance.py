"""Keeping the lake small without breaking what a training run has pinned."""

from __future__ import annotations

import datetime as dt

from pipelines.interfaces import Pin, Services
from pipelines.spec import PipelineSpec
from pipelines.stages.train import pins_of


def maintain(services: Services, spec: PipelineSpec, keep: dt.timedelta) -> list[dict[str, object]]:
    """Compact and vacuum each table of a pipeline; a row per table with the number of files."""
    pins = _pins(services, spec)
    done: list[dict[str, object]] = []
    for table in (spec.features_table, spec.outcomes_table, spec.predictions_table):
        if not services.lake.exists(table):
            continue
        kept = [pin for pin in pins if pin.table == table]
        compacted = services.lake.optimize(table)
        deleted = services.lake.vacuum(table, kept, keep)
        done.append({"table": table, "compacted": compacted, "deleted": deleted, "pins kept": len(kept)})
    return done


def _pins(services: Services, spec: PipelineSpec) -> list[Pin]:
    """Every pin of every training run that registered a model."""
    return [
        pin
        for record in services.tracker.runs(spec.name)
        if "tailrace.model_digest" in record.tags
        for pin in pins_of(record.tags).values()
    ]
