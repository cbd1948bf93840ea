"""The meaning of a query: its names are resolved by sqlglot's `optimizer.qualify` and `optimizer.scope`.

What they cannot resolve raises Unresolved; nothing is guessed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tailrace.impact.meaning import ROWS, ColumnPlace, Meant, TableMeaning, Unresolved, gathered, leaf
from tailrace.impact.query_shapes import (
    is_star,
    is_windowed,
    names_argument,
    needs_all_columns,
    of_one_depth,
    one_row_functions,
    orders,
    own_names,
    refuse,
    renames,
)


def of_query(id_: str, sql: str, dialect: str, tables: Callable[[str], TableMeaning | None]) -> TableMeaning:
    """The meaning of a query.

    `tables` gives the table of a name as the SQL writes it, in lower case, without quotes; None for a table of others.
    Raises Unresolved.
    """
    from tailrace.impact.sql_equality import tree_of

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

    def __init__(self, id_: str, tree: Any, dialect: str, tables: Callable[[str], TableMeaning | None]) -> None:
        from sqlglot import exp
        from sqlglot.optimizer.qualify import qualify
        from sqlglot.optimizer.scope import build_scope

        if not isinstance(tree, exp.Query):
            raise Unresolved("it is no single SELECT")
        self._id, self._dialect, self._tables = id_, dialect, tables
        refuse(tree)
        own = own_names(tree)
        tree = qualify(
            tree,
            schema=self._schema(tree),
            dialect=dialect,
            validate_qualify_columns=False,
            allow_partial_qualification=True,
            quote_identifiers=False,
        )
        while isinstance(tree, exp.Subquery):
            tree = tree.this
        root = build_scope(tree)
        if root is None:
            raise Unresolved("it has no SELECT that sqlglot can resolve")
        self._root = root
        self._written = own
        self._scopes = {id(scope.expression): scope for scope in root.traverse()}
        self._columns: dict[tuple[int, str], Meant | None] = {}
        self._rows: dict[int, Meant] = {}

    def meaning(self) -> TableMeaning:
        names = self._names(self._root)
        complete = ROWS not in names
        lowered = [name for name in names if name != ROWS]
        shown = self._written if complete and self._written and len(self._written) == len(lowered) else lowered
        if len({name.lower() for name in shown}) != len(shown):
            raise Unresolved("two of its columns have the same name")
        folded = dict(zip(shown, lowered, strict=True)) | {name.lower(): name for name in lowered}
        rows = self.rows(self._root)
        for name in lowered:
            self.column(self._root, name)
        return TableMeaning(
            id=self._id,
            rows=rows,
            rest=self._rest(self._root),
            names=tuple(shown),
            complete=complete,
            column=lambda name: self.column(self._root, folded.get(name, folded.get(name.lower(), name.lower()))),
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
            names = self._names(scope)
            if ROWS in names or name not in renamed:
                raise Unresolved(f"the columns that are renamed to {', '.join(renamed)} are not known")
            return self._at(scope, renamed.index(name))
        if isinstance(node, exp.SetOperation):
            names = self._names(scope)
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
        table = self._table(source)
        return Meant(table.rest.digest, frozenset({(table.id, ROWS)}))

    def _at(self, scope: Any, place: int) -> Meant:
        """The column at a place of the select list."""
        from sqlglot import exp

        node = scope.expression
        if isinstance(node, exp.SetOperation):
            if node.args.get("by_name"):
                name = self._names(scope)[place]
                return self._through(scope.set_operation_scopes, [name] * 2, type(node).__name__)
            needs: set[ColumnPlace] = set()
            parts = [self._take(self._at(branch, place), needs) for branch in scope.set_operation_scopes]
            return gathered(([type(node).__name__, *parts], needs))
        if isinstance(node, exp.Subquery):
            return self._at(self._scopes[id(node.this)], place)
        if any(is_star(each) for each in node.expressions) or place >= len(node.expressions):
            raise Unresolved("the columns of a part of its union are not known")
        return self._projection(node.expressions[place], scope)

    def _through(self, scopes: Sequence[Any], names: Sequence[str], what: str) -> Meant:
        needs: set[ColumnPlace] = set()
        parts = [self._take(self.column(each, name), needs) for each, name in zip(scopes, names, strict=True)]
        return gathered(([what, *parts], needs))

    def _names(self, scope: Any) -> list[str]:
        """The columns of a scope; `*` for those that a star stands for."""
        from sqlglot import exp

        node = scope.expression
        if isinstance(node, exp.SetOperation):
            left = self._names(scope.set_operation_scopes[0])
            right = self._names(scope.set_operation_scopes[1])
            if node.args.get("by_name"):
                return list(dict.fromkeys([*left, *right]))
            if ROWS not in left and ROWS in right:
                raise Unresolved("the columns of a part of its union are not known")
            return left
        if isinstance(node, exp.Subquery):
            return self._names(self._scopes[id(node.this)])
        return [ROWS if is_star(each) else each.alias_or_name for each in getattr(node, "expressions", [])]

    def _all(self, scope: Any) -> list[Meant]:
        """Every column of a scope, in order; for a star all that its sources have."""
        from sqlglot import exp

        names = self._names(scope)
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
            table = self._table(source)
            parts = [self._take(table.rows, needs), *(self._take(table.column(name), needs) for name in table.names)]
            return gathered(([*parts, table.complete or table.id], needs))
        parts = [self._take(self.rows(source), needs), *(self._take(each, needs) for each in self._all(source))]
        return gathered((parts, needs))

    def _of_source(self, source: Any, name: str) -> Meant:
        from sqlglot import exp

        if not isinstance(source, exp.Table):
            return self.column(source, name)
        table = self._table(source)
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
        holder, source = self._source(node, scope)
        found = self._take(self._of_source(source, node.name), needs)
        alias = self._alias(node, holder, source)
        return found if alias is None else [found, self._said_once(alias, holder, needs)]

    def _source(self, node: Any, scope: Any) -> tuple[Any, Any]:
        """The scope and the source that a column comes from."""
        while scope is not None:
            sources = {alias: source for alias, (_, source) in scope.selected_sources.items()}
            joined = {name: source for name, source in scope.sources.items() if name in scope.semi_or_anti_join_tables}
            sources |= joined
            if node.table:
                if node.table in sources:
                    return scope, sources[node.table]
                if node.table in scope.sources and scope.is_udtf:
                    return scope, scope.sources[node.table]
            elif len(sources) == 1:
                return scope, next(iter(sources.values()))
            elif sources:
                raise Unresolved(f"it does not say of which table the column {node.name} is")
            scope = scope.parent
        raise Unresolved(f"it does not say of which table the column {node.sql()} is")

    def _alias(self, node: Any, scope: Any, source: Any) -> Any:
        """The expression that the select list calls by the column's name, if it is not certain which one is meant."""
        from sqlglot import exp

        if isinstance(source, exp.Table):
            table = self._table(source)
            if table.complete:
                return None
        elif ROWS not in self._names(source):
            return None
        for each in getattr(scope.expression, "expressions", ()):
            if isinstance(each, exp.Alias) and each.alias == node.name:
                plain = each.this
                if not (isinstance(plain, exp.Column) and plain.name == node.name) and node not in each.find_all(
                    exp.Column
                ):
                    return each.this
        return None

    def _said_once(self, alias: Any, scope: Any, needs: set[ColumnPlace]) -> Any:
        """An aliased expression, as it is written: its own columns count, without looking for aliases again."""
        from sqlglot import exp

        for column in alias.find_all(exp.Column):
            if not isinstance(column.this, exp.Star):
                _, source = self._source(column, scope)
                self._take(self._of_source(source, column.name), needs)
        from tailrace.impact.sql_equality import said

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
            table = self._table(source)
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
        found = self._scopes.get(id(inner)) or self._scopes.get(id(node))
        if found is None:
            raise Unresolved("it has a subquery that cannot be resolved")
        in_from = isinstance(node.parent, exp.From | exp.Join)
        rows = self._take(self.rows(found), needs)
        if in_from:
            return [rows, args] if args else rows
        return "query", rows, [self._take(each, needs) for each in self._all(found)], args

    def _table(self, node: Any) -> TableMeaning:
        from sqlglot import exp

        if isinstance(node.this, exp.Identifier):
            name = ".".join(part.name.lower() for part in node.parts)
            return _renamed(self._tables(name) or leaf(name), node)
        if any(not names_argument(column) for column in node.this.find_all(exp.Column)):
            raise Unresolved("it calls a table function for each row")
        plain = node.copy()
        plain.set("alias", None)
        return _renamed(leaf(f"read:{plain.sql(dialect=self._dialect, comments=False)}"), node)

    def _schema(self, tree: Any) -> dict[str, Any]:
        """The certain columns of the tables that are read, as sqlglot wants them."""
        from sqlglot import exp

        known: dict[str, Any] = {}
        for node in tree.find_all(exp.Table):
            if not isinstance(node.this, exp.Identifier):
                continue
            parts = [part.name.lower() for part in node.parts]
            found = self._tables(".".join(parts))
            if found is not None and found.complete and found.names:
                level = known
                for part in parts[:-1]:
                    level = level.setdefault(part, {})
                level[parts[-1]] = {name.lower(): "unknown" for name in found.names}
        return of_one_depth(known)

    def _take(self, meant: Meant, needs: set[ColumnPlace]) -> str:
        needs |= meant.needs
        return meant.digest


def _renamed(table: TableMeaning, node: Any) -> TableMeaning:
    """The table with the names that its columns get where it is read."""
    if not renames(node):
        return table
    given = [each.name for each in node.args["alias"].columns]
    if table.complete:
        names = [*given, *table.names[len(given) :]]
        of = dict(zip(names, table.names, strict=True))
        return replace(table, names=tuple(names), column=lambda name: table.column(of.get(name, name)))
    place = {name: str(number) for number, name in enumerate(given)}
    return replace(table, column=lambda name: table.column(f"column {place.get(name, name)}"))
