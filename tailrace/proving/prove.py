"""A past day is built twice, in throw-away copies: from everything that is there now, and from what was there then.

If the SQL of a mart uses only what was known at the cutoff of the day, both give the same bytes. Where they differ, the
mart looks ahead, whatever its `known_at` claims.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tailrace.contracts import Services
from tailrace.errors import BadInput
from tailrace.proving import schemas, sides
from tailrace.proving.comparing import ColumnDifference, differences
from tailrace.proving.expressions import Graph, Step
from tailrace.proving.sides import TwoSides
from tailrace.spec import PARTS, PipelineSpec

MOST_STEPS = 6
CLOCK, AHEAD, ROUNDING = "clock", "looks ahead", "rounding"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What differs between the two builds of a day; `column` is empty where whole rows do. `kind` says why it is named.

    `looks ahead`: the values differ. `clock`: the SQL reads the current time, so that no past day can be built again.
    `rounding`: only the last digits of floating-point numbers differ, as sums do in another order; this is no leak.
    """

    kind: str
    table: str
    column: str
    rows: int
    of: int
    examples: tuple[str, ...]
    because: tuple[str, ...]

    @property
    def leak(self) -> bool:
        return self.kind != ROUNDING


@dataclass(frozen=True, kw_only=True)
class DayProof:
    """What a day's two builds say. `rows` are those of the day in both marts; `later` days, or rows of
    sources, came after the day and were left out of one build."""

    pipeline: str
    day: dt.date
    rows: int
    later: int
    findings: tuple[Finding, ...]

    @property
    def leaks(self) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if each.leak)


def run(
    services: Services, spec: PipelineSpec, day: dt.date, progress: Callable[[str], None] = lambda step: None
) -> DayProof:
    """Build the day twice and compare both marts. What is landed, built and published stays as it is.

    Raises BadInput if nothing later than the day is there, or the warehouse cannot be copied, and what a build raises.
    """
    warehouse: Any = services.warehouse
    with _sides(warehouse)(warehouse, spec, day, progress) as built:
        findings, rows = _compared(spec, built)
    return DayProof(pipeline=spec.name, day=day, rows=rows, later=built.later, findings=tuple(findings))


def last_provable(services: Services, spec: PipelineSpec, count: int) -> list[dt.date]:
    """The last days, oldest first, after which more is there: those that a build may look ahead from.

    Raises BadInput if there are none.
    """
    warehouse: Any = services.warehouse
    _sides(warehouse)
    landing = warehouse.landing
    known = sorted(services.lake.days(spec.features_table))
    known = known or sorted({day for table in landing.schemas for day in landing.days(table)})
    # A leak of a week shows where a week came after.
    least = min(7, max(len(known) - 1, 1))
    days = known[:-least][-count:]
    if not days:
        raise BadInput(
            f"{spec.name}: no day can be proven: a day needs features, and days that came after it. Build some days "
            "first, or name one with --date."
        )
    return days


def _sides(warehouse: Any) -> Callable[..., AbstractContextManager[TwoSides]]:
    """How a warehouse is built a second time beside itself. Raises BadInput for one that cannot be."""
    if hasattr(warehouse, "elsewhere") and warehouse.landing.schemas:
        return sides.landed
    if hasattr(warehouse, "adapter") and not warehouse.landing.schemas:
        return schemas.built
    if getattr(warehouse, "target", "") == "postgres":
        return schemas.built
    raise BadInput(
        f"The warehouse {getattr(warehouse, 'name', warehouse)} cannot be built a second time in a throw-away copy. "
        "This needs a dbt project of your own whose sources say when their rows became known; or landed files, with "
        "DuckDB or Postgres."
    )


def _compared(spec: PipelineSpec, built: TwoSides) -> tuple[list[Finding], int]:
    graph = Graph({node.table: node for node in built.nodes if node.sql}, built.columns, dialect=built.dialect)
    findings, total = [], 0
    for part in PARTS:
        mart = spec.mart(part).table
        rows = [built.read(side, part) for side in (sides.NOW, sides.THEN)]
        total += rows[sides.NOW].num_rows
        table = built.tables[part]
        found = [
            _finding(graph, mart, table, each=each, rows=rows)
            for each in differences(rows[sides.NOW], rows[sides.THEN], spec.features.key)
        ]
        findings += found
        if part == PARTS[0]:
            named = {each.column for each in found}
            equal = [name for name in rows[sides.NOW].column_names if name not in named]
            findings += _clocks(graph, mart, table, equal)
    return findings, total


def _finding(graph: Graph, mart: str, table: str, *, each: ColumnDifference, rows: Sequence[pa.Table]) -> Finding:
    column = each.column
    steps = graph.steps(table, column or rows[0].column_names[0])
    return Finding(
        kind=ROUNDING if each.rounding else AHEAD,
        table=mart,
        column=column,
        rows=each.rows,
        of=max(side.num_rows for side in rows),
        examples=tuple(map(str, each.examples)),
        because=tuple(map(str, steps[:MOST_STEPS])),
    )


def _clocks(graph: Graph, mart: str, table: str, columns: Sequence[str]) -> list[Finding]:
    """The columns that depend on the current time: both builds were made at the same time, so they may be equal."""
    clocks = graph.clocks()
    if not clocks:
        return []
    found = []
    for column in columns:
        because = [step for step in graph.steps(table, column) if _uses(step, clocks)]
        if because:
            said = tuple(map(str, because[:MOST_STEPS]))
            found.append(Finding(kind=CLOCK, table=mart, column=column, rows=0, of=0, examples=(), because=said))
    return found


def _uses(step: Step, clocks: Sequence[Step]) -> bool:
    return any(each.model == step.model and each.sql in step.sql for each in clocks)
