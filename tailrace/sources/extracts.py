"""What sources of files and of queries share: declared columns, and since when each table exists."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.errors import BadInput, LandingRefused, did_you_mean


def since(given: dt.date | Mapping[str, dt.date] | None, tables: Collection[str]) -> dict[str, dt.date]:
    """The first day of each table that has one."""
    if given is None:
        return {}
    return dict(given) if isinstance(given, Mapping) else dict.fromkeys(tables, given)


def of_tables(source: str, said: str, given: Collection[str], tables: Collection[str]) -> frozenset[str]:
    """The tables that an argument of a source names. Raises BadInput for a name that none of its tables has."""
    names = [given] if isinstance(given, str) else given
    if wrong := [name for name in names if name not in tables]:
        listed = (f"{said} names {each!r}, which is none of its tables.{did_you_mean(each, tables)}" for each in wrong)
        raise BadInput("\n".join(f"The source {source}: {each}" for each in listed))
    return frozenset(names)


def of_columns(rows: pa.Table, declared: pa.Schema, what: str) -> pa.Table:
    """The rows with the declared columns, in their order and types. A value that the type cannot hold is refused.

    Raises LandingRefused naming every column that is missing, unexpected, or of a type that does not fit.
    """
    found = rows.schema.names
    problems = [f"column {name} is missing.{did_you_mean(name, found)}" for name in declared.names if name not in found]
    problems += [f"column {name} is unexpected." for name in dict.fromkeys(found) if name not in declared.names]
    problems += [
        f"column {name} is there {found.count(name)} times." for name in sorted({*found}) if found.count(name) > 1
    ]
    columns = []
    for field in declared if not problems else ():
        column = rows.column(field.name)
        wrong = f"column {field.name} is {column.type} and should be {field.type}"
        if not _alike(column.type, field.type):
            problems.append(f"{wrong}.")
            continue
        try:
            columns.append(_cast(column, field.type))
        except pa.ArrowException as error:
            problems.append(f"{wrong} ({' '.join(str(error).split())}).")
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise LandingRefused(
            f"{what} does not have the declared columns:\n{listed}\nCorrect it; or, if its columns changed for "
            "good, change the columns that the source declares."
        )
    return pa.table(columns, schema=declared)


def _cast(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """The column in the wanted type. Raises pa.ArrowException, also where Arrow rounds or overflows without an error.

    A number becomes the nearest float; as a decimal it must have no more digits.
    """
    found = column.cast(wanted)
    if not pa.types.is_floating(column.type):
        return found
    if pa.types.is_decimal(wanted):
        changed = pc.not_equal(found.cast(column.type), column)
    elif pa.types.is_floating(wanted):
        changed = pc.and_(pc.is_finite(column), pc.is_inf(found))
    else:
        return found
    if pc.any(changed).as_py():
        raise pa.ArrowInvalid(f"{column.filter(changed)[0]} would become {found.filter(changed)[0]}")
    return found


_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
_KINDS = (_NUMBERS, _TEXTS, _BYTES, (pa.types.is_timestamp,), (pa.types.is_date,), (pa.types.is_time,))


def _alike(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of one type may be those of the other: a text is no number, and a time without zone is not UTC."""
    if pa.types.is_dictionary(found):
        found = found.value_type
    if pa.types.is_timestamp(found) and pa.types.is_timestamp(wanted):
        return (found.tz is None) == (wanted.tz is None)
    if found == wanted or pa.types.is_null(found):
        return True
    return any(any(one(found) for one in kind) and any(one(wanted) for one in kind) for kind in _KINDS)
