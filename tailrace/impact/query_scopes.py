"""The scopes of a query, with its names resolved by sqlglot's `optimizer.qualify` and `optimizer.scope`.

What they cannot resolve raises Unresolved; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tailrace.impact.meaning import ROWS, TableMeaning, Unresolved, leaf
from tailrace.impact.query_shapes import is_star, names_argument, of_one_depth, own_names, refuse, renames

FindTable = Callable[[str], TableMeaning | None]
"""Gives the table of a name as the SQL writes it, in lower case, without quotes; None for a table of others."""


class SourceTables:
    """The tables that a query reads, by the nodes of its tree that name them."""

    def __init__(self, tables: FindTable, dialect: str) -> None:
        self._tables, self._dialect = tables, dialect

    def of(self, node: Any) -> TableMeaning:
        """The table that a node reads, with the column names that it gets there."""
        from sqlglot import exp

        if isinstance(node.this, exp.Identifier):
            name = ".".join(part.name.lower() for part in node.parts)
            return _renamed(self._tables(name) or leaf(name), node)
        if any(not names_argument(column) for column in node.this.find_all(exp.Column)):
            raise Unresolved("it calls a table function for each row")
        plain = node.copy()
        plain.set("alias", None)
        return _renamed(leaf(f"read:{plain.sql(dialect=self._dialect, comments=False)}"), node)

    def schema(self, tree: Any) -> dict[str, Any]:
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


class Scopes:
    """The scopes of one query (its SELECTs, CTEs, subqueries and the branches of its unions) and their columns' names.

    A scope reads sources by aliases: a source is another scope, or the node of a table. `root` is the outermost scope;
    `written_names` are its columns as the SQL writes them, empty if it has a star.
    """

    def __init__(self, tree: Any, dialect: str, tables: SourceTables) -> None:
        from sqlglot import exp

        if not isinstance(tree, exp.Query):
            raise Unresolved("it is no single SELECT")
        refuse(tree)
        self.written_names = own_names(tree)
        self.root = _root(tree, dialect, tables)
        self._tables = tables
        self._by_node = {id(scope.expression): scope for scope in self.root.traverse()}

    def of(self, *nodes: Any) -> Any:
        """The scope of the first of the nodes that has one."""
        for node in nodes:
            if id(node) in self._by_node:
                return self._by_node[id(node)]
        raise Unresolved("it has a subquery that cannot be resolved")

    def names(self, scope: Any) -> list[str]:
        """The columns of a scope; `*` for those that a star stands for."""
        from sqlglot import exp

        node = scope.expression
        if isinstance(node, exp.SetOperation):
            left = self.names(scope.set_operation_scopes[0])
            right = self.names(scope.set_operation_scopes[1])
            if node.args.get("by_name"):
                return list(dict.fromkeys([*left, *right]))
            if ROWS not in left and ROWS in right:
                raise Unresolved("the columns of a part of its union are not known")
            return left
        if isinstance(node, exp.Subquery):
            return self.names(self.of(node.this))
        return [ROWS if is_star(each) else each.alias_or_name for each in getattr(node, "expressions", [])]

    def origin(self, column: Any, scope: Any) -> tuple[Any, Any]:
        """The scope that reads a column's source, and the source; `scope` is where the column stands."""
        while scope is not None:
            sources = {alias: source for alias, (_, source) in scope.selected_sources.items()}
            joined = {name: source for name, source in scope.sources.items() if name in scope.semi_or_anti_join_tables}
            sources |= joined
            if column.table:
                if column.table in sources:
                    return scope, sources[column.table]
                if column.table in scope.sources and scope.is_udtf:
                    return scope, scope.sources[column.table]
            elif len(sources) == 1:
                return scope, next(iter(sources.values()))
            elif sources:
                raise Unresolved(f"it does not say of which table the column {column.name} is")
            scope = scope.parent
        raise Unresolved(f"it does not say of which table the column {column.sql()} is")

    def possible_alias(self, column: Any, scope: Any, source: Any) -> Any | None:
        """The expression that the select list calls by the column's name, if the column may be that one instead.

        `scope` and `source` are the column's origin. None if the source is certain to have the column.
        """
        from sqlglot import exp

        if isinstance(source, exp.Table):
            if self._tables.of(source).complete:
                return None
        elif ROWS not in self.names(source):
            return None
        for each in getattr(scope.expression, "expressions", ()):
            if isinstance(each, exp.Alias) and each.alias == column.name:
                plain = each.this
                if not (isinstance(plain, exp.Column) and plain.name == column.name) and column not in each.find_all(
                    exp.Column
                ):
                    return plain
        return None


def _root(tree: Any, dialect: str, tables: SourceTables) -> Any:
    """The outermost scope of the tree, in which each column says of which source it is, as far as sqlglot knows."""
    from sqlglot import exp
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    tree = qualify(
        tree,
        schema=tables.schema(tree),
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
    return root


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
