"""What dbt's manifest says of the tables that pipelines read: columns, types, contracts, tests and files.

The manifest is what dbt writes when it parses a project. It is read here as it is stored, without dbt.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

_TABLES = ("model", "seed", "snapshot", "source")
_UNIQUE = ("unique", "primary_key")


@dataclass(frozen=True, kw_only=True)
class DbtTable:
    """A model, seed, snapshot or source of the dbt project.

    `columns` maps the columns that its yml names to their types, '' where none is said. `file` is its SQL (of a source
    its yml), `yml` where it is described; both are relative to the dbt project.
    """

    id: str
    kind: str
    name: str
    relation: tuple[str, ...]
    columns: Mapping[str, str]
    contract: bool
    materialized: str
    on_schema_change: str
    sql: str
    file: str
    yml: str
    meta: Mapping[str, Any]
    unique: bool
    """Whether a test or a constraint says which columns are unique."""

    @property
    def incremental(self) -> bool:
        return self.materialized == "incremental"


@dataclass(frozen=True, kw_only=True)
class DbtSource:
    """A table that dbt reads and does not build. `external` is where it lies, if not in the database."""

    source: str
    table: str
    schema: str
    external: str
    file: str


class DbtManifest:
    """The tables of one dbt project; `project` is the folder of its dbt_project.yml."""

    def __init__(self, content: Mapping[str, Any], project: Path) -> None:
        self._content, self.project = content, project

    @classmethod
    def read(cls, path: Path, project: Path) -> DbtManifest:
        """The manifest that dbt wrote to this file."""
        return cls(json.loads(path.read_text(encoding="utf-8")), project)

    @property
    def dialect(self) -> str:
        """The adapter's name, such as duckdb; sqlglot knows most of them by it."""
        return str(self._content["metadata"].get("adapter_type") or "")

    @cached_property
    def tables(self) -> tuple[DbtTable, ...]:
        """Every table, those of the project itself before those of the packages that it uses."""
        tested = self._unique
        nodes = [*self._content["nodes"].values(), *self._content["sources"].values()]
        found = [_described(node, node["unique_id"] in tested) for node in nodes if node["resource_type"] in _TABLES]
        own = self._content["metadata"].get("project_name")
        return tuple(sorted(found, key=lambda each: (f".{own}." not in each.id, each.kind == "source", each.id)))

    def find(self, table: str) -> DbtTable | None:
        """The table of that name: a model's name or alias, schema.name or database.schema.name; case is ignored."""
        return next(iter(self._by_name.get(table.lower(), ())), None)

    @property
    def names(self) -> list[str]:
        """The names by which tables can be found."""
        return sorted({each.name for each in self.tables if each.kind != "source"})

    def is_disabled(self, name: str) -> bool:
        """Whether the project has such a model that is switched off."""
        return any(node.get("name") == name for nodes in self._content["disabled"].values() for node in nodes)

    @property
    def sources(self) -> tuple[DbtSource, ...]:
        """The tables that dbt reads."""
        return tuple(
            DbtSource(
                source=node["source_name"],
                table=node["name"],
                schema=node["schema"],
                external=str((node.get("meta") or node.get("source_meta") or {}).get("external_location", "")),
                file=node["original_file_path"],
            )
            for node in self._content["sources"].values()
        )

    @cached_property
    def _by_name(self) -> dict[str, list[DbtTable]]:
        found: dict[str, list[DbtTable]] = defaultdict(list)
        for each in self.tables:
            names = [] if each.kind == "source" else [each.name]
            names += [".".join(each.relation[start:]) for start in range(len(each.relation))]
            for name in dict.fromkeys(one.lower() for one in names):
                found[name].append(each)
        return found

    @cached_property
    def _unique(self) -> frozenset[str]:
        """The tables of which a test or a constraint says what is unique."""
        found = set()
        for node in self._content["nodes"].values():
            if node["resource_type"] == "test" and node.get("attached_node"):
                if "unique" in str((node.get("test_metadata") or {}).get("name", "")):
                    found.add(node["attached_node"])
            elif _kinds(node.get("constraints")) & set(_UNIQUE) or any(
                _kinds(column.get("constraints")) & set(_UNIQUE) for column in (node.get("columns") or {}).values()
            ):
                found.add(node["unique_id"])
        return frozenset(found)

    def described_without_sql(self, name: str) -> str:
        """The yml file and line that describe a model of this name, such as one that has no SQL; empty if none does."""
        for file in sorted({*self.project.rglob("*.yml"), *self.project.rglob("*.yaml")}):
            if f"name: {name}" in file.read_text(encoding="utf-8", errors="replace"):
                shown = file.relative_to(self.project).as_posix()
                return f"{shown}:{self.line(shown, name) or 1}"
        return ""

    def line(self, file: str, *path: str) -> int | None:
        """The line of a yml file that describes a table, or one of its columns; None if none does."""
        try:
            tree = _tree((self.project / file).read_text(encoding="utf-8"))
        except OSError:
            return None
        found = None
        for name in path:
            inner = next(_named(tree, name), None)
            if inner is None:
                break
            tree = found = inner
        return found.start_mark.line + 1 if found is not None else None


def _described(node: Mapping[str, Any], tested: bool) -> DbtTable:
    config = node.get("config") or {}
    relation = (node.get("database"), node.get("schema"), node.get("alias") or node.get("identifier") or node["name"])
    return DbtTable(
        id=node["unique_id"],
        kind=node["resource_type"],
        name=node["name"],
        relation=tuple(str(part) for part in relation if part),
        columns={column["name"]: column.get("data_type") or "" for column in (node.get("columns") or {}).values()},
        contract=bool((config.get("contract") or {}).get("enforced")),
        materialized=str(config.get("materialized") or ""),
        on_schema_change=str(config.get("on_schema_change") or "ignore"),
        sql=str(node.get("raw_code") or ""),
        file=str(node.get("original_file_path") or ""),
        yml=str(node.get("patch_path") or "").partition("://")[2],
        meta=config.get("meta") or node.get("meta") or {},
        unique=tested,
    )


def _kinds(constraints: Iterable[Mapping[str, Any]] | None) -> set[str]:
    return {str(each.get("type")) for each in constraints or ()}


def _tree(text: str) -> Any:
    import yaml

    try:
        return yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return None


def _named(node: Any, name: str) -> Iterator[Any]:
    """The mappings of a yml tree whose `name` is this one."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        if any(getattr(key, "value", "") == "name" and value.value == name for key, value in node.value):
            yield node
        for _, value in node.value:
            yield from _named(value, name)
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from _named(each, name)
