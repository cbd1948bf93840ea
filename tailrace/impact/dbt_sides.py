"""One side of an edit: a dbt project as dbt itself reads it, with the SQL that its templates give.

Nothing here connects to the database. The SQL of a model is rendered by dbt's own compiler, once for a first build and
once for a later one (`is_incremental`); a template that asks the database something is not rendered, and says so.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import re
import shutil
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tailrace.impact.sql_equality import dialect_of
from tailrace.warehouse.adapter import DbtAdapter

BUILT = ("model", "seed", "snapshot")
_READ = (".sql", ".yml", ".yaml", ".csv", ".py", ".md")
_WRITTEN_BY_DBT = {"target", "logs"}
"""Folders at the top of a project; a folder of models may have such a name too."""
_NEVER_READ = {".git", "__pycache__"}
_NO_MEANING = {
    *("tags", "meta", "docs", "group", "description", "access", "persist_docs", "enabled", "packages", "grants"),
    *("schema", "database", "alias", "static_analysis", "freshness", "on_configuration_change", "unrendered_config"),
}
"""Settings of a model that change nothing in its rows."""
_PURE = {"dispatch", "quote", "quote_as_configured", "quote_seed_column", "type", "Relation", "config", "warn_once"}
"""What a template may ask of the adapter without a database."""


@dataclass(frozen=True, kw_only=True)
class DbtNode:
    """A model, seed, snapshot, source or test as dbt's manifest has it. `relation` is its table, in lower case."""

    id: str
    kind: str
    name: str
    package: str
    language: str
    relation: str
    file: str
    raw: str
    config: Mapping[str, Any]
    types: Mapping[str, str]
    contract: bool
    needs: tuple[str, ...]
    meta: Mapping[str, Any]
    owner: str
    judges: str = ""
    source: str = ""


class NotRendered(Exception):
    """A template that cannot be rendered here; the message says why."""


class DbtSide:
    """The dbt project in `folder`; `adapter` reads it. `cache` is a folder for what is known of it by its content.

    Raises BuildFailed, SettingsError, NotInstalled if dbt cannot read it.
    """

    def __init__(self, adapter: DbtAdapter, *, cache: Path | None = None, before: Path | None = None) -> None:
        self._adapter, self._before = adapter, before
        self.folder = adapter.project
        self._file = cache / f"{self._key()}.json" if cache is not None else None
        self._known = self._read_cache()
        self._new = False

    @property
    def adapter(self) -> DbtAdapter:
        """dbt's adapter that reads this side; it builds nothing."""
        return self._adapter

    @property
    def dialect(self) -> str:
        """sqlglot's name for the database's SQL."""
        return dialect_of(str(self._read["type"]))

    @functools.cached_property
    def nodes(self) -> Mapping[str, DbtNode]:
        """The nodes by dbt's unique id."""
        return {each["id"]: DbtNode(**{**each, "needs": tuple(each["needs"])}) for each in self._read["nodes"]}

    @property
    def macros(self) -> Mapping[str, str]:
        """The macros of the project and its packages: their text by `package.name`."""
        found: Mapping[str, str] = self._read["macros"]
        return found

    @property
    def own_macros(self) -> frozenset[str]:
        """The names of dbt's own macros: who defines one of them changes how dbt builds."""
        return frozenset(self._read["dbt_macros"])

    @property
    def hooks(self) -> Sequence[str]:
        """The SQL of on-run-start and on-run-end."""
        found: Sequence[str] = self._read["hooks"]
        return found

    @property
    def project_vars(self) -> str:
        """The `vars` of dbt_project.yml, as text."""
        return str(self._read["vars"])

    @property
    def partial_parse(self) -> Path:
        """Where dbt keeps the project as it has parsed it."""
        return self._adapter.partial_parse

    def by_relation(self, name: str) -> DbtNode | None:
        """The node whose table the SQL calls so, in lower case, without quotes."""
        return self._relations.get(name)

    @functools.cached_property
    def _relations(self) -> Mapping[str, DbtNode]:
        found = {}
        for node in self.nodes.values():
            if node.kind in (*BUILT, "source"):
                found[node.relation] = node
                found[f"__dbt__cte__{node.name}".lower()] = node
                found.setdefault(".".join(node.relation.split(".")[-2:]), node)
        return found

    def sql(self, id_: str) -> tuple[str, ...]:
        """The SQL of a model or snapshot: of a first build and, where it differs, of a later one.

        Raises NotRendered.
        """
        known = self._known.setdefault("sql", {})
        if id_ not in known:
            known[id_] = self._rendered(id_)
            self._new = True
        found = known[id_]
        if isinstance(found, str):
            raise NotRendered(found)
        return tuple(found)

    def header(self, node: DbtNode) -> list[list[str]] | None:
        """The rows of a seed's file, the header first; None if it cannot be read."""
        import csv

        try:
            with (self.folder / node.file).open(encoding="utf-8-sig", newline="") as file:
                return list(csv.reader(file, delimiter=str(node.config.get("delimiter") or ",")))
        except (OSError, UnicodeDecodeError, csv.Error, TypeError):
            return None

    def save(self) -> None:
        """Write down what was found out, for the next time. A full disk is no error."""
        if self._file is None or not self._new:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            partial = self._file.with_suffix(".partial")
            partial.write_text(json.dumps(self._known, default=str), encoding="utf-8")
            partial.replace(self._file)
        except OSError:
            return

    # ------------------------------------------------------------ reading

    def _read_cache(self) -> dict[str, Any]:
        if self._file is None:
            return {}
        try:
            found: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def _key(self) -> str:
        """A digest of everything that the manifest and the rendered SQL depend on."""
        from importlib.metadata import version

        import tailrace

        said = hashlib.sha256()
        for part in (version("dbt-core"), version("sqlglot"), tailrace.__version__, __file__, self._adapter.target):
            said.update(f"{part}\0".encode())
        said.update(Path(__file__).read_bytes())
        said.update(json.dumps(sorted(self._adapter.variables.items())).encode())
        profiles = self._adapter.profiles / "profiles.yml"
        said.update(profiles.read_bytes() if profiles.is_file() else b"")
        for file in _files(self.folder):
            said.update(f"\0{file.relative_to(self.folder)}\0".encode())
            said.update(file.read_bytes())
        return said.hexdigest()[:32]

    @functools.cached_property
    def _read(self) -> Mapping[str, Any]:
        if "nodes" not in self._known:
            self._known.update(_plain(self._manifest, self._adapter))
            self._known["vars"] = json.dumps(_project_file(self.folder).get("vars"), sort_keys=True, default=str)
            self._new = True
        return self._known

    @functools.cached_property
    def _manifest(self) -> Any:
        if self._before is not None and self._before.is_file() and not self.partial_parse.exists():
            # With it, dbt reads only the files that differ.
            self.partial_parse.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self._before, self.partial_parse)
        return self._adapter.manifest

    def _rendered(self, id_: str) -> list[str] | str:
        """The texts, or why there are none."""
        node = self._manifest.nodes[id_]
        try:
            texts = [self._adapter.rendered(node, _overrides(is_later=is_later)) for is_later in (False, True)]
        except NotRendered as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - whatever a template raises
            return f"dbt cannot render it ({textwrap.shorten(str(error), 160, placeholder=' ...')})"
        return list(dict.fromkeys(texts))


class PlainSide(DbtSide):
    """A side of nodes that are given, with the SQL that their templates give; no nodes: a side without a project.

    A text in place of the SQL is why it cannot be rendered.
    """

    def __init__(
        self,
        nodes: Collection[DbtNode] = (),
        sql: Mapping[str, Sequence[str] | str] | None = None,
        *,
        dialect: str = "duckdb",
        folder: Path = Path(),
        macros: Mapping[str, str] | None = None,
    ) -> None:
        read = {"type": dialect, "macros": dict(macros or {}), "dbt_macros": [], "hooks": [], "vars": "null"}
        self._known = {**read, "nodes": [asdict(node) for node in nodes], "sql": dict(sql or {})}
        self._file, self._new, self._before, self.folder = None, False, None, folder


def _overrides(*, is_later: bool) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """What stands in a template for what differs from run to run, and for the database."""

    def of(context: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            "adapter": _refusing(context["adapter"]),
            "is_incremental": lambda: is_later,
            "should_full_refresh": lambda: not is_later,
            "invocation_id": "00000000-0000-0000-0000-000000000000",
            "run_started_at": dt.datetime(2000, 1, 1, tzinfo=dt.UTC),
        }

    return of


def _refusing(adapter: Any) -> Any:
    """The adapter as templates see it, without its database. Raises NotRendered where a template wants that."""

    class Refusing:
        def __getattr__(self, name: str) -> Any:
            if name in _PURE:
                return getattr(adapter, name)
            raise NotRendered(f"its template asks the database (adapter.{name})")

    return Refusing()


def _files(folder: Path) -> list[Path]:
    found = []
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(folder).parts
        if parts[0] in _WRITTEN_BY_DBT or _NEVER_READ & {*parts}:
            continue
        if file.suffix in _READ and file.is_file():
            found.append(file)
    return found


def _project_file(folder: Path) -> Mapping[str, Any]:
    import yaml

    try:
        read = yaml.safe_load((folder / "dbt_project.yml").read_text())
    except (OSError, yaml.YAMLError):
        return {}
    return read if isinstance(read, dict) else {}


def _plain(manifest: Any, adapter: DbtAdapter) -> dict[str, Any]:
    """The parts of a manifest that are needed here, as plain values."""
    groups = {group.name: group.owner for group in manifest.groups.values()}
    built = [node for node in manifest.nodes.values() if str(node.resource_type) in (*BUILT, "test")]
    ours = {f"dbt_{adapter.type}", "dbt"}
    macros = {f"{each.package_name}.{each.name}": each.macro_sql for each in manifest.macros.values()}
    return {
        "type": adapter.type,
        "nodes": [asdict(_node(node, groups)) for node in [*built, *manifest.sources.values()]],
        "macros": {name: text for name, text in macros.items() if not _is_dbts(name.partition(".")[0], ours)},
        "dbt_macros": sorted({name.partition(".")[2] for name in macros if _is_dbts(name.partition(".")[0], ours)}),
        "hooks": [n.raw_code for n in manifest.nodes.values() if str(n.resource_type) == "operation"],
    }


def _is_dbts(package: str, ours: Collection[str]) -> bool:
    return package in ours or (package.startswith("dbt_") and package in {"dbt_postgres", "dbt_spark"})


def _node(node: Any, groups: Mapping[str, Any]) -> DbtNode:
    kind = str(node.resource_type)
    config = node.config.to_dict() if hasattr(node.config, "to_dict") else {}
    table = getattr(node, "identifier", None) if kind == "source" else getattr(node, "alias", node.name)
    meta = dict(getattr(node.config, "meta", None) or getattr(node, "meta", None) or {})
    if kind == "source":
        meta = {**dict(getattr(node, "source_meta", None) or {}), **meta}
    group = groups.get(getattr(node.config, "group", None) or "")
    return DbtNode(
        id=node.unique_id,
        kind=kind,
        name=node.name,
        package=node.package_name,
        language=str(getattr(node, "language", "sql")),
        relation=".".join(str(part) for part in (node.database, node.schema, table) if part).lower(),
        file=str(node.original_file_path),
        raw=str(getattr(node, "raw_code", "") or ""),
        config={name: it for name, it in sorted(config.items()) if name not in _NO_MEANING},
        types={column.name: column.data_type or "" for column in node.columns.values()},
        contract=bool((config.get("contract") or {}).get("enforced")),
        needs=tuple(node.depends_on_nodes) if kind != "source" else (),
        meta=json.loads(json.dumps(meta, default=str)),
        owner=str(meta.get("owner") or (getattr(group, "name", None) or getattr(group, "email", None) or "")),
        judges=str(getattr(node, "attached_node", None) or ""),
        source=f"{node.source_name}.{node.name}" if kind == "source" else "",
    )


_WORD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


def words(text: str) -> set[str]:
    """The names in a template, without those in its comments."""
    return set(_WORD.findall(without_comments(text)))


def without_comments(template: str) -> str:
    return re.sub(r"\{#.*?#\}", "", template, flags=re.DOTALL)
