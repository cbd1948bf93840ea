"""Where a column comes from: the expressions, joins and filters that made it, model by model, by sqlglot's lineage."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tailrace.contracts import ModelResult

if TYPE_CHECKING:
    from sqlglot import exp

LONGEST = 200
MOST_STEPS = 400
"""Columns of models that are looked at for one column of a mart."""


@dataclass(frozen=True)
class Step:
    """One thing that a model does to a column on its way into the mart."""

    model: str
    sql: str

    def __str__(self) -> str:
        return f"{self.model}: {self.sql}"


class Graph:
    """The compiled models of a build, and the columns of their tables."""

    def __init__(
        self, nodes: Mapping[str, ModelResult], columns: Mapping[str, Mapping[str, str]], dialect: str
    ) -> None:
        """`nodes` and `columns` are by the full name of the table, such as `warehouse.main.stg_orders`."""
        self._nodes = {table.casefold(): node for table, node in nodes.items()}
        self._dialect = dialect
        self._schema: dict[str, Any] = {}
        for table, of_it in columns.items():
            database, schema, name = table.split(".", 2)
            self._schema.setdefault(database, {}).setdefault(schema, {})[name] = dict(of_it)

    def steps(self, table: str, column: str) -> list[Step]:
        """What was done to the column, from the mart back to the sources; what passes it on unchanged is left out.

        A model whose SQL cannot be read, such as one in Python, is a step that says so.
        """
        found: dict[Step, None] = {}
        waiting = [(table.casefold(), column)]
        seen: set[tuple[str, str]] = set()
        while waiting and len(seen) < MOST_STEPS:
            now = waiting.pop(0)
            node = self._nodes.get(now[0])
            if now in seen or node is None:
                continue
            seen.add(now)
            try:
                steps, further = self._in_model(node, now[1])
            except Exception as error:  # noqa: BLE001 - sqlglot raises errors of many kinds for SQL that it does not know
                steps, further = _untraced(node, error), []
            found.update(dict.fromkeys(steps))
            waiting += further
        return list(found)

    def clocks(self) -> list[Step]:
        """Every use of the current time, which is another one when a past day is built again."""
        import sqlglot

        found = []
        for node in self._nodes.values():
            try:
                tree = sqlglot.parse_one(node.sql, read=self._dialect)
            except sqlglot.errors.SqlglotError:
                continue
            found += [Step(node.name, each.sql(self._dialect)) for each in tree.walk() if _is_clock(each)]
        return list(dict.fromkeys(found))

    def _in_model(self, node: ModelResult, column: str) -> tuple[list[Step], list[tuple[str, str]]]:
        """The steps inside one model, and the columns of other tables that it reads for this one."""
        from sqlglot import exp
        from sqlglot.lineage import lineage

        root = lineage(column, node.sql, self._schema, dialect=self._dialect)
        steps, further = [], []
        for each in root.walk():
            if isinstance(each.expression, exp.Table):
                table = each.expression
                full = ".".join(part.name for part in table.parts).casefold()
                further.append((full, each.name.rpartition(".")[2].strip('"')))
            else:
                steps += [Step(node.name, sql) for sql in self._said(each.expression, each.source)]
        return steps, further

    def _said(self, expression: exp.Expr, select: exp.Expr) -> Iterator[str]:
        """The expression if it does something, and what decides which rows it is taken from."""
        from sqlglot import exp

        inside = expression.this if isinstance(expression, exp.Alias) else expression
        if not isinstance(inside, exp.Column | exp.Star):
            yield self._short(inside)
        if not isinstance(select, exp.Select):
            return
        tables = {column.table for column in expression.find_all(exp.Column)}
        # What names no column, such as count(*), depends on all joins.
        joins = [each for each in select.args.get("joins") or () if not tables or each.alias_or_name in tables]
        clauses = [select.args.get(name) for name in ("where", "having", "qualify")]
        for part in [*joins, *(each for each in clauses if each)]:
            yield self._short(part)
            yield from self._made(part, select)

    def _made(self, condition: exp.Expr, select: exp.Select) -> Iterator[str]:
        """How the columns of a condition were made, if a CTE or subquery of the same statement made them."""
        from sqlglot import exp

        inner = {each.alias: each.this for each in select.root().find_all(exp.CTE, exp.Subquery) if each.alias}
        named = {each.alias_or_name: each.name for each in select.find_all(exp.Table)}
        for column in condition.find_all(exp.Column):
            query = inner.get(named.get(column.table, column.table))
            made = [each for each in query.selects if each.alias_or_name == column.name] if query else []
            for each in made:
                expression = each.this if isinstance(each, exp.Alias) else each
                if not isinstance(expression, exp.Column | exp.Star):
                    yield self._short(expression)

    def _short(self, tree: exp.Expr) -> str:
        text = " ".join(tree.sql(self._dialect, comments=False).split())
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _untraced(node: ModelResult, error: Exception) -> list[Step]:
    """A step that says so; none for a model that only hands on what it reads from a source."""
    if not any(each.startswith("model.") for each in node.depends_on):
        return []
    return [Step(node.name, f"its SQL could not be traced ({textwrap.shorten(str(error), 80, placeholder=' ...')})")]


_CLOCKS = {"now", "today", "current_localtime", "current_localtimestamp", "get_current_timestamp", "get_current_time"}
_CLOCKS |= {"clock_timestamp", "statement_timestamp", "transaction_timestamp", "timeofday", "getdate", "sysdate"}


def _is_clock(each: exp.Expr) -> bool:
    from sqlglot import exp

    known = (exp.CurrentDate, exp.CurrentTime, exp.CurrentTimestamp, exp.CurrentDatetime)
    if isinstance(each, known):
        return True
    return isinstance(each, exp.Anonymous) and str(each.this).lower() in _CLOCKS
