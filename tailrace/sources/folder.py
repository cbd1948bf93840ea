"""A source whose extracts are files in a folder or a bucket, by day."""

from __future__ import annotations

import datetime as dt
import errno
import string
from collections.abc import Collection, Mapping
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from tailrace.errors import (
    BadInput,
    LakeUnavailable,
    LandingRefused,
    SettingsError,
    StorageFull,
    TailraceError,
    UpstreamMissing,
)
from tailrace.rows.nights import LOOK_BACK_DAYS
from tailrace.sources import calendars, extracts

_FIELDS = ("table", "day")
_PARQUET, _CSV = ".parquet", (".csv", ".csv.gz", ".csv.bz2", ".csv.zst")
_LAST = 9_999 * b","
"""Put behind the last row of a CSV file. It has more values than a table has columns; an open quotation swallows it."""
_LARGEST_BLOCK = 2**31 - 1


class FolderSource:
    """The Parquet or CSV files of a folder or a bucket.

        FolderSource("shop", "s3://shop/{table}/{day:%Y/%m/%d}.parquet", {"orders": ORDERS}, since=dt.date(2024, 1, 1))

    `pattern` is a path or a URL of fsspec. `{day}` in it stands for the day as YYYY-MM-DD; `{day:%Y%m%d}` for another
    form of it; `{table}` for the name of the table. With `*` it may name several files of a day, which are joined in
    the order of their names. `tables` gives the columns of each table. A CSV file begins with their names; a value that
    is empty is null, unless it is a text in quotes.

    `since` is the first day of all tables, or of each by name. `may_be_empty` and `optional` are tables whose file may
    have no rows, or be absent. `storage_options` are those of the file system; put credentials into its own variables.
    """

    def __init__(
        self,
        name: str,
        pattern: str,
        tables: Mapping[str, pa.Schema],
        *,
        since: dt.date | Mapping[str, dt.date] | None = None,
        until: dt.date | None = None,
        look_back_days: int = LOOK_BACK_DAYS,
        may_be_empty: Collection[str] = (),
        optional: Collection[str] = (),
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.tables = name, dict(tables)
        self.calendar = (None, until)
        self.since = extracts.since(since, tables)
        self.look_back_days = look_back_days
        self.optional = frozenset(optional)
        self._pattern = _checked(name, pattern, tables)
        self._may_be_empty = extracts.of_tables(name, "may_be_empty", may_be_empty, tables)
        self._options = dict(storage_options or {})

    def extract(self, table: str, day: dt.date) -> pa.Table:
        """The rows of a table's files of the day.

        Raises UnknownName, OutOfCalendar; UpstreamMissing if there is no file; LandingRefused naming a file that is
        damaged or has other columns; LakeUnavailable, SettingsError if the storage fails.
        """
        calendars.require(self, table, day)
        place = self._pattern.format(table=table, day=day)
        try:
            files, path = fsspec.core.url_to_fs(place, **self._options)
            found = sorted(files.glob(path)) if any(mark in path for mark in "*?[") else [path]
            parts = [self._rows(table, file, files.cat_file(file)) for file in found]
        except FileNotFoundError:
            parts = []
        except OSError as error:
            raise _storage(place, error) from error
        if not parts:
            raise UpstreamMissing(f"The source {self.name} has no file of {table} of {day}: there is no {place}.")
        return pa.concat_tables(parts)

    def may_be_empty(self, table: str, day: dt.date) -> bool:
        """The same answer for every day."""
        return table in self._may_be_empty

    def _rows(self, table: str, file: str, content: bytes) -> pa.Table:
        declared = self.tables[table]
        try:
            rows = _csv(content, file, declared) if file.endswith(_CSV) else pq.read_table(pa.BufferReader(content))
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise LandingRefused(
                f"The source {self.name} cannot read {file} ({' '.join(str(error).split())}). Deliver it again."
            ) from error
        return extracts.of_columns(rows, declared, f"{file} of the source {self.name}")


def _csv(content: bytes, file: str, declared: pa.Schema) -> pa.Table:
    """The rows of a CSV file. Raises pa.ArrowInvalid if it is damaged, which Arrow alone does not always notice."""
    types = {field.name: field.type for field in declared}
    with pa.input_stream(pa.BufferReader(content), compression=_COMPRESSIONS.get(file.rpartition(".")[2])) as stream:
        text = stream.read()
    rows = _parsed(text, types)
    infinite = [field.name for field in rows.schema if pa.types.is_floating(field.type) and _has_infinity(rows, field)]
    if infinite:
        _refuse_too_large(rows, _parsed(text, {**types, **dict.fromkeys(infinite, pa.string())}), infinite)
    return rows


def _parsed(text: bytes, types: Mapping[str, pa.DataType]) -> pa.Table:
    """The rows of a CSV file's text. Raises pa.ArrowInvalid, also where Arrow would lose rows without an error."""
    closed = False

    def passed(row: pcsv.InvalidRow) -> str:
        nonlocal closed
        if row.actual_columns != len(_LAST) + 1:
            return "error"
        closed = True
        return "skip"

    if text.strip():
        text += b"\n" + _LAST
    rows = pcsv.read_csv(
        pa.BufferReader(text),
        # between two blocks, Arrow drops without an error what stands behind an open quotation
        read_options=pcsv.ReadOptions(block_size=min(len(text) or 1, _LARGEST_BLOCK)),
        parse_options=pcsv.ParseOptions(newlines_in_values=True, invalid_row_handler=passed),
        convert_options=pcsv.ConvertOptions(
            column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
    if not closed:
        raise pa.ArrowInvalid("a quotation mark is opened and never closed")
    return rows


def _has_infinity(rows: pa.Table, field: pa.Field) -> bool:
    return bool(pc.any(pc.is_inf(rows[field.name])).as_py())


def _refuse_too_large(rows: pa.Table, texts: pa.Table, names: Collection[str]) -> None:
    """Raises pa.ArrowInvalid for a number that is too large for its type: Arrow makes it infinite without an error."""
    for name in names:
        written = texts[name].filter(pc.is_inf(rows[name]))
        numbers = written.filter(pc.match_substring_regex(written, "[0-9]"))
        if len(numbers):
            raise pa.ArrowInvalid(f"column {name}: {numbers[0]} is too large for {rows[name].type}")


_COMPRESSIONS = {"gz": "gzip", "bz2": "bz2", "zst": "zstd"}


def _checked(name: str, pattern: str, tables: Mapping[str, pa.Schema]) -> str:
    """The pattern. Raises BadInput listing what is wrong with it."""
    problems = []
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(pattern) if field is not None}
        pattern.format(table="t", day=dt.date(2024, 1, 1))
    except (ValueError, KeyError, IndexError, AttributeError):
        fields, problems = set(_FIELDS), ["it may hold {day}, {day:%Y%m%d} and {table}, and no other braces"]
    if "day" not in fields:
        problems.append("it must hold {day}, such as {day} or {day:%Y%m%d}")
    if "table" not in fields and len(tables) > 1:
        problems.append("it must hold {table}, as the source has several tables")
    if not pattern.endswith((_PARQUET, *_CSV)):
        problems.append(f"it must end with one of {', '.join((_PARQUET, *_CSV))}")
    if problems:
        raise BadInput(f"The pattern of the source {name} is {pattern!r}: {'; '.join(problems)}.")
    return pattern


def _storage(place: str, error: OSError) -> TailraceError:
    said = " ".join(str(error).split())
    if error.errno in (errno.EACCES, errno.EPERM):
        return SettingsError("A source cannot be read:", [f"{place} cannot be read by this user: {said}."])
    if error.errno == errno.ENOSPC:
        return StorageFull(f"The disk is full, so {place} could not be read: {said}.")
    return LakeUnavailable(f"The storage failed while {place} was read: {said}. Check that it can be reached and read.")
