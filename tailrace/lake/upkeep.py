"""Upkeep of a Delta lake: joining small files, rewriting old ones, deleting files that nothing needs."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import logging
import os
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import Transaction
from deltalake.exceptions import CommitFailedError

from tailrace.contracts import Pin, Vacuumed
from tailrace.lake import checkpoints, log, manifests, needed, parquet, transactions
from tailrace.lake.files import StoredFile, TableFiles, storage_errors
from tailrace.lake.manifests import YOUNGEST_DELETED
from tailrace.lake.parquet import DataFile, DataWriter, RowGroups
from tailrace.lake.reading import DeltaReader
from tailrace.lake.records import Record
from tailrace.lake.rows import DAY_COLUMN, row_groups
from tailrace.lake.table_version import ActiveFile, TableVersion, application
from tailrace.lake.tables import Tables

logger = logging.getLogger("tailrace")

COMPACTION = "compaction"
SMALL_FILE_BYTES = 64 << 20


class DeltaUpkeep(DeltaReader):
    """See `LakeUpkeep`. `now` is the time that `vacuum` compares the age of files with."""

    def __init__(self, tables: Tables, now: Callable[[], dt.datetime] = manifests.now) -> None:
        super().__init__(tables)
        self._now = now

    def optimize(self, table: str, *, dry_run: bool = False) -> int:
        current = self.tables.open(table)
        groups = list(_to_rewrite(current.in_order(), _half_stated(current)))
        return sum(len(group) if dry_run else self._compact(table, group) for group in groups)

    def _compact(self, table: str, replaced: list[ActiveFile]) -> int:
        """Rewrite files of one day as one; how many: none if the day was published meanwhile, or a file is damaged."""
        day = replaced[0].day
        doing = f"Optimizing {table} of {day}" if day else f"Optimizing {table}"
        current, store = self.tables.open(table), self.tables.files(table)
        paths = {file.path for file in replaced}
        if not paths <= {file.path for file in current.active()}:
            return 0
        with storage_errors(doing):
            damage = current.damage(replaced)
        if damage:
            # A rewritten file gets a checksum of its own, with which the damage would pass for what was published.
            logger.warning(
                "%s: %s. The files stay as they are. Restore them from a copy, or run their day again.",
                doing,
                "; ".join(damage),
            )
            return 0
        record_id = uuid.uuid4().hex
        files = _rewritten(store, replaced, current.schema, record_id=record_id, doing=doing)
        place = 0 if day else max(current.history.order(paths).values(), default=0)
        checksums = {file.path: file.sha256 for file in files}
        record = Record(kind="optimize", id=record_id, files=checksums, day=day, number=place)
        with storage_errors(doing):
            try:
                _commit(current, record, files, replaced)
            except CommitFailedError:
                store.delete(file.path for file in files)
                return 0
        return len(replaced)

    def vacuum(
        self,
        table: str,
        keep: Iterable[Pin] = (),
        older_than: dt.timedelta = dt.timedelta(days=7),
        *,
        dry_run: bool = False,
    ) -> Vacuumed:
        before = self._now() - max(older_than, YOUNGEST_DELETED)
        with storage_errors(f"Vacuuming {table}"):
            store = self.tables.files(table)
            old = [file for file in _data_files(store) if file.modified <= before]
            # Look up what is needed after the listing: a day published in between must keep its files.
            wanted = self._needed(table, keep, before)
            staged = store.list(manifests.FOLDER)
            wanted |= _staged_files(store, (file.path for file in staged if file.modified > before))
            unneeded = [file for file in old if file.path not in wanted]
            others = [file for file in staged if file.modified <= before]
            others += checkpoints.unneeded(store, self._now() - YOUNGEST_DELETED)
            torn = self._torn(table, before)
            if not dry_run:
                store.delete(file.path for file in (*others, *unneeded))
                self._delete_torn(table, torn, before)
        size = sum(file.size for file in (*unneeded, *others)) + sum(torn.values())
        return Vacuumed(files=len(unneeded) + len(torn), others=len(others), bytes=size)

    def _needed(self, table: str, keep: Iterable[Pin], before: dt.datetime) -> set[str]:
        """Files of the latest version, of each version that was the latest since `before`, and of kept pins."""
        latest = self.tables.open(table)
        pinned = {log.number_of(table, pin.version) for pin in keep if pin.table == table}
        if later := sorted(each for each in pinned if each > latest.number):
            logger.warning(
                "%s ends at version %s, but version %s is pinned: the lake was restored from an older copy. Those pins "
                "cannot be read any more.",
                table,
                latest.number,
                ", ".join(map(str, later)),
            )
        versions = latest.history.since(before) | (pinned - set(later))
        return needed.files_of(lambda version: self.tables.open(table, str(version)), versions)

    def _torn(self, table: str, before: dt.datetime) -> dict[Path, int]:
        """What killed writers left half written on local disk, with the bytes of each.

        Such files are named `<name>#<n>` and never listed by the store.
        """
        if self.tables.local is None:
            return {}
        walked = os.walk(self.tables.local / table)
        found = (Path(folder, name) for folder, _, names in walked for name in names if "#" in name)
        return {path: path.stat().st_size for path in found if _is_older(path, before)}

    def _delete_torn(self, table: str, torn: Iterable[Path], before: dt.datetime) -> None:
        """Delete half written files, and empty folders, which the store does not list either."""
        if self.tables.local is None:
            return
        root = self.tables.local / table
        for path in torn:
            path.unlink(missing_ok=True)
        for name, _, files in os.walk(root, topdown=False):
            folder = Path(name)
            if not files and folder != root and _is_older(folder, before):
                with contextlib.suppress(OSError):  # it is not empty
                    folder.rmdir()


def _half_stated(current: TableVersion) -> set[str]:
    """Files with minimum and maximum of some columns only, in which a reader may find nothing."""
    actions = pa.table(current.delta.get_add_actions(flatten=True))
    stated, missing = set(), set()
    for name in (name for name in actions.column_names if name.startswith("min.")):
        has_bound = pc.is_valid(actions[name])
        nulls = pc.fill_null(actions[f"null_count.{name.removeprefix('min.')}"], 0)
        has_values = pc.greater(pc.fill_null(actions["num_records"], 0), nulls)
        stated.update(actions["path"].filter(has_bound).to_pylist())
        missing.update(actions["path"].filter(pc.and_(pc.invert(has_bound), has_values)).to_pylist())
    return stated & missing


def _to_rewrite(files: Iterable[ActiveFile], half_stated: Collection[str]) -> Iterator[list[ActiveFile]]:
    """Groups of files to make into one: small neighbours, and all of a day that other readers would not find."""
    for _, of_day in itertools.groupby(files, key=lambda file: file.day):
        group = list(of_day)
        if any(_is_misplaced(file.path) or file.path in half_stated for file in group):
            yield group
            continue
        for is_small, neighbours in itertools.groupby(group, key=lambda file: file.size < SMALL_FILE_BYTES):
            if is_small and len(joined := list(neighbours)) > 1:
                yield joined


def _is_misplaced(path: str) -> bool:
    """Whether a folder of the path looks like a partition that the table does not have, as earlier releases wrote."""
    return any("=" in folder and not folder.startswith(f"{DAY_COLUMN}=") for folder in path.split("/")[:-1])


def _rewritten(
    store: TableFiles, replaced: list[ActiveFile], schema: pa.Schema, *, record_id: str, doing: str
) -> tuple[DataFile, ...]:
    """The rows of these files in new ones."""
    day = replaced[0].day
    folder = f"{f'{DAY_COLUMN}={day}/' if day else ''}compact-{record_id[:8]}"
    pieces = [RowGroups(file.path, file.rows, day=file.day) for file in replaced]
    with DataWriter(store, folder, schema, doing=doing) as writer:
        for group in row_groups(parquet.batches(store, pieces, schema, doing)):
            writer.write(group)
        return writer.finish()


def _commit(current: TableVersion, record: Record, files: Iterable[DataFile], replaced: Iterable[ActiveFile]) -> None:
    """Replace files by others with the same rows. Raises CommitFailedError."""
    day = record.day
    values = {DAY_COLUMN: day.isoformat()} if day else {}
    # The fence's own number again: it does not move, but a publication of the day made meanwhile conflicts with it.
    # Without it both commits would pass and the rows would be doubled. Where a table is not published by day, two runs
    # of upkeep at once would do so: their fence is one that rows appended meanwhile do not have.
    fence = Transaction(application(day), current.publications(day)) if day else Transaction(COMPACTION, 1)
    current.delta.create_write_transaction(
        [*transactions.adds(files, values, data_change=False), *transactions.removes(replaced, values)],
        "append",
        current.delta.schema(),
        list(values),
        commit_properties=transactions.properties(record, fence),
    )


def _data_files(store: TableFiles) -> list[StoredFile]:
    others = (f"{log.FOLDER}/", f"{manifests.FOLDER}/")
    return [file for file in store.list() if not file.path.startswith(others)]


def _staged_files(store: TableFiles, paths: Iterable[str]) -> set[str]:
    """The data files that these manifests list."""
    found = (manifests.load(store, path) for path in paths)
    return {path for manifest in found if manifest for path in manifest.staged.files}


def _is_older(path: Path, than: dt.datetime) -> bool:
    try:
        return path.stat().st_mtime <= than.timestamp()
    except FileNotFoundError:
        return False
