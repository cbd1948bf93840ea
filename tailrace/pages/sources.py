"""What the pages are gathered from, and small readings that several of them make."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from tailrace.champions import promotions
from tailrace.champions.promotions import Promotion
from tailrace.pages.activity import Activity
from tailrace.pages.caching import CachedLake, CachedTracker
from tailrace.pages.missed_work import Found
from tailrace.spec import PipelineSpec

SHOWN_METRICS = ("roc_auc", "log_loss", "brier")
"""Metrics that the table of performance has."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the pages' values come from; `now` only says how long ago something was."""

    lake: CachedLake
    tracker: CachedTracker
    activity: Activity
    now: Callable[[], dt.datetime]
    missed: Found = field(default_factory=Found)

    def look_again(self, spec: PipelineSpec) -> None:
        """Have the next questions answered by the tables of a pipeline as they are now: somebody looks at it alone."""
        daily = (spec.features_table, spec.outcomes_table, spec.predictions_table, spec.performance_table)
        self.lake.look_again(*daily, promotions.TABLE)

    def today(self, zone: ZoneInfo) -> dt.date:
        return self.now().astimezone(zone).date()

    def decisions(self, pipeline: str) -> tuple[Promotion, ...]:
        """Everything decided on the pipeline's versions, the latest decision first."""
        return promotions.decisions(self.lake, pipeline)

    def champions(self, pipeline: str) -> tuple[Promotion, ...]:
        """The pipeline's champions, the latest in force first."""
        return promotions.history(self.lake, pipeline)

    def performance(self, pipeline: str, first: dt.date | None = None) -> list[Mapping[str, Any]] | None:
        """How published days turned out, from a day on, oldest first; None if they were never monitored."""
        return self.lake.rows(f"performance/{pipeline}", first)


def shown_metric(spec: PipelineSpec) -> str:
    """The metric of the gate where performance has it, else the area under the curve."""
    return spec.gate.metric if spec.gate.metric in SHOWN_METRICS else SHOWN_METRICS[0]


def number(value: Any) -> float | None:
    """A number that can be drawn, or None for null and NaN."""
    return None if value is None or not math.isfinite(value) else float(value)
