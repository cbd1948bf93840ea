"""A past day built twice in throw-away schemas, where nothing is landed: rows are cut by each source's own time column.

dbt builds into another schema, and reads views in place of the sources, because its manifest is changed in memory. On
DuckDB this happens in a copy of the file, so that no night waits for it; elsewhere in the same database.
"""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from tailrace.contracts import ModelResult
from tailrace.errors import BadInput, BuildFailed
from tailrace.proving.sides import TwoSides, refuse_nothing_later
from tailrace.spec import PARTS, PipelineSpec, cutoff
from tailrace.warehouse import graph
from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.dbt_runs import environment
from tailrace.warehouse.reader import MartReader

PREFIX = "tailrace_prove_"
KNOWN_AT, ALWAYS = "known_at", "always"
"""The key in a source's `meta` with the column that says when a row became known, and the word for `at any time`."""
_LEFT_FOR = 86_400
"""Seconds after which a schema is one that a killed proof left behind."""


@contextmanager
def built(warehouse: Any, spec: PipelineSpec, day: dt.date, progress: Callable[[str], None]) -> Iterator[TwoSides]:
    """Both builds of the day, until the block ends.

    Raises BadInput naming every source without a time column, and what a build raises.
    """
    with tempfile.TemporaryDirectory(prefix="tailrace-prove-") as folder, _adapter(warehouse, Path(folder)) as adapter:
        moment = moment_of(spec, day)
        refuse_sources_without_time(adapter, spec)
        yield from _both(adapter, spec, day, moment=moment, zone=warehouse.reader.zone, progress=progress)


def moment_of(spec: PipelineSpec, day: dt.date) -> dt.datetime:
    """Until when rows are there in the second build: the cutoff; of a mart without `known_at`, the end of its day."""
    mart = spec.mart(PARTS[0])
    return cutoff(spec, day) if mart.known_at else cutoff(spec, mart.day_of(day) + dt.timedelta(days=1))


def _both(
    adapter: DbtAdapter,
    spec: PipelineSpec,
    day: dt.date,
    *,
    moment: dt.datetime,
    zone: str,
    progress: Callable[[str], None],
) -> Iterator[TwoSides]:
    _remove_left(adapter)
    schemas = [f"{PREFIX}{int(time.time())}_{uuid.uuid4().hex[:8]}_{name}" for name in ("now", "then")]
    try:
        nodes: tuple[ModelResult, ...] = ()
        made = [_manifest(adapter, spec, schema, until) for schema, until in zip(schemas, (None, moment), strict=True)]
        later = sum(_prepare(adapter, schema, views) for schema, (_, views) in zip(schemas, made, strict=True))
        refuse_nothing_later(spec, day, later)
        for (manifest, _), until in zip(made, (None, moment), strict=True):
            nodes = _build(adapter, spec, day, manifest)
            progress(f"{day} built {'from everything' if until is None else 'from what was there then'}")
        reader = MartReader(adapter, zone=zone)
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
        yield TwoSides(
            read=read,
            nodes=nodes,
            tables={part: named[name] for part, name in tables.items()},
            columns=columns,
            dialect=_dialect(adapter.type),
            later=later,
        )
    finally:
        for schema in schemas:
            with suppress(Exception):  # what is left is removed by the next proof
                _run(adapter, [f"drop schema if exists {schema} cascade"])


def refuse_sources_without_time(adapter: DbtAdapter, spec: PipelineSpec) -> None:
    """Raises BadInput naming every source of the pipeline that does not say when its rows became known."""
    needed = _needed(adapter.manifest, spec)
    problems = [
        f"source {each.source_name}.{each.name} does not say when its rows became known ({each.original_file_path})"
        for each in _sources(adapter.manifest, needed)
        if not _time_of(each)
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


def _manifest(
    adapter: DbtAdapter, spec: PipelineSpec, schema: str, until: dt.datetime | None
) -> tuple[Any, list[tuple[str, str, str]]]:
    """dbt's manifest with this schema for all that the pipeline needs; and views for its sources.

    A view has its name, what it reads, and its condition; there are none without `until`.
    """
    manifest = adapter.manifest.deepcopy()
    needed, views = _needed(manifest, spec), []
    for name in needed:
        node = manifest.nodes[name]
        node.schema, node.alias = schema, node.name
        node.relation_name = adapter.adapter.Relation.create_from(adapter.adapter.config, node).render()
    for source in _sources(manifest, needed) if until else ():
        said = _time_of(source)
        reads = adapter.adapter.Relation.create_from(adapter.adapter.config, source).render()
        moment = f"timestamp with time zone '{until:%Y-%m-%d %H:%M:%S}+00'" if until else ""
        views.append((f"{source.source_name}__{source.name}", reads, "" if said == ALWAYS else f"{said} <= {moment}"))
        source.schema, source.identifier = schema, views[-1][0]
        source.relation_name = adapter.adapter.Relation.create_from(adapter.adapter.config, source).render()
        for each in (source.meta, getattr(source.config, "meta", None)):
            if each:  # dbt-duckdb reads another place than the view
                each.pop("external_location", None)
    return manifest, views


def _prepare(adapter: DbtAdapter, schema: str, views: Sequence[tuple[str, str, str]]) -> int:
    """Make the schema and its views; returns how many rows the views leave out."""
    statements = [f"create schema if not exists {schema}"]
    for name, reads, condition in views:
        where = f" where {condition}" if condition else ""
        statements.append(f'create view {schema}."{name}" as select * from {reads}{where}')  # noqa: S608 - dbt's names
    _run(adapter, statements)
    counts = [f"select count(*) from {reads} where not ({said})" for _, reads, said in views if said]  # noqa: S608
    return sum(_run(adapter, [count]) for count in counts)


def _build(adapter: DbtAdapter, spec: PipelineSpec, day: dt.date, manifest: Any) -> tuple[ModelResult, ...]:
    selected = sorted(f"+{'.'.join(_node(adapter.manifest, spec, part).fqn)}" for part in PARTS)
    left_out = [word for kind in ("test", "unit_test", "exposure") for word in ("--exclude-resource-type", kind)]
    with environment({"BUILD_FIRST_DAY": day.isoformat(), "BUILD_LAST_DAY": day.isoformat()}):
        outcome = adapter.invoke(["build", *left_out, "--select", *selected], manifest=manifest)
    results = list(getattr(outcome.result, "results", None) or ())
    failed = [each for each in results if str(each.status) not in ("success", "no-op")]
    if failed or not outcome.success:
        listed = "\n".join(f"  - {each.node.name}: {adapter.cleaned(each.message)}" for each in failed)
        raise BuildFailed(f"dbt could not build {day} in a throw-away schema:\n{listed or outcome.exception}")
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


def _run(adapter: DbtAdapter, statements: Sequence[str]) -> int:
    """Run the statements on a connection of their own; returns the first value of the last one, or 0."""
    with adapter.connected() as handle:
        cursor = handle.cursor()
        cursor.execute("set timezone = 'UTC'")
        for statement in statements:
            cursor.execute(statement)
        row = cursor.fetchone() if statements and statements[-1].startswith("select") else None
        if hasattr(handle, "commit"):
            handle.commit()
    return int(row[0]) if row else 0


def _remove_left(adapter: DbtAdapter) -> None:
    """Remove the schemas of proofs that were killed."""
    with adapter.connected() as handle:
        cursor = handle.cursor()
        cursor.execute(f"select schema_name from information_schema.schemata where schema_name like '{PREFIX}%'")  # noqa: S608
        found = [str(row[0]) for row in cursor.fetchall()]
    old = [name for name in found if _begun(name) < time.time() - _LEFT_FOR]
    _run(adapter, [f"drop schema if exists {name} cascade" for name in old])


def _begun(schema: str) -> float:
    begun = schema.removeprefix(PREFIX).partition("_")[0]
    return float(begun) if begun.isdecimal() else time.time()


@contextmanager
def _adapter(warehouse: Any, folder: Path) -> Iterator[DbtAdapter]:
    """The adapter of the database; of DuckDB, that of a copy of the file."""
    own: DbtAdapter = warehouse.adapter
    if own.type != "duckdb":
        yield own
        return
    import yaml

    path = Path(str(own.credentials.path))
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
