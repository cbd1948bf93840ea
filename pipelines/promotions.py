"""Which model version was in force when: the append-only `promotions` table.

Each row has two times: `effective_from`, the end of the data the version was trained on, and
`recorded_at`, when somebody decided. The champion *as of* a day is the last promotion in force
by then, so a backfill neither uses a model that has seen the day nor rewrites the past.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa

from pipelines.interfaces import Lake

TABLE = "promotions"

SCHEMA = pa.schema(
    [
        pa.field("pipeline", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("effective_from", pa.date32(), nullable=False),
        pa.field("recorded_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("run_id", pa.string()),
        pa.field("decided_by", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("previous", pa.string()),
    ]
)


@dataclass(frozen=True)
class Promotion:
    """One decision that a version is the champion from a day on."""

    pipeline: str
    version: str
    effective_from: dt.date
    recorded_at: dt.datetime
    run_id: str
    decided_by: str
    reason: str
    previous: str | None = None


def record(lake: Lake, promotion: Promotion) -> None:
    """Append a promotion."""
    rows = pa.Table.from_pylist([asdict(promotion)], schema=SCHEMA)
    lake.append(TABLE, rows, {"pipeline": promotion.pipeline, "model_version": promotion.version})


def history(lake: Lake, pipeline: str) -> tuple[Promotion, ...]:
    """A pipeline's promotions, the latest in force first; empty if it has none."""
    if not lake.exists(TABLE):
        return ()
    rows = [Promotion(**row) for row in lake.read(TABLE).read_all().to_pylist() if row["pipeline"] == pipeline]
    return tuple(sorted(rows, key=lambda row: (row.effective_from, row.recorded_at), reverse=True))


def as_of(promotions: Sequence[Promotion], day: dt.date) -> Promotion | None:
    """The promotion in force on a day, of a history sorted as `history` sorts it."""
    return next((promotion for promotion in promotions if promotion.effective_from <= day), None)


def current(promotions: Sequence[Promotion]) -> Promotion | None:
    """The promotion in force after all others: what `champion` means today."""
    return next(iter(promotions), None)
