"""A pipeline's page: its days, their performance, and its models."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from tailrace.champions.promotions import Promotion
from tailrace.contracts import ModelVersion, Pin, RunRecord
from tailrace.lineage import identity, pins, run_tags
from tailrace.monitoring import drift_rows
from tailrace.monitoring.drift_rows import DriftMeasure
from tailrace.operations import day_states
from tailrace.operations.day_states import Attempt, DayState
from tailrace.pages import day_records, labels, missed
from tailrace.pages.activity import OpenApproval
from tailrace.pages.labels import State
from tailrace.pages.overview import first_sentence, next_words
from tailrace.pages.sources import Sources, number
from tailrace.spec import PipelineSpec, zone

CALENDAR_DAYS = 400
DRIFT_DAYS, DRIFT_ROWS = 14, 12
HOLDOUT = "holdout."
MARKED = ("watch", "alarm")
"""The levels of drift that are marked in the calendar."""


@dataclass(frozen=True, kw_only=True)
class CalendarDay:
    """A day in the calendar; `hover` is the full text about it. `drift` is ok, watch, alarm or ''."""

    day: dt.date
    state: State
    version: str
    hover: str
    drift: str = ""


@dataclass(frozen=True)
class Month:
    """A month of the calendar: its days, and how many cells of its first week are empty (weeks begin on Monday)."""

    title: str
    empty: int
    days: tuple[CalendarDay, ...]


@dataclass(frozen=True, kw_only=True)
class Version:
    """A registered model version. `decided` is the last decision about it, `inputs` are its pins by role."""

    version: str
    aliases: tuple[str, ...]
    champion: bool
    trained_as_of: str
    candidate: str
    metrics: Mapping[str, float]
    inputs: Mapping[str, Pin]
    gate: str
    decided: Promotion | None
    was_champion: bool
    training_run: str
    url: str
    model_digest: str


@dataclass(frozen=True, kw_only=True)
class PipelinePage:
    """Everything that the page shows. `performance` is None if the pipeline was never monitored.

    `drift_table` has what went furthest beyond its allowance on `drift_days`, the last days that were measured.
    """

    spec: PipelineSpec
    about: str
    champion: Promotion | None
    next_run: str
    latest: CalendarDay | None
    months: tuple[Month, ...]
    counts: Mapping[str, int]
    earlier: dt.date | None
    metric: str
    performance: Sequence[Mapping[str, Any]] | None
    decisions: tuple[Promotion, ...]
    versions: tuple[Version, ...]
    tracker_problem: str
    approvals: Sequence[OpenApproval]
    missed_training: dt.date | None = None
    open_days: Mapping[str, Sequence[dt.date]] = field(default_factory=dict)
    drifted: Mapping[str, int] = field(default_factory=dict)
    drift_days: Sequence[dt.date] = ()
    drift_table: Sequence[tuple[str, Sequence[DriftMeasure | None]]] = ()
    stopped: Sequence[Attempt] = ()


def gather(sources: Sources, spec: PipelineSpec, until: dt.date | None = None) -> PipelinePage:
    """The page; `until` is the calendar's last day. Raises LakeUnavailable."""
    sources.look_again(spec)
    attempts = sources.activity.attempts({spec.name: None}).get(spec.name, {})
    states = day_records.states(sources, spec, attempts)
    days = _calendar(sources, spec, states, until)
    shown = day_states.headline(states)
    open_days = day_states.open_days({day.day: states[day.day] for day in days})
    champions = sources.champions(spec.name)
    tracked = sources.tracker.of(spec.name)
    decisions = sources.decisions(spec.name)
    counts: dict[str, int] = {}
    for day in days:
        counts[day.state.kind] = counts.get(day.state.kind, 0) + 1
    performance = sources.performance(spec.name)
    measured = [row for row in performance or () if row.get("drift")][-DRIFT_DAYS:]
    earlier = [day for day in states if days and day < days[0].day]
    return PipelinePage(
        spec=spec,
        about=first_sentence(spec.description),
        champion=champions[0] if champions else None,
        next_run=next_words(sources.activity.next_runs([spec.name]).get(spec.name), sources, spec),
        latest=calendar_day(shown, zone(spec), sources.today(zone(spec))) if shown else None,
        months=tuple(_months(days)),
        counts=counts,
        earlier=max(earlier, default=None),
        metric=spec.gate.metric,
        performance=performance,
        drift_days=[row["ds"] for row in measured],
        drift_table=drift_rows.by_day(measured, DRIFT_ROWS),
        decisions=decisions,
        versions=tuple(
            _version(
                spec,
                version,
                tracked.run(version.training_run),
                decisions=decisions,
                champion=champions[0] if champions else None,
            )
            for version in tracked.versions
        ),
        tracker_problem=tracked.problem,
        approvals=sources.activity.approvals([spec.name]).get(spec.name, ()),
        missed_training=missed.training(sources, spec, tracked),
        open_days=open_days,
        drifted={level: count for level in MARKED if (count := sum(day.drift == level for day in days))},
        stopped=sources.activity.stopped([spec.name]).get(spec.name, ()),
    )


def _calendar(
    sources: Sources, spec: PipelineSpec, states: Mapping[dt.date, DayState], until: dt.date | None
) -> list[CalendarDay]:
    """The last days up to `until`."""
    where, today = zone(spec), sources.today(zone(spec))
    shown = [state for day, state in states.items() if until is None or day <= until]
    oldest = shown[-1].day - dt.timedelta(days=CALENDAR_DAYS - 1) if shown else None
    return [calendar_day(state, where, today) for state in shown if oldest is not None and oldest <= state.day]


def calendar_day(state: DayState, where: ZoneInfo, today: dt.date) -> CalendarDay:
    """What happened to the day, and which model made its predictions."""
    told, commit = labels.state_of(state, where, today), state.published
    hover = f"{state.day:%a} {state.day}: {told.sentence}"
    if commit is not None:
        hover += f". Predicted by {labels.served_by(commit, state.champion)}. {commit.rows:,} rows"
    if state.drift in MARKED:
        hover += f". Drift: {state.drift}"
    version = commit.metadata.get("model_version", "") if commit else ""
    return CalendarDay(
        day=state.day, state=told, version=version, hover=hover.removesuffix(".") + ".", drift=state.drift
    )


def _months(days: Sequence[CalendarDay]) -> list[Month]:
    months = []
    for _, group in groupby(days, key=lambda each: (each.day.year, each.day.month)):
        cells = tuple(group)
        months.append(Month(f"{cells[0].day:%B %Y}", cells[0].day.weekday(), cells))
    return months


def _on_the_holdout(spec: PipelineSpec, run: RunRecord) -> dict[str, float]:
    """The metrics in the order in which the reports show them; last, those that the spec's kind no longer measures."""
    known = {name.removeprefix(HOLDOUT): number(run.metrics[name]) for name in run.metrics if name.startswith(HOLDOUT)}
    first = [metric.name for metric in spec.problem.measured if metric.name in known]
    return {name: value for name in dict.fromkeys([*first, *known]) if (value := known[name]) is not None}


def _version(
    spec: PipelineSpec,
    version: ModelVersion,
    run: RunRecord | None,
    *,
    decisions: Sequence[Promotion],
    champion: Promotion | None,
) -> Version:
    tags: Mapping[str, str] = run.tags if run else {}
    model = identity.of_version(version)
    own = [decision for decision in decisions if not decision.model.differs(model)]
    return Version(
        version=version.version,
        aliases=version.aliases,
        champion=champion is not None and not champion.model.differs(model),
        trained_as_of=tags.get(run_tags.DAY, ""),
        candidate=run.params.get("candidate", "") if run else "",
        metrics=_on_the_holdout(spec, run) if run else {},
        inputs=pins.from_tags(tags),
        gate=tags.get(run_tags.GATE, ""),
        decided=own[0] if own else None,
        was_champion=any(decision.decision != "rejected" for decision in own),
        training_run=version.training_run,
        url=run.url if run else "",
        model_digest=tags.get(run_tags.MODEL_DIGEST, ""),
    )
