"""What a commit records about itself, and finding it again in a table's history.

The record travels as JSON in the commit's `userMetadata`, which every Delta tool shows in its history.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

from deltalake import DeltaTable

from tailrace.contracts import Commit
from tailrace.lake.files import TableFiles

_FOLDER = "_delta_log"
_COMMIT = re.compile(r"(\d{20})\.json$")
# What is sought in a history is mostly recent: it is read from the newest end, in growing windows.
_FEW = 4
_WINDOWS = (_FEW, 20, 200, 2_000)


@dataclass(frozen=True)
class Record:
    """A commit's own account. `files` maps path to SHA-256.

    `number` counts the day's publications from 1. Of a compaction of an appended table, it is the place of its rows
    in the order of the table's commits: the version of the newest commit among them.
    """

    kind: Literal["publish", "append", "optimize"]
    id: str
    files: Mapping[str, str]
    day: dt.date | None = None
    run_id: str = ""
    number: int = 0
    rows: int = 0
    digest: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    version: int = -1
    recorded_at: dt.datetime = dt.datetime.min

    def to_json(self) -> str:
        return json.dumps(
            {
                "tailrace": self.kind,
                "id": self.id,
                "ds": self.day.isoformat() if self.day else None,
                "run_id": self.run_id,
                "number": self.number,
                "rows": self.rows,
                "digest": self.digest,
                "metadata": dict(self.metadata),
                "files": dict(self.files),
            }
        )

    def commit(self, table: str, *, unchanged: bool = False) -> Commit:
        return Commit(
            table=table,
            day=self.day,
            version=str(self.version),
            recorded_at=self.recorded_at,
            rows=self.rows,
            metadata=commit_metadata(self.metadata, self.day, self.run_id, self.rows, self.digest),
            unchanged=unchanged,
        )


def commit_metadata(
    metadata: Mapping[str, str], day: dt.date | None, run_id: str, rows: int, digest: str
) -> dict[str, str]:
    """The caller's metadata with the lake's own keys: rows, digest, and for a day ds and run_id."""
    own = {"rows": str(rows), "digest": digest}
    if day is not None:
        own |= {"ds": day.isoformat(), "run_id": run_id}
    return {**metadata, **own}


def last_of_each_day(newest_first: Iterable[Commit]) -> dict[dt.date, Commit]:
    """The last publication of each day, days in order."""
    latest: dict[dt.date, Commit] = {}
    for commit in newest_first:
        if commit.day is not None:
            latest.setdefault(commit.day, commit)
    return dict(sorted(latest.items()))


class History:
    """The commits of a table up to the version that it is opened at, each under the version that its file names.

    `DeltaTable.history()` lists commits made since the table was opened too, and numbers them all from the opened
    version downwards. So its list is used for long stretches only, and is compared with the commits' own files at
    both ends.
    """

    def __init__(self, table: DeltaTable, store: TableFiles) -> None:
        self._table, self._store, self.newest = table, store, table.version()

    def records(self, since: int = -1) -> Iterator[Record]:
        """Records of the commits after the version `since`, newest first; commits of other writers have none."""
        yield from self._records(since, ())

    def _records(self, since: int, windows: Sequence[int]) -> Iterator[Record]:
        for version, commit in self.commits(since, windows):
            record = _parse(version, commit)
            if record is not None:
                yield record

    def find(self, wanted: Callable[[Record], bool]) -> Record | None:
        """The newest record that is wanted."""
        return next(filter(wanted, self._records(-1, _WINDOWS)), None)

    def checksums(self, paths: set[str]) -> dict[str, str]:
        """SHA-256 of those paths that a commit of the lake recorded."""
        found: dict[str, str] = {}
        for record in self._records(-1, _WINDOWS):
            found.update({path: sha for path, sha in record.files.items() if path in paths})
            if len(found) == len(paths):
                break
        return found

    def since(self, before: dt.datetime) -> set[int]:
        """The versions that were the latest at some moment since then."""
        versions = {self.newest}
        for version, commit in self.commits(-1, _WINDOWS):
            versions.add(version)
            if commit.get("timestamp", math.inf) / 1000 <= before.timestamp():
                break
        return versions

    def order(self, paths: set[str]) -> dict[str, int]:
        """The place of those files of an appended table in the order of its commits.

        A compacted file has the place of the newest file that went into it.
        """
        places: dict[str, int] = {}
        for version, commit in self.commits(-1, _WINDOWS):
            record = _parse(version, commit)
            added = record.files if record is not None else _added(read_commit(self._store, version) or [])
            place = record.number if record is not None and record.kind == "optimize" else version
            places |= {path: place for path in added if path in paths and path not in places}
            if len(places) == len(paths):
                break
        return places

    def commits(self, since: int, windows: Sequence[int]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """What each commit after the version `since` says of itself, newest first, with its version.

        With `windows` so many are read at a time, for whoever may stop early; without, all at once.
        """
        version = self.newest
        for window in (*windows, self.newest + 1):
            oldest = max(since, version - window)
            read = self._each if version - oldest <= _FEW else self._listed
            yield from read(version, oldest)
            version = oldest

    def _each(self, newest: int, since: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Commits by their files; those whose file was cleaned up are left out."""
        there: set[int] | None = None
        for version in range(newest, since, -1):
            if there is not None and version not in there:
                continue
            actions = read_commit(self._store, version)
            if actions is not None:
                yield version, _commit_info(actions)
            elif there is None:
                there = {int(name[1]) for file in self._store.list(_FOLDER) if (name := _COMMIT.search(file.path))}

    def _listed(self, newest: int, since: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Commits as delta-rs lists them, fast; by their files where that list cannot be numbered for certain."""
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


def made(store: TableFiles, record: Record, after: int) -> Record | None:
    """A record as its commit holds it, which was made after that version: with the commit's version and time."""
    version = after + 1
    while (actions := read_commit(store, version)) is not None:
        found = _parse(version, _commit_info(actions))
        if found is not None and found.id == record.id:
            return found
        version += 1
    return None


def read_commit(store: TableFiles, version: int) -> list[dict[str, Any]] | None:
    """A commit's actions; None if its file is not there."""
    try:
        text = store.get(f"{_FOLDER}/{version:020d}.json")
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


def _parse(version: int, commit: Mapping[str, Any]) -> Record | None:
    try:
        body = json.loads(commit.get("userMetadata") or "")
    except ValueError:
        return None
    if not isinstance(body, dict) or "tailrace" not in body:
        return None
    return Record(
        kind=body["tailrace"],
        id=body["id"],
        files=body["files"],
        day=dt.date.fromisoformat(body["ds"]) if body["ds"] else None,
        run_id=body["run_id"],
        number=body["number"],
        rows=body["rows"],
        digest=body["digest"],
        metadata=body["metadata"],
        version=version,
        recorded_at=dt.datetime.fromtimestamp(commit["timestamp"] / 1000, dt.UTC),
    )
