"""A pipeline's page: its days, their performance, and its models."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from tailrace.champions.promotions import Promotion
from tailrace.contracts import Commit, ModelVersion, Pin, RunRecord
from tailrace.lineage import identity, pins, run_tags
from tailrace.pages import labels, missed
from tailrace.pages.activity import Attempt, OpenApproval
from tailrace.pages.labels import State
from tailrace.pages.overview import first_sentence, next_words
from tailrace.pages.sources import Sources, number
from tailrace.spec import PipelineSpec, zone

CALENDAR_DAYS = 400
HOLDOUT = "holdout."


@dataclass(frozen=True)
class CalendarDay:
    """A day in the calendar; `hover` is the full text about it."""

    day: dt.date
    state: State
    version: str
    hover: str


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
    """Everything that the page shows. `performance` is None if the pipeline was never monitored."""

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


def gather(sources: Sources, spec: PipelineSpec, until: dt.date | None = None) -> PipelinePage:
    """The page; `until` is the calendar's last day. Raises LakeUnavailable."""
    sources.look_again(spec)
    published = sources.lake.days(spec.predictions_table)
    attempts = sources.activity.by_day(spec.name)
    days = _calendar(sources, spec, published=published, attempts=attempts, until=until)
    champions = sources.champions(spec.name)
    tracked = sources.tracker.of(spec.name)
    decisions = sources.decisions(spec.name)
    counts: dict[str, int] = {}
    for day in days:
        counts[day.state.kind] = counts.get(day.state.kind, 0) + 1
    known = [day for day in (*published, *attempts) if days and day < days[0].day]
    return PipelinePage(
        spec=spec,
        about=first_sentence(spec.description),
        champion=champions[0] if champions else None,
        next_run=next_words(sources.activity.next_runs([spec.name]).get(spec.name), sources, spec),
        latest=next((day for day in reversed(days) if day.state.kind != "missing"), None),
        months=tuple(_months(days)),
        counts=counts,
        earlier=days[0].day - dt.timedelta(days=1) if known else None,
        metric=spec.gate.metric,
        performance=sources.performance(spec.name),
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
    )


def _calendar(
    sources: Sources,
    spec: PipelineSpec,
    *,
    published: Mapping[dt.date, Commit],
    attempts: Mapping[dt.date, Attempt],
    until: dt.date | None,
) -> list[CalendarDay]:
    known = {*published, *attempts}
    if not known:
        return []
    last = min(max(known), until) if until else max(known)
    first = max(min(known), last - dt.timedelta(days=CALENDAR_DAYS - 1))
    where, today = zone(spec), sources.today(zone(spec))
    span = (first + dt.timedelta(days=offset) for offset in range((last - first).days + 1))
    return [
        calendar_day(day, commit=published.get(day), attempt=attempts.get(day), where=where, today=today)
        for day in span
    ]


def calendar_day(
    day: dt.date, *, commit: Commit | None, attempt: Attempt | None, where: ZoneInfo, today: dt.date
) -> CalendarDay:
    """What happened to the day, and which model made its predictions."""
    state = labels.state_of(commit, attempt, where, today)
    hover = f"{day:%a} {day}: {state.sentence}"
    if commit is not None:
        hover += f". Predicted by {labels.served_by(commit)}. {commit.rows:,} rows"
    return CalendarDay(day, state, commit.metadata.get("model_version", "") if commit else "", hover + ".")


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
