"""Keeping the lake small without deleting what a training run has pinned, and removing the files of killed runs."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import tempfile
from pathlib import Path

from tailrace.champions import promotions
from tailrace.contracts import Pin, Services
from tailrace.lineage import pins
from tailrace.rows import staleness
from tailrace.spec import PipelineSpec

PURPOSES = [
    "audit",
    "baseline",
    "check",
    "comparison",
    "decision",
    "dry-run",
    "evaluate",
    "model",
    "references",
    "report",
    "spec",
    "staging",
    "tracking",
    "train",
    "trees",
    "trials",
    "validation",
]
"""The purposes of this package's temporary folders: each is named `tailrace-<purpose>-` and eight characters."""
_TEMPORARY = re.compile(f"tailrace-({'|'.join(PURPOSES)})-\\w{{8}}")
_SHORTEST = dt.timedelta(days=1)


def maintain(services: Services, spec: PipelineSpec, keep: dt.timedelta) -> list[dict[str, object]]:
    """Compact and vacuum each table of a pipeline, and `promotions`; a row per table with the number of files.

    Temporary folders of runs that were killed longer than `keep` ago are removed; they get a row if there were any.
    """
    pinned = _pins(services, spec)
    done: list[dict[str, object]] = []
    tables = (spec.features_table, spec.outcomes_table, spec.predictions_table, spec.performance_table)
    for table in (*tables, staleness.table(spec), promotions.TABLE):
        if not services.lake.exists(table):
            continue
        kept = [pin for pin in pinned if pin.table == table]
        compacted = services.lake.optimize(table)
        deleted = services.lake.vacuum(table, kept, keep)
        done.append({"table": table, "compacted": compacted, "deleted": deleted, "pins kept": len(kept)})
    if removed := remove_temporary(Path(tempfile.gettempdir()), keep):
        done.append({"table": "temporary folders", "compacted": 0, "deleted": removed, "pins kept": 0})
    return done


def remove_temporary(folder: Path, older_than: dt.timedelta) -> int:
    """Remove this user's temporary folders that have not changed for this time (at least a day); returns how many."""
    before = dt.datetime.now(dt.UTC) - max(older_than, _SHORTEST)
    removed = 0
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name) and _is_left(path, before.timestamp()):
            shutil.rmtree(path, ignore_errors=True)
            removed += not path.exists()
    return removed


def _is_left(folder: Path, before: float) -> bool:
    try:
        own = folder.lstat().st_uid == os.getuid() and not folder.is_symlink() and folder.is_dir()
        return own and all(path.lstat().st_mtime <= before for path in (folder, *folder.rglob("*")))
    except OSError:
        return False


def _pins(services: Services, spec: PipelineSpec) -> list[Pin]:
    """The pins of all training runs, including those in progress, and those of the published predictions."""
    trained = [pin for record in services.tracker.runs(spec.name) for pin in pins.from_tags(record.tags).values()]
    published = services.lake.days(spec.predictions_table).values()
    return trained + [
        pins.from_json(commit.metadata["features_pin"]) for commit in published if "features_pin" in commit.metadata
    ]
