"""The meaning of a query: of its rows and of each of its columns, through all its scopes."""

from __future__ import annotations

import textwrap
from typing import Any

from tailrace.impact.meaning import ROWS, Gathering, Meant, TableMeaning, Unresolved
from tailrace.impact.query_expressions import ScopeReader
from tailrace.impact.query_scopes import FindTable, Scopes, SourceTables
from tailrace.impact.query_shapes import is_star, needs_all_columns, orders
from tailrace.impact.sql_equality import tree_of


def of_query(id_: str, sql: str, dialect: str, tables: FindTable) -> TableMeaning:
    """The meaning of a query; raises Unresolved."""
    tree = tree_of(sql, dialect)
    if tree is None:
        raise Unresolved("sqlglot cannot read its SQL")
    try:
        known = SourceTables(tables, dialect)
        scopes = Scopes(tree, dialect, known)
        return _table_meaning(id_, scopes, _ScopeMeanings(scopes, dialect, known))
    except (Unresolved, RecursionError):
        raise
    except Exception as error:
        raise Unresolved(
            f"sqlglot cannot resolve its names ({textwrap.shorten(str(error), 120, placeholder=' ...')})"
        ) from error


def _table_meaning(id_: str, scopes: Scopes, meanings: _ScopeMeanings) -> TableMeaning:
    """What the query's outermost scope means, with its columns named as the SQL writes them."""
    root = scopes.root
    names = scopes.names(root)
    complete = ROWS not in names
    lowered = [name for name in names if name != ROWS]
    written = scopes.written_names
    shown = written if complete and written and len(written) == len(lowered) else lowered
    if len({name.lower() for name in shown}) != len(shown):
        raise Unresolved("two of its columns have the same name")
    folded = dict(zip(shown, lowered, strict=True)) | {name.lower(): name for name in lowered}
    rows = meanings.rows(root)
    for name in lowered:
        meanings.column(root, name)
    return TableMeaning(
        id=id_,
        rows=rows,
        rest=meanings.rest(root),
        names=tuple(shown),
        complete=complete,
        column=lambda name: meanings.column(root, folded.get(name, folded.get(name.lower(), name.lower()))),
    )


class _ScopeMeanings:
    """The meanings of a query's scopes and of their sources; each scope's rows and columns are looked at once.

    A source is another scope, or the node of a table.
    """

    def __init__(self, scopes: Scopes, dialect: str, tables: SourceTables) -> None:
        self._scopes, self._dialect, self._tables = scopes, dialect, tables
        self._columns: dict[tuple[int, str], Meant | None] = {}
        self._rows: dict[int, Meant] = {}

    def _reader(self, scope: Any) -> ScopeReader:
        return ScopeReader(scope, self._scopes, self, self._dialect)

    # ------------------------------------------------------------ rows

    def rows(self, scope: Any) -> Meant:
        """What decides which rows a scope has."""
        key = id(scope)
        if key not in self._rows:
            self._rows[key] = self._rows_of(scope)
        return self._rows[key]

    def _rows_of(self, scope: Any) -> Meant:
        from sqlglot import exp

        node = scope.expression
        if isinstance(node, exp.SetOperation):
            return self._set_operation_rows(scope)
        if isinstance(node, exp.UDTF):
            reader = self._reader(scope.parent or scope)
            return reader.meant(reader.content(node))
        if isinstance(node, exp.Subquery):
            raise Unresolved("it joins inside of parentheses")
        if not isinstance(node, exp.Select):
            raise Unresolved(f"it reads from {type(node).__name__}")
        return self._select_rows(scope)

    def _set_operation_rows(self, scope: Any) -> Meant:
        from sqlglot import exp

        node, reader = scope.expression, self._reader(scope)
        parts: list[Any] = [type(node).__name__, bool(node.args.get("distinct"))]
        for branch in scope.set_operation_scopes:
            parts.append(reader.take(self.rows(branch)))
            if node.args.get("distinct") or not isinstance(node, exp.Union) or orders(node):
                parts.append([reader.take(each) for each in self.columns(branch)])
        return reader.meant([*parts, reader.arguments(node.args, but=("this", "expression", "with_", "with"))])

    def _select_rows(self, scope: Any) -> Meant:
        node, reader = scope.expression, self._reader(scope)
        clauses = reader.arguments(node.args, but=("expressions", "with_", "with", "kind"))
        makers = reader.row_makers(node)
        if needs_all_columns(node):
            return reader.meant(["select", clauses, makers, [reader.take(each) for each in self.columns(scope)]])
        if makers == (False, []) and [name for name, _ in clauses] == ["from_"]:
            read = clauses[0][1]  # it has the very rows of what it reads
            return reader.same_as(read) if isinstance(read, str) else reader.meant(read)
        return reader.meant(["select", clauses, makers])

    def source_rows(self, source: Any) -> Meant:
        """What decides which rows a source has."""
        from sqlglot import exp

        if not isinstance(source, exp.Table):
            return self.rows(source)
        table = self._tables.of(source)
        return Meant(table.rows.digest, frozenset({(table.id, ROWS)}))

    # ------------------------------------------------------------ one column

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

        node = scope.expression
        renamed = list(scope.outer_columns or ())
        if renamed and not isinstance(node, exp.UDTF):
            names = self._scopes.names(scope)
            if ROWS in names or name not in renamed:
                raise Unresolved(f"the columns that are renamed to {', '.join(renamed)} are not known")
            return self._column_at(scope, renamed.index(name))
        if isinstance(node, exp.SetOperation):
            names = self._scopes.names(scope)
            if ROWS in names:
                return self._column_of_branches(scope, name)
            if name not in names:
                raise Unresolved(f"it reads a column {name} that a union does not have")
            return self._column_at(scope, names.index(name))
        if isinstance(node, exp.UDTF):
            reader = self._reader(scope.parent or scope)
            return reader.meant([reader.content(node), name])
        if not isinstance(node, exp.Select):
            raise Unresolved(f"it reads from {type(node).__name__}")
        for projection in node.expressions:
            if not is_star(projection) and projection.alias_or_name == name:
                return self._reader(scope).projection(projection)
        return self._column_of_stars(scope, name)

    def _column_at(self, scope: Any, place: int) -> Meant:
        """The column at a place of the select list."""
        from sqlglot import exp

        node = scope.expression
        if isinstance(node, exp.SetOperation):
            if node.args.get("by_name"):
                return self._column_of_branches(scope, self._scopes.names(scope)[place])
            whole = Gathering()
            parts = [whole.take(self._column_at(branch, place)) for branch in scope.set_operation_scopes]
            return whole.meant([type(node).__name__, *parts])
        if isinstance(node, exp.Subquery):
            return self._column_at(self._scopes.of(node.this), place)
        if any(is_star(each) for each in node.expressions) or place >= len(node.expressions):
            raise Unresolved("the columns of a part of its union are not known")
        return self._reader(scope).projection(node.expressions[place])

    def _column_of_branches(self, scope: Any, name: str) -> Meant:
        """The column that all branches of a union call by the name."""
        whole = Gathering()
        parts = [whole.take(self.column(branch, name)) for branch in scope.set_operation_scopes]
        return whole.meant([type(scope.expression).__name__, *parts])

    def _column_of_stars(self, scope: Any, name: str) -> Meant:
        """A column that a scope does not name: each of its stars may give it."""
        stars, reader = list(filter(is_star, scope.expression.expressions)), self._reader(scope)
        if not stars:
            raise Unresolved(f"it reads a column {name} that a part of it does not have")
        parts = reader.stars(stars, lambda source: self.source_column(source, name))
        if len(stars) == 1 and len(parts) == 2 and not parts[0]:
            return reader.same_as(str(parts[1]), name)
        return reader.meant(parts, name)

    def source_column(self, source: Any, name: str) -> Meant:
        """What a column of a source means."""
        from sqlglot import exp

        if not isinstance(source, exp.Table):
            return self.column(source, name)
        table = self._tables.of(source)
        return Meant(table.column(name).digest, frozenset({(table.id, name)}), name)

    # ------------------------------------------------------------ all columns

    def columns(self, scope: Any) -> list[Meant]:
        """Every column of a scope, in order; for a star all that its sources have."""
        from sqlglot import exp

        names = self._scopes.names(scope)
        if ROWS not in names:
            return [self._column_at(scope, place) for place in range(len(names))]
        if isinstance(scope.expression, exp.SetOperation):
            return [each for branch in scope.set_operation_scopes for each in self.columns(branch)]
        expressions, reader = scope.expression.expressions, self._reader(scope)
        named = [self._reader(scope).projection(each) for each in expressions if not is_star(each)]
        stars = [reader.meant(reader.star(each)) for each in expressions if is_star(each)]
        return [*named, *stars, *(self.whole_source(source) for _, source in scope.selected_sources.values())]

    def whole_source(self, source: Any) -> Meant:
        """All rows and columns of a source."""
        from sqlglot import exp

        whole = Gathering()
        if isinstance(source, exp.Table):
            table = self._tables.of(source)
            parts = [whole.take(table.rows), *(whole.take(table.column(name)) for name in table.names)]
            return whole.meant([*parts, table.complete or table.id])
        return whole.meant([whole.take(self.rows(source)), *(whole.take(each) for each in self.columns(source))])

    def rest(self, scope: Any) -> Meant:
        """What the stars of a scope may give that is known by no name."""
        from sqlglot import exp

        node, reader = scope.expression, self._reader(scope)
        if isinstance(node, exp.SetOperation):
            return reader.meant([reader.take(self.rest(branch)) for branch in scope.set_operation_scopes])
        stars = filter(is_star, node.expressions) if isinstance(node, exp.Select) else ()
        return reader.meant(reader.stars(stars, self._source_rest))

    def _source_rest(self, source: Any) -> Meant:
        from sqlglot import exp

        if not isinstance(source, exp.Table):
            return self.rest(source)
        table = self._tables.of(source)
        return Meant(table.rest.digest, frozenset({(table.id, ROWS)}))
