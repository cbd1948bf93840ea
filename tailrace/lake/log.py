"""A table's history: its commits, newest first, and what they recorded.

A version is the number of a commit. Only this folder knows that: elsewhere it is an opaque string.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from deltalake import DeltaTable

from tailrace.errors import UpstreamMissing
from tailrace.lake import records
from tailrace.lake.files import TableFiles
from tailrace.lake.records import Record

FOLDER = "_delta_log"
_COMMIT = re.compile(r"(\d{20})\.json$")
_VERSION = re.compile(r"[0-9]{1,20}")
# Most searches end at a recent commit, so a history is read from its newest end, in growing windows.
_FEW = 4
_WINDOWS = (_FEW, 20, 200, 2_000)


class History:
    """The commits of a table up to the version it is opened at, each with the version in its file's name.

    `DeltaTable.history()` also lists commits made after the table was opened, and numbers all of them from the opened
    version downwards. So its list is used for long stretches only, and both ends are compared with the commits' files.
    """

    def __init__(self, table: DeltaTable, store: TableFiles) -> None:
        self._table, self._store, self.newest = table, store, table.version()

    def records(self, since: int = -1) -> Iterator[Record]:
        """The records of the commits after the version `since`, newest first. Other writers' commits have none."""
        yield from self._records(since, ())

    def _records(self, since: int, windows: Sequence[int]) -> Iterator[Record]:
        for version, commit in self.commits(since, windows):
            record = records.parse(version, commit)
            if record is not None:
                yield record

    def find(self, wanted: Callable[[Record], bool]) -> Record | None:
        """The newest record for which `wanted` is true."""
        return next(filter(wanted, self._records(-1, _WINDOWS)), None)

    def last_of(self, days: Collection[dt.date]) -> Iterator[Record]:
        """The last publication of each of these days, newest first; the search ends with the last one that is found."""
        left = set(days)
        for record in self._records(-1, _WINDOWS) if left else ():
            if record.kind == "publish" and record.day in left:
                left.remove(record.day)
                yield record
                if not left:
                    return

    def checksums(self, paths: set[str]) -> dict[str, str]:
        """The SHA-256 of each of these paths, as far as commits of this lake recorded it."""
        found: dict[str, str] = {}
        for record in self._records(-1, _WINDOWS):
            found.update({path: sha for path, sha in record.files.items() if path in paths})
            if len(found) == len(paths):
                break
        return found

    def since(self, before: dt.datetime) -> set[int]:
        """The versions that were the latest one at any moment from then on."""
        versions = {self.newest}
        for version, commit in self.commits(-1, _WINDOWS):
            versions.add(version)
            if commit.get("timestamp", math.inf) / 1000 <= before.timestamp():
                break
        return versions

    def order(self, paths: set[str]) -> dict[str, int]:
        """The place of each of these files of an appended table in the order of its commits.

        A compacted file has the place of the newest file it was made from.
        """
        places: dict[str, int] = {}
        for version, commit in self.commits(-1, _WINDOWS):
            record = records.parse(version, commit)
            added = record.files if record is not None else _added(read_commit(self._store, version) or [])
            place = record.number if record is not None and record.kind == "optimize" else version
            places |= {path: place for path in added if path in paths and path not in places}
            if len(places) == len(paths):
                break
        return places

    def commits(self, since: int, windows: Sequence[int]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """The version and `commitInfo` of each commit after the version `since`, newest first.

        `windows` says how many are read at a time, for callers that may stop early; without it all are read at once.
        """
        version = self.newest
        for window in (*windows, self.newest + 1):
            oldest = max(since, version - window)
            read = self._each if version - oldest <= _FEW else self._listed
            yield from read(version, oldest)
            version = oldest

    def _each(self, newest: int, since: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Read from the commits' files; commits whose file was cleaned up are left out."""
        there: set[int] | None = None
        for version in range(newest, since, -1):
            if there is not None and version not in there:
                continue
            actions = read_commit(self._store, version)
            if actions is not None:
                yield version, _commit_info(actions)
            elif there is None:
                there = {int(name[1]) for file in self._store.list(FOLDER) if (name := _COMMIT.search(file.path))}

    def _listed(self, newest: int, since: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Listed by delta-rs, which is fast; read from the files where that list cannot be numbered for certain."""
        entries = self._table.history(max(self._table.version() - since, 1))
        last = read_commit(self._store, newest)
        at = _places(entries, _commit_info(last)) if last is not None else []
        if len(at) == 1:
            numbered = [(newest - place, entry) for place, entry in enumerate(entries[at[0] :])]
            wanted = [(version, entry) for version, entry in numbered if version > since]
            version, entry = wanted[-1]
            first = read_commit(self._store, version)
            if version == since + 1 and first is not None and _same(_commit_info(first), entry):
                yield from wanted
                return
        yield from self._each(newest, since)


def number_of(table: str, version: str) -> int:
    """The commit number of a version; the table need not have it. Raises UpstreamMissing if the text is no version."""
    if not _VERSION.fullmatch(version):
        raise UpstreamMissing(f"{table} has no version {version!r}: the versions of this lake are numbers.")
    return int(version)


def made(store: TableFiles, record: Record, after: int) -> Record | None:
    """The record as read back from its commit, with version and time. The commit was made after the version `after`."""
    version = after + 1
    while (actions := read_commit(store, version)) is not None:
        found = records.parse(version, _commit_info(actions))
        if found is not None and found.id == record.id:
            return found
        version += 1
    return None


def read_commit(store: TableFiles, version: int) -> list[dict[str, Any]] | None:
    """The actions of a commit; None if its file does not exist."""
    try:
        text = store.get(f"{FOLDER}/{version:020d}.json")
    except FileNotFoundError:
        return None
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _commit_info(actions: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next((action["commitInfo"] for action in actions if "commitInfo" in action), {})


def _added(actions: Iterable[Mapping[str, Any]]) -> list[str]:
    return [unquote(action["add"]["path"]) for action in actions if "add" in action]


def _places(entries: Iterable[Mapping[str, Any]], commit: Mapping[str, Any]) -> list[int]:
    return [place for place, entry in enumerate(entries) if _same(commit, entry)]


def _same(commit: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    return all(commit.get(name) == entry.get(name) for name in ("timestamp", "operation", "userMetadata"))
