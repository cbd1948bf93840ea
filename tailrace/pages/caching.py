"""Answers of the lake and the tracker, kept in this process so that pages stay fast however many days there are.

A lake's answer is kept until its table changes, a tracker's for some seconds; both are bounded.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import pyarrow as pa

from tailrace.contracts import (
    Commit,
    LakeReader,
    ModelVersion,
    Pin,
    RunRecord,
    Scan,
    Tracker,
    between,
    last_of_each_day,
)
from tailrace.errors import TailraceError, UpstreamMissing, cause_of

Answer = TypeVar("Answer")
Row = Mapping[str, Any]

KEPT = 2000
FRESH_SECONDS = 10.0
PATIENCE_SECONDS = 4.0


class CachedLake:
    """A `LakeReader` that keeps answers until the table has another head, for `keep` answers at most.

    From a table that grew, only new data is read: its latest commits, and the days that they published. A head is used
    for `fresh_seconds` before the lake is asked for it again.
    """

    def __init__(self, lake: LakeReader, fresh_seconds: float = 0.0, keep: int = KEPT) -> None:
        self.lake = lake
        self._fresh, self._keep = fresh_seconds, keep
        self._heads: dict[str, tuple[float, str | None]] = {}
        self._answers: OrderedDict[Hashable, tuple[str, Any]] = OrderedDict()
        """By table and question, with the head of the table at that time."""
        self._rows: dict[str, tuple[pa.Schema, dict[dt.date, tuple[str, list[Row]]]]] = {}
        """For small tables: the schema they were read with; each day's rows, with the version that published them."""
        self._lock = threading.Lock()
        self._computing: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()
        """A lock per question that is being answered: a second caller waits for the first one's answer."""

    def look_again(self, *tables: str) -> None:
        """Ask for the heads of these tables at the next question, however recent they are."""
        for table in tables:
            self._heads.pop(table, None)

    def cached(self, table: str, question: Hashable, compute: Callable[[], Answer], absent: Answer) -> Answer:
        """The result of `compute`, which depends only on the table, or `absent` if there is no such table."""
        return self._grown(table, question, lambda _: compute(), absent)

    def _grown(self, table: str, question: Hashable, compute: Callable[[Answer], Answer], absent: Answer) -> Answer:
        """Like `cached`, but `compute` receives the answer for an earlier head of the table, or `absent`."""
        head = self.head(table)
        if head is None:
            return absent
        with self._turn((table, question)):
            with self._lock:
                known, before = self._answers.get((table, question), (None, absent))
                if known == head:
                    self._answers.move_to_end((table, question))
                    return before
            answer = compute(before)
            with self._lock:
                self._answers[table, question] = (head, answer)
                self._answers.move_to_end((table, question))
                while len(self._answers) > self._keep:
                    self._answers.popitem(last=False)
            return answer

    def _turn(self, question: Hashable) -> Any:
        """The lock of a question; it is dropped with the last thread that uses it."""
        with self._lock:
            lock = self._computing.get(question)
            if lock is None:
                lock = self._computing[question] = threading.Lock()
            return lock

    # ------------------------------------------------------------ answered from the cache

    def head(self, table: str) -> str | None:
        asked_at, head = self._heads.get(table, (float("-inf"), None))
        if time.monotonic() - asked_at >= self._fresh:
            head = self.lake.head(table)
            self._heads[table] = (time.monotonic(), head)
        return head

    def exists(self, table: str) -> bool:
        return self.head(table) is not None

    def days(
        self, table: str, *, first: dt.date | None = None, last: dt.date | None = None
    ) -> Mapping[dt.date, Commit]:
        nothing: Mapping[dt.date, Commit] = {}
        found = self.cached(table, "days", lambda: last_of_each_day(self.commits(table)), nothing)
        return found if first is None and last is None else between(found, first, last)

    def last(self, table: str) -> Commit | None:
        """The publication of the table's last day."""
        days = self.days(table)
        return days[max(days)] if days else None

    def commits(self, table: str, day: dt.date | None = None, *, since: str | None = None) -> tuple[Commit, ...]:
        if since is not None:
            return self.lake.commits(table, day, since=since)
        nothing: tuple[Commit, ...] = ()
        commits = self._grown(table, "commits", lambda known: self._with_newer(table, known), nothing)
        return commits if day is None else tuple(commit for commit in commits if commit.day == day)

    def _with_newer(self, table: str, known: tuple[Commit, ...]) -> tuple[Commit, ...]:
        if not known:
            return self.lake.commits(table)
        try:
            return (*self.lake.commits(table, since=known[0].version), *known)
        except UpstreamMissing:
            # The table was replaced by another one: nothing in the cache is valid any more.
            self._rows.pop(table, None)
            return self.lake.commits(table)

    def schema(self, table: str) -> pa.Schema:
        schema = self.cached(table, "schema", lambda: self.lake.schema(table), None)
        if schema is None:
            raise UpstreamMissing(f"The lake has no table {table!r} yet.")
        return schema

    def rows(self, table: str, first: dt.date | None = None) -> list[Row] | None:
        """A small daily table's rows from a day on, by day; None if there is no such table."""
        if not self.exists(table):
            return None
        with self._turn((table, "rows")):
            schema, published = self.schema(table), self.days(table)
            read_with, known = self._rows.get(table, (schema, {}))
            if read_with != schema:
                known = {}  # the table gained columns: rows that were read before lack them
            kept = {day: read for day, read in known.items() if day in published and read[0] == published[day].version}
            wanted = [day for day in published if first is None or first <= day]
            if missing := [day for day in wanted if day not in kept]:
                rows = _read(self.lake, table, missing)
                kept |= {day: (published[day].version, rows.get(day, [])) for day in missing}
                self._rows[table] = (schema, kept)
            return [row for day in wanted for row in kept[day][1]]

    def read(
        self,
        table: str,
        *,
        first: dt.date | None = None,
        last: dt.date | None = None,
        version: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.RecordBatchReader:
        """Only complete tables are cached: those that pages read completely are small."""
        if (first, last, version, columns) != (None, None, None, None):
            return self.lake.read(table, first=first, last=last, version=version, columns=columns)
        rows = self.cached(table, "all rows", lambda: self.lake.read(table).read_all(), None)
        if rows is None:
            raise UpstreamMissing(f"The lake has no table {table!r} yet.")
        return rows.to_reader()

    # ------------------------------------------------------------ answered by the lake

    def came_after(self, table: str, version: str, other: str) -> bool:
        return self.lake.came_after(table, version, other)

    def pin(
        self, table: str, *, first: dt.date | None = None, last: dt.date | None = None, version: str | None = None
    ) -> Pin:
        return self.lake.pin(table, first=first, last=last, version=version)

    def scan(self, pin: Pin, columns: Sequence[str] | None = None) -> Scan:
        return self.lake.scan(pin, columns)

    def read_pin(self, pin: Pin, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        return self.lake.read_pin(pin, columns)

    def sound(self, table: str, day: dt.date) -> bool:
        return self.lake.sound(table, day)


def _read(lake: LakeReader, table: str, days: Sequence[dt.date]) -> dict[dt.date, list[Row]]:
    """The rows of those days, which must be in order: neighbouring days are read together."""
    rows: dict[dt.date, list[Row]] = {}
    for _, group in groupby(enumerate(days), key=lambda each: each[1].toordinal() - each[0]):
        run = [day for _, day in group]
        for row in lake.read(table, first=run[0], last=run[-1]).read_all().to_pylist():
            rows.setdefault(row["ds"], []).append(row)
    return rows


@dataclass(frozen=True)
class Tracked:
    """A pipeline's versions and training runs, newest first; `problem` says why they are missing or outdated."""

    versions: tuple[ModelVersion, ...] = ()
    runs: Mapping[str, RunRecord] | None = None
    problem: str = ""

    def run(self, training_run: str) -> RunRecord | None:
        return (self.runs or {}).get(training_run)


class CachedTracker:
    """Asks the tracker in another thread, so that a page never waits for MLflow longer than `patience` seconds."""

    def __init__(
        self,
        tracker: Callable[[], Tracker],
        fresh_seconds: float = FRESH_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._tracker, self._fresh, self._patience = tracker, fresh_seconds, patience
        self._answers: dict[str, tuple[float, Tracked]] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def of(self, pipeline: str) -> Tracked:
        """A pipeline's versions and training runs from the tracker's present or last answer."""
        with self._lock:
            asked_at, known = self._answers.get(pipeline, (float("-inf"), None))
            if known is not None and time.monotonic() - asked_at < self._fresh:
                return known
            thread = self._threads.get(pipeline)
            if thread is None:
                thread = threading.Thread(target=self._refresh, args=(pipeline,), daemon=True)
                self._threads[pipeline] = thread
                thread.start()
        thread.join(self._patience)
        with self._lock:
            _, answer = self._answers.get(pipeline, (0.0, None))
            if thread.is_alive():
                late = "MLflow does not answer; this page shows its models and metrics as of its last answer."
                return Tracked(answer.versions, answer.runs, late) if answer else Tracked(problem=late)
            return answer or Tracked()

    def _refresh(self, pipeline: str) -> None:
        try:
            tracker = self._tracker()
            runs = {run.training_run: run for run in tracker.runs(pipeline)}
            answer = Tracked(tracker.versions(pipeline), runs)
        except TailraceError as error:
            with self._lock:
                _, before = self._answers.get(pipeline, (0.0, Tracked()))
            answer = Tracked(before.versions, before.runs, str(error))
        except Exception as error:  # noqa: BLE001 - a thread has no caller to raise to
            answer = Tracked(problem=f"MLflow cannot be read: {type(error).__name__}: {cause_of(error)}")
        finally:
            with self._lock:
                self._threads.pop(pipeline, None)
        with self._lock:
            self._answers[pipeline] = (time.monotonic(), answer)
