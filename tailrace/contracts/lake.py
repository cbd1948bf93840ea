"""The lake: tables whose days are staged, audited, and published in one transaction, and that can be pinned."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class Pin:
    """The exact contents of some days of a lake table: enough to read the same bytes again.

    `version` is opaque: table formats number their versions differently. `digest` is the SHA-256 over the sorted
    paths and sizes of the files pinned.
    """

    table: str
    version: str
    first: dt.date | None
    last: dt.date | None
    rows: int
    files: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class Staged:
    """Rows written for one day by one run. No reader sees them until they are published.

    `fence` is the number of publications of that day when staging began; `digest` the
    SHA-256 of the files' bytes; `notes` what stages recorded about it.
    """

    table: str
    day: dt.date
    run_id: str
    rows: int
    fence: int
    digest: str
    files: tuple[str, ...]
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One publication. `unchanged` means the day already had exactly these bytes, so no commit was made."""

    table: str
    day: dt.date | None
    version: str
    recorded_at: dt.datetime
    rows: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    unchanged: bool = False


@dataclass(frozen=True, kw_only=True)
class Vacuumed:
    """What a vacuum deleted, or would delete: files with rows, other files, and the bytes of both.

    Other files are the records of old stagings, and those checkpoints of the log that no reader needs.
    """

    files: int = 0
    others: int = 0
    bytes: int = 0


def last_of_each_day(newest_first: Iterable[Commit]) -> dict[dt.date, Commit]:
    """The last publication of each day, days in order."""
    latest: dict[dt.date, Commit] = {}
    for commit in newest_first:
        if commit.day is not None:
            latest.setdefault(commit.day, commit)
    return dict(sorted(latest.items()))


def between(commits: Mapping[dt.date, Commit], first: dt.date | None, last: dt.date | None) -> dict[dt.date, Commit]:
    """Those of the days first..last (both included; None = unbounded)."""
    return {day: commit for day, commit in commits.items() if (first or day) <= day <= (last or day)}


class Part(Protocol):
    """A piece of a scan that another process can read on its own: it can be pickled."""

    @property
    def rows(self) -> int: ...

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its rows in order, streaming. Raises PinLost, LakeUnavailable."""
        ...


@dataclass(frozen=True)
class NativeTable:
    """A table version and day range that must be read with the format's native reader."""

    uri: str
    version: str
    first: dt.date | None
    last: dt.date | None


class Scan(Protocol):
    """Pinned rows of a table, for this process or many others to read."""

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def rows(self) -> int: ...

    @property
    def files(self) -> tuple[str, ...]:
        """The addresses of the Parquet files with the rows, for readers such as Spark's; empty if there are none.

        Raises PinLost as `reader` does.
        """
        ...

    @property
    def native(self) -> NativeTable | None:
        """Set if reading the files alone would give wrong rows: `reader` and `parts` then raise BadInput."""
        ...

    def reader(self) -> pa.RecordBatchReader:
        """All rows in order, streaming. Raises PinLost, before the first row, if they are not what was pinned."""
        ...

    def parts(self, rows: int) -> tuple[Part, ...]:
        """The rows in order, in pieces of about `rows` rows; no row is in two pieces.

        Raises PinLost as `reader` does.
        """
        ...


class PartWriter(Protocol):
    """Writes one part of a staging from any process: it can be pickled."""

    def write(self, number: int, rows: pa.RecordBatchReader) -> Any:
        """Write part `number`; the result describes it and must be handed back to the staging.

        If a task is retried or run speculatively, each call writes a copy: only the copy that is handed back counts,
        the others are deleted. Raises SchemaMismatch, StorageFull, LakeUnavailable.
        """
        ...


class Target(Protocol):
    """The day of a table that a run is about to stage."""

    def write(self, rows: pa.RecordBatchReader) -> Staged:
        """Stage the rows of one stream, as `Lake.stage` does."""
        ...

    def write_parts(self, schema: pa.Schema, write: Callable[[PartWriter], Iterable[Any]]) -> Staged:
        """Stage the parts that `write` returns: the writer's results, in the order of the rows.

        Nothing is staged if it raises. Raises what `Lake.stage` does.
        """
        ...

    def write_files(self, schema: pa.Schema, write: Callable[[str], None]) -> Staged:
        """Stage the Parquet files that `write` leaves in the folder with the address it is given, ordered by name.

        For other writers, such as Spark's. `write` must create the folder. `schema`, and every file, has the column
        `ds`. Nothing is staged if `write` raises. Raises SchemaMismatch naming every file with other columns or
        types, rows of another day or no statistics of it, StorageFull, LakeUnavailable.
        """
        ...


class LakeReader(Protocol):
    """Reads published rows, at any version, and says what was published when.

    A version is an opaque string: only the lake knows which of two came first.
    """

    def exists(self, table: str) -> bool: ...

    def head(self, table: str) -> str | None:
        """The latest version of a table: another one after every commit. None if there is no table.

        It is cheap: one look at a folder, or one request to an object store. Raises LakeUnavailable.
        """
        ...

    def came_after(self, table: str, version: str, other: str) -> bool:
        """Whether a version of the table came after another; neither needs to be readable any more.

        Raises UpstreamMissing for a text that is no version.
        """
        ...

    def schema(self, table: str) -> pa.Schema:
        """Raises UpstreamMissing if there is no such table."""
        ...

    def read(
        self,
        table: str,
        *,
        first: dt.date | None = None,
        last: dt.date | None = None,
        version: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.RecordBatchReader:
        """Published rows of the days first..last (both included; None = unbounded), streaming.

        Raises UpstreamMissing if the table or the version does not exist.
        """
        ...

    def pin(
        self, table: str, *, first: dt.date | None = None, last: dt.date | None = None, version: str | None = None
    ) -> Pin:
        """Name the contents of those days at that version (the latest by default)."""
        ...

    def scan(self, pin: Pin, columns: Sequence[str] | None = None) -> Scan:
        """The very bytes that were pinned. Raises PinLost if they are gone; if they differ, reading them does."""
        ...

    def read_pin(self, pin: Pin, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """The pinned rows as one stream: `scan(...).reader()`."""
        ...

    def days(
        self, table: str, *, first: dt.date | None = None, last: dt.date | None = None
    ) -> Mapping[dt.date, Commit]:
        """The last publication of each day, days that were published empty included; empty if there is no table.

        With `first` and `last` those of the days first..last (both included), which takes no longer in a long history
        if they were published not long ago.
        """
        ...

    def commits(self, table: str, day: dt.date | None = None, *, since: str | None = None) -> tuple[Commit, ...]:
        """All publications, newest first: of one day if given, after the version `since` if given.

        Empty if there is no table. Raises UpstreamMissing if the table has no version `since`.
        """
        ...

    def sound(self, table: str, day: dt.date) -> bool:
        """Whether a day has all rows that were published, with their bytes; False if there is no table."""
        ...


class LakePublisher(Protocol):
    """Stages the rows of a day, gives them to the audit, and publishes them: a day is replaced completely or not."""

    def target(self, table: str, day: dt.date, run_id: str, *, may_lack: Collection[str] = ()) -> Target:
        """Where that run stages that day.

        The rows may lack the columns of the table that `may_lack` names: they are read with null in them.
        """
        ...

    def stage(self, table: str, day: dt.date, run_id: str, rows: pa.RecordBatchReader) -> Staged:
        """Write rows into the table's folder without committing them, streaming; sets column `ds` if absent.

        The first stage of a table fixes its schema. Staging again with the same run_id replaces
        what that run staged. Raises SchemaMismatch (every differing column), StorageFull, LakeUnavailable.
        """
        ...

    def staged(self, table: str, day: dt.date, run_id: str) -> Staged:
        """What that run staged, found again from another process. Raises StagingGone."""
        ...

    def read_staged(self, staged: Staged) -> pa.RecordBatchReader:
        """Exactly the staged rows. Raises StagingGone."""
        ...

    def annotate(self, staged: Staged, notes: Mapping[str, str]) -> Staged:
        """The same staged rows with these notes added, kept for another process to find."""
        ...

    def discard(self, staged: Staged) -> None:
        """Delete what was staged; nothing happens if it is gone or already published."""
        ...

    def publish(self, staged: Staged, metadata: Mapping[str, str], *, anew: bool = False) -> Commit:
        """Replace the day by the staged rows in one transaction.

        Publishing what this run has already published returns that commit. Publishing the bytes that the day has
        already makes no commit and returns the day's last one as `unchanged`. If files of the day are gone or damaged,
        or the metadata says something else of the same bytes (`anew`), it is published again all the same.
        Raises PublishConflict if another run published the day after this one staged,
        StagingGone if the staged files are gone.
        """
        ...

    def append(self, table: str, rows: pa.Table, metadata: Mapping[str, str]) -> Commit:
        """Add rows to an unpartitioned, append-only table, creating it if it is new.

        Rows are read in the order of the commits that added them, whatever the writers' clocks were.
        """
        ...

    def add_columns(self, table: str, columns: pa.Schema, metadata: Mapping[str, str] | None = None) -> None:
        """Add those of these columns that the table does not have yet, nullable and after its own, in one commit.

        Rows written before are read with null in them; earlier versions and pins keep their schema. Nothing happens if
        the table has all the columns already, or if there is no such table. The commit is no publication: `commits`
        and `days` do not list it; `metadata`, such as who decided it, is in the table's own log. Raises SchemaMismatch
        naming each column that the table has with another type or with other upper and lower case, LakeUnavailable.
        """
        ...


class LakeUpkeep(Protocol):
    """Keeps tables small and quick to read."""

    def optimize(self, table: str, *, dry_run: bool = False) -> int:
        """Join small files; the number of files that were replaced, or with `dry_run` would be.

        Files of earlier releases, in folders that other readers take for partitions, are replaced too.
        """
        ...

    def vacuum(
        self,
        table: str,
        keep: Iterable[Pin] = (),
        older_than: dt.timedelta = dt.timedelta(days=7),
        *,
        dry_run: bool = False,
    ) -> Vacuumed:
        """Delete files that no kept pin, no current day and no fresh staging needs; with `dry_run` only count them.

        Nothing younger than a day is deleted, whatever `older_than` says.
        """
        ...


class Lake(LakeReader, LakePublisher, LakeUpkeep, Protocol):
    """Versioned tables partitioned by `ds`: reading, publishing and upkeep."""
