"""Whether the dbt project has what a spec says: marts, columns, types, and the sources that they are made from.

What is not certain is no problem: a column that neither a contract nor the SQL is sure about gets a note.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from tailrace.contracts import ColumnKind, KnownColumns
from tailrace.errors import TailraceError, Unavailable, did_you_mean
from tailrace.rows import role_values
from tailrace.spec import DAY, KNOWN_AT, Mart, PipelineSpec
from tailrace.spec.places import Places
from tailrace.warehouse.adapter_types import reported
from tailrace.warehouse.dbt import ROWS_FROM
from tailrace.warehouse.derived_columns import DerivedColumns
from tailrace.warehouse.manifest import DbtManifest, DbtTable


class NeededColumn(NamedTuple):
    """A column that a spec needs: the field that names it, what it is there, and the field's path in the file."""

    column: str
    field: str
    what: str
    path: tuple[str, ...]


@dataclass(frozen=True)
class NeededMart:
    """One of a pipeline's two marts: its name, the field of the spec that says so, and the columns that it needs."""

    name: str
    field: str
    mart: Mart
    columns: tuple[NeededColumn, ...]

    @property
    def table(self) -> str:
        return self.mart.table


@dataclass(frozen=True)
class MartFindings:
    """What the check of one spec found: problems, notes, and what is known of the columns of each of its suites."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    columns: Mapping[str, Collection[str]]
    """The columns of each part whose columns are certain."""


def parts_of(spec: PipelineSpec) -> tuple[NeededMart, NeededMart]:
    """The marts of a pipeline, with every column that the spec says they have."""
    features = spec.features
    key = [
        NeededColumn(name, f"features.key has {name!r}", "a key", ("features", "key", name)) for name in features.key
    ]
    columns = [
        NeededColumn(name, f"features.columns[{name!r}]", kind, ("features", "columns", name))
        for name, kind in features.columns.items()
    ]
    weight = [_named("features", "weight", features.weight, "a weight")] if features.weight else []
    inputs = [_named("features", "event_time", features.event_time, "the time"), *weight, *columns]
    label = _named("outcome", "label", spec.outcome.label, "the label")
    return _needed(spec, "features", "features", *key, *inputs), _needed(spec, "outcomes", "outcome", *key, label)


def _needed(spec: PipelineSpec, part: str, field: str, *columns: NeededColumn) -> NeededMart:
    mart = spec.mart(part)
    moment = [_named(field, "known_at", mart.known_at, "a moment")] if mart.known_at else []
    return NeededMart(part, field, mart, (_named(field, "day", mart.day, "the day"), *moment, *columns))


def _named(part: str, field: str, column: str, what: str) -> NeededColumn:
    return NeededColumn(column, f"{part}.{field} is {column!r}", what, (part, field))


class MartChecks:
    """Checks specs against one manifest; `shown` is the dbt project's folder in messages.

    `any_zone`: the warehouse reads timestamps without a zone as those of the project's own zone. `look_up` gives the
    columns of a table that dbt does not make, None if the database has no such table; without it they stay unknown.
    """

    def __init__(
        self,
        manifest: DbtManifest,
        shown: str,
        *,
        any_zone: bool = False,
        look_up: Callable[[str], pa.Schema | None] | None = None,
    ) -> None:
        self._manifest, self._shown, self._any_zone, self._look_up = manifest, shown, any_zone, look_up
        self._derived = DerivedColumns(manifest)

    def of(self, spec: PipelineSpec, places: Places) -> MartFindings:
        """Everything that is wrong with the marts of a spec, as sentences that begin with a file and a line."""
        problems: list[str] = []
        notes: list[str] = []
        known: dict[str, Collection[str]] = {}
        for part in parts_of(spec):
            mart = self._manifest.find(part.table)
            if self._look_up is not None and (mart.kind == "source" if mart else "." in part.table):
                self._in_database(spec, part, places, problems=problems, notes=notes, known=known)
                continue
            if mart is None:
                sentence = f"{spec.name}: {self._no_mart(part)}"
                if "." in part.table and self._manifest.find(part.table.rpartition(".")[2]) is None:
                    notes.append(sentence)  # dbt did not make it, and need not know it
                else:
                    problems.append(f"{places.of(part.field, 'table')}: {sentence}")
                continue
            columns = self._derived.of(mart)
            if columns is not None:
                known[part.name] = columns
            problems += (f"{places.of(part.field)}: {spec.name}: {wrong}" for wrong in _doubles(part, columns or ()))
            problems += (
                f"{places.of(*role.path)}: {spec.name}: {wrong}"
                for role in part.columns
                if (wrong := self._wrong(spec, role, mart, columns))
            )
            notes += (f"{spec.name}: {note}" for note in self._notes(spec, part, mart, columns))
        return MartFindings(tuple(problems), tuple(notes), known)

    def _in_database(
        self,
        spec: PipelineSpec,
        part: NeededMart,
        places: Places,
        *,
        problems: list[str],
        notes: list[str],
        known: dict[str, Collection[str]],
    ) -> None:
        """Check a table that dbt does not make against the database, which alone knows its columns."""
        try:
            schema = self._look_up(part.table) if self._look_up else None
        except Unavailable as error:
            notes.append(f"{spec.name}: {part.table} was not looked up in the database: {error}")
            return
        except TailraceError as error:
            problems.append(f"{places.of(part.field, 'table')}: {spec.name}: {error}")
            return
        if schema is None:
            near = did_you_mean(part.table, self._manifest.names)
            problems.append(
                f"{places.of(part.field, 'table')}: {spec.name}: neither the dbt project {self._shown} nor the "
                f"database has a table {part.table!r}, which the {part.name} are read from.{near}"
            )
            return
        known[part.name] = schema.names
        wrong = [(part.field, each) for each in _doubles(part, schema.names)]
        problems += (f"{places.of(field)}: {spec.name}: {each}" for field, each in wrong)
        for role in part.columns:
            if role.column not in schema.names:
                near, hint = did_you_mean(role.column, schema.names), _HINTS.get(role.path[-1], "")
                said = f"{role.field}, and {part.table} has no such column.{near}{hint}"
            elif problem := _unfit(spec, role, schema.field(role.column).type):
                said = f"{role.field}, which is {schema.field(role.column).type} in {part.table}; {problem}"
            else:
                continue
            problems.append(f"{places.of(*role.path)}: {spec.name}: {said}")

    def of_sources(self, landed: Collection[str]) -> list[str]:
        """A sentence for each landed table that dbt reads or names, and that no source of the project lands."""
        problems = []
        for source in self._manifest.sources:
            if (source.schema == "landing" or "landing" in source.external) and source.table not in landed:
                where = self._place(source.file, source.source, source.table)
                problems.append(
                    f"{where}: source {source.source}.{source.table}: no source of this project lands a table of that "
                    f"name.{did_you_mean(source.table, landed)} The landed tables are {', '.join(sorted(landed))}."
                )
        for table in self._manifest.tables:
            named = table.meta.get(ROWS_FROM, ())
            for name in [named] if isinstance(named, str) else named:
                if name not in landed:
                    problems.append(
                        f"{self._place(table.yml, table.name)}: {table.name}: meta.{ROWS_FROM} names {name!r}, which "
                        f"no source of this project lands.{did_you_mean(str(name), landed)}"
                    )
        return problems

    def _no_mart(self, part: NeededMart) -> str:
        name = part.table.rpartition(".")[2]
        if self._manifest.is_disabled(name):
            return f"the model {name!r} is disabled in the dbt project {self._shown}; enable it."
        known = self._manifest.find(name)
        if known is None and (described := self._manifest.described_without_sql(name)):
            return (
                f"the dbt project {self._shown} has no SQL of {name!r}, although {self._shown}/{described} describes "
                f"it. Write the model's SQL to a file {name}.sql in the models' folder."
            )
        missing = f"the dbt project {self._shown} has no table {part.table!r}, which the {part.name} are read from."
        if "." in part.table and known is None:
            return f"{missing} Whether the database has it, and with which columns, was not looked up."
        near = f" Did you mean {'.'.join(known.relation[-2:])!r}?" if known else ""
        near = near or did_you_mean(part.table, self._manifest.names)
        return f"{missing}{near} Write the model, with a file {name}.sql in the models' folder, or name another table."

    def _wrong(
        self, spec: PipelineSpec, role: NeededColumn, mart: DbtTable, columns: Sequence[str] | None
    ) -> str | None:
        """What is wrong with a column, as a sentence; None if nothing is, or if it is not certain."""
        there = {name.lower(): name for name in columns or ()}
        if columns is not None and role.column.lower() not in there:
            where = self._place(mart.yml or mart.file, mart.name)
            near = did_you_mean(role.column, there.values()) or did_you_mean(role.column.lower(), there)
            return f"{role.field}, and {mart.name} has no such column ({where}).{near}{_HINTS.get(role.path[-1], '')}"
        declared = mart.columns.get(there.get(role.column.lower(), role.column), "") if mart.contract else ""
        problem = self._misfit(spec, role, declared) if declared else None
        if problem is None:
            return None
        return f"{role.field}, which is {declared} ({self._place(mart.yml, mart.name, role.column)}); {problem}"

    def _misfit(self, spec: PipelineSpec, role: NeededColumn, declared: str) -> str | None:
        """Why a column of a declared type cannot have its role; None if it can, or if the type is not known here."""
        if self._manifest.dialect in _LOOSE:
            return None
        column = reported(role.column, declared, self._manifest.dialect)
        if column.kind is None:
            return None if "does not know" in column.problem else f"{column.problem}."
        if column.naive and not self._any_zone:
            return "it has no time zone: say in dbt which zone its times are in."
        return _unfit(spec, role, column.kind)

    def _notes(
        self, spec: PipelineSpec, part: NeededMart, mart: DbtTable, columns: Sequence[str] | None
    ) -> Iterator[str]:
        if columns is None and (open_ := [role.column for role in part.columns if role.column not in mart.columns]):
            yield (
                f"the columns of {mart.name} are unknown before it is built ({self._place(mart.file)}), so "
                f"{', '.join(map(repr, open_[:3]))}{' and others' if len(open_) > 3 else ''} could not be looked up: "
                "add a contract to its yml."
            )
        if mart.kind == "model" and not mart.unique:
            key, place = spec.features.key, self._place(mart.yml or mart.file, mart.name)
            one = f"[unique] to the column {key[0]}"
            several = "[dbt_utils.unique_combination_of_columns] with these columns, from the dbt package dbt_utils"
            yield (
                f"no test of {mart.name} says that its key ({', '.join(key)}) is unique ({place}); a repeated key is "
                "found only when its day is taken into the lake. Add data_tests: "
                f"{one if len(key) == 1 else several}."
            )

    def _place(self, file: str, *names: str) -> str:
        line = self._manifest.line(file, *names) if file.endswith((".yml", ".yaml")) and names else None
        return f"{self._shown}/{file}" + (f":{line}" if line else "")


_HINTS = {
    "known_at": " If nothing says when a row became known, say known_at=None (docs/roles.md).",
    "day": " Say which column holds the day of a row: day=....",
}
"""What else can be done about a column that is missing, by its field."""


def _doubles(part: NeededMart, columns: Collection[str]) -> Iterator[str]:
    """A sentence for each column that the lake's table adds, because the spec says that the mart has none such."""
    there = {name.lower() for name in columns}
    if part.mart.day != DAY and DAY in there:
        yield f"{part.field}.day is {part.mart.day!r}, and {part.table} has a column {DAY!r} too; rename one of them."
    if part.mart.known_at is None and KNOWN_AT in there:
        yield (
            f"{part.field}.known_at is None, and {part.table} has a column {KNOWN_AT!r}; leave the field out, or "
            "rename the column."
        )


def known_columns(known: KnownColumns, columns: Collection[str] | None) -> KnownColumns:
    """What is known of the columns of a suite's rows, with all those that the mart has."""
    if columns is None:
        return known
    named = {name.lower() for name in known.kinds}
    # databases that ignore case may give a name in another one
    others: dict[str, ColumnKind] = {name: "unknown" for name in columns if name.lower() not in named}
    return KnownColumns({**known.kinds, **others}, complete=True)


_LOOSE = ("sqlite",)
"""Databases that hold any value in a column of any type."""


def _unfit(spec: PipelineSpec, role: NeededColumn, type_: pa.DataType) -> str | None:
    """Why a column that is read as this type cannot have its role, as the end of a sentence."""
    if role.what == "the day":
        return None if pa.types.is_date(type_) else "the day is a date. Cast it in dbt."
    if role.what == "the time" and pa.types.is_date(type_):
        return None
    if role.what in ("the time", "a moment"):
        instead = ": a date has no time of day, so add one" if pa.types.is_date(type_) else ""
        return None if pa.types.is_timestamp(type_) else f"it must be a timestamp with a time zone{instead}."
    if role.what == "a key":
        return None if role_values.is_key(type_) else f"a key is no {type_}. Cast it in dbt."
    if role.what == "a weight":
        return (
            None if role_values.fits(type_, "numeric") and not pa.types.is_boolean(type_) else "a weight is a number."
        )
    if role.what == "the label":
        wrong = spec.problem.wrong_labels(pa.chunked_array([], type_))
        return f"{spec.problem.label_rule}. Cast it in dbt." if wrong is not None else None
    return None if role_values.fits(type_, role.what) else f"the spec says {role.what}. Cast it in dbt."
