"""What a Delta transaction is made of: actions, the record in its metadata, and trying it again on a conflict."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from deltalake import CommitProperties, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from tailrace.contracts import Commit
from tailrace.errors import LakeUnavailable
from tailrace.lake import log
from tailrace.lake.files import TableFiles
from tailrace.lake.parquet import DataFile
from tailrace.lake.records import Record
from tailrace.lake.table_version import ActiveFile

_COMMIT_SECONDS = 60


def attempts() -> Retrying:
    """Attempts of a commit, for a minute: another partition's commit in between means to reload and try again."""
    return Retrying(
        retry=retry_if_exception_type(CommitFailedError),
        wait=wait_random_exponential(multiplier=0.02, max=1),
        stop=stop_after_delay(_COMMIT_SECONDS),
        reraise=True,
    )


def properties(record: Record, *fences: Transaction) -> CommitProperties:
    return CommitProperties(custom_metadata={"userMetadata": record.to_json()}, app_transactions=list(fences))


def adds(files: Iterable[DataFile], values: Mapping[str, str], *, data_change: bool = True) -> list[AddAction]:
    """Actions that add these files to the partition with these values."""
    at = milliseconds()
    return [AddAction(file.path, file.size, values, at, data_change, file.stats) for file in files]


def removes(files: Iterable[ActiveFile], values: Mapping[str, str]) -> list[RemoveAction]:
    """Actions that take these files out of the table because others hold their rows."""
    at = milliseconds()
    return [RemoveAction(file.path, False, at, file.size, dict(values)) for file in files]


def milliseconds() -> int:
    """The time now, as Delta's log writes it."""
    return int(time.time() * 1000)


def committed(store: TableFiles, table: str, record: Record, before: int) -> Commit:
    """The commit just made to the table at version `before` or later, with the version and time of its file."""
    found = log.made(store, record, before)
    if found is None:
        raise LakeUnavailable(f"{table}: the commit just made is not in the history yet. Run this stage again.")
    return found.commit(table)
