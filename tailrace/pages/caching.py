"""What the lake and the tracker said, kept in this process so that a page is not slower for every day there is.

A lake's answer is kept until its table changes, a tracker's for some seconds; both are bounded.
"""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import pyarrow as pa

from tailrace.contracts import Commit, Lake, ModelVersion, RunRecord, Tracker
from tailrace.errors import TailraceError, UpstreamMissing, cause_of
from tailrace.lake.records import last_of_each_day

Answer = TypeVar("Answer")
Row = Mapping[str, Any]

KEPT = 2000
FRESH_SECONDS = 10.0
YOUNG_NS = 2_000_000_000
PATIENCE_SECONDS = 4.0


class RememberedLake:
    """Answers about tables, asked again when `version_of` names another version of the table; '' is no table.

    Of a table that grew only what is new is read: its latest commits, and the days they published.
    """

    def __init__(self, lake: Lake, version_of: Callable[[str], str], keep: int = KEPT) -> None:
        self.lake = lake
        self._version_of, self._keep = version_of, keep
        self._forget: Callable[[str], None] = getattr(version_of, "forget", lambda table: None)
        self._held: OrderedDict[Hashable, tuple[str, Any]] = OrderedDict()
        self._rows: dict[str, dict[dt.date, tuple[str, list[Row]]]] = {}
        """Of small tables: each day's rows, and the version of the publication they are of."""
        self._lock = threading.Lock()
        self._asking: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()
        """Locks of the questions that are being asked: who comes second finds what the first was told."""

    def look_again(self, *tables: str) -> None:
        """Ask for the versions of these tables at the next question, however short ago that was done."""
        for table in tables:
            self._forget(table)

    def of(self, table: str, what: Hashable, ask: Callable[[], Answer], absent: Answer) -> Answer:
        """The answer of `ask`, which depends on the table alone, or `absent` if there is no such table."""
        return self._grown(table, what, lambda _: ask(), absent)

    def _grown(self, table: str, what: Hashable, ask: Callable[[Answer], Answer], absent: Answer) -> Answer:
        """As `of`; `ask` is given the answer for an earlier version of the table, or `absent`."""
        version = self._version_of(table)
        if not version:
            return absent
        with self._turn((table, what)):
            with self._lock:
                known, before = self._held.get((table, what), ("", absent))
                if known == version:
                    self._held.move_to_end((table, what))
                    return before
            answer = ask(before)
            with self._lock:
                self._held[table, what] = (version, answer)
                self._held.move_to_end((table, what))
                while len(self._held) > self._keep:
                    self._held.popitem(last=False)
            return answer

    def _turn(self, question: Hashable) -> Any:
        """The lock of a question; it goes with the last thread that holds it."""
        with self._lock:
            lock = self._asking.get(question)
            if lock is None:
                lock = self._asking[question] = threading.Lock()
            return lock

    def days(self, table: str) -> Mapping[dt.date, Commit]:
        """See `Lake.days`."""
        nothing: Mapping[dt.date, Commit] = {}
        return self.of(table, "days", lambda: last_of_each_day(self.commits(table)), nothing)

    def last(self, table: str) -> Commit | None:
        """The publication of the table's last day."""
        days = self.days(table)
        return days[max(days)] if days else None

    def commits(self, table: str) -> tuple[Commit, ...]:
        """See `Lake.commits`."""
        nothing: tuple[Commit, ...] = ()

        def newer(held: tuple[Commit, ...]) -> tuple[Commit, ...]:
            return (*self.lake.commits(table, since=held[0].version if held else None), *held)

        return self._grown(table, "commits", newer, nothing)

    def rows(self, table: str, first: dt.date | None = None) -> list[Row] | None:
        """A small daily table's rows from a day on, by day; None if there is no such table."""
        if not self.exists(table):
            return None
        with self._turn((table, "rows")):
            published, held = self.days(table), self._rows.get(table, {})
            kept = {day: read for day, read in held.items() if day in published and read[0] == published[day].version}
            wanted = [day for day in published if first is None or first <= day]
            if missing := [day for day in wanted if day not in kept]:
                rows = _read(self.lake, table, missing)
                self._rows[table] = kept | {day: (published[day].version, rows.get(day, [])) for day in missing}
            return [row for day in wanted for row in self._rows[table][day][1]]

    def exists(self, table: str) -> bool:
        """See `Lake.exists`."""
        return bool(self._version_of(table))

    def read(self, table: str) -> pa.RecordBatchReader:
        """A small table's rows, as `Lake.read` gives them."""
        rows = self.of(table, "whole", lambda: self.lake.read(table).read_all(), None)
        if rows is None:
            raise UpstreamMissing(f"The lake has no table {table!r} yet.")
        return rows.to_reader()


def _read(lake: Lake, table: str, days: Sequence[dt.date]) -> dict[dt.date, list[Row]]:
    """The rows of those days, given in order: neighbours are read together."""
    rows: dict[dt.date, list[Row]] = {}
    for _, group in groupby(enumerate(days), key=lambda each: each[1].toordinal() - each[0]):
        run = [day for _, day in group]
        for row in lake.read(table, first=run[0], last=run[-1]).read_all().to_pylist():
            rows.setdefault(row["ds"], []).append(row)
    return rows


def newest_log(root: Path) -> Callable[[str], str]:
    """The name of the newest file in a table's Delta log, in a lake that is a folder; nothing is read.

    A log is listed again when its folder's time of change is another one, or so young that a commit may still come
    within the same tick of the clock.
    """
    known: dict[str, tuple[int, str]] = {}

    def version_of(table: str) -> str:
        folder = root / table / "_delta_log"
        try:
            changed = folder.stat().st_mtime_ns
            listed_at, newest = known.get(table, (-1, ""))
            if listed_at != changed:
                with os.scandir(folder) as entries:
                    newest = max((entry.name for entry in entries if entry.name.endswith(".json")), default="")
        except FileNotFoundError:
            return ""
        if time.time_ns() - changed > YOUNG_NS:
            known[table] = (changed, newest)
        return newest

    return version_of


class AskedVersion:
    """The version that the lake itself names, asked again after some seconds: for object stores."""

    def __init__(self, lake: Lake, fresh_seconds: float = FRESH_SECONDS) -> None:
        self._lake, self._fresh = lake, fresh_seconds
        self._known: dict[str, tuple[float, str]] = {}

    def __call__(self, table: str) -> str:
        asked_at, version = self._known.get(table, (float("-inf"), ""))
        if time.monotonic() - asked_at > self._fresh:
            try:
                version = self._lake.pin(table).version
            except UpstreamMissing:
                version = ""
            self._known[table] = (time.monotonic(), version)
        return version

    def forget(self, table: str) -> None:
        """Ask again at the next call."""
        self._known.pop(table, None)


@dataclass(frozen=True)
class Tracked:
    """A pipeline's versions and training runs, newest first; `problem` says why they are missing or old."""

    versions: tuple[ModelVersion, ...] = ()
    runs: Mapping[str, RunRecord] | None = None
    problem: str = ""

    def run(self, run_id: str) -> RunRecord | None:
        return (self.runs or {}).get(run_id)


class RememberedTracker:
    """Asks the tracker in a thread of its own, so that a page never waits for MLflow longer than `patience`."""

    def __init__(
        self,
        tracker: Callable[[], Tracker],
        fresh_seconds: float = FRESH_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._tracker, self._fresh, self._patience = tracker, fresh_seconds, patience
        self._held: dict[str, tuple[float, Tracked]] = {}
        self._asking: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def of(self, pipeline: str) -> Tracked:
        """What the tracker says, or said last, of a pipeline."""
        with self._lock:
            asked_at, held = self._held.get(pipeline, (float("-inf"), None))
            if held is not None and time.monotonic() - asked_at < self._fresh:
                return held
            thread = self._asking.get(pipeline)
            if thread is None:
                thread = threading.Thread(target=self._ask, args=(pipeline,), daemon=True)
                self._asking[pipeline] = thread
                thread.start()
        thread.join(self._patience)
        with self._lock:
            _, answer = self._held.get(pipeline, (0.0, None))
            if thread.is_alive():
                late = "MLflow does not answer; its models and metrics are shown as far as they are known."
                return Tracked(answer.versions, answer.runs, late) if answer else Tracked(problem=late)
            return answer or Tracked()

    def _ask(self, pipeline: str) -> None:
        try:
            tracker = self._tracker()
            runs = {run.run_id: run for run in tracker.runs(pipeline)}
            answer = Tracked(tracker.versions(pipeline), runs)
        except TailraceError as error:
            with self._lock:
                _, before = self._held.get(pipeline, (0.0, Tracked()))
            answer = Tracked(before.versions, before.runs, str(error))
        except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to
            answer = Tracked(problem=f"MLflow could not be asked: {type(error).__name__}: {cause_of(error)}")
        finally:
            with self._lock:
                self._asking.pop(pipeline, None)
        with self._lock:
            self._held[pipeline] = (time.monotonic(), answer)
