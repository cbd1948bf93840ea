"""Collects the records of a pipeline's days, and asks for their states: the one way from the sources to a state."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping, Sequence

from croniter import croniter

from tailrace import days
from tailrace.champions import policies, promotions
from tailrace.contracts import Commit
from tailrace.errors import UpstreamMissing
from tailrace.lineage import dag_ids, pins
from tailrace.operations import day_states
from tailrace.operations.day_states import Attempt, DayRecords, DayState
from tailrace.pages import labels
from tailrace.pages.activity import DayAttempts
from tailrace.pages.sources import Sources
from tailrace.rows import refused_days
from tailrace.rows.refused_days import Refusal
from tailrace.spec import PipelineSpec, Schedule, zone

RECENT = 30
"""How many days before the last published one the overview looks at."""


def recent(sources: Sources, spec: PipelineSpec) -> dt.date | None:
    """The first day that the overview looks at; None before anything is published."""
    last = sources.lake.last(spec.predictions_table)
    return last.day - dt.timedelta(days=RECENT - 1) if last and last.day else None


def states(
    sources: Sources,
    spec: PipelineSpec,
    attempts: DayAttempts,
    *,
    first: dt.date | None = None,
    also: dt.date | None = None,
) -> dict[dt.date, DayState]:
    """The states of the pipeline's days from a day on, oldest first: days with records, and those between them.

    `also` is a day whose state is wanted whatever is recorded of it. Raises LakeUnavailable.
    """
    attempts = _with_refusals(attempts, refused_days.history(sources.lake, spec), spec)
    published, features = sources.lake.days(spec.predictions_table), sources.lake.days(spec.features_table)
    monitored = sources.lake.days(spec.performance_table)
    champions = sources.champions(spec.name)
    drift = {row["ds"]: str(row.get("drift") or "") for row in sources.performance(spec.name, first) or ()}
    fires, past = _fires(spec.schedule), sources.policies(spec.name)
    records = [
        DayRecords(
            day=day,
            published=published.get(day),
            features=features.get(day),
            monitored=monitored.get(day),
            attempts=attempts.get(day, {}),
            champion=promotions.as_of(champions, day),
            newer_features=_newer(sources, spec, published.get(day), features.get(day)),
            scheduled=_is_scheduled(fires, day),
            drift=drift.get(day, ""),
            other_policy=policies.otherwise(past, spec, published, day),
        )
        for day in sorted({*_shown(published, attempts, features, first), *([also] if also else [])})
    ]
    return day_states.all_of(records, sources.today(zone(spec)))


def next_day(sources: Sources, spec: PipelineSpec) -> dt.date | None:
    """The next day to predict: the first after the last published one whose features are there.

    Raises LakeUnavailable.
    """
    last = max(sources.lake.days(spec.predictions_table), default=dt.date.min)
    return min((day for day in sources.lake.days(spec.features_table) if day > last), default=None)


def told(sources: Sources, spec: PipelineSpec, day: dt.date) -> labels.State:
    """The state of one day in words. Raises LakeUnavailable."""
    attempts = sources.activity.attempts({spec.name: None}).get(spec.name, {})
    state = states(sources, spec, attempts, also=day)[day]
    return labels.state_of(state, zone(spec), sources.today(zone(spec)))


def _with_refusals(attempts: DayAttempts, refused: Sequence[Refusal], spec: PipelineSpec) -> DayAttempts:
    """The runs, and for days that were refused later without Airflow, those refusals."""
    found = dict(attempts)
    for each in refused:
        runs = found.get(each.day, {})
        last = runs.get("predict")
        if each.stands and (last is None or last.at < each.recorded_at):
            refusal = Attempt(
                dag_id=dag_ids.predict(spec.name),
                run_id="",
                day=each.day,
                outcome="failed",
                at=each.recorded_at,
                task="audit",
                error=each.reason,
            )
            found[each.day] = {**runs, "predict": refusal}
    return found


def _shown(
    published: Mapping[dt.date, Commit],
    attempts: DayAttempts,
    features: Mapping[dt.date, Commit],
    first: dt.date | None,
) -> list[dt.date]:
    """Days that were published or tried, and the days between those that the pipeline came to."""
    tried = {day for day, runs in attempts.items() if _is_trial(runs)}
    with_records = {day for day in (*published, *tried) if first is None or first <= day}
    known = [
        day
        for day in with_records
        if DayRecords(
            day=day, published=published.get(day), features=features.get(day), attempts=attempts.get(day, {})
        ).is_known
    ]
    if not known:
        return sorted(with_records)
    return sorted({*with_records, *days.span(min(known), max(known))})


def _is_trial(runs: Mapping[str, Attempt]) -> bool:
    """Whether runs tried to publish the day, or stopped before that. A day that was only built is not published yet."""
    warehouse = runs.get("warehouse")
    return "predict" in runs or (warehouse is not None and warehouse.outcome == "failed")


def _newer(sources: Sources, spec: PipelineSpec, published: Commit | None, features: Commit | None) -> bool:
    """Whether the day's features were taken again after the predictions were made from them."""
    pinned = published.metadata.get("features_pin") if published else None
    if not pinned or features is None:
        return False
    try:
        return sources.lake.came_after(spec.features_table, features.version, pins.from_json(pinned).version)
    except (UpstreamMissing, ValueError, TypeError):  # the pin in the commit's metadata was damaged
        return False


def _fires(schedule: Schedule) -> str:
    """The cron expression by which the pipeline predicts; '' if that is every day, or only by hand."""
    cron = schedule.predict or ""
    return "" if cron.split()[2:] == ["*", "*", "*"] else cron


@functools.lru_cache(maxsize=20_000)
def _is_scheduled(cron: str, day: dt.date) -> bool:
    if not cron:
        return True
    before = dt.datetime.combine(day, dt.time()) - dt.timedelta(seconds=1)
    following: dt.datetime = croniter(cron, before).get_next(dt.datetime)
    return following.date() == day
