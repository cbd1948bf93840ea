"""Days whose predictions the audit refused, and why: the lake table `refusals/<pipeline>`.

A day has one row, of its last refusal. The row stays when the day is published later.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import dataclass

import pyarrow as pa

from tailrace.contracts import LakeReader
from tailrace.errors import PublishConflict
from tailrace.lineage import provenance
from tailrace.spec import PipelineSpec
from tailrace.work import Work

SCHEMA = pa.schema(
    [
        pa.field("model_version", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("run_id", pa.string()),
        pa.field("evidence", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The audit's last refusal of a day: by which version it was scored, and what was outside the limits.

    `stands`: the day was not published since. `evidence` is what is kept of the refused predictions, as JSON; empty if
    nothing is.
    """

    day: dt.date
    model_version: str
    reason: str
    recorded_at: dt.datetime
    stands: bool
    evidence: str = ""


def record(work: Work, day: dt.date, *, model_version: str, reason: str, evidence: str = "") -> None:
    """Write down that the audit refused what a run staged for the day. A retry of that run makes no second commit."""
    lake, spec, run_id = work.services.lake, work.spec, work.run_id
    row = {"model_version": model_version, "reason": reason, "run_id": run_id, "evidence": evidence}
    lake.add_columns(spec.refusals_table, SCHEMA)
    staged = lake.stage(spec.refusals_table, day, run_id, pa.Table.from_pylist([row], SCHEMA).to_reader())
    notes = {**provenance.code(), **provenance.request_notes(work.request)}
    # Another run that was refused in the same moment has written the day down.
    with contextlib.suppress(PublishConflict):
        lake.publish(staged, {"pipeline": spec.name, "stage": "audit", "run_id": run_id, **notes})


def by_run(lake: LakeReader, spec: PipelineSpec, day: dt.date, run_id: str) -> tuple[str, str] | None:
    """The version and the reason of the day's refusal, if this run was refused last."""
    if day not in lake.days(spec.refusals_table, first=day, last=day):
        return None
    (row,) = lake.read(spec.refusals_table, first=day, last=day).read_all().to_pylist()
    return (row["model_version"], row["reason"]) if row["run_id"] == run_id else None


def history(lake: LakeReader, spec: PipelineSpec) -> list[Refusal]:
    """The last refusal of each day that was ever refused, oldest day first."""
    refused = lake.days(spec.refusals_table)
    if not refused:
        return []
    published = lake.days(spec.predictions_table)
    rows = {row["ds"]: row for row in lake.read(spec.refusals_table).read_all().to_pylist()}
    return [
        Refusal(
            day=day,
            model_version=rows[day]["model_version"],
            reason=rows[day]["reason"],
            recorded_at=commit.recorded_at,
            stands=day not in published or published[day].recorded_at < commit.recorded_at,
            evidence=rows[day].get("evidence") or "",
        )
        for day, commit in refused.items()
    ]
