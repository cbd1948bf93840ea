"""An operator sets the threshold of a decision, from a day on, without a deploy; it is recorded like a promotion."""

from __future__ import annotations

import datetime as dt
import logging
import math
from dataclasses import dataclass
from typing import Literal

from tailrace.champions import policies
from tailrace.champions.policies import PolicyDecision
from tailrace.errors import BadInput
from tailrace.spec import zone
from tailrace.stages.promote import latest_day
from tailrace.work import Work

log = logging.getLogger("tailrace")


@dataclass(frozen=True, kw_only=True)
class ThresholdSet:
    """The threshold from a day on. `kept`: it was in force already, or set in this Airflow run; nothing was recorded.

    `previous` is the threshold that is in force on that day before this, or instead of it.
    `published` are the days from then on that are published under another policy: `tailrace stale` lists them.
    """

    pipeline: str
    threshold: float
    previous: float | None
    effective_from: dt.date
    outcome: Literal["set", "kept"]
    reason: str
    published: int


def run(
    work: Work,
    threshold: float,
    *,
    recorded_at: dt.datetime,
    decided_by: str,
    reason: str,
    effective_from: dt.date | None = None,
    dry_run: bool = False,
    airflow_run: str = "",
) -> ThresholdSet:
    """Set the threshold from a day on, by default from the day after the last published one.

    It stays in force until it is set again, or the spec's is edited. What is published stays as it is. With `dry_run`
    nothing is recorded. If `airflow_run` set a threshold before, that decision is returned and nothing is recorded: a
    later one may be in force by now.

    Raises BadInput if the problem has no threshold, the value is not a probability, a later threshold is recorded, or
    the day is far ahead.
    """
    lake, spec = work.services.lake, work.spec
    refuse_no_threshold(work)
    if not (math.isfinite(threshold) and 0 <= threshold <= 1):
        raise BadInput(f"{spec.name}: the threshold is {threshold:g}; it must be between 0 and 1.")
    if made := policies.made_by(lake, spec.name, airflow_run):
        return _set_before(work, made, airflow_run)
    published = lake.days(spec.predictions_table)
    day = effective_from or max(published, default=recorded_at.astimezone(zone(spec)).date()) + dt.timedelta(days=1)
    if day > (latest := latest_day(work, recorded_at)):
        raise BadInput(f"{spec.name}: no threshold is set from {day} on: that is far ahead. Name a day up to {latest}.")
    past, now = policies.history(lake, spec.name), policies.in_force(lake, spec, day)
    _refuse_without_effect(work, past, day)
    kept = now.policy.threshold == threshold
    if not (kept or dry_run):
        policies.record(
            lake,
            PolicyDecision(
                pipeline=spec.name,
                effective_from=day,
                recorded_at=recorded_at,
                set_by="threshold",
                threshold=threshold,
                problem=now.policy.problem,
                spec_threshold=policies.of_spec(spec).threshold,
                decided_by=decided_by,
                reason=reason,
            ),
            airflow_run,
        )
    outdated = 0 if kept else sum(each >= day for each in published)
    if outdated:
        log.warning(
            "%s: published days from %s on that %s another threshold: %d. They stay as they are: tailrace stale %s "
            "lists them, and with --repair scores them again.",
            spec.name,
            day,
            "would have" if dry_run else "have",
            outdated,
            spec.name,
        )
    return ThresholdSet(
        pipeline=spec.name,
        threshold=threshold,
        previous=now.policy.threshold,
        effective_from=day,
        outcome="kept" if kept else "set",
        reason=f"Nothing changes: {now.words()}." if kept else reason,
        published=outdated,
    )


def _set_before(work: Work, made: PolicyDecision, airflow_run: str) -> ThresholdSet:
    """What a run that is repeated returns: its own decision, which stays as it was made."""
    assert made.threshold is not None  # noqa: S101  an operator sets a number
    lake, spec = work.services.lake, work.spec
    now = policies.in_force(lake, spec, made.effective_from)
    return ThresholdSet(
        pipeline=spec.name,
        threshold=made.threshold,
        previous=now.policy.threshold,
        effective_from=made.effective_from,
        outcome="kept",
        reason=(
            f"The run {airflow_run} set the threshold {made.threshold:g} from {made.effective_from} on before. Nothing "
            f"changes: {now.words()}. To set it once more, start another run."
        ),
        published=0,
    )


def refuse_no_threshold(work: Work) -> None:
    """Raises BadInput if the pipeline's question has no threshold."""
    spec = work.spec
    if not spec.problem.uses_threshold:
        raise BadInput(
            f"{spec.name} has no threshold: outcome.problem is {spec.problem!r}, and only a Binary decides by one."
        )


def _refuse_without_effect(work: Work, past: tuple[PolicyDecision, ...], day: dt.date) -> None:
    # One that an edit of the spec ended is in force on no day.
    counting = (row for row in past if row.new_threshold and not policies.ended(row, past))
    later = [row for row in counting if row.effective_from > day]
    if later:
        first = later[-1]
        raise BadInput(
            f"{work.spec.name}: the threshold is {first.threshold:g} from {first.effective_from} on (set by "
            f"{first.decided_by}), so one from {day} on would end there. Set it from {first.effective_from} or a later "
            "day on."
        )
