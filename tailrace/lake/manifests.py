"""The manifest of a staging: a JSON file, written last. Without it nothing is staged."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from tailrace.contracts import Staged
from tailrace.errors import StagingGone
from tailrace.lake.files import TableFiles
from tailrace.lake.parquet import DataFile

# The leading underscore hides the folder from every Delta tool.
FOLDER = "_staged"
_SEAL = "sha256"
"""The key, in a manifest, of the digest of everything else in it."""
# Vacuum keeps younger files, whatever `older_than` says: a run may be about to publish them.
YOUNGEST_DELETED = dt.timedelta(days=1)


@dataclass(frozen=True)
class Manifest:
    """A staging, with what publishing needs to know about each file."""

    staged: Staged
    files: tuple[DataFile, ...]

    def save(self, store: TableFiles) -> None:
        staged = self.staged
        body = {
            "table": staged.table,
            "ds": staged.day.isoformat(),
            "run_id": staged.run_id,
            "rows": staged.rows,
            "fence": staged.fence,
            "digest": staged.digest,
            "notes": dict(staged.notes),
            "files": [asdict(file) for file in self.files],
        }
        sealed = {_SEAL: _seal(body), **body}
        store.put(path_of(staged.day, staged.run_id), json.dumps(sealed, indent=1).encode())


def load(store: TableFiles, path: str) -> Manifest | None:
    """The manifest at a path; None if there is none, or it is not as `save` wrote it (half written, damaged)."""
    try:
        body = json.loads(store.get(path))
        if body.pop(_SEAL) != _seal(body):
            return None
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    files = tuple(DataFile(**file) for file in body["files"])
    return Manifest(_staged(body, files), files)


def _seal(body: Mapping[str, object]) -> str:
    """SHA-256 of the manifest's content: a damaged manifest could publish rows that other readers do not find."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def gone(table: str, day: dt.date, run_id: str) -> StagingGone:
    return StagingGone(
        f"{table} of {day}: what run {run_id!r} staged is no longer there: it was published, refused or replaced "
        "since, or never staged. Run the stage that stages it (score or snapshot) again for the day."
    )


def path_of(day: dt.date, run_id: str) -> str:
    return f"{FOLDER}/ds={day}/{safe_name(run_id)}-{hashlib.sha256(run_id.encode()).hexdigest()[:16]}.json"


def safe_name(run_id: str) -> str:
    """The readable part of a run id in a path; a digest or a random suffix after it makes it unique."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", run_id)[:80]


def content_digest(files: tuple[DataFile, ...]) -> str:
    """SHA-256 over the SHA-256 of each file, in order."""
    return hashlib.sha256("\n".join(file.sha256 for file in files).encode()).hexdigest()


def _staged(body: Mapping[str, object], files: tuple[DataFile, ...]) -> Staged:
    notes = body["notes"]
    return Staged(
        table=str(body["table"]),
        day=dt.date.fromisoformat(str(body["ds"])),
        run_id=str(body["run_id"]),
        rows=int(str(body["rows"])),
        fence=int(str(body["fence"])),
        digest=str(body["digest"]),
        files=tuple(file.path for file in files),
        notes=dict(notes) if isinstance(notes, Mapping) else {},
    )
