"""Make the audited predictions the day's predictions, in one transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tailrace.champions import policies
from tailrace.contracts import Commit
from tailrace.errors import AuditFailed
from tailrace.lineage import identity, provenance, run_events
from tailrace.lineage.run_events import Touched
from tailrace.settings import Settings
from tailrace.spec import PipelineSpec
from tailrace.stages import score
from tailrace.work import Work


@dataclass(frozen=True, kw_only=True)
class Published:
    """The commit that holds the day. `unchanged`: it held these very predictions already."""

    pipeline: str
    day: dt.date
    rows: int
    model_version: str
    commit: Commit

    @property
    def unchanged(self) -> bool:
        return self.commit.unchanged


def _touched(settings: Settings, work: Work, done: Published | None) -> Touched:
    spec = work.spec
    models = [run_events.model(settings, spec.name, done.model_version)] if done is not None else []
    return Touched(
        inputs=[run_events.lake_table(settings, spec.features_table), *models],
        outputs=[run_events.lake_table(settings, spec.predictions_table, done.rows if done is not None else None)],
    )


@run_events.reported("publish", _touched)
def run(work: Work, day: dt.date, *, recorded_at: dt.datetime | None = None) -> Published:
    """Raises AuditFailed if the staged rows were not audited, PublishConflict, StagingGone.

    `recorded_at` is the moment, now by default, at which it is recorded since which day an edited spec counts.
    """
    services, spec, run_id = work.services, work.spec, work.run_id
    staged = services.lake.staged(spec.predictions_table, day, run_id)
    if staged.notes.get("audit") != "passed":
        raise AuditFailed(
            f"{spec.predictions_table} of {day}: what run {run_id!r} staged has not passed its audit; "
            f"run it first: tailrace run audit {spec.name} --date {day} --run-id {run_id}."
        )
    notes = {name: value for name, value in staged.notes.items() if name != "holdout_scores"}
    code = provenance.code()
    metadata = {"pipeline": spec.name, "stage": "publish", "run_id": run_id, **code, **notes}
    now = recorded_at or dt.datetime.now(dt.UTC)
    for edited in policies.edited_spec(services.lake, spec, day, recorded_at=now, code=code["git_commit"]):
        policies.record(services.lake, edited)
    # A day that was never published replaces nothing.
    held = services.lake.days(spec.predictions_table, first=day, last=day).get(day) if staged.fence else None
    # The same bytes may come from other features or another policy: the day must not look outdated for good.
    commit = services.lake.publish(staged, metadata, anew=held is not None and _made_otherwise(held.metadata, notes))
    return _published(spec, day, staged.notes["model_version"], commit)


def published(work: Work, day: dt.date) -> Published:
    """What the day holds, as a run finds it that has published it before."""
    spec = work.spec
    commit = replace(work.services.lake.days(spec.predictions_table, first=day, last=day)[day], unchanged=True)
    return _published(spec, day, commit.metadata["model_version"], commit)


def discard(work: Work, day: dt.date) -> int:
    """Remove what the run staged for the day, as a dry run ends; the rows there were."""
    services = work.services
    staged = services.lake.staged(work.spec.predictions_table, day, work.run_id)
    services.lake.discard(staged)
    return staged.rows


def _made_otherwise(held: Mapping[str, str], notes: Mapping[str, str]) -> bool:
    """Whether predictions were made from something else than those that are published."""
    other_model = identity.of_commit(held).differs(identity.of_commit(notes))
    return other_model or score.made_from(held) != score.made_from(notes)


def _published(spec: PipelineSpec, day: dt.date, model_version: str, commit: Commit) -> Published:
    return Published(pipeline=spec.name, day=day, rows=commit.rows, model_version=model_version, commit=commit)
