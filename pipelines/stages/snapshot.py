"""Take the day's features and outcomes from the warehouse into the lake."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines import pins, provenance
from pipelines.interfaces import Commit, Services
from pipelines.spec import PipelineSpec
from pipelines.training_set import refuse_look_ahead


@dataclass(frozen=True)
class Snapshotted:
    """The commits that hold the day; `unchanged` ones made none."""

    pipeline: str
    day: dt.date
    features: Commit
    outcomes: Commit


def run(
    services: Services, spec: PipelineSpec, day: dt.date, run_id: str, *, asked: Mapping[str, str] | None = None
) -> Snapshotted:
    """`asked` is what the run was asked for: it goes into the commits.

    Raises LookAhead before anything is published, UpstreamMissing, SchemaMismatch, PublishConflict."""
    lake, key = services.lake, spec.features.key
    features = services.warehouse.read(f"{spec.name}_features", day, key).read_all()
    outcomes = services.warehouse.read(f"{spec.name}_outcomes", day, key).read_all()
    refuse_look_ahead(spec, features)
    notes = provenance.asked_notes(asked or {})
    sources = pins.source_note(services.warehouse.sources(day))
    metadata = {"pipeline": spec.name, "stage": "snapshot", "run_id": run_id, **sources, **notes}
    # Both are staged before either is published: what refuses one leaves the other as it was.
    staged = [
        lake.stage(spec.features_table, day, run_id, features.to_reader()),
        lake.stage(spec.outcomes_table, day, run_id, outcomes.to_reader()),
    ]
    features_commit, outcomes_commit = (lake.publish(part, metadata) for part in staged)
    return Snapshotted(spec.name, day, features_commit, outcomes_commit)
