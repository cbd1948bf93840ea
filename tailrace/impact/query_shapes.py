"""What a query's tree looks like: the parts of sqlglot's trees on which the meaning of a query depends."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from tailrace.impact.meaning import Unresolved


def names_argument(column: Any) -> bool:
    """Whether it is no column, but the name of an argument: `hive_partitioning = true`."""
    from sqlglot import exp

    return (
        isinstance(column.parent, exp.EQ)
        and column.parent.this is column
        and isinstance(column.parent.parent, exp.Func)
    )


def renames(node: Any) -> bool:
    """Whether a table gets other column names where it is read."""
    return node.args.get("alias") is not None and bool(node.args["alias"].columns)


def refuse(tree: Any) -> None:
    """Raise Unresolved for what is not understood in full."""
    from sqlglot import exp

    for node in tree.walk():
        if isinstance(node, exp.With) and node.args.get("recursive") and any(map(_reads_itself, node.expressions)):
            raise Unresolved("it has a recursive CTE")
        if isinstance(node, exp.Pivot):
            raise Unresolved("it pivots")
        if isinstance(node, exp.Join) and str(node.args.get("method") or "").upper() == "NATURAL":
            raise Unresolved("it has a natural join")
        if isinstance(node, exp.Columns | exp.Command | exp.MatchRecognize):
            raise Unresolved(f"it uses {node.key}")


def _reads_itself(cte: Any) -> bool:
    from sqlglot import exp

    return any(table.name == cte.alias for table in cte.this.find_all(exp.Table))


def own_names(tree: Any) -> list[str]:
    """The names of the columns as they are written, if none of them is a star."""
    names = list(tree.named_selects)
    return [] if any(name in ("*", "") for name in names) else names


def of_one_depth(known: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with those tables only whose names have as many parts as most: sqlglot wants them alike."""
    flat: list[tuple[tuple[str, ...], Any]] = []

    def walk(level: Mapping[str, Any], path: tuple[str, ...]) -> None:
        for name, inner in level.items():
            if all(isinstance(each, str) for each in inner.values()):
                flat.append(((*path, name), inner))
            else:
                walk(inner, (*path, name))

    walk(known, ())
    depth = max((len(path) for path, _ in flat), default=0)
    found: dict[str, Any] = {}
    for path, columns in flat:
        if len(path) == depth:
            level = found
            for part in path[:-1]:
                level = level.setdefault(part, {})
            level[path[-1]] = columns
    return found


def is_star(projection: Any) -> bool:
    """Whether a projection is `*` or `t.*`."""
    from sqlglot import exp

    return isinstance(projection, exp.Star) or (
        isinstance(projection, exp.Column) and isinstance(projection.this, exp.Star)
    )


@functools.cache
def one_row_functions(dialect: str) -> frozenset[str]:
    """Functions that sqlglot has no class for and that give one value for each row, as far as the database says."""
    if dialect != "duckdb":
        return frozenset()
    import duckdb

    with duckdb.connect() as connection:
        rows = connection.sql(
            "select function_name from duckdb_functions() group by 1 having bool_and(function_type = 'scalar')"
        ).fetchall()
    return frozenset(name.lower() for (name,) in rows)


def is_windowed(node: Any) -> bool:
    """Whether a function belongs to an OVER."""
    from sqlglot import exp

    parent, child = node.parent, node
    while isinstance(parent, exp.Filter | exp.WithinGroup | exp.IgnoreNulls | exp.RespectNulls | exp.Paren):
        parent, child = parent.parent, parent
    return isinstance(parent, exp.Window) and parent.this is child


def orders(node: Any) -> bool:
    """Whether a set operation is ordered or cut, so that its order counts."""
    return bool(node.args.get("order") or node.args.get("limit"))


def needs_all_columns(node: Any) -> bool:
    """Whether the rows depend on the whole select list: distinct, or places of it in GROUP BY or ORDER BY."""
    from sqlglot import exp

    distinct = node.args.get("distinct")
    if distinct is not None and not distinct.args.get("on"):
        return True
    group, order = node.args.get("group"), node.args.get("order")
    if group is not None and (group.args.get("all") or any(isinstance(it, exp.Literal) for it in group.expressions)):
        return True
    ordered = [each.this for each in order.expressions] if order is not None else []
    return any(isinstance(each, exp.Literal) or each.name.upper() == "ALL" for each in ordered)
