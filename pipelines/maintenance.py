"""Keeping the lake small without breaking what a training run has pinned."""

from __future__ import annotations

import datetime as dt

from pipelines import pins
from pipelines.interfaces import Pin, Services
from pipelines.spec import PipelineSpec


def maintain(services: Services, spec: PipelineSpec, keep: dt.timedelta) -> list[dict[str, object]]:
    """Compact and vacuum each table of a pipeline; a row per table with the number of files."""
    held = _pins(services, spec)
    done: list[dict[str, object]] = []
    for table in (spec.features_table, spec.outcomes_table, spec.predictions_table):
        if not services.lake.exists(table):
            continue
        kept = [pin for pin in held if pin.table == table]
        compacted = services.lake.optimize(table)
        deleted = services.lake.vacuum(table, kept, keep)
        done.append({"table": table, "compacted": compacted, "deleted": deleted, "pins kept": len(kept)})
    return done


def _pins(services: Services, spec: PipelineSpec) -> list[Pin]:
    """Every pin of every training run, also of one in progress, and those of the published predictions."""
    trained = [pin for record in services.tracker.runs(spec.name) for pin in pins.from_tags(record.tags).values()]
    published = services.lake.days(spec.predictions_table).values()
    return trained + [
        pins.from_json(commit.metadata["features_pin"]) for commit in published if "features_pin" in commit.metadata
    ]
