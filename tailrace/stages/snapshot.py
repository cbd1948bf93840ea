"""Take the day's features and outcomes from the warehouse into the lake, in batches.

This thread reads and checks the rows; for each table, another one writes them as they come. Both writers wait with open
files until all rows were read and every check has passed: only then is anything staged, and only then published. A
refused day leaves nothing behind, and memory holds a few batches, whatever the number of rows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa

from tailrace.contracts import Commit, Staged
from tailrace.errors import SchemaMismatch, UpstreamMissing, ValidationFailed
from tailrace.lineage import pins, provenance, run_events
from tailrace.lineage.digests import RowsDigest
from tailrace.lineage.run_events import Touched
from tailrace.rows import marts, roles, scheduled_days, staleness, taken
from tailrace.rows.streams import Stream
from tailrace.settings import Settings
from tailrace.spec import PARTS
from tailrace.work import Work


@dataclass(frozen=True)
class Snapshotted:
    """The commits that hold the day; `unchanged` ones made none."""

    pipeline: str
    day: dt.date
    features: Commit
    outcomes: Commit


def _touched(settings: Settings, work: Work, done: Snapshotted | None) -> Touched:
    spec = work.spec
    features, outcomes = (done.features.rows, done.outcomes.rows) if done is not None else (None, None)
    return Touched(
        inputs=[run_events.mart(settings, mart.table) for mart in spec.marts],
        outputs=[
            run_events.lake_table(settings, spec.features_table, features),
            run_events.lake_table(settings, spec.outcomes_table, outcomes),
        ],
    )


@run_events.reported("snapshot", _touched)
def run(work: Work, day: dt.date, *, taken_at: dt.datetime | None = None) -> Snapshotted:
    """Publish both tables of the day. The request goes into the commits.

    `taken_at` is the moment of the snapshot, now by default: what a mart without `known_at` is said to be known at.

    Raises before anything is published ContractBroken, KeysRepeated or LookAhead (docs/roles.md says what the columns
    must hold), UpstreamMissing if the day was never built, ValidationFailed if it has no rows and nothing says why, and
    SchemaMismatch, PublishConflict.
    """
    services, spec = work.services, work.spec
    now = taken_at or dt.datetime.now(dt.UTC)
    takings = [_Taking(work, part, day, now) for part in PARTS]
    reasons: dict[str, str] = {}
    sources: dict[str, str] = {}

    def check() -> None:
        features, outcomes = (taking.seen for taking in takings)
        reasons.update(_reasons(work, day, {"features": features.rows, "outcomes": outcomes.rows}))
        roles.refuse(spec, day, features, outcomes)
        sources.update(pins.source_note(services.warehouse.sources(day, marts=staleness.tables(spec))))

    # Both are staged before either is published: what refuses one leaves the other as it was.
    with _discarded_on_failure(takings):
        _stage(takings, check)
        moments = [taking.settle_moment() for taking in takings]
    notes = provenance.request_notes(work.request)
    metadata = {"pipeline": spec.name, "stage": "snapshot", "run_id": work.run_id, **sources, **notes}
    features_commit, outcomes_commit = (
        services.lake.publish(taking.staged, {**metadata, **moment, **_empty(reasons, taking.table)})
        for taking, moment in zip(takings, moments, strict=True)
    )
    if features_commit.unchanged and sources:
        staleness.note_unchanged(services.lake, spec, features_commit, sources)
    return Snapshotted(spec.name, day, features_commit, outcomes_commit)


class _Taking:
    """The rows of one mart on their way into the lake: read once, looked at as they pass, and staged."""

    seen: roles.PassingRows
    _writing: Future[Staged]

    def __init__(self, work: Work, part: str, day: dt.date, now: dt.datetime) -> None:
        self._work, self._part, self._day, self._now = work, part, day, now
        self._lake = work.services.lake
        self._mart = work.spec.mart(part)
        self.table = work.spec.features_table if part == PARTS[0] else work.spec.outcomes_table
        self._stream: Stream[pa.RecordBatch] = Stream()
        self._begun = False
        self._staged: Staged | None = None

    @property
    def staged(self) -> Staged:
        if self._staged is None:
            raise AssertionError("unreachable: its rows were staged before")
        return self._staged

    def read(self, pool: Executor) -> None:
        """Read all rows and look at them, while a thread of the pool writes them. Raises what `marts.read` raises.

        A table that does not take them as they are is told by `finish`: what is wrong with the rows comes first.
        """
        reader = marts.read(self._work.services.warehouse, self._work.spec, self._part, self._day)
        self.seen = roles.PassingRows(self._work.spec, self._part, reader.schema)
        schema = reader.schema
        if self._mart.known_at is None:
            self._digest = RowsDigest(schema)
            self._moment = taken.first_moment(self._lake, self.table, self._day, self._now)
            schema = schema.append(marts.MOMENT)
        self._writing = pool.submit(self._stage, schema, iter(self._stream))
        self._begun = True
        for batch in reader:
            self.seen.see(batch)
            self._write(batch)

    def _write(self, batch: pa.RecordBatch) -> None:
        if self._mart.known_at is None:
            self._digest.add(batch)
            batch = marts.with_moment(batch, self._moment)
        if not self._stream.put(batch, self._writing) and not isinstance(self._writing.exception(), SchemaMismatch):
            self._writing.result()

    def finish(self) -> None:
        """End the rows, which stages them. Raises what `Lake.stage` raises."""
        self._stream.end(self._writing)
        try:
            self._staged = self._writing.result()
        except SchemaMismatch as error:
            raise SchemaMismatch(
                f"{error}\nIf {self._mart.table} gained columns, look at what the lake lacks with: "
                f"tailrace evolve {self._work.spec.name}."
            ) from error

    def discard(self) -> None:
        """Stage nothing, and delete what was staged."""
        if not self._begun:
            return
        self._stream.stop(self._writing)
        if self._writing.exception() is None:
            self._lake.discard(self._staged or self._writing.result())

    def settle_moment(self) -> Mapping[str, str]:
        """What the commit says of when the rows were taken, now that all are known; they are staged with that moment.

        Empty if the mart says itself when a row became known.
        """
        if self._mart.known_at is not None:
            return {}
        notes = taken.notes(self._lake, self.table, self._day, digest=self._digest.hexdigest(), now=self._now)
        moment, first = taken.moment_of(notes), self.staged
        if moment != self._moment:
            again = self._lake.read_staged(first)
            staged = self._stage(again.schema, (marts.with_moment(batch, moment) for batch in again))
            # What another run published in between refuses this one, as if it had staged once.
            self._staged = replace(staged, fence=first.fence)
        return notes

    def _stage(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Staged:
        rows = pa.RecordBatchReader.from_batches(schema, batches)
        return self._lake.stage(self.table, self._day, self._work.run_id, rows)


def _stage(takings: Sequence[_Taking], check: Callable[[], None]) -> None:
    """Stage all of them, if `check`, which is called when all rows were read, raises nothing."""
    with ThreadPoolExecutor(len(takings)) as pool, _discarded_on_failure(takings):
        for taking in takings:
            taking.read(pool)
        check()
        for taking in takings:
            taking.finish()


@contextmanager
def _discarded_on_failure(takings: Sequence[_Taking]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for taking in takings:
            taking.discard()
        raise


def _empty(reasons: Mapping[str, str], table: str) -> Mapping[str, str]:
    """What the commit says of why the table has no rows."""
    return {pins.EMPTY: reasons[table]} if table in reasons else {}


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
    published = services.lake.days(spec.outcomes_table, first=day, last=day).get(day)
    return day < begun + dt.timedelta(days=spec.outcome.lag_days) and not (published and published.rows)
