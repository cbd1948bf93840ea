"""The columns of a dbt model, as far as they are certain: from its contract, or from its SQL.

dbt says which columns a model has only if a contract is enforced. Otherwise its SQL is read without running it: what
dbt's templates would put in is left open, and if a column may come from there, the columns are unknown.
"""

from __future__ import annotations

import csv
import re
from typing import Any

from tailrace.warehouse.manifest import DbtManifest, DbtTable

_OPEN = "__left_open"
"""What stands for the output of a template that is not known here."""
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_ONLY_LATER = re.compile(r"\{%-?\s*if\s+is_incremental\(\)\s*-?%\}((?!\{%).)*\{%-?\s*endif\s*-?%\}", re.DOTALL)
_CONFIG = re.compile(r"\{\{-?\s*config\(.*?\)\s*-?\}\}", re.DOTALL)
_REF = re.compile(r"\{\{-?\s*ref\(\s*(?:['\"][^'\"]+['\"]\s*,\s*)?['\"]([^'\"]+)['\"]\s*(?:,[^)]*)?\)\s*-?\}\}")
_SOURCE = re.compile(r"\{\{-?\s*source\(\s*['\"]([^'\"]+)['\"]\s*,\s*['\"]([^'\"]+)['\"]\s*\)\s*-?\}\}")
_EXPRESSION = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_DIALECTS = {"sqlserver": "tsql", "synapse": "tsql", "fabric": "tsql"}


class DerivedColumns:
    """The columns of the tables of one manifest, each looked up once."""

    def __init__(self, manifest: DbtManifest) -> None:
        self._manifest = manifest
        self._found: dict[str, tuple[str, ...] | None] = {}

    def of(self, table: DbtTable) -> tuple[str, ...] | None:
        """The columns in their order; None if they are not certain."""
        if table.id not in self._found:
            self._found[table.id] = None  # a model that reads itself is not certain
            self._found[table.id] = self._look_up(table)
        return self._found[table.id]

    def _look_up(self, table: DbtTable) -> tuple[str, ...] | None:
        if table.contract and table.columns:
            return tuple(table.columns)
        if table.kind == "seed":
            return self._header(table)
        if table.kind != "model" or not table.sql:
            return None
        try:
            return self._of_sql(table.sql)
        except Exception:  # noqa: BLE001 - SQL that the parser does not know is SQL of unknown columns
            return None

    def _header(self, seed: DbtTable) -> tuple[str, ...] | None:
        try:
            with (self._manifest.project / seed.file).open(encoding="utf-8-sig", newline="") as file:
                return tuple(next(csv.reader(file)))
        except (OSError, StopIteration, UnicodeDecodeError):
            return None

    def _of_sql(self, template: str) -> tuple[str, ...] | None:
        import sqlglot
        from sqlglot import exp
        from sqlglot.optimizer.qualify import qualify

        sql = _plain(template)
        if "{%" in sql:
            return None
        dialect = _DIALECTS.get(self._manifest.dialect, self._manifest.dialect)
        statements = [each for each in sqlglot.parse(sql, dialect=dialect) if each is not None]
        if len(statements) != 1 or not isinstance(statements[0], exp.Query):
            return None
        known = self._schema(statements[0])
        found = qualify(
            statements[0],
            schema=known,
            dialect=dialect,
            validate_qualify_columns=False,
            quote_identifiers=False,
        )
        names = [] if any(each.is_star for each in found.selects) else [each.alias_or_name for each in found.selects]
        certain = names and all(name and _OPEN not in name for name in names)
        return tuple(names) if certain and not any(name.startswith("_col_") for name in names) else None

    def _schema(self, statement: Any) -> dict[str, dict[str, str]]:
        """The certain columns of the models that a statement reads."""
        from sqlglot import exp

        known: dict[str, dict[str, str]] = {}
        for table in statement.find_all(exp.Table):
            model = self._manifest.find(table.name.removeprefix("__ref_")) if table.name.startswith("__ref_") else None
            columns = self.of(model) if model is not None else None
            if columns:
                known[table.name] = dict.fromkeys(columns, "unknown")
        return known


def _plain(template: str) -> str:
    """The SQL of a model, with a name for each model that it reads, and with a mark where the rest is left open."""
    sql = _ONLY_LATER.sub("", _COMMENT.sub("", template))
    sql = _CONFIG.sub("", sql)
    sql = _REF.sub(lambda found: f"__ref_{found[1]}", sql)
    sql = _SOURCE.sub(lambda found: f"__source_{found[1]}_{found[2]}", sql)
    return _EXPRESSION.sub(_OPEN, sql)
