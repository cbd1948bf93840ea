"""Keeping the lake small without deleting what a training run has pinned, and removing the files of killed runs."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import tempfile
from pathlib import Path

from tailrace.champions import policies, promotions
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


def maintain(
    services: Services, spec: PipelineSpec, keep: dt.timedelta, *, dry_run: bool = False
) -> list[dict[str, object]]:
    """Compact and vacuum each table of a pipeline, and the shared ones; a row per table with the number of files.

    Temporary folders of runs that were killed longer than `keep` ago are removed; they get a row if there were any.
    With `dry_run` nothing is changed, and the rows say what would be.
    """
    lake, pinned = services.lake, _pins(services, spec)
    done: list[dict[str, object]] = []
    for table in tables_of(spec):
        if lake.exists(table):
            kept = [pin for pin in pinned if pin.table == table]
            compacted = lake.optimize(table, dry_run=dry_run)
            found = lake.vacuum(table, kept, keep, dry_run=dry_run)
            deleted = found.files + found.others
            done.append(_row(table, deleted=deleted, size=found.bytes, compacted=compacted, kept=len(kept)))
    removed, size = remove_temporary(Path(tempfile.gettempdir()), keep, dry_run=dry_run)
    if removed:
        done.append(_row("temporary folders", deleted=removed, size=size))
    return done


def tables_of(spec: PipelineSpec) -> tuple[str, ...]:
    """The lake tables of a pipeline, and those that all pipelines share."""
    own = (spec.features_table, spec.outcomes_table, spec.predictions_table, spec.performance_table)
    return (*own, staleness.table(spec), promotions.TABLE, policies.TABLE)


def _row(table: str, *, deleted: int, size: int, compacted: int = 0, kept: int = 0) -> dict[str, object]:
    return {"table": table, "compacted": compacted, "deleted": deleted, "bytes": size, "pins kept": kept}


def remove_temporary(folder: Path, older_than: dt.timedelta, *, dry_run: bool = False) -> tuple[int, int]:
    """Remove this user's temporary folders that have not changed for this time, which is at least a day.

    Returns how many, and their bytes; with `dry_run` it only counts them.
    """
    before = dt.datetime.now(dt.UTC) - max(older_than, _SHORTEST)
    removed, size = 0, 0
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name) and _is_left(path, before.timestamp()):
            held = sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
            if not dry_run:
                shutil.rmtree(path, ignore_errors=True)
            if dry_run or not path.exists():
                removed, size = removed + 1, size + held
    return removed, size


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
