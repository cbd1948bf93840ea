"""Pieces of a table that any process reads or writes by itself: they travel pickled to executors."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, NoReturn

import pyarrow as pa

from pipelines.errors import BadInput
from pipelines.interfaces import NativeTable
from pipelines.lake import parquet
from pipelines.lake import rows as accepted
from pipelines.lake.files import TableFiles
from pipelines.lake.parquet import DataFile, DataWriter, RowGroups


@dataclass(frozen=True)
class Place:
    """A table's root and what opens it; `options` are the object store's."""

    uri: str
    options: Mapping[str, str] | None

    def files(self) -> TableFiles:
        return TableFiles(self.uri, self.options)


@dataclass(frozen=True)
class FilePart:
    """Row groups of a table's files."""

    place: Place
    pieces: tuple[RowGroups, ...]
    schema: pa.Schema
    doing: str

    @property
    def rows(self) -> int:
        return sum(piece.rows for piece in self.pieces)

    def batches(self) -> Iterator[pa.RecordBatch]:
        return parquet.batches(self.place.files(), self.pieces, self.schema, self.doing)


@dataclass(frozen=True)
class FileScan(FilePart):
    """The rows of a table's files, whole, in the order given: the part that other parts are cut from."""

    native: ClassVar[None] = None

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(f"{self.place.uri}/{piece.path}" for piece in self.pieces)

    def reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self.schema, self.batches())

    def parts(self, rows: int) -> tuple[FilePart, ...]:
        """Small files go together; a large one is cut between its row groups, for which its footer is read."""
        store = self.place.files()
        pieces = (
            cut
            for piece in self.pieces
            for cut in ([piece] if piece.rows <= rows else parquet.row_groups_of(store, piece.path, self.doing))
        )
        return tuple(FilePart(self.place, tuple(some), self.schema, self.doing) for some in _together(pieces, rows))


@dataclass(frozen=True)
class NativeScan:
    """Rows that their files alone do not tell; `refusal` is what whoever tries to read those is told."""

    files: ClassVar[tuple[str, ...]] = ()
    native: NativeTable
    schema: pa.Schema
    rows: int
    refusal: str

    def reader(self) -> NoReturn:
        raise BadInput(self.refusal)

    def parts(self, rows: int) -> NoReturn:
        raise BadInput(self.refusal)


@dataclass(frozen=True)
class FilePartWriter:
    """Writes parts of one staging into its folder; the random names keep copies of a part apart."""

    place: Place
    folder: str
    schema: pa.Schema
    day: dt.date
    where: str
    doing: str

    def write(self, number: int, rows: pa.RecordBatchReader) -> tuple[DataFile, ...]:
        prefix = f"part-{number:05d}-{uuid.uuid4().hex[:8]}"
        conformed = (accepted.conform(batch, self.schema, self.day, self.where) for batch in rows)
        with DataWriter(self.place.files(), self.folder, self.schema, self.doing, prefix) as writer:
            for group in accepted.row_groups(conformed):
                writer.write(group)
            return writer.finish()


def _together(pieces: Iterator[RowGroups], rows: int) -> Iterator[list[RowGroups]]:
    """Neighbours whose rows are no more than so many together, or one that has more by itself."""
    some: list[RowGroups] = []
    for piece in pieces:
        if some and sum(one.rows for one in some) + piece.rows > rows:
            yield some
            some = []
        some.append(piece)
    if some:
        yield some
