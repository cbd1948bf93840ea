"""The tables [sources.<name>]: a source, and what the project says of it in place of the source's own code."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from tailrace.errors import did_you_mean
from tailrace.settings import import_paths
from tailrace.settings.fields import SourceSettings

_CLASS, _FILES, _COLUMNS = "class", "files", "columns"
_KEYS = (_CLASS, _FILES, _COLUMNS, "tables", "since", "look_back_days", "optional", "may_be_empty")
_Wrong = Callable[[str, str], None]
"""Takes the key below the source, and what is wrong with it."""


def read(document: Mapping[str, Any], label: str, problems: list[str]) -> tuple[SourceSettings, ...]:
    """The sources in their order. What is wrong goes to `problems`; `label` begins their names there."""
    found = []
    for name, table in document.items():
        before = len(problems)
        if not isinstance(table, dict):
            problems.append(f"{label}.{name} must be a table: [sources.{name}] with the key {_CLASS!r}.")
            continue

        def wrong(key: str, said: str, name: str = name) -> None:
            problems.append(f"{label}.{name}{'.' if key else ''}{key} {said}")

        for key in sorted(table.keys() - set(_KEYS)):
            wrong(key, f"is not a setting.{did_you_mean(key, _KEYS)}")
        _check_origin(table, wrong)
        made = SourceSettings(
            name=name,
            path=str(table.get(_CLASS, "")),
            files=str(table.get(_FILES, "")),
            columns=_columns(table, wrong),
            tables=_names(table, "tables", wrong),
            since=_since(table, wrong),
            look_back_days=_look_back(table, wrong),
            optional=_chosen(table, "optional", wrong),
            may_be_empty=_chosen(table, "may_be_empty", wrong),
        )
        if len(problems) == before:
            found.append(made)
    for path in sorted({one.path for one in found if [other.path for other in found].count(one.path) > 1} - {""}):
        problems.append(f"{label} names {path!r} several times; name it once.")
    return tuple(found)


def _check_origin(table: Mapping[str, Any], wrong: _Wrong) -> None:
    """A source is a class, or files whose columns are declared."""
    if (_CLASS in table) == (_FILES in table):
        wrong("", f"must have either {_CLASS!r}, {import_paths.WANTED}, or {_FILES!r}, the files of each day.")
    elif _CLASS in table and not import_paths.FORM.fullmatch(str(table[_CLASS])):
        wrong(_CLASS, f"is {table[_CLASS]!r}; it must be {import_paths.WANTED}.")
    if (_FILES in table) != (_COLUMNS in table):
        wrong(_COLUMNS, f"and {_FILES!r} go together: a class says the columns of its tables itself.")
    if not isinstance(table.get(_FILES, ""), str):
        wrong(_FILES, "must be a text, such as 's3://shop/{table}/{day}.parquet'.")


def _columns(table: Mapping[str, Any], wrong: _Wrong) -> Mapping[str, Mapping[str, str]]:
    given = table.get(_COLUMNS, {})
    if not _is_table(given, lambda one: bool(one) and _is_table(one, lambda kind: isinstance(kind, str))):
        wrong(_COLUMNS, "must give the type of each column of each table, as in columns.orders = {id = 'int64'}.")
        return {}
    return given


def _names(table: Mapping[str, Any], key: str, wrong: _Wrong) -> tuple[str, ...]:
    given = table.get(key, [])
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        wrong(key, "must be a list of the names of tables.")
        return ()
    return tuple(dict.fromkeys(given))


def _since(table: Mapping[str, Any], wrong: _Wrong) -> dt.date | Mapping[str, dt.date] | None:
    given = table.get("since")
    days = {name: _day(value) for name, value in given.items()} if isinstance(given, dict) else _day(given)
    if (days is None and given is not None) or (isinstance(days, dict) and None in days.values()):
        wrong("since", "must be a day such as 2024-01-31, or one for each table: {orders = 2024-01-31}.")
        return None
    return days  # type: ignore[return-value]


def _day(value: Any) -> dt.date | None:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    try:
        return dt.date.fromisoformat(value)
    except (TypeError, ValueError):
        return None


def _look_back(table: Mapping[str, Any], wrong: _Wrong) -> int | Mapping[str, int] | None:
    given = table.get("look_back_days")
    if given is None or _is_count(given) or _is_table(given, _is_count):
        return given
    wrong("look_back_days", "must be a whole number, 0 or more, or one for each table: {orders = 7}.")
    return None


def _chosen(table: Mapping[str, Any], key: str, wrong: _Wrong) -> bool | tuple[str, ...] | None:
    given = table.get(key)
    if given is None or isinstance(given, bool):
        return given
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        wrong(key, "must be true or false for all tables, or a list of the names of tables.")
        return None
    return tuple(given)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_table(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(fits(one) for one in value.values())
