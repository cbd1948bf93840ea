"""The dbt models of a new pipeline: its two marts as selections from the tables that it was proposed from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from tailrace.scaffold.proposal import Proposal
from tailrace.scaffold.samples import TableSample
from tailrace.scaffold.templating import filled
from tailrace.spec import DAY
from tailrace.warehouse.adapter_types import Column
from tailrace.warehouse.manifest import DbtManifest

_ADDS_DAYS = ("duckdb", "postgres")
"""Adapters of databases in which a date plus a number is a date, and which know `at time zone`."""
_SIMPLE = re.compile(r"[a-z_][a-z0-9_]*")
_MOMENT = "timestamp with time zone"
FOLDER = "models/marts"


@dataclass(frozen=True, kw_only=True)
class MartColumn:
    """A column of a mart: its SQL, its type if it is known, and what its yml says."""

    name: str
    sql: str
    type: str
    text: str
    never_missing: bool = False
    unique: bool = False
    only_built: bool = False
    """Whether the test of uniqueness looks at the rows of the built days only."""

    @property
    def quoted(self) -> bool:
        """Whether SQL needs quotation marks around the name."""
        return bool(self.sql) and self.sql[-1] in '"`]'

    @property
    def yaml_name(self) -> str:
        return json.dumps(self.name)

    @property
    def description(self) -> str:
        return json.dumps(self.text)

    @property
    def tests(self) -> str:
        unique = "{unique: {config: {where: __built_days__}}}" if self.only_built else "unique"
        found = [*(["not_null"] if self.never_missing else []), *([unique] if self.unique else [])]
        return f"[{', '.join(found)}]" if found else ""


def files(made: Proposal, manifest: DbtManifest, macros: str = "") -> dict[str, str]:
    """The models, their yml files, and those of sources, by their path in the dbt project.

    `macros` is the text of the project's macros: if they have `built_days`, which marts that grow by days need, the
    models use it; if tests may say `where: __built_days__`, the test of the key does.
    """
    found: dict[str, str] = {}
    writer = _Writer(made, manifest.dialect, "macro built_days(" in macros, tests_by_day="__built_days__" in macros)
    new_sources = []
    for part, sample in (("features", made.tables.features), ("outcomes", made.tables.outcomes)):
        source, undeclared = _source(manifest, made.request.name, sample.table)
        new_sources += [sample.table] if undeclared else []
        stem = f"{FOLDER}/{made.request.name}_{part}"
        found[f"{stem}.sql"], found[f"{stem}.yml"] = writer.mart(part, sample, source)
    if new_sources:
        found[f"{FOLDER}/{made.request.name}_sources.yml"] = _sources(
            made.request.name, list(dict.fromkeys(new_sources))
        )
    return found


class _Writer:
    """Writes the two marts of one proposal."""

    def __init__(self, made: Proposal, adapter: str, grows_by_day: bool, *, tests_by_day: bool) -> None:
        self._made, self._adapter, self._grows = made, adapter, grows_by_day
        self._tests_by_day = tests_by_day

    def mart(self, part: str, sample: TableSample, source: str) -> tuple[str, str]:
        """The SQL and the yml of a mart."""
        made, declared = self._made, {column.name: column for column in sample.columns}
        back = made.features_back if part == "features" else made.outcome_days.days_back
        columns = list(self._features(declared) if part == "features" else self._outcomes(declared))
        day = self._later(str(sample.day), back)
        columns.insert(0, self._day(day, part, back))
        if made.extra_day:
            text = "The day of the row, as a part of the key."
            sql = f"{self._name(str(sample.day))} as {made.extra_day}"
            columns.insert(1, MartColumn(name=made.extra_day, sql=sql, type="date", text=text, never_missing=True))
        missing = [f"{self._name(name)} is not null" for name in made.never_missing(sample)]
        conditions = [*([f"{{{{ built_days({json.dumps(day)}) }}}}"] if self._grows else []), *missing]
        sql = filled("pipeline/mart.sql", columns=columns, source=source, conditions=conditions)
        grain = f"One row of {sample.table} for each {', '.join(made.spec.features.key)}."
        name = f"{made.request.name}_{part}"
        return sql, filled("pipeline/mart.yml", name=name, description=json.dumps(grain), columns=columns)

    def _day(self, sql: str, part: str, back: int) -> MartColumn:
        text = "The day on which the prediction is due." if part == "features" else "The day on which it is known."
        text += f" It is {back} day{'' if back == 1 else 's'} after the day of the row." if back else ""
        return MartColumn(
            name=DAY, sql=sql if sql == DAY else f"{sql} as {DAY}", type="date", text=text, never_missing=True
        )

    def _features(self, declared: Mapping[str, Column]) -> Iterator[MartColumn]:
        spec = self._made.spec
        yield from self._key(declared)
        yield self._moment(declared, spec.features.event_time, "When it happens.")
        if spec.features.known_at:
            yield self._moment(declared, spec.features.known_at, "When everything in this row was known.")
        for name, kind in spec.features.columns.items():
            yield self._plain(declared, name, f"A {kind} feature.")

    def _outcomes(self, declared: Mapping[str, Column]) -> Iterator[MartColumn]:
        spec = self._made.spec
        yield from self._key(declared)
        if spec.outcome.known_at:
            yield self._moment(declared, spec.outcome.known_at, "When the outcome was known.")
        yield self._plain(declared, spec.outcome.label, "What the pipeline predicts; null while it is unknown.")

    def _key(self, declared: Mapping[str, Column]) -> Iterator[MartColumn]:
        key = [name for name in self._made.spec.features.key if name in declared]
        alone = len(self._made.spec.features.key) == 1
        for name in key:
            yield self._plain(declared, name, "Part of the key." if not alone else "The key.", key=True, unique=alone)

    def _plain(
        self, declared: Mapping[str, Column], name: str, text: str, *, key: bool = False, unique: bool = False
    ) -> MartColumn:
        type_ = declared[name].declared.lower()
        return MartColumn(
            name=name,
            sql=self._name(name),
            type=type_,
            text=text,
            never_missing=key,
            unique=unique,
            only_built=self._tests_by_day,
        )

    def _moment(self, declared: Mapping[str, Column], name: str, text: str) -> MartColumn:
        """The column as a timestamp with a zone; other adapters' reader takes times without one in the warehouse's."""
        column, sql = declared[name], self._name(name)
        is_date = column.kind is not None and pa.types.is_date(column.kind)
        if self._adapter not in _ADDS_DAYS or not (is_date or column.naive):
            return MartColumn(name=name, sql=sql, type=column.declared.lower(), text=text)
        local = f"cast({sql} as timestamp)" if is_date else sql
        sql = f"{local} at time zone '{self._made.request.zone}' as {sql}"
        return MartColumn(name=name, sql=sql, type=_MOMENT, text=text)

    def _later(self, day: str, days: int) -> str:
        """The day so many days later, in SQL."""
        name = self._name(day)
        if not days:
            return name
        if self._adapter in _ADDS_DAYS:
            return f"{name} + {days}"
        return f'cast({{{{ dbt.dateadd("day", {days}, {json.dumps(name)}) }}}} as date)'

    def _name(self, name: str) -> str:
        return sql_name(name, self._adapter)


def sql_name(name: str, adapter: str) -> str:
    """A column's name in the adapter's SQL, quoted where it must be."""
    from sqlglot import Dialect, exp

    if _SIMPLE.fullmatch(name) and name not in Dialect.get_or_raise("duckdb").generator_class.RESERVED_KEYWORDS:
        return name
    known = adapter in Dialect.classes
    return exp.to_identifier(name, quoted=True).sql(dialect=adapter if known else "")


def _source(manifest: DbtManifest, pipeline: str, table: str) -> tuple[str, bool]:
    """How a model selects from the table, and whether its source must be declared first."""
    found = manifest.find(table)
    if found is None:
        return f"{{{{ source('{pipeline}_tables', {_single(table.rpartition('.')[2])}) }}}}", True
    if found.kind == "source":
        return f"{{{{ source({_single(found.id.split('.')[2])}, {_single(found.name)}) }}}}", False
    return f"{{{{ ref({_single(found.name)}) }}}}", False


def _sources(pipeline: str, tables: Sequence[str]) -> str:
    """The yml of the tables that dbt does not know yet; all of them lie in the schema of the first one."""
    *above, _ = tables[0].split(".")
    return filled(
        "pipeline/sources.yml",
        source=f"{pipeline}_tables",
        description=json.dumps(f"What {pipeline} is predicted from."),
        database=json.dumps(above[-2]) if len(above) > 1 else "",
        schema=json.dumps(above[-1] if above else "{{ target.schema }}"),
        tables=[json.dumps(table.rpartition(".")[2]) for table in tables],
    )


def _single(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
