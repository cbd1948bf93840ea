"""`tailrace evolve`: columns that a mart gained are added to its table in the warehouse and to the lake's table.

A column is added to the warehouse first, then to the lake. Both are single steps that do nothing if they were done, so
what was stopped half-way is completed by the next run. A column that is gone or has another type is refused before
anything is changed: neither table can lose a column or change its type.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tailrace.contracts import EvolvingWarehouse, Services
from tailrace.errors import BadInput, ProblemList, SchemaMismatch
from tailrace.lake import rows as lake_rows
from tailrace.rows import marts
from tailrace.spec import DAY, KNOWN_AT, PARTS, Mart, PipelineSpec
from tailrace.warehouse.derived_columns import DerivedColumns
from tailrace.warehouse.manifest import DbtManifest, DbtTable

WAREHOUSE, LAKE = "warehouse", "lake"
_NEVER = ("ignore", "fail")
"""dbt's settings of `on_schema_change` with which it adds no column itself."""


@dataclass(frozen=True, kw_only=True)
class AddedColumn:
    """A column that a table is to gain, and its type there: the warehouse's own, or the lake's."""

    where: str
    table: str
    column: str
    type: str


@dataclass(frozen=True)
class Evolution:
    """What a pipeline's tables lack, in the order in which it is added."""

    columns: tuple[AddedColumn, ...]
    notes: tuple[str, ...] = ()


class _Part:
    """One mart of a pipeline, as dbt says it is, as the warehouse has it, and as the lake has it."""

    def __init__(self, services: Services, spec: PipelineSpec, part: str, manifest: DbtManifest | None) -> None:
        self.spec, self.part, self.manifest = spec, part, manifest
        self.mart: Mart = spec.mart(part)
        self.lake_table = spec.features_table if part == "features" else spec.outcomes_table
        self.model: DbtTable | None = manifest.find(self.mart.table) if manifest else None
        self.built = services.warehouse.schema(self.mart.table)
        self.kept = services.lake.schema(self.lake_table) if services.lake.exists(self.lake_table) else None
        warehouse = services.warehouse
        own = isinstance(warehouse, EvolvingWarehouse) and self.model is not None and self.model.incremental
        self.alters = warehouse if own and isinstance(warehouse, EvolvingWarehouse) and self.built is not None else None
        """The warehouse, if the mart's table is one that gains columns only here."""
        self.declared = self._declared()

    def new_types(self) -> dict[str, str]:
        """The SQL types of the columns that the mart's table lacks."""
        there = {name.lower() for name in self.built.names} if self.built is not None else set()
        return {name: type_ for name, type_ in self.declared.items() if name.lower() not in there}

    def expected(self) -> pa.Schema | None:
        """The lake's columns once both tables have gained theirs; None if the mart was never built."""
        if self.built is None:
            return None
        fields = list(marts.as_read(self.built, self.spec, self.part))
        if self.alters is not None and (new := self.new_types()) and all(new.values()):
            fields += list(self.alters.typed(new))
        others = [DAY] if self.mart.day != DAY or self.mart.days_back else []
        fields = [each for each in fields if each.name not in others] + [pa.field(name, pa.date32()) for name in others]
        if self.mart.known_at is None:
            fields.append(pa.field(KNOWN_AT, pa.timestamp("us", "UTC")))
        return lake_rows.lake_schema(pa.schema(fields), self.lake_table)

    def _declared(self) -> Mapping[str, str]:
        """The mart's columns as dbt will build it, with their SQL types, '' if unknown; empty if nothing is certain."""
        if self.alters is None or self.model is None or self.manifest is None:
            return {}
        columns = DerivedColumns(self.manifest).of(self.model) or ()
        return {name: self.model.columns.get(name, "") for name in columns}


def plan(services: Services, spec: PipelineSpec) -> Evolution:
    """What both marts of a pipeline have gained, and what their tables lack of it. Changes nothing.

    Raises ProblemList naming every column that is gone, has another type or has none, and what else can be done.
    """
    manifest = manifest_of(services)
    parts = [_Part(services, spec, part, manifest) for part in PARTS]
    if problems := [f"{spec.name}: {problem}" for part in parts for problem in _problems(part)]:
        raise ProblemList(f"{spec.name} was not changed: its tables keep their columns.", problems)
    columns = [column for part in parts for column in _to_add(part)]
    return Evolution(tuple(columns), tuple(note for part in parts for note in _notes(part)))


def run(
    services: Services,
    spec: PipelineSpec,
    *,
    decided_by: str,
    reason: str,
    now: dt.datetime,
    done: Callable[[AddedColumn], None] = lambda column: None,
) -> Evolution:
    """Add what `plan` found, the warehouse's columns before the lake's, and record who did it and why.

    `done` gets each column when it was added. Raises what `plan` raises, and WarehouseBusy, LakeUnavailable.
    """
    found = plan(services, spec)
    warehouse = services.warehouse
    metadata = {"pipeline": spec.name, "stage": "evolve", "by": decided_by, "reason": reason, "at": now.isoformat()}
    for table, columns in _by_table(found.columns, WAREHOUSE):
        if isinstance(warehouse, EvolvingWarehouse):
            warehouse.add_columns(table, {each.column: each.type for each in columns})
        for each in columns:
            done(each)
    # What the warehouse has now is what the lake gets: the types are read, not foretold.
    manifest = manifest_of(services)
    for part in PARTS:
        tables = _Part(services, spec, part, manifest)
        expected = tables.expected()
        gained = [each for each in found.columns if (each.where, each.table) == (LAKE, tables.lake_table)]
        if expected is not None and gained:
            names = {each.column for each in gained}
            added = pa.schema([field for field in expected if field.name in names])
            services.lake.add_columns(tables.lake_table, added, {**metadata, "columns": ", ".join(sorted(names))})
            for each in gained:
                done(each)
    return found


def manifest_of(services: Services) -> DbtManifest | None:
    """The manifest of the warehouse's dbt project; None if it has none. Raises BuildFailed."""
    parse: Callable[[], Path] | None = getattr(services.warehouse, "parse", None)
    if parse is None:
        return None
    project: Path = services.warehouse.project  # type: ignore[attr-defined]
    return DbtManifest.read(parse(), project)


def _to_add(part: _Part) -> Iterator[AddedColumn]:
    for name, type_ in part.new_types().items() if part.alters is not None else ():
        yield AddedColumn(where=WAREHOUSE, table=part.mart.table, column=name, type=type_)
    expected = part.expected()
    if expected is None or part.kept is None:
        return
    for field in lake_rows.added(expected, part.kept, part.lake_table):
        yield AddedColumn(where=LAKE, table=part.lake_table, column=field.name, type=str(field.type))


def _problems(part: _Part) -> Iterator[str]:
    """What keeps a mart's tables from being changed, as sentences with the way out."""
    if part.alters is not None and part.built is not None and part.declared:
        yield from _undeclared(part)
        yield from _gone(part, part.mart.table, part.built, list(part.declared))
        known = {name: type_ for name, type_ in part.declared.items() if type_ and name in part.built.names}
        for field in part.alters.typed(known) if known else ():
            yield from _retyped(part, part.mart.table, field, part.built)
    try:
        expected = part.expected() if not _types_missing(part) else None
    except (SchemaMismatch, BadInput) as error:
        yield str(error)
        return
    if expected is None or part.kept is None:
        return
    # What is gone from the model, too, was told above.
    yield from _gone(part, part.lake_table, part.kept, [*expected.names, *_told(part)])
    for field in expected:
        yield from _retyped(part, part.lake_table, field, part.kept)
        yield from _other_case(part, field, part.kept)


def _told(part: _Part) -> list[str]:
    if part.alters is None or part.built is None or not part.declared:
        return []
    return [name for name in part.built.names if name not in part.declared]


def _types_missing(part: _Part) -> bool:
    return part.alters is not None and not all(part.new_types().values())


def _undeclared(part: _Part) -> Iterator[str]:
    for name, type_ in part.new_types().items():
        if not type_:
            yield (
                f"{part.mart.table} has a new column {name!r}, and its yml does not say of which type it is; add "
                f"{{name: {name}, data_type: ...}} to it."
            )


def _gone(part: _Part, table: str, there: pa.Schema, expected: Sequence[str]) -> Iterator[str]:
    lower = {name.lower() for name in expected}
    for field in there:
        if field.name.lower() not in lower:
            yield (
                f"{table} has the column {field.name!r} ({field.type}), which the mart no longer gives. Days "
                f"that are published keep it, so it stays: let the model select null as {field.name}, cast to its "
                "type, and take it out of the spec. To be rid of it, begin a pipeline of another name."
            )


def _retyped(part: _Part, table: str, field: pa.Field, there: pa.Schema) -> Iterator[str]:
    if field.name in there.names and there.field(field.name).type != field.type:
        yield (
            f"{table} has the column {field.name!r} as {there.field(field.name).type}, and the mart gives "
            f"{field.type} now. Cast it to its former type in the model, or give the new one another name, such as "
            f"{field.name}_2, and use that one in the spec."
        )


def _other_case(part: _Part, field: pa.Field, there: pa.Schema) -> Iterator[str]:
    same = {name.lower(): name for name in there.names}.get(field.name.lower(), field.name)
    if same != field.name:
        yield f"{part.lake_table} has {same!r}, which differs from {field.name!r} in upper and lower case only."


def _notes(part: _Part) -> Iterator[str]:
    if part.built is None:
        yield f"{part.mart.table} was never built, so it needs nothing: its first build makes it with all its columns."
    elif part.kept is None:
        yield f"{part.lake_table} does not exist yet: its first day makes it with all columns."
    model = part.model
    if part.alters is None and model is not None and model.incremental and model.on_schema_change in _NEVER:
        columns = DerivedColumns(part.manifest).of(model) if part.manifest else None
        absent = [name for name in columns or () if part.built is not None and name not in part.built.names]
        if absent:
            yield (
                f"{part.mart.table} lacks {', '.join(map(repr, absent))} in the database. Your own dbt project makes "
                f"it: say on_schema_change: append_new_columns in the model's config and build it, then run this again."
            )


def _by_table(columns: Sequence[AddedColumn], where: str) -> Iterator[tuple[str, list[AddedColumn]]]:
    chosen = [each for each in columns if each.where == where]
    for table in dict.fromkeys(each.table for each in chosen):
        yield table, [each for each in chosen if each.table == table]


def as_rows(columns: Sequence[AddedColumn], state: str) -> list[dict[str, str]]:
    """A line for each column, for people."""
    return [{**dataclasses.asdict(each), "before": "null", "state": state} for each in columns]
