"""Which pipelines use the tables and columns that an edit changes, and what of them the champions have learned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tailrace.impact.column_changes import TableChange
from tailrace.impact.dbt_sides import DbtNode, DbtSide
from tailrace.impact.meaning import ROWS
from tailrace.operations.mart_checks import parts_of
from tailrace.spec import PipelineSpec

_LONGEST = 12


@dataclass(frozen=True, kw_only=True)
class TouchedColumn:
    """A column that a pipeline reads and that an edit changes. `column` is `*` for the rows of the mart.

    `role` is what the spec uses it for, `how` what happens to it (changed, removed, rows), and `path` the columns from
    the edit to it, as `model.column`.
    """

    part: str
    mart: str
    column: str
    role: str
    how: str
    path: tuple[str, ...]


def touched(
    spec: PipelineSpec, head: DbtSide, base: DbtSide, changes: Mapping[str, TableChange]
) -> tuple[TouchedColumn, ...]:
    """The columns of the spec's marts that an edit changes: only those that the spec names."""
    found = []
    for part in parts_of(spec):
        node = node_of(head, part.table) or node_of(base, part.table)
        change = changes.get(node.id) if node is not None else None
        if node is None or change is None or not change.touched:
            continue
        if change.all_columns:
            how = {"deleted": "removed", "added": "new"}.get(change.edit, "rows")
            found.append(_column(part.name, node, ROWS, role=change.why, how=how, path=_path(changes, node.id, ROWS)))
        for needed in part.columns:
            how = next((it for name, it in change.columns.items() if name.lower() == needed.column.lower()), "")
            if how:
                path = _path(changes, node.id, needed.column)
                found.append(_column(part.name, node, needed.column, role=_role(needed.field), how=how, path=path))
    return tuple(found)


def _column(part: str, node: DbtNode, column: str, *, role: str, how: str, path: Sequence[str]) -> TouchedColumn:
    return TouchedColumn(part=part, mart=node.name, column=column, role=role, how=how, path=tuple(path))


def _role(field: str) -> str:
    """`feature`, `key`, `label` and so on, from the field of the spec that names the column."""
    return "feature" if field.startswith("features.columns") else field.split(".")[1].split(" ")[0]


def node_of(side: DbtSide, table: str) -> DbtNode | None:
    """The model, seed, snapshot or source that makes a mart, by its name or the end of its table's name."""
    wanted = table.lower()
    found = [
        node
        for node in side.nodes.values()
        if node.kind != "test"
        and ((node.kind != "source" and node.name.lower() == wanted) or f".{node.relation}".endswith(f".{wanted}"))
    ]
    return min(found, key=lambda node: (node.kind == "source", node.id), default=None)


def _path(changes: Mapping[str, TableChange], id_: str, column: str) -> list[str]:
    """From the edit to the column: the shortest way along the columns that changed."""
    waiting: list[tuple[str, str, list[str]]] = [(id_, column, [])]
    seen = set()
    while waiting:
        table, name, below = waiting.pop(0)
        change = changes[table]
        way = [f"{change.node.name}.{name}" if name != ROWS else f"{change.node.name} (rows)", *below]
        causes = _causes(change, name)
        if change.edit in ("changed", "added", "deleted") or not causes or len(way) == _LONGEST:
            return way
        for place in causes:
            if place not in seen:
                seen.add(place)
                waiting.append((*place, way))
    return []


def _causes(change: TableChange, name: str) -> Sequence[tuple[str, str]]:
    own = next((it for column, it in change.because.items() if column.lower() == name.lower()), ())
    return own or (change.because.get(ROWS, ()) if change.all_columns else ())


def made_from(spec: PipelineSpec, side: DbtSide) -> set[str]:
    """The ids of the pipeline's marts on a side, and of everything that they are made from."""
    marts = [node_of(side, mart.table) for mart in spec.marts]
    waiting, found = [node.id for node in marts if node is not None], set[str]()
    while waiting:
        id_ = waiting.pop()
        if id_ not in found and id_ in side.nodes:
            found.add(id_)
            waiting += side.nodes[id_].needs
    return found


def tests_that_stop(spec: PipelineSpec, base: DbtSide, head: DbtSide, changed: Iterable[str]) -> tuple[str, ...]:
    """The names of those of the changed dbt tests that can stop the pipeline's marts from being built."""
    sides = [(side.nodes, made_from(spec, side)) for side in (head, base)]
    found = []
    for id_ in changed:
        tests = [(nodes[id_], needed) for nodes, needed in sides if id_ in nodes]
        if any({*test.needs} & needed for test, needed in tests):
            found.append(tests[0][0].name)
    return tuple(found)


def tests_of(base: DbtSide, head: DbtSide, changed: Mapping[str, str]) -> dict[str, str]:
    """The changed dbt tests by name: what was done to each, with the table that it judges."""
    found = {}
    for id_, what in changed.items():
        test = head.nodes.get(id_) or base.nodes[id_]
        judged = next((side.nodes[test.judges].name for side in (head, base) if test.judges in side.nodes), "")
        found[test.name] = f"{what}{f' (it judges {judged})' if judged else ''}"
    return found


def owners(spec: PipelineSpec, change_owner: Callable[[str], str], marts: Sequence[str]) -> tuple[str, ...]:
    """Who answers for a pipeline: the spec's owner, and those that dbt names for its marts."""
    return tuple(dict.fromkeys(filter(None, [spec.owner, *(change_owner(mart) for mart in marts)])))
