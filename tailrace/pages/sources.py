"""The sources of the pages' data, and small functions that several pages use to read it."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from tailrace.champions import policies, promotions
from tailrace.champions.policies import PolicyDecision
from tailrace.champions.promotions import Promotion
from tailrace.monitoring.performance import in_present_form
from tailrace.pages.activity import Activity
from tailrace.pages.caching import CachedLake, CachedTracker
from tailrace.pages.missed_work import Found
from tailrace.spec import PipelineSpec


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the pages' values come from; `now` is only used to say how long ago something happened."""

    lake: CachedLake
    tracker: CachedTracker
    activity: Activity
    now: Callable[[], dt.datetime]
    missed: Found = field(default_factory=Found)

    def look_again(self, spec: PipelineSpec) -> None:
        """Answer the next questions from the present tables of a pipeline, for a page about this pipeline alone."""
        daily = (spec.features_table, spec.outcomes_table, spec.predictions_table, spec.performance_table)
        self.lake.look_again(*daily, spec.refusals_table, promotions.TABLE, policies.TABLE)

    def today(self, zone: ZoneInfo) -> dt.date:
        return self.now().astimezone(zone).date()

    def decisions(self, pipeline: str) -> tuple[Promotion, ...]:
        """All decisions about the pipeline's versions, latest first."""
        return promotions.decisions(self.lake, pipeline)

    def champions(self, pipeline: str) -> tuple[Promotion, ...]:
        """The pipeline's champions, the one that took effect last first."""
        return promotions.history(self.lake, pipeline)

    def policies(self, pipeline: str) -> tuple[PolicyDecision, ...]:
        """The pipeline's policies, the one that took effect last first."""
        return policies.history(self.lake, pipeline)

    def performance(self, pipeline: str, first: dt.date | None = None) -> list[Mapping[str, Any]] | None:
        """The performance of published days, from a day on, oldest first; None if they were never monitored."""
        rows = self.lake.rows(f"performance/{pipeline}", first)
        return None if rows is None else [in_present_form(row) for row in rows]


def number(value: Any) -> float | None:
    """A number that can be drawn, or None for null and NaN."""
    return None if value is None or not math.isfinite(value) else float(value)
