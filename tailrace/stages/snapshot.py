"""Take the day's features and outcomes from the warehouse into the lake, in batches.

Each table is staged in a stream that ends only after everything that may refuse the day has passed: the stream of the
features ends after that of the outcomes, and that one after the checks. The lake drops a stream that fails, with the
files that it wrote. So a refused day leaves nothing behind, and memory holds some batches, whatever the day's rows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from tailrace.contracts import Commit, Staged
from tailrace.errors import SchemaMismatch, UpstreamMissing, ValidationFailed
from tailrace.lineage import pins, provenance
from tailrace.lineage.digests import RowsDigest
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
    services, spec = work.services, work.spec
    now = taken_at or dt.datetime.now(dt.UTC)
    takings = [_Taking(work, part, day, now) for part in PARTS]
    reasons: dict[str, str] = {}
    sources: dict[str, str] = {}

    def check() -> None:
        features, outcomes = (taking.seen for taking in takings)
        reasons.update(_reasons(work, day, {"features": features.rows, "outcomes": outcomes.rows}))
        roles.refuse(spec, day, features, outcomes)
        sources.update(pins.source_note(services.warehouse.sources(day)))

    # Both are staged before either is published: what refuses one leaves the other as it was.
    _stage(takings, check)
    try:
        moments = [taking.settle_moment() for taking in takings]
    except BaseException:
        for taking in takings:
            taking.discard()
        raise
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
    complete = False
    """Whether all rows were read."""

    def __init__(self, work: Work, part: str, day: dt.date, now: dt.datetime) -> None:
        self._work, self._part, self._day, self._now = work, part, day, now
        self._lake, self.pipeline = work.services.lake, work.spec.name
        self.mart = work.spec.mart(part)
        self.table = work.spec.features_table if part == PARTS[0] else work.spec.outcomes_table
        self._staged: Staged | None = None

    @property
    def staged(self) -> Staged:
        if self._staged is None:
            raise AssertionError("unreachable: `stage` was called before")
        return self._staged

    def open(self) -> pa.Schema:
        """Begin to read; returns the columns that the lake will get. Raises what `marts.read` raises."""
        spec = self._work.spec
        reader = marts.read(self._work.services.warehouse, spec, self._part, self._day)
        self.seen = roles.PassingRows(spec, self._part, reader.schema)
        self._passing = self._look_at(reader)
        if self.mart.known_at is not None:
            return reader.schema
        self._digest = RowsDigest(reader.schema)
        self._moment = taken.first_moment(self._lake, self.table, self._day, self._now)
        return reader.schema.append(marts.MOMENT)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows as the lake gets them. A second iteration goes on where the first one ended."""
        for batch in self._passing:  # not `yield from`: closing this iterator would close that one
            yield batch if self.mart.known_at is not None else marts.with_moment(batch, self._moment)

    def stage(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Staged:
        rows = pa.RecordBatchReader.from_batches(schema, batches)
        self._staged = self._lake.stage(self.table, self._day, self._work.run_id, rows)
        return self._staged

    def skip(self) -> None:
        """Look at the rows that are left."""
        for _ in self._passing:
            pass

    def close(self) -> None:
        """End reading, and with it the connection to the warehouse."""
        self._passing.close()

    def discard(self) -> None:
        if self._staged is not None:
            self._lake.discard(self._staged)

    def settle_moment(self) -> Mapping[str, str]:
        """What the commit says of when the rows were taken, now that all are known; they are staged with that moment.

        Empty if the mart says itself when a row became known.
        """
        if self.mart.known_at is not None:
            return {}
        notes = taken.notes(self._lake, self.table, self._day, digest=self._digest.hexdigest(), now=self._now)
        moment, first = taken.moment_of(notes), self.staged
        if moment != self._moment:
            again = self._lake.read_staged(first)
            staged = self.stage(again.schema, (marts.with_moment(batch, moment) for batch in again))
            # What another run published in between refuses this one, as if it had staged once.
            self._staged = replace(staged, fence=first.fence)
        return notes

    def _look_at(self, reader: pa.RecordBatchReader) -> Generator[pa.RecordBatch]:
        for batch in reader:
            self.seen.see(batch)
            if self.mart.known_at is None:
                self._digest.add(batch)
            yield batch
        self.complete = True


def _stage(takings: Sequence[_Taking], check: Callable[[], None]) -> None:
    """Stage all of them, or none if one fails or `check` raises, which is called when all rows were read."""
    if not takings:
        check()
        return
    taking, *others = takings
    failed: list[BaseException] = []

    def rows() -> Iterator[pa.RecordBatch]:
        yield from taking.batches()
        try:
            _stage(others, check)
        except BaseException as error:
            failed.append(error)
            raise

    schema = taking.open()
    try:
        taking.stage(schema, rows())
    except BaseException as error:
        for each in others:
            each.discard()
        if isinstance(error, SchemaMismatch) and error not in failed:
            _refuse_first(takings, check)
            raise _with_advice(error, taking) from error
        raise
    finally:
        taking.close()


def _refuse_first(takings: Sequence[_Taking], check: Callable[[], None]) -> None:
    """Raise what `check` raises after all rows were read, for a table that the lake does not take as it is.

    Nothing is raised if the rows themselves cannot be read to their end.
    """
    reading, *others = takings
    reading.skip()
    for taking in others:
        taking.open()
        taking.skip()
    if all(taking.complete for taking in takings):
        check()


def _empty(reasons: Mapping[str, str], table: str) -> Mapping[str, str]:
    """What the commit says of why the table has no rows."""
    return {pins.EMPTY: reasons[table]} if table in reasons else {}


def _with_advice(error: SchemaMismatch, taking: _Taking) -> SchemaMismatch:
    return SchemaMismatch(
        f"{error}\nIf {taking.mart.table} gained columns, look at what the lake lacks with: "
        f"tailrace evolve {taking.pipeline}."
    )


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
