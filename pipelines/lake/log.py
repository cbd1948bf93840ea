"""What a commit records about itself, and finding it again in a table's history.

The record travels as JSON in the commit's `userMetadata`, which every Delta tool shows in its history.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from deltalake import DeltaTable

from pipelines.interfaces import Commit

# Histories are read from the newest end, in growing windows, since the record sought is mostly recent.
_WINDOWS = (20, 200, 2_000)


@dataclass(frozen=True)
class Record:
    """A commit's own account. `number` counts the day's publications from 1, `files` maps path to SHA-256."""

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


def records(table: DeltaTable, limit: int | None = None, *, since: int | None = None) -> Iterator[Record]:
    """Records of the table's commits, newest first; commits of other writers have none.

    At most the last `limit` commits, or those after the version `since`.
    """
    for entry in table.history(limit) if since is None else _newer(table, since):
        record = _parse(entry)
        if record is not None:
            yield record


def find(table: DeltaTable, wanted: Callable[[Record], bool]) -> Record | None:
    """The newest record that is wanted."""
    for window in (*_WINDOWS, None):
        for record in records(table, window):
            if wanted(record):
                return record
        if window is not None and table.version() < window:
            return None
    return None


def checksums(table: DeltaTable, paths: set[str]) -> dict[str, str]:
    """SHA-256 of those paths that a commit of the lake recorded."""
    found: dict[str, str] = {}

    def covers(record: Record) -> bool:
        found.update({path: sha for path, sha in record.files.items() if path in paths})
        return len(found) == len(paths)

    find(table, covers)
    return found


def _newer(table: DeltaTable, since: int) -> list[dict[str, Any]]:
    """The history after a version, newest first, whole even if the table is brought up to date meanwhile."""
    while (version := table.version()) > since:
        entries = table.history(version - since)
        if table.version() == version:
            return entries
    return []


def _parse(entry: Mapping[str, Any]) -> Record | None:
    try:
        body = json.loads(entry.get("userMetadata") or "")
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
        version=entry["version"],
        recorded_at=dt.datetime.fromtimestamp(entry["timestamp"] / 1000, dt.UTC),
    )
