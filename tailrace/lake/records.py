"""What a commit of the lake records about itself.

It is JSON in the commit's `userMetadata`, which every Delta tool shows in a table's history.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tailrace.contracts import Commit


@dataclass(frozen=True, kw_only=True)
class Record:
    """One commit. `files` maps path to SHA-256.

    `number` counts the publications of a day from 1. For the compaction of an appended table it is the place of the
    compacted rows in the order of commits: the version of the newest commit among them.
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
        """What `parse` reads."""
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
            metadata=commit_metadata(
                self.metadata, day=self.day, run_id=self.run_id, rows=self.rows, digest=self.digest
            ),
            unchanged=unchanged,
        )


def commit_metadata(
    metadata: Mapping[str, str], *, day: dt.date | None, run_id: str, rows: int, digest: str
) -> dict[str, str]:
    """The caller's metadata with the lake's own keys: rows, digest, and for a day ds and run_id."""
    own = {"rows": str(rows), "digest": digest}
    if day is not None:
        own |= {"ds": day.isoformat(), "run_id": run_id}
    return {**metadata, **own}


def parse(version: int, commit: Mapping[str, Any]) -> Record | None:
    """The record in a commit's `commitInfo`; None for the commits of other writers."""
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
