"""Throw-away copies of a warehouse, in which both sides of an edit are built.

The warehouse itself is only read, and for a moment: DuckDB's file is copied while nothing writes it. dbt builds in the
copies, by a copy of the profile that names them.
"""

from __future__ import annotations

import datetime as dt
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tailrace.contracts import Warehouse
from tailrace.errors import BadInput, BuildFailed, WarehouseBusy
from tailrace.impact.dbt_sides import DbtNode
from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.reader import MartReader

_TRIES, _PAUSE_SECONDS = 60, 1.0
"""How long a copy waits for a night that is writing the file."""


Since = Mapping[str, tuple[str, dt.date]]
"""From which day on incremental tables are built again: by the node's id, the day column and the first day."""


@dataclass(frozen=True, kw_only=True)
class BuiltNode:
    """A node that dbt built in a copy."""

    name: str
    status: str
    seconds: float
    message: str


class ReadCopy:
    """What was built in a copy, read as any warehouse is; `called` gives the name that a mart's table has there."""

    def __init__(self, reader: MartReader, called: Callable[[str], str] = lambda table: table) -> None:
        self._reader, self._called = reader, called

    def read(self, table: str, day: dt.date, order_by: Sequence[str], *, day_column: str = "ds") -> Any:
        """See `contracts.Warehouse`."""
        return self._reader.read(self._called(table), day, day_column=day_column, order_by=order_by)


class WarehouseCopy(Protocol):
    """A place in which one side of an edit is built, and which nobody else reads."""

    def adapter(self, project: Path, original: DbtAdapter, days: tuple[dt.date, dt.date]) -> DbtAdapter:
        """dbt's adapter that builds this project for these days; `original` only reads it."""
        ...

    def prepare(self, adapter: DbtAdapter, nodes: Collection[DbtNode], since: Since) -> None:
        """Make the incremental tables and snapshots among the nodes what a build goes on from."""
        ...

    def manifest(self, adapter: DbtAdapter, nodes: Collection[DbtNode]) -> Any:
        """dbt's manifest, by which it builds these nodes here."""
        ...

    def missing(self, nodes: Collection[DbtNode]) -> set[str]:
        """The ids of the nodes that have no table to start from."""
        ...

    def refuse_other_places(self, nodes: Collection[DbtNode]) -> None:
        """Raise BadInput for nodes that dbt would write somewhere else."""
        ...

    def warehouse(self, adapter: DbtAdapter, zone: str) -> Warehouse:
        """Reads what was built."""
        ...


class DuckDBCopy:
    """A copy of a DuckDB file in `folder`; `database` is the original, or another copy."""

    def __init__(self, database: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        # The same name: DuckDB calls the database by it, and views name it.
        self.database, self._folder = folder / database.name, folder
        if database.exists():
            _copy(database, self.database)

    def adapter(self, project: Path, original: DbtAdapter, days: tuple[dt.date, dt.date]) -> DbtAdapter:
        """dbt's adapter that builds this project in the copy, for these days."""
        profiles = self._folder / "profiles"
        _write_profile(original, profiles, {"path": str(self.database)})
        return adapter_for(
            project, original, days, work=self._folder / "dbt", profiles=profiles, TAILRACE_WAREHOUSE=str(self.database)
        )

    def warehouse(self, adapter: DbtAdapter, zone: str) -> Warehouse:
        """Reads the copy."""
        return ReadCopy(MartReader(adapter, zone=zone))  # type: ignore[return-value]  # only `read` is used

    def prepare(self, adapter: DbtAdapter, nodes: Collection[DbtNode], since: Since) -> None:
        """Remove from incremental tables the days that are built again, so that nothing of another build stays.

        `since` maps a node's id to its day column and the first day; a table of which neither is known is dropped, and
        so built as if for the first time.
        """
        import duckdb

        nodes = [node for node in nodes if is_incremental(node)]
        if not nodes or not self.database.exists():
            return
        with duckdb.connect(str(self.database)) as connection:
            for node in nodes:
                table = ".".join(f'"{part}"' for part in node.relation.split(".")[1:])
                column, first = since.get(node.id, ("", None))
                there = _columns(connection, node.relation)
                if not there:
                    continue
                if column and column.lower() in there and first is not None:
                    connection.execute(f'delete from {table} where "{column}" >= ?', [first])  # noqa: S608 - quoted
                else:
                    connection.execute(f"drop table {table}")

    def missing(self, nodes: Collection[DbtNode]) -> set[str]:
        """The ids of the nodes that have no table here."""
        import duckdb

        if not self.database.exists():
            return {node.id for node in nodes}
        with duckdb.connect(str(self.database), read_only=True) as connection:
            return {node.id for node in nodes if not _columns(connection, node.relation)}

    def refuse_other_places(self, nodes: Collection[DbtNode]) -> None:
        """Raise BadInput for nodes that dbt would write outside of the copy."""
        refuse_other_places(nodes, self.database.stem)

    def manifest(self, adapter: DbtAdapter, nodes: Collection[DbtNode]) -> Any:
        """dbt's manifest, by which it builds these nodes in the copy."""
        return adapter.manifest


def adapter_for(
    project: Path, original: DbtAdapter, days: tuple[dt.date, dt.date], *, work: Path, profiles: Path, **variables: str
) -> DbtAdapter:
    """Another adapter of this project for a build of these days, with what dbt has parsed of it already."""
    built = {"BUILD_FIRST_DAY": days[0].isoformat(), "BUILD_LAST_DAY": days[1].isoformat()}
    found = DbtAdapter(
        project,
        work=work,
        profiles=profiles,
        target=original.target,
        variables={**original.variables, **variables, **built},
    )
    if original.partial_parse.is_file():
        found.target_folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(original.partial_parse, found.partial_parse)
    return found


def is_incremental(node: DbtNode) -> bool:
    return bool(node.config.get("materialized") == "incremental")


def refuse_other_places(nodes: Collection[DbtNode], database: str) -> None:
    """Raise BadInput for nodes that dbt would write into another database or into files."""
    away = [node for node in nodes if node.relation.split(".")[0] != database.lower()]
    away += [node for node in nodes if node.config.get("materialized") == "external"]
    if away:
        raise BadInput(
            f"{', '.join(sorted(node.name for node in away))} cannot be built in a throw-away copy: dbt would "
            "write outside of it, into another database or into files."
        )


def build(adapter: DbtAdapter, nodes: Collection[DbtNode], where: str, manifest: Any) -> tuple[BuiltNode, ...]:
    """Have dbt build exactly these nodes, without tests. Raises BuildFailed that names the side and what failed."""
    if not nodes:
        return ()
    names = sorted(".".join(manifest.nodes[node.id].fqn) for node in nodes if node.id in manifest.nodes)
    command = ["build", "--exclude-resource-types", "test", "unit_test", "--select", *names]
    outcome = adapter.invoke(command, manifest=manifest)
    results = tuple(
        BuiltNode(
            name=str(each.node.name),
            status=str(each.status),
            seconds=float(each.execution_time),
            message=" ".join(str(each.message or "").split()),
        )
        for each in getattr(outcome.result, "results", None) or ()
    )
    failed = [each for each in results if each.status in ("error", "fail", "runtime error", "partial success")]
    if failed:
        said = "; ".join(f"{each.name}: {adapter.cleaned(each.message)}" for each in failed)
        raise BuildFailed(f"{where}: dbt cannot build {len(failed)} of {len(results)} models: {said}")
    if not outcome.success:
        raise BuildFailed(f"{where}: dbt did not build: {adapter.cleaned(outcome.exception)}")
    return results


def _copy(database: Path, copy: Path) -> None:
    """Copy the file while nothing writes it. Raises WarehouseBusy if something does all the time."""
    import duckdb

    for _ in range(_TRIES):
        try:
            # Only to see that nobody writes; open for a moment, so that no night meets it.
            duckdb.connect(str(database), read_only=True).close()
            before = database.stat()
            shutil.copy2(database, copy)
            after = database.stat()
            duckdb.connect(str(database), read_only=True).close()
        except duckdb.IOException:
            time.sleep(_PAUSE_SECONDS)
            continue
        log = database.with_name(f"{database.name}.wal")
        if (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size) and not log.exists():
            return
        time.sleep(_PAUSE_SECONDS)
    raise WarehouseBusy(
        f"The warehouse {database} was being written for {_TRIES * _PAUSE_SECONDS:.0f} s, so it could not be copied. "
        "Try again when the night's build has ended."
    )


def _columns(connection: Any, relation: str) -> set[str]:
    *_, schema, table = relation.split(".")
    found = connection.execute(
        "select lower(column_name) from duckdb_columns() where lower(schema_name) = ? and lower(table_name) = ?",
        [schema, table],
    ).fetchall()
    return {name for (name,) in found}


def _write_profile(original: DbtAdapter, folder: Path, changes: Mapping[str, Any]) -> None:
    """The profile and target in use, with these changes in its target; nothing else is written down."""
    import yaml

    config = original.adapter.config
    profile, target = config.profile_name, config.target_name
    read = yaml.safe_load((original.profiles / "profiles.yml").read_text())
    output = {**read[profile]["outputs"][target], **changes}
    folder.mkdir(exist_ok=True)
    file = folder / "profiles.yml"
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump({profile: {"target": target, "outputs": {target: output}}}))
