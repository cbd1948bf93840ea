"""The two builds of a past day: from everything that is there now, and from what was there then."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tailrace.contracts import ModelResult
from tailrace.errors import BadInput
from tailrace.rows import marts
from tailrace.spec import PARTS, PipelineSpec
from tailrace.warehouse.graph import called

NOW, THEN = 0, 1
MOST_LATER = 7
"""So many days after the day are built with it, in one build, from everything: a backfill builds ranges too, and SQL
that takes rows of a later day of the same build looks ahead there only."""


@dataclass(frozen=True, kw_only=True)
class TwoSides:
    """The two builds while they are there.

    `read(side, part)` gives the day's rows of a mart. `nodes` are dbt's, with compiled SQL. `tables` has the full names
    of the marts by part, and `columns` the types of the columns of each table by its full name. `later` is how many
    days, or rows, the second build left out.
    """

    read: Callable[[int, str], pa.Table]
    nodes: Sequence[ModelResult]
    tables: Mapping[str, str]
    columns: Mapping[str, Mapping[str, str]]
    dialect: str
    later: int


@contextmanager
def landed(warehouse: Any, spec: PipelineSpec, day: dt.date, progress: Callable[[str], None]) -> Iterator[TwoSides]:
    """Both builds of landed files, each in an empty database of its own, until the block ends."""
    landing = warehouse.landing
    later = {each for table in landing.schemas for each in landing.days(table) if each > day}
    refuse_nothing_later(spec, day, len(later))
    with tempfile.TemporaryDirectory(prefix="tailrace-prove-") as folder:
        past = landing.until(day, Path(folder) / "landing")
        sides = [warehouse.elsewhere(Path(folder) / name, its) for name, its in (("now", landing), ("then", past))]
        nodes: Sequence[ModelResult] = ()
        marts_of = [mart.table for mart in spec.marts]
        for side, last, words in (
            (sides[NOW], _last_of_range(landing, day), "from everything"),
            (sides[THEN], day, "from what was there then"),
        ):
            nodes = side.build_without_tests(day, last, marts_of)
            progress(f"{day} built {words}")
        yield TwoSides(
            read=lambda side, part: marts.read(sides[side], spec, part, day).read_all(),
            nodes=nodes,
            tables={part: _table(nodes, spec.mart(part).table) for part in PARTS},
            columns=sides[THEN].columns(),
            dialect="duckdb",
            later=len(later),
        )


def _last_of_range(landing: Any, day: dt.date) -> dt.date:
    """The last day of the build from everything: all days up to it are landed."""
    known = landing.last() or day
    last = min(day + dt.timedelta(days=MOST_LATER), known)
    gaps = landing.gaps(day, last)
    return max(day, min(gaps) - dt.timedelta(days=1)) if gaps else last


def refuse_nothing_later(spec: PipelineSpec, day: dt.date, later: int) -> None:
    """Raises BadInput if nothing came after the day."""
    if not later:
        raise BadInput(
            f"{spec.name}: nothing is there that came after {day}, so there is nothing that its marts could have "
            "looked ahead at. Name an earlier day."
        )


def _table(nodes: Sequence[ModelResult], mart: str) -> str:
    return next((node.table for node in nodes if called(node.name, node.table, [mart])), "")
