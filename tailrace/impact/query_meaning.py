"""The meaning of a query: of its rows and of each of its columns, through all its scopes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from tailrace.impact.meaning import ROWS, ColumnPlace, Meant, TableMeaning, Unresolved, gathered
from tailrace.impact.query_scopes import FindTable, Scopes, SourceTables
from tailrace.impact.query_shapes import is_star, is_windowed, needs_all_columns, one_row_functions, orders, renames
from tailrace.impact.sql_equality import said, tree_of


def of_query(id_: str, sql: str, dialect: str, tables: FindTable) -> TableMeaning:
    """The meaning of a query; raises Unresolved."""
    tree = tree_of(sql, dialect)
    if tree is None:
        raise Unresolved("sqlglot cannot read its SQL")
    try:
        return _Query(id_, tree, dialect, tables).meaning()
    except (Unresolved, RecursionError):
        raise
    except Exception as error:
        raise Unresolved(
            f"sqlglot cannot resolve its names ({textwrap.shorten(str(error), 120, placeholder=' ...')})"
        ) from error


class _Query:
    """One query being resolved; every scope and column is looked at once."""

    def __init__(self, id_: str, tree: Any, dialect: str, tables: FindTable) -> None:
        self._id, self._dialect = id_, dialect
        self._tables = SourceTables(tables, dialect)
        self._scopes = Scopes(tree, dialect, self._tables)
        self._columns: dict[tuple[int, str], Meant | None] = {}
        self._rows: dict[int, Meant] = {}

    def meaning(self) -> TableMeaning:
        root = self._scopes.root
        names = self._scopes.names(root)
        complete = ROWS not in names
        lowered = [name for name in names if name != ROWS]
        written = self._scopes.written_names
        shown = written if complete and written and len(written) == len(lowered) else lowered
        if len({name.lower() for name in shown}) != len(shown):
            raise Unresolved("two of its columns have the same name")
        folded = dict(zip(shown, lowered, strict=True)) | {name.lower(): name for name in lowered}
        rows = self.rows(root)
        for name in lowered:
            self.column(root, name)
        return TableMeaning(
            id=self._id,
            rows=rows,
            rest=self._rest(root),
            names=tuple(shown),
            complete=complete,
            column=lambda name: self.column(root, folded.get(name, folded.get(name.lower(), name.lower()))),
        )

    # ------------------------------------------------------------ rows

    def rows(self, scope: Any) -> Meant:
        """What decides which rows a scope has."""
        key = id(scope)
        if key not in self._rows:
            found, needs = self._rows_of(scope)
            self._rows[key] = Meant(found, frozenset(needs)) if isinstance(found, str) else gathered((found, needs))
        return self._rows[key]

    def _rows_of(self, scope: Any) -> tuple[Any, set[ColumnPlace]]:
        from sqlglot import exp

        node, needs = scope.expression, set[ColumnPlace]()
        if isinstance(node, exp.SetOperation):
            parts: list[Any] = [type(node).__name__, bool(node.args.get("distinct"))]
            for branch in scope.set_operation_scopes:
                parts.append(self._take(self.rows(branch), needs))
                if node.args.get("distinct") or not isinstance(node, exp.Union) or orders(node):
                    parts.append([self._take(each, needs) for each in self._all(branch)])
            rest = {name: it for name, it in node.args.items() if name not in ("this", "expression", "with_", "with")}
            return [*parts, self._said_args(rest, scope, needs)], needs
        if isinstance(node, exp.UDTF):
            return self._said(node, scope.parent or scope, needs), needs
        if isinstance(node, exp.Subquery):
            raise Unresolved("it joins inside of parentheses")
        if not isinstance(node, exp.Select):
            raise Unresolved(f"it reads from {type(node).__name__}")
        rest = {name: it for name, it in node.args.items() if name not in ("expressions", "with_", "with", "kind")}
        said = self._said_args(rest, scope, needs)
        makers = self._row_makers(node, scope, needs)
        if needs_all_columns(node):
            return ["select", said, makers, [self._take(each, needs) for each in self._all(scope)]], needs
        if makers == (False, []) and [name for name, _ in said] == ["from_"]:
            return said[0][1], needs  # it has the very rows of what it reads
        return ["select", said, makers], needs

    def _row_makers(self, node: Any, scope: Any, needs: set[ColumnPlace]) -> Any:
        """What a select list says about rows: whether it aggregates, and functions that may give several rows."""
        from sqlglot import exp

        aggregates, makers = False, []
        for each in node.expressions:
            for inner in each.find_all(exp.AggFunc, exp.UDTF, exp.Explode, exp.GenerateSeries, exp.Anonymous):
                if inner.find_ancestor(exp.Select) is not node:
                    continue
                if isinstance(inner, exp.AggFunc):
                    aggregates = aggregates or not is_windowed(inner)
                elif not is_windowed(inner) and not self._gives_one_row(inner):
                    makers.append(self._said(inner, scope, needs))
        return aggregates and not node.args.get("group"), makers

    def _gives_one_row(self, function: Any) -> bool:
        from sqlglot import exp

        named = function.name.lower() if isinstance(function, exp.Anonymous) else ""
        return bool(named) and named in one_row_functions(self._dialect)

    # ------------------------------------------------------------ columns

    def column(self, scope: Any, name: str) -> Meant:
        """What a column of a scope means, apart from the scope's rows."""
        key = (id(scope), name)
        if key not in self._columns:
            self._columns[key] = None
            self._columns[key] = self._column_of(scope, name)
        found = self._columns[key]
        if found is None:
            raise Unresolved(f"its column {name} is made from itself")
        return found

    def _column_of(self, scope: Any, name: str) -> Meant:
        from sqlglot import exp

        node, needs = scope.expression, set[ColumnPlace]()
        renamed = list(scope.outer_columns or ())
        if renamed and not isinstance(node, exp.UDTF):
            names = self._scopes.names(scope)
            if ROWS in names or name not in renamed:
                raise Unresolved(f"the columns that are renamed to {', '.join(renamed)} are not known")
            return self._at(scope, renamed.index(name))
        if isinstance(node, exp.SetOperation):
            names = self._scopes.names(scope)
            if ROWS in names:
                return self._through(scope.set_operation_scopes, [name] * 2, type(node).__name__)
            if name not in names:
                raise Unresolved(f"it reads a column {name} that a union does not have")
            return self._at(scope, names.index(name))
        if isinstance(node, exp.UDTF):
            parts = [self._said(node, scope.parent or scope, needs), name]
            return gathered((parts, needs))
        if not isinstance(node, exp.Select):
            raise Unresolved(f"it reads from {type(node).__name__}")
        for projection in node.expressions:
            if not is_star(projection) and projection.alias_or_name == name:
                return self._projection(projection, scope)
        stars = [each for each in node.expressions if is_star(each)]
        if not stars:
            raise Unresolved(f"it reads a column {name} that a part of it does not have")
        parts = []
        for star in stars:
            wanted = star.table if isinstance(star, exp.Column) else ""
            inner = star.this if isinstance(star, exp.Column) else star
            parts.append(self._said_args(dict(inner.args), scope, needs))
            for alias, (_, source) in scope.selected_sources.items():
                if wanted in ("", alias):
                    parts.append(self._take(self._of_source(source, name), needs))
        if len(parts) == len(stars) + 1 and len(stars) == 1 and not parts[0]:
            return Meant(str(parts[1]), frozenset(needs), name)
        return gathered((parts, needs), name)

    def _projection(self, projection: Any, scope: Any) -> Meant:
        from sqlglot import exp

        needs: set[ColumnPlace] = set()
        plain = projection.unalias()
        sql = plain.sql(dialect=self._dialect)
        while isinstance(plain, exp.Paren):
            plain = plain.this
        found = self._said(plain, scope, needs)
        if isinstance(plain, exp.Column) and isinstance(found, str):
            return Meant(found, frozenset(needs), sql)
        return gathered((found, needs), sql)

    def _rest(self, scope: Any) -> Meant:
        """What the stars of a scope may give that is known by no name."""
        from sqlglot import exp

        needs: set[ColumnPlace] = set()
        node, parts = scope.expression, list[Any]()
        if isinstance(node, exp.SetOperation):
            parts = [self._take(self._rest(branch), needs) for branch in scope.set_operation_scopes]
        for star in filter(is_star, getattr(node, "expressions", ()) if isinstance(node, exp.Select) else ()):
            wanted = star.table if isinstance(star, exp.Column) else ""
            inner = star.this if isinstance(star, exp.Column) else star
            parts.append(self._said_args(dict(inner.args), scope, needs))
            for alias, (_, source) in scope.selected_sources.items():
                if wanted in ("", alias):
                    parts.append(self._take(self._rest_of(source), needs))
        return gathered((parts, needs))

    def _rest_of(self, source: Any) -> Meant:
        from sqlglot import exp

        if not isinstance(source, exp.Table):
            return self._rest(source)
        table = self._tables.of(source)
        return Meant(table.rest.digest, frozenset({(table.id, ROWS)}))

    def _at(self, scope: Any, place: int) -> Meant:
        """The column at a place of the select list."""
        from sqlglot import exp

        node = scope.expression
        if isinstance(node, exp.SetOperation):
            if node.args.get("by_name"):
                name = self._scopes.names(scope)[place]
                return self._through(scope.set_operation_scopes, [name] * 2, type(node).__name__)
            needs: set[ColumnPlace] = set()
            parts = [self._take(self._at(branch, place), needs) for branch in scope.set_operation_scopes]
            return gathered(([type(node).__name__, *parts], needs))
        if isinstance(node, exp.Subquery):
            return self._at(self._scopes.of(node.this), place)
        if any(is_star(each) for each in node.expressions) or place >= len(node.expressions):
            raise Unresolved("the columns of a part of its union are not known")
        return self._projection(node.expressions[place], scope)

    def _through(self, scopes: Sequence[Any], names: Sequence[str], what: str) -> Meant:
        needs: set[ColumnPlace] = set()
        parts = [self._take(self.column(each, name), needs) for each, name in zip(scopes, names, strict=True)]
        return gathered(([what, *parts], needs))

    def _all(self, scope: Any) -> list[Meant]:
        """Every column of a scope, in order; for a star all that its sources have."""
        from sqlglot import exp

        names = self._scopes.names(scope)
        if ROWS not in names:
            return [self._at(scope, place) for place in range(len(names))]
        if isinstance(scope.expression, exp.SetOperation):
            return [each for branch in scope.set_operation_scopes for each in self._all(branch)]
        needs: set[ColumnPlace] = set()
        found = [self._projection(each, scope) for each in scope.expression.expressions if not is_star(each)]
        for star in filter(is_star, scope.expression.expressions):
            inner = star.this if isinstance(star, exp.Column) else star
            found.append(gathered((self._said_args(dict(inner.args), scope, needs), needs)))
        return [*found, *(self._whole(source) for _, source in scope.selected_sources.values())]

    def _whole(self, source: Any) -> Meant:
        """All rows and columns of a source."""
        from sqlglot import exp

        needs: set[ColumnPlace] = set()
        if isinstance(source, exp.Table):
            table = self._tables.of(source)
            parts = [self._take(table.rows, needs), *(self._take(table.column(name), needs) for name in table.names)]
            return gathered(([*parts, table.complete or table.id], needs))
        parts = [self._take(self.rows(source), needs), *(self._take(each, needs) for each in self._all(source))]
        return gathered((parts, needs))

    def _of_source(self, source: Any, name: str) -> Meant:
        from sqlglot import exp

        if not isinstance(source, exp.Table):
            return self.column(source, name)
        table = self._tables.of(source)
        found = table.column(name)
        return Meant(found.digest, frozenset({(table.id, name)}), name)

    # ------------------------------------------------------------ expressions

    def _said(self, node: Any, scope: Any, needs: set[ColumnPlace]) -> Any:
        """What a part of the tree says, with the meanings of columns in place of their names."""
        from sqlglot import exp

        while isinstance(node, exp.Paren):
            node = node.this
        if isinstance(node, exp.Column):
            return self._said_column(node, scope, needs)
        if isinstance(node, exp.Table):
            return self._said_table(node, scope, needs)
        if isinstance(node, exp.Subquery | exp.Query):
            return self._said_query(node, scope, needs)
        if isinstance(node, exp.Alias | exp.From):
            return self._said(node.this, scope, needs)
        if isinstance(node, exp.Expr):
            args = dict(node.args)
            if isinstance(node, exp.UDTF | exp.Lateral):
                alias = args.pop("alias", None)
                args["columns"] = [each.name for each in alias.columns] if alias is not None else []
            return type(node).__name__, self._said_args(args, scope, needs)
        if isinstance(node, list | tuple):
            return [self._said(each, scope, needs) for each in node]
        return node if isinstance(node, str | int | float | bool) else repr(node)

    def _said_args(self, args: Mapping[str, Any], scope: Any, needs: set[ColumnPlace]) -> list[Any]:
        given = {name: it for name, it in args.items() if it is not None and it is not False and it != []}
        if given.get("kind") == "INNER":
            del given["kind"]
        return [(name, self._said(it, scope, needs)) for name, it in sorted(given.items())]

    def _said_column(self, node: Any, scope: Any, needs: set[ColumnPlace]) -> Any:
        from sqlglot import exp

        if isinstance(node.this, exp.Star):
            return "star", [self._take(self._whole(source), needs) for _, source in scope.selected_sources.values()]
        holder, source = self._scopes.origin(node, scope)
        found = self._take(self._of_source(source, node.name), needs)
        alias = self._scopes.possible_alias(node, holder, source)
        return found if alias is None else [found, self._said_once(alias, holder, needs)]

    def _said_once(self, alias: Any, scope: Any, needs: set[ColumnPlace]) -> Any:
        """An aliased expression, as it is written: its own columns count, without looking for aliases again."""
        from sqlglot import exp

        for column in alias.find_all(exp.Column):
            if not isinstance(column.this, exp.Star):
                _, source = self._scopes.origin(column, scope)
                self._take(self._of_source(source, column.name), needs)
        return said(alias)

    def _said_table(self, node: Any, scope: Any, needs: set[ColumnPlace]) -> Any:
        from sqlglot import exp

        source = scope.sources.get(node.alias_or_name) if scope is not None else None
        if source is None:
            raise Unresolved(f"it reads {node.sql(dialect=self._dialect)}, which cannot be resolved")
        rest = {
            name: it
            for name, it in node.args.items()
            if name not in ("this", "db", "catalog", "alias") and it not in (None, False, [])
        }
        if isinstance(source, exp.Table):
            table = self._tables.of(source)
            needs.add((table.id, ROWS))
            found = table.rows.digest
        elif renames(node):
            raise Unresolved("it renames the columns of a CTE where it reads it")
        else:
            found = self._take(self.rows(source), needs)
        more = self._said_args(rest, scope, needs)
        return [found, more] if more else found

    def _said_query(self, node: Any, scope: Any, needs: set[ColumnPlace]) -> Any:
        from sqlglot import exp

        inner = node
        args: list[Any] = []
        while isinstance(inner, exp.Subquery):
            rest = {name: it for name, it in inner.args.items() if name not in ("this", "alias", "with_", "with")}
            args += self._said_args(rest, scope, needs)
            inner = inner.this
        found = self._scopes.of(inner, node)
        in_from = isinstance(node.parent, exp.From | exp.Join)
        rows = self._take(self.rows(found), needs)
        if in_from:
            return [rows, args] if args else rows
        return "query", rows, [self._take(each, needs) for each in self._all(found)], args

    def _take(self, meant: Meant, needs: set[ColumnPlace]) -> str:
        needs |= meant.needs
        return meant.digest
