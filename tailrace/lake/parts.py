"""Pieces of a table that any process reads or writes by itself: they travel pickled to executors."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

import pyarrow as pa

from tailrace.contracts import NativeTable
from tailrace.errors import BadInput, LakeUnavailable
from tailrace.lake import parquet
from tailrace.lake import rows as accepted
from tailrace.lake.files import TableFiles
from tailrace.lake.parquet import DataFile, DataWriter, RowGroups

_CREDENTIAL = re.compile(
    r"(access_key(_id)?|account_key|master_key|sas_key|service_account_key|customer_key_base64|secret|token|password)$",
    re.IGNORECASE,
)
"""Options of object stores that are secret. The name of a file with credentials is not."""

_FOOTERS_AT_ONCE = 8


@dataclass(frozen=True)
class Place:
    """A table's root and the object store's options to open it.

    Credentials among the options are not pickled: another process takes its own from its environment, as the object
    store's client does. `withheld` are the names of the options it was not given.
    """

    uri: str
    options: Mapping[str, str] | None = field(repr=False)
    withheld: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        options = self.options or {}
        secret = tuple(name for name in options if _CREDENTIAL.search(name))
        public = {name: value for name, value in options.items() if name not in secret}
        return Place, (self.uri, public or None, (*self.withheld, *secret))

    def files(self) -> TableFiles:
        return TableFiles(self.uri, self.options)

    @contextmanager
    def opened(self) -> Iterator[TableFiles]:
        """The files, in another process: its LakeUnavailable also names the credentials that were not handed over."""
        try:
            yield self.files()
        except LakeUnavailable as error:
            if not self.withheld:
                raise
            raise LakeUnavailable(
                f"{error} Credentials are not handed to other processes: if this one lacks them, set "
                f"{', '.join(name.upper() for name in self.withheld)} in the environment of the executors instead of "
                "TAILRACE_STORAGE_OPTIONS."
            ) from error


@dataclass(frozen=True, kw_only=True)
class FilePart:
    """Row groups of a table's files; with `hashed`, the files are known to hold the bytes that were published."""

    place: Place
    pieces: tuple[RowGroups, ...]
    schema: pa.Schema
    doing: str
    hashed: bool = False

    @property
    def rows(self) -> int:
        return sum(piece.rows for piece in self.pieces)

    def batches(self) -> Iterator[pa.RecordBatch]:
        with self.place.opened() as store:
            yield from parquet.batches(store, self.pieces, self.schema, self.doing, hashed=self.hashed)


def _sound() -> None:
    """Nothing to check."""


@dataclass(frozen=True, kw_only=True)
class FileScan(FilePart):
    """All rows of a table's files, in the order given. Other parts are cut from it.

    `check` raises PinLost if the files hold other bytes than they should. It is called before anything is given out.
    """

    check: Callable[[], None] = _sound
    native: ClassVar[None] = None

    @property
    def files(self) -> tuple[str, ...]:
        """Raises PinLost."""
        self.check()
        return tuple(f"{self.place.uri}/{piece.path}" for piece in self.pieces)

    def reader(self) -> pa.RecordBatchReader:
        """Raises PinLost before the first row."""
        return pa.RecordBatchReader.from_batches(self.schema, self._checked())

    def _checked(self) -> Iterator[pa.RecordBatch]:
        """The batches; the first one is decoded while the files are checked, and waits until they were."""
        rows = self.batches()
        with ThreadPoolExecutor(1) as pool:
            checking = pool.submit(self.check)
            try:
                first = next(rows, None)
            finally:
                checking.result()  # what it says of damaged files is more exact than what decoding them says
        yield from () if first is None else (first,)
        yield from rows

    def parts(self, rows: int) -> tuple[FilePart, ...]:
        """Small files are put together; a large file is cut between its row groups, for which its footer is read.

        Raises PinLost.
        """
        self.check()
        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
            cut = pool.map(functools.partial(self._cut, self.place.files(), rows), self.pieces)
            pieces = itertools.chain.from_iterable(cut)
            return tuple(self._part(tuple(some)) for some in _together(pieces, rows))

    def _part(self, pieces: tuple[RowGroups, ...]) -> FilePart:
        return FilePart(place=self.place, pieces=pieces, schema=self.schema, doing=self.doing, hashed=self.hashed)

    def _cut(self, store: TableFiles, rows: int, piece: RowGroups) -> list[RowGroups]:
        return [piece] if piece.rows <= rows else parquet.row_groups_of(store, piece, self.doing)


@dataclass(frozen=True)
class NativeScan:
    """Rows that cannot be read from the files alone; `refusal` is the error for those who try."""

    files: ClassVar[tuple[str, ...]] = ()
    native: NativeTable
    schema: pa.Schema
    rows: int
    refusal: str

    def reader(self) -> NoReturn:
        raise BadInput(self.refusal)

    def parts(self, rows: int) -> NoReturn:
        raise BadInput(self.refusal)


@dataclass(frozen=True, kw_only=True)
class FilePartWriter:
    """Writes parts of one staging into its folder. Random names keep several copies of a part apart."""

    place: Place
    folder: str
    schema: pa.Schema
    day: dt.date
    where: str
    doing: str
    lacking: frozenset[str] = frozenset()

    def write(self, number: int, rows: pa.RecordBatchReader) -> tuple[DataFile, ...]:
        prefix = f"part-{number:05d}-{uuid.uuid4().hex[:8]}"
        conformed = (accepted.conform(batch, self.schema, self.day, self.where, lacking=self.lacking) for batch in rows)
        with (
            self.place.opened() as store,
            DataWriter(store, self.folder, self.schema, doing=self.doing, prefix=prefix) as writer,
        ):
            for group in accepted.row_groups(conformed):
                writer.write(group)
            return writer.finish()


def _together(pieces: Iterable[RowGroups], rows: int) -> Iterator[list[RowGroups]]:
    """Neighbouring pieces with at most `rows` rows together, or a single piece that has more."""
    some: list[RowGroups] = []
    for piece in pieces:
        if some and sum(one.rows for one in some) + piece.rows > rows:
            yield some
            some = []
        some.append(piece)
    if some:
        yield some
