"""Keeping an installation small without deleting what a training run has pinned or a person may look up.

The settings of upkeep say how long what is no longer needed is kept; `docs/upkeep.md` says it for people.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tailrace.champions import policies, promotions
from tailrace.contracts import Lake, LandingZone, Pin, Services
from tailrace.lineage import pins
from tailrace.operations.unneeded_runs import unneeded_runs
from tailrace.rows import staleness
from tailrace.settings import UpkeepSettings
from tailrace.spec import PipelineSpec
from tailrace.validation import docs_index

PURPOSES = [
    "audit",
    "base",
    "baseline",
    "check",
    "comparison",
    "decision",
    "dry-run",
    "evaluate",
    "model",
    "prove",
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
SHARED_TABLES = (promotions.TABLE, policies.TABLE)


@dataclass(frozen=True, kw_only=True)
class Upkept:
    """What upkeep did to one table or place, or would do. `deleted` counts files, and a temporary folder as one."""

    table: str
    compacted: int = 0
    deleted: int = 0
    bytes: int = 0
    pins_kept: int = 0


def everything(
    services: Services, specs: Iterable[PipelineSpec], kept: UpkeepSettings, docs: Path, *, dry_run: bool = False
) -> Iterator[Upkept]:
    """The upkeep of a project whose Data Docs are in `docs`; with `dry_run` the rows say what it would do."""
    for spec in specs:
        yield from of_pipeline(services, spec, kept, dry_run=dry_run)
    yield from shared(services, kept, docs, dry_run=dry_run)


def of_pipeline(
    services: Services, spec: PipelineSpec, kept: UpkeepSettings, *, dry_run: bool = False
) -> Iterator[Upkept]:
    """The upkeep of what belongs to one pipeline: its tables in the lake, and its models."""
    keep = dt.timedelta(days=kept.lake_days)
    yield from _tables(services.lake, tables_of(spec), _pins(services, spec), keep, dry_run=dry_run)
    yield _models(services, spec, kept.models_days, dry_run=dry_run)


def shared(services: Services, kept: UpkeepSettings, docs: Path, *, dry_run: bool = False) -> Iterator[Upkept]:
    """The upkeep of what belongs to all pipelines: decisions, Data Docs, landed extracts, temporary folders."""
    keep = dt.timedelta(days=kept.lake_days)
    yield from _tables(services.lake, SHARED_TABLES, (), keep, dry_run=dry_run)
    yield _data_docs(docs, kept.data_docs_days, dry_run=dry_run)
    yield _landing(services.landing, kept.landing_days, dry_run=dry_run)
    yield _temporary(keep, dry_run=dry_run)


def maintain(services: Services, spec: PipelineSpec, keep: dt.timedelta, *, dry_run: bool = False) -> list[Upkept]:
    """Compact and vacuum the tables that a pipeline reads and writes; versions younger than `keep` stay readable.

    Temporary folders of runs that were killed longer than `keep` ago are removed; they get a row if there were any.
    """
    tables = (*tables_of(spec), *SHARED_TABLES)
    done = list(_tables(services.lake, tables, _pins(services, spec), keep, dry_run=dry_run))
    temporary = _temporary(keep, dry_run=dry_run)
    return [*done, temporary] if temporary.deleted else done


def sentence(rows: Sequence[Upkept], *, dry_run: bool = False) -> str:
    """How much was deleted, or would be."""
    files, megabytes = sum(row.deleted for row in rows), sum(row.bytes for row in rows) / 1e6
    if dry_run:
        return f"Nothing was changed. Without --dry-run, {files:,} files ({megabytes:,.1f} MB) would be deleted."
    return f"{files:,} files ({megabytes:,.1f} MB) were deleted."


def _tables(
    lake: Lake, tables: Iterable[str], pinned: Sequence[Pin], keep: dt.timedelta, *, dry_run: bool
) -> Iterator[Upkept]:
    for table in tables:
        if lake.exists(table):
            kept = [pin for pin in pinned if pin.table == table]
            compacted = lake.optimize(table, dry_run=dry_run)
            found = lake.vacuum(table, kept, keep, dry_run=dry_run)
            yield Upkept(
                table=table,
                compacted=compacted,
                deleted=found.files + found.others,
                bytes=found.bytes,
                pins_kept=len(kept),
            )


def _models(services: Services, spec: PipelineSpec, days: int, *, dry_run: bool) -> Upkept:
    """Trials count as files: MLflow has a few rows for each."""
    before = dt.datetime.now(dt.UTC) - dt.timedelta(days=days)
    runs = unneeded_runs(services, spec, before) if days else ()
    found = []
    for run in runs:
        # Meanwhile a person may have promoted it: what is needed is asked again before each deletion.
        if dry_run or run.training_run in {each.training_run for each in unneeded_runs(services, spec, before)}:
            found.append(services.tracker.shrink(run.training_run, dry_run=dry_run))
    deleted = sum(each.files + each.trials for each in found)
    return Upkept(table=f"models/{spec.name}", deleted=deleted, bytes=sum(each.bytes for each in found))


def _data_docs(docs: Path, days: int, *, dry_run: bool) -> Upkept:
    if not days:
        return Upkept(table="data docs")
    removed = docs_index.remove(docs, dt.timedelta(days=days), dry_run=dry_run)
    return Upkept(table="data docs", deleted=removed.files, bytes=removed.bytes)


def _landing(landing: LandingZone, days: int, *, dry_run: bool) -> Upkept:
    removed = landing.sweep(dry_run=dry_run)
    if days:
        removed += landing.remove(days, dry_run=dry_run)
    return Upkept(table="landing", deleted=len(removed), bytes=sum(removed))


def _temporary(keep: dt.timedelta, *, dry_run: bool) -> Upkept:
    removed, size = remove_temporary(Path(tempfile.gettempdir()), keep, dry_run=dry_run)
    return Upkept(table="temporary folders", deleted=removed, bytes=size)


def tables_of(spec: PipelineSpec) -> tuple[str, ...]:
    """The lake tables of a pipeline; those of all pipelines are `SHARED_TABLES`."""
    own = (spec.features_table, spec.outcomes_table, spec.predictions_table, spec.performance_table)
    return (*own, spec.refusals_table, staleness.table(spec))


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
