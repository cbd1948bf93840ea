"""The overview: a row for every pipeline that the user may read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tailrace.champions.promotions import Promotion
from tailrace.contracts import Commit
from tailrace.monitoring import drift_rows
from tailrace.operations import day_states
from tailrace.pages import day_records, histories, labels, missed
from tailrace.pages.activity import DayAttempts, NextRun
from tailrace.pages.labels import State
from tailrace.pages.missed_work import MissedNights
from tailrace.pages.sources import Sources, number
from tailrace.rows import refused_days
from tailrace.spec import PipelineSpec, zone

Days = Sequence[Mapping[str, Any]] | None
"""Rows of the performance table, oldest first; None if there is no such table."""
TREND_DAYS = 30
MOST_NAMED = 2
"""At most so many names of what drifted are in a row."""
READERS = 8
DRIFT_WORDS = {
    "ok": "stable",
    "watch": "moving",
    "alarm": "drifted",
    "": "not measured",
}


class LakeSummary(NamedTuple):
    """The champions, the last publication, and the performance of the days before it."""

    champions: Sequence[Promotion]
    last: Commit | None
    days: Days


@dataclass(frozen=True, kw_only=True)
class OverviewRow:
    """A pipeline. `trend` has the last days' values of `metric`, oldest first; `drift` is ok, watch, alarm or ''.

    `open_days` has the days of the last 30 that somebody should look at, by status, and `open_words` tells them.
    `stopped` names the DAGs for training and decisions whose last run failed. `beyond` says that the last value of
    `metric` is beyond the gate's limit.
    """

    name: str
    owner: str
    about: str
    champion: str
    since: dt.date | None
    last_day: dt.date | None
    state: State
    metric: str
    trend: tuple[tuple[dt.date, float], ...]
    drift: str
    drift_words: str
    next_run: str
    waiting: int
    missed_training: dt.date | None = None
    state_day: dt.date | None = None
    open_days: Mapping[str, Sequence[dt.date]] = field(default_factory=dict)
    open_words: str = ""
    stopped: Sequence[str] = ()
    beyond: str = ""


@dataclass(frozen=True)
class Overview:
    """All rows, the problems of pipeline files by pipeline, and the missed nights that must be caught up."""

    rows: tuple[OverviewRow, ...]
    broken: Mapping[str, str]
    nights: MissedNights | None = None


def gather(sources: Sources, specs: Sequence[PipelineSpec], broken: Mapping[str, str]) -> Overview:
    """The overview of these pipelines, and of the history of those with a problem. Raises LakeUnavailable."""
    specs = [*specs, *(histories.stand_in(sources, name) for name in broken)]
    names = [spec.name for spec in specs]
    summaries = of_lake(sources, specs)
    attempts = sources.activity.attempts({spec.name: day_records.recent(sources, spec) for spec in specs})
    next_runs = sources.activity.next_runs(names)
    waiting, stopped = sources.activity.approvals(names), sources.activity.stopped(names)
    rows = [
        _row(
            sources,
            spec,
            summary=summaries[spec.name],
            attempts=attempts.get(spec.name, {}),
            following=next_runs.get(spec.name),
            waiting=len(waiting.get(spec.name, ())),
            stopped=[each.dag_id for each in stopped.get(spec.name, ())],
        )
        for spec in specs
    ]
    # Of a file that never worked, there is only the problem.
    rows = [row for row in rows if row.name not in broken or row.last_day or row.champion]
    return Overview(tuple(rows), broken, missed.nights_now(sources))


def of_lake(sources: Sources, specs: Sequence[PipelineSpec]) -> dict[str, LakeSummary]:
    """The lake's data about each pipeline. Raises LakeUnavailable."""
    # Most of the time goes into waiting for the lake's storage.
    with ThreadPoolExecutor(READERS) as readers:
        summaries = list(readers.map(lambda spec: _of_lake(sources, spec), specs))
    return {spec.name: each for spec, each in zip(specs, summaries, strict=True)}


def _of_lake(sources: Sources, spec: PipelineSpec) -> LakeSummary:
    last = sources.lake.last(spec.predictions_table)
    days = sources.performance(spec.name, last.day - dt.timedelta(days=TREND_DAYS)) if last and last.day else None
    # which the states of the days are made of
    sources.lake.days(spec.features_table)
    sources.lake.days(spec.performance_table)
    refused_days.history(sources.lake, spec)
    sources.policies(spec.name)
    return LakeSummary(sources.champions(spec.name), last, days)


def _row(
    sources: Sources,
    spec: PipelineSpec,
    *,
    summary: LakeSummary,
    attempts: DayAttempts,
    following: NextRun | None,
    waiting: int,
    stopped: Sequence[str],
) -> OverviewRow:
    today = sources.today(zone(spec))
    champions, last, days = summary
    metric = spec.gate.metric
    drift = _drift(days)
    states = day_records.states(sources, spec, attempts, first=day_records.recent(sources, spec))
    shown, open_days = day_states.headline(states), day_states.open_days(states)
    return OverviewRow(
        name=spec.name,
        owner=spec.owner,
        about=first_sentence(spec.description),
        champion=champions[0].version if champions else "",
        since=champions[0].effective_from if champions else None,
        last_day=last.day if last else None,
        state=_state(shown, last, spec, today),
        metric=metric,
        trend=_trend(days, metric),
        drift=drift,
        drift_words=_drift_sentence(days, drift, spec),
        next_run=next_words(following, sources, spec),
        waiting=waiting,
        missed_training=sources.missed.trainings.get(spec.name),
        state_day=shown.day if shown else None,
        open_days=open_days,
        open_words=labels.open_words(open_days),
        stopped=stopped,
        beyond=_beyond(_trend(days, metric), spec),
    )


def _trend(days: Days, metric: str) -> tuple[tuple[dt.date, float], ...]:
    values = ((row["ds"], number(row["metrics"].get(metric))) for row in days or ())
    return tuple((day, value) for day, value in values if value is not None)


def _beyond(trend: Sequence[tuple[dt.date, float]], spec: PipelineSpec) -> str:
    """Says that the last value is beyond the limit that the gate has for the metric."""
    gate = spec.gate
    if not trend or histories.is_stand_in(spec):
        return ""
    if gate.floor is not None and trend[-1][1] < gate.floor:
        return f"below the floor {gate.floor:g}"
    if gate.ceiling is not None and trend[-1][1] > gate.ceiling:
        return f"above the ceiling {gate.ceiling:g}"
    return ""


def _state(shown: day_states.DayState | None, last: Commit | None, spec: PipelineSpec, today: dt.date) -> State:
    """The state of the last day that was due, with its date unless that is the last published day."""
    if shown is None:
        return State("missing", "nothing published yet")
    state = labels.state_of(shown, zone(spec), today)
    return state if last is not None and shown.day == last.day else State(state.kind, f"{shown.day}: {state.sentence}")


def _drift(days: Days) -> str:
    return str(days[-1].get("drift") or "") if days else ""


def _drift_sentence(days: Days, drift: str, spec: PipelineSpec) -> str:
    text = DRIFT_WORDS.get(drift, drift)
    if not days or not drift:
        return text
    if drift == "ok":
        return f"{text}, as of {days[-1]['ds']}"
    culprits = drift_rows.culprits(days[-1], spec.monitor)
    # Without its allowances, the day may have drifted by either.
    between = " or " if any(each.allowance is None for each in culprits) else ", "
    joined = between.join(map(str, culprits[:MOST_NAMED]))
    more = f" and {len(culprits) - MOST_NAMED} more" if len(culprits) > MOST_NAMED else ""
    moved = joined + more or labels.short(str(days[-1].get("note") or "")).removesuffix(".")
    return f"{text}{f': {moved}' if moved else ''}, as of {days[-1]['ds']}"


def next_words(following: NextRun | None, sources: Sources, spec: PipelineSpec) -> str:
    """When the pipeline runs next, or why it does not run."""
    if following is None or following.missing:
        return "not in Airflow: its DAG file is missing or broken"
    if following.paused:
        return "paused"
    if following.at is None:
        return "by hand only" if spec.schedule.predict is None else "none: its schedule has ended"
    return labels.clock(following.at, zone(spec), sources.today(zone(spec)))


def first_sentence(text: str) -> str:
    """The first paragraph of a description, on one line."""
    return " ".join(text.strip().split("\n\n")[0].split())
