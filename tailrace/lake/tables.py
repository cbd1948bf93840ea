"""Where the tables of a Delta lake are, and how one is found, created and opened."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import pyarrow as pa
from deltalake import DeltaTable, Schema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from tailrace.errors import BadInput, UpstreamMissing
from tailrace.lake import log
from tailrace.lake.files import TableFiles, local_folder, storage_errors
from tailrace.lake.heads import LocalHeads
from tailrace.lake.parts import Place
from tailrace.lake.table_version import TableVersion

# Pins live as long as the log does, so Delta must not clean up by itself.
_CONFIGURATION = {
    # Opening a table reads the last checkpoint and the commits after it: few, however many nights there were.
    "delta.checkpointInterval": "10",
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 3650 days",
}


class Tables:
    """The tables under a root: a folder, `file://` or an object-store URL such as `s3://bucket/lake`.

    `options` are delta-rs's own (credentials, endpoint, region, timeouts). `native_reader` says that the engine can
    read tables whose features need the format's native reader. With `keep_open` a table is opened once; after that
    only its new commits are read.
    """

    def __init__(
        self,
        root: str,
        options: Mapping[str, str] | None = None,
        *,
        native_reader: bool = False,
        keep_open: bool = False,
    ) -> None:
        self.local = local_folder(root)
        self.root = str(self.local) if self.local else root.rstrip("/")
        self.options = dict(options) if options else None
        self._native_reader = native_reader
        self._kept_open: dict[str, DeltaTable] | None = {} if keep_open else None
        self._heads = LocalHeads(self.local) if self.local else None
        self._read: dict[str, tuple[tuple[str | int, ...], TableVersion]] = {}
        """Tables that were opened, each with what its log's folder was like then."""

    @property
    def are_opened_to_read(self) -> bool:
        """Whether a table that `latest` returned again is at the same version as before."""
        return self._kept_open is None

    def uri(self, table: str) -> str:
        return f"{self.root}/{table}"

    def place(self, table: str) -> Place:
        return Place(self.uri(table), self.options)

    def files(self, table: str, *, create: bool = False) -> TableFiles:
        """The files below the table's folder, which is made first with `create`: an object store needs none."""
        if create and self.local is not None:
            (self.local / table).mkdir(parents=True, exist_ok=True)
        return self.place(table).files()

    def exists(self, table: str) -> bool:
        """Raises LakeUnavailable."""
        if self.local is not None and not (self.local / table / log.FOLDER).is_dir():
            return False
        with storage_errors(f"Looking for {table}"):
            if self._heads is not None and self._heads.version(table) is not None:
                return True
            return DeltaTable.is_deltatable(self.uri(table), self.options)

    def head(self, table: str) -> str | None:
        """The latest version; None if there is no table.

        On local disk one look at the log's folder, on an object store one request for the commits after the last
        known one (with `keep_open`). Raises LakeUnavailable.
        """
        with storage_errors(f"Looking for the latest version of {table}"):
            if self._heads is not None:
                return self._heads.version(table)
            try:
                return str(self._latest(table).version())
            except TableNotFoundError:
                return None

    def open(self, table: str, version: str | None = None, *, natively: bool = False) -> TableVersion:
        """The table at a version, the latest by default.

        `natively` accepts a table that only the format's native reader reads correctly, if the engine has that reader.
        Raises UpstreamMissing for a table or version that does not exist, BadInput for a table that cannot be read,
        LakeUnavailable.
        """
        return self._checked(self._opened(table, version), natively=natively)

    def latest(self, table: str) -> TableVersion:
        """The latest version, to read natively if need be; it is shared, so nothing may move it to another version.

        On local disk a table is opened once as long as nothing changes in its log: opening takes longer with every day
        that is published. Raises what `open` raises.
        """
        state = self._state(table) if self._kept_open is None else None
        held = self._read.get(table)
        if state is None or held is None or held[0] != state:
            opened = self._checked(self._opened(table), natively=True)
            if state is not None and state == self._state(table):
                self._read[table] = (state, opened)
            return opened
        return self._checked(held[1], natively=True)

    def to_write(self, table: str) -> TableVersion:
        """The latest version to compare with before writing, and to commit from.

        It is shared with readers: a commit does not move it, and whoever asks after the commit is given another one.
        Raises what `open` raises, of tables that only the format's native reader reads correctly, too.
        """
        return self._checked(self.latest(table), natively=False)

    def _opened(self, table: str, version: str | None = None) -> TableVersion:
        with storage_errors(f"Opening {table}"):
            try:
                delta = self._latest(table) if version is None else self._at(table, version)
            except TableNotFoundError as error:
                raise UpstreamMissing(
                    f"The lake has no table {table!r} yet. Run the stage that publishes it."
                ) from error
        return TableVersion(table, delta, self.place(table))

    def _state(self, table: str) -> tuple[str | int, ...] | None:
        """What changes with any commit to a table on local disk, also if files of its log are overwritten by others of
        the same names, as a copy of another table would; None elsewhere, or if there is no table."""
        if self.local is None or self._heads is None:
            return None
        folder = self.local / table / log.FOLDER
        try:
            head = self._heads.version(table)
            if head is None:
                return None
            of_folder, newest = folder.stat(), (folder / f"{int(head):020}.json").stat()
        except OSError:
            return None
        of_newest = newest.st_mtime_ns, newest.st_size, newest.st_ino
        return (head, of_folder.st_mtime_ns, of_folder.st_ino, *of_newest)

    def _checked(self, opened: TableVersion, *, natively: bool) -> TableVersion:
        """Raises BadInput if the table needs a reader that the engine does not have."""
        if not (natively and self._native_reader) and opened.refusal:
            raise BadInput(opened.refusal)
        return opened

    def create(self, table: str, schema: pa.Schema, partition_by: list[str]) -> pa.Schema:
        """Create the table if it does not exist. Returns the schema it has: another process may have created it."""
        if not self.exists(table):
            with storage_errors(f"Creating {table}"):
                try:
                    DeltaTable.create(
                        self.uri(table),
                        Schema.from_arrow(schema),
                        mode="ignore",
                        partition_by=partition_by,
                        configuration=_CONFIGURATION,
                        storage_options=self.options,
                    )
                except CommitFailedError:
                    if not self.exists(table):
                        raise
        return self.latest(table).schema

    def _at(self, table: str, version: str) -> DeltaTable:
        """The table as delta-rs opens it at a version, without reading what came after it."""
        number = log.number_of(table, version)
        with contextlib.suppress(DeltaError, OverflowError):
            return DeltaTable(self.uri(table), version=number, storage_options=self.options)
        # What is wrong with the version, the table itself says.
        delta = DeltaTable(self.uri(table), storage_options=self.options)
        _go_to(delta, table, number)
        return delta

    def _latest(self, table: str) -> DeltaTable:
        """The table as delta-rs opens it; with `keep_open` it is shared."""
        if self._kept_open is None:
            return DeltaTable(self.uri(table), storage_options=self.options)
        kept = self._kept_open.get(table)
        if kept is not None:
            # A table that was replaced by a shorter one cannot be updated: it is opened again.
            with contextlib.suppress(DeltaError):
                kept.update_incremental()
                return kept
        self._kept_open[table] = DeltaTable(self.uri(table), storage_options=self.options)
        return self._kept_open[table]


def _go_to(delta: DeltaTable, table: str, number: int) -> None:
    latest = delta.version()
    if number > latest:
        raise UpstreamMissing(f"{table} has no version '{number}'; the latest is {latest}.")
    try:
        delta.load_as_version(number)
    except TableNotFoundError as error:
        raise UpstreamMissing(f"{table} has no version '{number}' any more: its log was cleaned up.") from error
