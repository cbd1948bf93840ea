"""Take the day's features and outcomes from the warehouse into the lake."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from tailrace.contracts import Commit, Staged
from tailrace.errors import SchemaMismatch, UpstreamMissing, ValidationFailed
from tailrace.lineage import pins, provenance
from tailrace.rows import marts, roles, scheduled_days, staleness, taken
from tailrace.spec import PARTS
from tailrace.work import Work


@dataclass(frozen=True)
class Snapshotted:
    """The commits that hold the day; `unchanged` ones made none."""

    pipeline: str
    day: dt.date
    features: Commit
    outcomes: Commit


def run(work: Work, day: dt.date, *, taken_at: dt.datetime | None = None) -> Snapshotted:
    """Publish both tables of the day. The request goes into the commits.

    `taken_at` is the moment of the snapshot, now by default: what a mart without `known_at` is said to be known at.

    Raises before anything is published ContractBroken, KeysRepeated or LookAhead (docs/roles.md says what the columns
    must hold), UpstreamMissing if the day was never built, ValidationFailed if it has no rows and nothing says why, and
    SchemaMismatch, PublishConflict.
    """
    services, spec, run_id = work.services, work.spec, work.run_id
    lake = services.lake
    read = features, outcomes = [marts.read(services.warehouse, spec, part, day).read_all() for part in PARTS]
    reasons = _reasons(work, day, {"features": features.num_rows, "outcomes": outcomes.num_rows})
    roles.check(spec, day, features, outcomes)
    notes = provenance.request_notes(work.request)
    sources = pins.source_note(services.warehouse.sources(day))
    metadata = {"pipeline": spec.name, "stage": "snapshot", "run_id": run_id, **sources, **notes}
    # Both are staged before either is published: what refuses one leaves the other as it was.
    now = taken_at or dt.datetime.now(dt.UTC)
    staged = [_stage(work, part, day, rows=rows, now=now) for part, rows in zip(PARTS, read, strict=True)]
    for part, noted in staged:
        noted |= {pins.EMPTY: reasons[part.table]} if part.table in reasons else {}
    features_commit, outcomes_commit = (lake.publish(part, {**metadata, **noted}) for part, noted in staged)
    if features_commit.unchanged and sources:
        staleness.note_unchanged(lake, spec, features_commit, sources)
    return Snapshotted(spec.name, day, features_commit, outcomes_commit)


def _stage(work: Work, part: str, day: dt.date, *, rows: pa.Table, now: dt.datetime) -> tuple[Staged, dict[str, str]]:
    """Stage the rows of a mart; returns what was staged, and what the commit says of when they were taken."""
    lake, spec = work.services.lake, work.spec
    table = spec.features_table if part == PARTS[0] else spec.outcomes_table
    noted: dict[str, str] = {}
    if spec.mart(part).known_at is None:
        noted = taken.notes(lake, table, day, rows=rows, now=now)
        rows = marts.with_moment(rows, taken.moment_of(noted))
    try:
        return lake.stage(table, day, work.run_id, rows.to_reader()), noted
    except SchemaMismatch as error:
        raise SchemaMismatch(
            f"{error}\nIf {spec.mart(part).table} gained columns, look at what the lake lacks with: "
            f"tailrace evolve {spec.name}."
        ) from error


def _reasons(work: Work, day: dt.date, rows: Mapping[str, int]) -> dict[str, str]:
    """Why the tables without rows have none, by lake table: a good day must not be replaced by nothing.

    A day that has rows was built, whoever did it. One without needs a build's record, and a reason in it; but the first
    days of a pipeline have no outcomes, since those are of days before.
    """
    spec = work.spec
    tables = {"features": spec.features_table, "outcomes": spec.outcomes_table}
    empty = [part for part in tables if rows[part] == 0]
    if not empty:
        return {}
    if empty == ["outcomes"] and _is_before_outcomes(work, day):
        return {spec.outcomes_table: "no outcomes of the first features are known yet"}
    if len(empty) == len(tables) and scheduled_days.of(spec, day, day) is None:
        raise UpstreamMissing(f"{scheduled_days.sentence([spec], day, day)} The warehouse has no rows of it.")
    recorded = work.services.warehouse.built(day) or {}
    names = {part: spec.mart(part).table for part in empty}
    reasons = {part: recorded.get(names[part]) for part in empty}
    unbuilt = [names[part] for part, reason in reasons.items() if reason is None]
    if unbuilt:
        raise UpstreamMissing(
            f"The warehouse has no rows of {' and '.join(unbuilt)} of {day}, and no record that this day was built. "
            f"What is published of {day} stays. Build it first: tailrace warehouse --date {day}."
        )
    unexplained = [names[part] for part, reason in reasons.items() if not reason]
    if unexplained:
        raise ValidationFailed(
            f"{' and '.join(unexplained)} of {day} were built and have no rows, and nothing says why. What is "
            f"published of {day} stays. Correct the dbt model and build the day again. If its days may be empty, say "
            "so in the model's yml: config: {meta: {may_be_empty: true}}; or name the landed table without whose "
            "rows it has none: config: {meta: {rows_from: ...}}."
        )
    return {tables[part]: reason for part, reason in reasons.items() if reason}


def _is_before_outcomes(work: Work, day: dt.date) -> bool:
    """Whether no outcome can be known by that day, since the first features are too young; nor was one published."""
    services, spec = work.services, work.spec
    begun = min([*services.lake.days(spec.features_table), day])
    published = services.lake.days(spec.outcomes_table).get(day)
    return day < begun + dt.timedelta(days=spec.outcome.lag_days) and not (published and published.rows)
