"""A past day is built twice, in throw-away copies: from everything that is there now, and from what was there then.

If the SQL of a mart uses only what was known at the cutoff of the day, both give the same bytes. Where they differ, the
mart looks ahead, whatever its `known_at` claims.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tailrace.contracts import ModelResult, Services
from tailrace.errors import BadInput
from tailrace.proving.comparing import ColumnDifference, differences
from tailrace.proving.expressions import Graph, Step
from tailrace.rows import marts
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
    """What a day's two builds say. `rows` are those of the day in both marts; `later_days` were left out of one."""

    pipeline: str
    day: dt.date
    rows: int
    later_days: int
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
    refuse_other_warehouses(warehouse)
    landing = warehouse.landing
    later = sorted({each for table in landing.schemas for each in landing.days(table) if each > day})
    if not later:
        raise BadInput(
            f"{spec.name}: nothing is landed after {day}, so there is nothing that its marts could have looked ahead "
            "at. Name an earlier day."
        )
    with tempfile.TemporaryDirectory(prefix="tailrace-prove-") as folder:
        past = landing.until(day, Path(folder) / "landing")
        sides = [warehouse.elsewhere(Path(folder) / name, its) for name, its in (("now", landing), ("then", past))]
        nodes: Sequence[ModelResult] = ()
        for side, words in zip(sides, ("from everything", "from what was there then"), strict=True):
            nodes = side.build_without_tests(day, [mart.table for mart in spec.marts])
            progress(f"{day} built {words}")
        findings, rows = _compared(spec, day, sides, nodes)
    return DayProof(pipeline=spec.name, day=day, rows=rows, later_days=len(later), findings=tuple(findings))


def last_provable(services: Services, spec: PipelineSpec, count: int) -> list[dt.date]:
    """The last days, oldest first, after which more is there: those that a build may look ahead from.

    Raises BadInput if there are none.
    """
    warehouse: Any = services.warehouse
    refuse_other_warehouses(warehouse)
    landing = warehouse.landing
    landed = sorted({day for table in landing.schemas for day in landing.days(table)})
    published = services.lake.days(spec.features_table)
    # A leak of a week shows where a week came after.
    least = min(7, max(len(landed) - 1, 1))
    days = [day for day in landed[:-least] if not published or day in published][-count:]
    if not days:
        raise BadInput(
            f"{spec.name}: no day can be proven: a day needs features, and days that are landed after it. Land and "
            "build some days first, or name one with --date."
        )
    return days


def refuse_other_warehouses(warehouse: Any) -> None:
    """Raises BadInput if a warehouse cannot be built a second time beside itself."""
    if not hasattr(warehouse, "elsewhere") or not getattr(warehouse, "landing", None):
        raise BadInput(
            f"The warehouse {getattr(warehouse, 'name', warehouse)} cannot be built a second time in a throw-away "
            "copy: this needs landed files, and dbt on DuckDB. If the project lands files, prove it with "
            "TAILRACE_WAREHOUSE set to the path of a DuckDB file."
        )
    if not warehouse.landing.schemas:
        raise BadInput(
            "The project lands no files, so it is not known what was there on a past day. Name the time of each "
            "source's rows in dbt: `loaded_at_field` of the source, or `meta: {known_at: COLUMN}`."
        )


def _compared(
    spec: PipelineSpec, day: dt.date, sides: Sequence[Any], nodes: Sequence[ModelResult]
) -> tuple[list[Finding], int]:
    now, _ = sides
    graph = Graph({node.table: node for node in nodes if node.sql and node.table}, now.columns(), dialect="duckdb")
    findings, total = [], 0
    for part in PARTS:
        mart = spec.mart(part)
        key = spec.features.key
        rows = [marts.read(side, spec, part, day).read_all() for side in sides]
        total += rows[0].num_rows
        table = next((node.table for node in nodes if node.name == mart.table or node.table.endswith(mart.table)), "")
        found = [
            _finding(graph, mart.table, table, each=each, rows=rows) for each in differences(rows[0], rows[1], key)
        ]
        findings += found
        if part == PARTS[0]:
            named = {each.column for each in found}
            findings += _clocks(graph, mart.table, table, [name for name in rows[0].column_names if name not in named])
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
