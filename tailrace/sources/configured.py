"""Sources as tailrace.toml has them: made of files, or of a class with some of its declarations overridden."""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from tailrace.contracts import Source
from tailrace.errors import SettingsError, UnknownName, did_you_mean
from tailrace.settings import SourceSettings
from tailrace.sources import declared, extracts
from tailrace.sources.folder import FolderSource

_HEADING = "The settings are wrong:"
_TYPES: Mapping[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
}
_DECIMAL = re.compile(r"decimal\((\d{1,2}), ?(\d{1,2})\)")


class ConfiguredSource:
    """A source of which tailrace.toml overrides what its class declares.

    `label` names its table in messages. Raises SettingsError naming every table that the source does not have.
    """

    def __init__(self, source: Source, settings: SourceSettings, label: str) -> None:
        problems = _unknown(source, settings, label)
        if problems:
            raise SettingsError(_HEADING, problems)
        self.name = source.name
        self.tables = {table: source.tables[table] for table in settings.tables or source.tables}
        self.calendar: tuple[dt.date | None, dt.date | None] = getattr(source, "calendar", (None, None))
        own = getattr(source, "calendars", {})
        self.calendars = {table: own[table] for table in self.tables if table in own} or None
        since = {**(getattr(source, "since", None) or {}), **extracts.since(settings.since, source.tables)}
        self.since = self._kept(since)
        self.look_back_days = self._kept(_look_back(source, settings.look_back_days))
        chosen = self._chosen(settings.optional)
        self.optional = declared.optional(source) & self.tables.keys() if chosen is None else chosen
        self._may_be_empty = self._chosen(settings.may_be_empty)
        self._source = source if settings.since is None else _beginning(source, self.since)

    def extract(self, table: str, day: dt.date) -> pa.Table:
        """See `contracts.Source`."""
        if table not in self.tables:
            raise UnknownName(f"table of the source {self.name}", table, self.tables)
        return self._source.extract(table, day)

    def may_be_empty(self, table: str, day: dt.date) -> bool:
        """What tailrace.toml says, else the answer of the class; without this method no day may be empty."""
        if self._may_be_empty is not None:
            return table in self._may_be_empty
        return hasattr(self._source, "may_be_empty") and self._source.may_be_empty(table, day)

    def _chosen(self, given: bool | tuple[str, ...] | None) -> frozenset[str] | None:
        """The tables of a setting that is true or false for all of them, or a list; None if it says nothing."""
        if isinstance(given, bool):
            return frozenset(self.tables if given else ())
        return None if given is None else frozenset(given)

    def _kept(self, of_tables: Mapping[str, Any]) -> dict[str, Any]:
        return {table: value for table, value in of_tables.items() if table in self.tables}


def _beginning(source: Source, since: Mapping[str, dt.date]) -> Source:
    """The source as one of its own with another `since`, before which a class may refuse days; the given one stays.

    A class whose `since` cannot be set is left as it is.
    """
    other = copy.copy(source)
    with contextlib.suppress(AttributeError, TypeError):
        other.since = since  # type: ignore[attr-defined]
    return other


def _look_back(source: Source, given: int | Mapping[str, int] | None) -> Mapping[str, int]:
    """For each table of the source: what is given, else what its class says."""
    own = declared.look_back_days(source)
    if given is None:
        return own
    return dict.fromkeys(own, given) if isinstance(given, int) else {**own, **given}


def from_files(settings: SourceSettings, label: str) -> FolderSource:
    """The source of the files that [sources.<name>] names. Raises SettingsError for types that are unknown."""
    problems: list[str] = []
    tables = {}
    for table, columns in settings.columns.items():
        fields = []
        for column, text in columns.items():
            if (kind := _type(text)) is None:
                near = did_you_mean(text, _TYPES)
                known = ", ".join([*_TYPES, "decimal(p, s)"])
                problems.append(f"{label}.columns.{table}.{column} is {text!r}; it must be one of {known}.{near}")
            else:
                fields.append(pa.field(column, kind))
        tables[table] = pa.schema(fields)
    if problems:
        raise SettingsError(_HEADING, problems)
    return FolderSource(settings.name, settings.files, tables)


def _type(text: str) -> pa.DataType | None:
    if found := _DECIMAL.fullmatch(text):
        digits, scale = map(int, found.groups())
        return pa.decimal128(digits, scale) if 0 < digits <= 38 and scale <= digits else None
    return _TYPES.get(text)


def _unknown(source: Source, settings: SourceSettings, label: str) -> list[str]:
    """A sentence for each table that is named and that the source does not have, or that is not landed."""
    named = {
        "tables": settings.tables,
        "since": settings.since if isinstance(settings.since, Mapping) else (),
        "look_back_days": settings.look_back_days if isinstance(settings.look_back_days, Mapping) else (),
        "optional": settings.optional if isinstance(settings.optional, tuple) else (),
        "may_be_empty": settings.may_be_empty if isinstance(settings.may_be_empty, tuple) else (),
    }
    chosen = settings.tables or tuple(source.tables)
    return [
        f"{label}.{key} names {table!r}, which is none of the source's tables.{did_you_mean(table, source.tables)}"
        if table not in source.tables
        else f"{label}.{key} names {table!r}, which {label}.tables leaves out."
        for key, tables in named.items()
        for table in tables
        if table not in source.tables or table not in chosen
    ]
