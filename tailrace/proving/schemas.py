"""A past day built twice in throw-away schemas: the rows of sources are cut.

Landed tables are cut by the day that they were landed for, all others by their own time column. dbt builds into another
schema, and reads views in place of the sources, because its manifest is changed in memory. On DuckDB this happens in a
copy of the file, so that no night waits for it; elsewhere in the same database.
"""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from tailrace.contracts import ModelResult
from tailrace.errors import BadInput, BuildFailed, TailraceError
from tailrace.proving.sides import MOST_LATER, TwoSides, refuse_nothing_later
from tailrace.spec import PARTS, PipelineSpec, cutoff
from tailrace.warehouse import graph, throwaway_schemas
from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.failures import of_messages
from tailrace.warehouse.reader import MartReader

PREFIX = "tailrace_prove_"
KNOWN_AT, ALWAYS = "known_at", "always"
"""The key in a source's `meta` with the column that says when a row became known, and the word for `at any time`."""
DAY_OF_LANDING = "ds"


@contextmanager
def built(warehouse: Any, spec: PipelineSpec, day: dt.date, progress: Callable[[str], None]) -> Iterator[TwoSides]:
    """Both builds of the day, until the block ends.

    Raises BadInput naming every source without a time column, and what a build raises.
    """
    landed = frozenset(warehouse.landing.schemas)
    with (
        tempfile.TemporaryDirectory(prefix="tailrace-prove-") as folder,
        _adapter(warehouse, day, Path(folder)) as adapter,
    ):
        zone = warehouse.reader.zone if hasattr(warehouse, "reader") else "UTC"
        cut = _Cut(day, landed, moment_of(spec, day), zone)
        refuse_sources_without_time(adapter, spec, landed)
        with throwaway_schemas.made(adapter, PREFIX, ["now", "then"]) as made:
            yield _both(adapter, spec, day, cut=cut, schemas=made, progress=progress)


def moment_of(spec: PipelineSpec, day: dt.date) -> dt.datetime:
    """Until when rows are there in the second build: the cutoff; of a mart without `known_at`, the end of its day."""
    mart = spec.mart(PARTS[0])
    return cutoff(spec, day) if mart.known_at else cutoff(spec, mart.day_of(day) + dt.timedelta(days=1))


@dataclass(frozen=True)
class _View:
    """A view that stands for a source: what it reads, and the SQL for when a row became known; empty for all rows."""

    name: str
    reads: str
    time: str = ""
    landed: bool = False


@dataclass(frozen=True)
class _Cut:
    """What the second build does not see: landed days after the day, and rows that became known after the moment.

    Times without a zone are those of `zone`, as in the marts.
    """

    day: dt.date
    landed: Collection[str]
    moment: dt.datetime
    zone: str

    def view(self, source: Any, reads: str) -> _View:
        name, said = f"{source.source_name}__{source.name}", _time_of(source)
        if source.name in self.landed:
            return _View(name, reads, DAY_OF_LANDING, landed=True)
        return _View(name, reads, "" if said == ALWAYS else said)

    def condition(self, adapter: DbtAdapter, view: _View) -> str:
        """The rows of a view that are seen; empty for all."""
        if not view.time:
            return ""
        if view.landed:
            until = f"date '{self.day}'"
        elif _has_zone(adapter, view):
            until = f"timestamp with time zone '{self.moment.astimezone(dt.UTC):{_TO_SECONDS}}+00'"
        else:
            until = f"timestamp '{self.moment.astimezone(ZoneInfo(self.zone)):{_TO_SECONDS}}'"
        return f"{view.time} <= {until}"


_TO_SECONDS = "%Y-%m-%d %H:%M:%S"
_TYPE_OF = {"duckdb": "typeof", "postgres": "pg_typeof"}


def _has_zone(adapter: DbtAdapter, view: _View) -> bool:
    """Whether the times have a zone. If not, the database would take them for times of whatever zone a session has."""
    if adapter.type not in _TYPE_OF:
        return True
    asked = f"select {_TYPE_OF[adapter.type]}((select {view.time} from {view.reads} limit 1))"  # noqa: S608 - dbt's names
    return "with time zone" in str(throwaway_schemas.statements(adapter, [asked])[0][0]).lower()


def _both(
    adapter: DbtAdapter,
    spec: PipelineSpec,
    day: dt.date,
    *,
    cut: _Cut,
    schemas: Sequence[str],
    progress: Callable[[str], None],
) -> TwoSides:
    """Build both sides in these schemas."""
    made = [_manifest(adapter, spec, schema, each) for schema, each in zip(schemas, (None, cut), strict=True)]
    later = _prepare(adapter, schemas[1], made[1][1], cut)
    refuse_nothing_later(spec, day, later)
    nodes: tuple[ModelResult, ...] = ()
    # As a backfill builds them: with days that come after.
    lasts = (day + dt.timedelta(days=MOST_LATER), day)
    for (manifest, _), last, words in zip(made, lasts, ("from everything", "from what was there then"), strict=True):
        nodes = _build(adapter, spec, (day, last), manifest)
        progress(f"{day} built {words}")
    reader = MartReader(adapter, zone=cut.zone)
    tables = {part: _node(adapter.manifest, spec, part).name for part in PARTS}

    def read(side: int, part: str) -> pa.Table:
        mart = spec.mart(part)
        return reader.read(
            f"{schemas[side]}.{tables[part]}",
            mart.day_of(day),
            day_column=mart.day,
            order_by=list(spec.features.key),
        ).read_all()

    columns = {
        each.table: {column.name: column.declared for column in reader.columns(f"{schemas[1]}.{each.name}")}
        for each in nodes
    }
    named = {each.name: each.table for each in nodes}
    return TwoSides(
        read=read,
        nodes=nodes,
        tables={part: named[name] for part, name in tables.items()},
        columns=columns,
        dialect=_dialect(adapter.type),
        later=later,
    )


def refuse_sources_without_time(adapter: DbtAdapter, spec: PipelineSpec, landed: Collection[str] = ()) -> None:
    """Raises BadInput naming every source of the pipeline that does not say when its rows became known."""
    needed = _needed(adapter.manifest, spec)
    problems = [
        f"source {each.source_name}.{each.name} does not say when its rows became known ({each.original_file_path})"
        for each in _sources(adapter.manifest, needed)
        if each.name not in landed and not _time_of(each)
    ]
    snapshots = [name for name in needed if name.startswith("snapshot.")]
    problems += [f"{name} keeps a history that dbt cannot build as of a past day" for name in snapshots]
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise BadInput(
            f"{spec.name} cannot be proven:\n{listed}\nName the time of a source's rows in its yml: `loaded_at_field: "
            f"COLUMN`, or `config: {{meta: {{{KNOWN_AT}: COLUMN}}}}`; write `{KNOWN_AT}: {ALWAYS}` for one that never "
            "changes."
        )


def _time_of(source: Any) -> str:
    """The expression for when a row of a source became known; `always` for one that never changes; empty if unsaid."""
    meta = {**(source.meta or {}), **(getattr(source.config, "meta", None) or {})}
    return str(meta.get(KNOWN_AT) or source.loaded_at_field or getattr(source.config, "loaded_at_field", None) or "")


def _manifest(adapter: DbtAdapter, spec: PipelineSpec, schema: str, cut: _Cut | None) -> tuple[Any, list[_View]]:
    """dbt's manifest with this schema for all that the pipeline needs; and, with a cut, views for its sources."""
    manifest = adapter.manifest.deepcopy()
    if adapter.type != "duckdb":
        manifest = throwaway_schemas.without_hooks(manifest)
    needed, views = _needed(manifest, spec), list[_View]()
    if adapter.type != "duckdb":
        throwaway_schemas.refuse_hooks_elsewhere([manifest.nodes[name] for name in needed])
    for name in needed:
        throwaway_schemas.moved(adapter, manifest.nodes[name], schema)
    if cut is None:
        return manifest, views
    for source in _sources(manifest, needed):
        reads = adapter.adapter.Relation.create_from(adapter.adapter.config, source).render()
        views.append(cut.view(source, reads))
        source.schema, source.identifier = schema, views[-1].name
        source.relation_name = adapter.adapter.Relation.create_from(adapter.adapter.config, source).render()
        for each in (source.meta, getattr(source.config, "meta", None)):
            if each:  # dbt-duckdb reads another place than the view
                each.pop("external_location", None)
    return manifest, views


def _prepare(adapter: DbtAdapter, schema: str, views: Sequence[_View], cut: _Cut) -> int:
    """Make the views of a schema; returns how many rows they leave out. Raises BadInput for a time that is none."""
    later = 0
    for view in views:
        try:
            condition = cut.condition(adapter, view)
            where = f" where {condition}" if condition else ""
            made = [f'create view {schema}."{view.name}" as select * from {view.reads}{where}']  # noqa: S608 - dbt's names
            counted = f"select count(*) from {view.reads} where not ({condition})"  # noqa: S608
            rows = throwaway_schemas.statements(adapter, [*made, counted] if condition else made)
        except TailraceError:
            raise
        except Exception as error:  # each driver has its own classes
            raise _refused(adapter, view, error) from error
        later += int(rows[0][0]) if condition else 0
    return later


def _refused(adapter: DbtAdapter, view: _View, error: Exception) -> TailraceError:
    """The error for a view that the database does not make."""
    said = " ".join(adapter.cleaned(str(error)).split())
    return of_messages([str(error)], adapter) or BadInput(
        f"The rows of the source {view.name.replace('__', '.', 1)} cannot be cut by {view.time}: {said}. What its yml "
        f"has as {KNOWN_AT} or loaded_at_field must be SQL: a column with a moment, or an expression; with quotation "
        "marks around a name that needs them."
    )


def _build(
    adapter: DbtAdapter, spec: PipelineSpec, span: tuple[dt.date, dt.date], manifest: Any
) -> tuple[ModelResult, ...]:
    """Build the marts for the days of the span, first and last, in one invocation of dbt."""
    selected = sorted(f"+{'.'.join(_node(adapter.manifest, spec, part).fqn)}" for part in PARTS)
    left_out = [word for kind in ("test", "unit_test", "exposure") for word in ("--exclude-resource-type", kind)]
    days = {"BUILD_FIRST_DAY": span[0].isoformat(), "BUILD_LAST_DAY": span[1].isoformat()}
    outcome = adapter.invoke(["build", *left_out, "--select", *selected], manifest=manifest, variables=days)
    results = list(getattr(outcome.result, "results", None) or ())
    failed = [each for each in results if str(each.status) not in ("success", "no-op")]
    if failed or not outcome.success:
        listed = "\n".join(f"  - {each.node.name}: {adapter.cleaned(each.message)}" for each in failed)
        raise BuildFailed(f"dbt could not build {span[0]} in a throw-away schema:\n{listed or outcome.exception}")
    return tuple(
        ModelResult(
            name=str(each.node.name),
            kind=str(each.node.resource_type),
            status=str(each.status),
            seconds=each.execution_time,
            unique_id=each.node.unique_id,
            sql=getattr(each.node, "compiled_code", None) or "",
            depends_on=tuple(each.node.depends_on_nodes),
            table=graph.table_of(each.node),
        )
        for each in results
    )


@contextmanager
def _adapter(warehouse: Any, day: dt.date, folder: Path) -> Iterator[DbtAdapter]:
    """The adapter of the database; of DuckDB, that of a copy of the file."""
    if not hasattr(warehouse, "adapter"):
        target, secret, work = warehouse.connection
        variables = {**warehouse.variables(day, day), **secret}
        yield DbtAdapter(warehouse.project, work=work / "prove", target=target, variables=variables)
        return
    own: DbtAdapter = warehouse.adapter
    if own.type != "duckdb":
        yield own
        return
    import yaml

    path = (own.project / str(own.credentials.path)).resolve()  # dbt runs in the project's folder
    if not path.exists():
        raise BadInput(f"The DuckDB database {path} cannot be copied: there is no such file on this machine.")
    shutil.copy(path, folder / path.name)
    profiles = yaml.safe_load((own.profiles / "profiles.yml").read_text())
    profile = profiles[own.adapter.config.profile_name]
    profile["outputs"][own.adapter.config.target_name]["path"] = str(folder / path.name)
    (folder / "profiles").mkdir(mode=0o700)
    (folder / "profiles" / "profiles.yml").write_text(yaml.safe_dump(profiles))
    copied = DbtAdapter(
        own.project, work=folder / "work", profiles=folder / "profiles", target=own.target, variables=own.variables
    )
    parsed = own.target_folder / "partial_parse.msgpack"
    copied.target_folder.mkdir(parents=True)
    if parsed.exists():
        shutil.copy(parsed, copied.target_folder)
    yield copied


def _node(manifest: Any, spec: PipelineSpec, part: str) -> Any:
    """The model that makes a mart. Raises BadInput if the project makes none."""
    table = spec.mart(part).table
    node = graph.made_by(table, manifest.nodes)
    if node is None:
        raise BadInput(f"{spec.name}: the dbt project does not make {table}, so it cannot be built a second time.")
    return node


def _needed(manifest: Any, spec: PipelineSpec) -> set[str]:
    """The ids of the models, seeds and snapshots that the pipeline's marts are made from."""
    made = [_node(manifest, spec, part).unique_id for part in PARTS]
    parents = {name: set(node.depends_on_nodes) & manifest.nodes.keys() for name, node in manifest.nodes.items()}
    return graph.reached(made, parents)


def _sources(manifest: Any, needed: set[str]) -> list[Any]:
    read = {parent for name in needed for parent in manifest.nodes[name].depends_on_nodes}
    return [source for name, source in sorted(manifest.sources.items()) if name in read]


def _dialect(adapter: str) -> str:
    return {"sqlserver": "tsql", "spark": "spark"}.get(adapter, adapter)
