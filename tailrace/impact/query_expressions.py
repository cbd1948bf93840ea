"""What the parts of a query say: expressions, filters and joins, with meanings in place of the names in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from tailrace.impact.meaning import Gathering, Meant, Unresolved
from tailrace.impact.query_scopes import Scopes
from tailrace.impact.query_shapes import is_star, is_windowed, one_row_functions, renames
from tailrace.impact.sql_equality import said


class Meanings(Protocol):
    """The meanings of what an expression reads. A source is another scope, or the node of a table."""

    def rows(self, scope: Any) -> Meant: ...

    def columns(self, scope: Any) -> Iterable[Meant]: ...

    def source_rows(self, source: Any) -> Meant: ...

    def source_column(self, source: Any, name: str) -> Meant: ...

    def whole_source(self, source: Any) -> Meant: ...


class ScopeReader(Gathering):
    """Reads parts of one scope's tree, and gathers the places that they are made of.

    What a part says comes as nested lists and tuples of texts and numbers: two parts that say the same are equal.
    """

    def __init__(self, scope: Any, scopes: Scopes, meanings: Meanings, dialect: str) -> None:
        super().__init__()
        self._scope, self._scopes, self._meanings, self._dialect = scope, scopes, meanings, dialect

    def content(self, node: Any) -> Any:
        """What a part of the tree says."""
        from sqlglot import exp

        while isinstance(node, exp.Paren):
            node = node.this
        if isinstance(node, exp.Column):
            return self._column(node)
        if isinstance(node, exp.Table):
            return self._table(node)
        if isinstance(node, exp.Subquery | exp.Query):
            return self._query(node)
        if isinstance(node, exp.Alias | exp.From):
            return self.content(node.this)
        if isinstance(node, exp.Expr):
            args = dict(node.args)
            if isinstance(node, exp.UDTF | exp.Lateral):
                alias = args.pop("alias", None)
                args["columns"] = [each.name for each in alias.columns] if alias is not None else []
            return type(node).__name__, self.arguments(args)
        if isinstance(node, list | tuple):
            return [self.content(each) for each in node]
        return node if isinstance(node, str | int | float | bool) else repr(node)

    def arguments(self, args: Mapping[str, Any], *, but: Iterable[str] = ()) -> list[tuple[str, Any]]:
        """What the arguments of a node say, by name, without empty ones and those that `but` names."""
        given = {
            name: it for name, it in args.items() if name not in but and it is not None and it is not False and it != []
        }
        if given.get("kind") == "INNER":
            del given["kind"]
        return [(name, self.content(it)) for name, it in sorted(given.items())]

    def projection(self, projection: Any) -> Meant:
        """What an expression of the select list means; a column that is only passed on means what it meant before."""
        from sqlglot import exp

        plain = projection.unalias()
        sql = plain.sql(dialect=self._dialect)
        while isinstance(plain, exp.Paren):
            plain = plain.this
        found = self.content(plain)
        if isinstance(plain, exp.Column) and isinstance(found, str):
            return self.same_as(found, sql)
        return self.meant(found, sql)

    def star(self, star: Any) -> list[tuple[str, Any]]:
        """What a star says itself: the columns that it leaves out, replaces or renames."""
        from sqlglot import exp

        return self.arguments((star.this if isinstance(star, exp.Column) else star).args)

    def stars(self, stars: Iterable[Any], meaning: Callable[[Any], Meant]) -> list[Any]:
        """What each star says itself, followed by the meaning of each source that it stands for."""
        from sqlglot import exp

        parts: list[Any] = []
        for star in stars:
            wanted = star.table if isinstance(star, exp.Column) else ""
            parts.append(self.star(star))
            for alias, (_, source) in self._scope.selected_sources.items():
                if wanted in ("", alias):
                    parts.append(self.take(meaning(source)))
        return parts

    def row_makers(self, select: Any) -> tuple[bool, list[Any]]:
        """What a select list says about rows: whether it aggregates, and functions that may give several rows."""
        from sqlglot import exp

        aggregates, makers = False, []
        for each in select.expressions:
            for inner in each.find_all(exp.AggFunc, exp.UDTF, exp.Explode, exp.GenerateSeries, exp.Anonymous):
                if inner.find_ancestor(exp.Select) is not select:
                    continue
                if isinstance(inner, exp.AggFunc):
                    aggregates = aggregates or not is_windowed(inner)
                elif not is_windowed(inner) and not self._gives_one_row(inner):
                    makers.append(self.content(inner))
        return aggregates and not select.args.get("group"), makers

    def _gives_one_row(self, function: Any) -> bool:
        from sqlglot import exp

        named = function.name.lower() if isinstance(function, exp.Anonymous) else ""
        return bool(named) and named in one_row_functions(self._dialect)

    def _column(self, node: Any) -> Any:
        from sqlglot import exp

        if is_star(node):
            sources = [source for _, source in self._scope.selected_sources.values()]
            return "star", [self.take(self._meanings.whole_source(source)) for source in sources]
        holder, source = self._scopes.origin(node, self._scope)
        found = self.take(self._meanings.source_column(source, node.name))
        alias = self._scopes.possible_alias(node, holder, source)
        if alias is None:
            return found
        # The aliased expression counts as it is written; its own columns are not looked up among the aliases again.
        for column in alias.find_all(exp.Column):
            if not is_star(column):
                _, source = self._scopes.origin(column, holder)
                self.take(self._meanings.source_column(source, column.name))
        return [found, said(alias)]

    def _table(self, node: Any) -> Any:
        from sqlglot import exp

        source = self._scope.sources.get(node.alias_or_name)
        if source is None:
            raise Unresolved(f"it reads {node.sql(dialect=self._dialect)}, which cannot be resolved")
        if renames(node) and not isinstance(source, exp.Table):
            raise Unresolved("it renames the columns of a CTE where it reads it")
        found = self.take(self._meanings.source_rows(source))
        more = self.arguments(node.args, but=("this", "db", "catalog", "alias"))
        return [found, more] if more else found

    def _query(self, node: Any) -> Any:
        from sqlglot import exp

        inner = node
        args: list[Any] = []
        while isinstance(inner, exp.Subquery):
            args += self.arguments(inner.args, but=("this", "alias", "with_", "with"))
            inner = inner.this
        found = self._scopes.of(inner, node)
        rows = self.take(self._meanings.rows(found))
        if isinstance(node.parent, exp.From | exp.Join):
            return [rows, args] if args else rows
        return "query", rows, [self.take(each) for each in self._meanings.columns(found)], args
