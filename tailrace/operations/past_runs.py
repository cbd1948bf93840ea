"""How long past runs took, as far as their publications tell."""

from __future__ import annotations

import datetime as dt
import statistics

from tailrace.contracts import Services
from tailrace.lineage import identity
from tailrace.spec import PipelineSpec

_RECENT = 30
"""Days whose times count."""
_LONGEST = dt.timedelta(hours=2)
"""More than that lies between two stages only if something waited."""


def seconds_a_day(services: Services, spec: PipelineSpec) -> float | None:
    """From the features of a day to its predictions, in the middle of the last days; None if no run tells."""
    features = services.lake.days(spec.features_table)
    published = services.lake.days(spec.predictions_table)
    days = sorted(set(features) & set(published))[-_RECENT:]
    own = [day for day in days if identity.of_commit(published[day].metadata).version]
    took = [published[day].recorded_at - features[day].recorded_at for day in own]
    seconds = [each.total_seconds() for each in took if dt.timedelta() < each < _LONGEST]
    return statistics.median(seconds) if seconds else None
