"""What no longer follows from what is there now: published days and champions whose inputs or decisions have changed.

A day is stale if it would be predicted otherwise today. Its reasons are those of `day_states`, with one more: a source
day that its features were built from was landed again with other rows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tailrace import days
from tailrace.champions import model_versions, policies, promotions
from tailrace.contracts import Commit, Services
from tailrace.errors import LakeUnavailable, TailraceError, TrackerUnavailable
from tailrace.lineage import pins, run_tags
from tailrace.lineage.identity import Identity
from tailrace.operations import day_states
from tailrace.rows import staleness
from tailrace.spec import PipelineSpec

RepairKind = Literal["warehouse", "predict"]


@dataclass(frozen=True, kw_only=True)
class StaleDay:
    """A published day and why it is stale. `repair` is what has to run first: `warehouse` if its features are stale."""

    pipeline: str
    day: dt.date
    why: tuple[str, ...]
    repair: RepairKind


@dataclass(frozen=True, kw_only=True)
class StaleChampion:
    """A champion that was trained on rows that are other ones now."""

    pipeline: str
    version: str
    since: dt.date
    why: str


@dataclass(frozen=True, kw_only=True)
class StaleFindings:
    """The stale days, oldest first, and the stale champions, the newest first."""

    days: tuple[StaleDay, ...]
    champions: tuple[StaleChampion, ...]


@dataclass(frozen=True, kw_only=True)
class Repair:
    """One backfill that puts days right; all of these run in their order."""

    kind: RepairKind
    first: dt.date
    last: dt.date


def find(services: Services, spec: PipelineSpec) -> StaleFindings:
    """All that is stale in a pipeline. Raises LakeUnavailable, TrackerUnavailable, LandingRefused."""
    lake = services.lake
    published = lake.days(spec.predictions_table)
    built = lake.days(spec.features_table)
    champions, past = promotions.history(lake, spec.name), policies.history(lake, spec.name)
    everything = [*published, *built]
    landed = (
        staleness.stale(lake, services.warehouse, spec, first=min(everything), last=max(everything))
        if everything
        else {}
    )
    found = []
    for day, commit in sorted(published.items()):
        state = day_states.of(
            day_states.DayRecords(
                day=day,
                published=commit,
                features=built.get(day),
                attempts={},
                champion=promotions.as_of(champions, day),
                newer_features=_other_features(services, spec, commit),
                other_policy=policies.otherwise(past, spec, published, day),
            ),
            due=False,
        )
        why = [*_landed_again(landed.get(day, ())), *state.outdated]
        if why:
            kind: RepairKind = "warehouse" if day in landed else "predict"
            found.append(StaleDay(pipeline=spec.name, day=day, why=tuple(why), repair=kind))
    return StaleFindings(days=tuple(found), champions=tuple(_champions(services, spec, champions)))


def repairs(found: StaleFindings) -> list[Repair]:
    """The backfills that put the days right: features first, each oldest first, in as few ranges as there are."""
    features = [each.day for each in found.days if each.repair == "warehouse"]
    return [
        *(Repair(kind="warehouse", first=first, last=last) for first, last in _ranges(features)),
        *(Repair(kind="predict", first=first, last=last) for first, last in _ranges([each.day for each in found.days])),
    ]


def _ranges(stale: Sequence[dt.date]) -> Iterator[tuple[dt.date, dt.date]]:
    begin: dt.date | None = None
    for number, day in enumerate(stale):
        begin = begin or day
        if number + 1 == len(stale) or stale[number + 1] != day + dt.timedelta(days=1):
            yield begin, day
            begin = None


def _landed_again(sources: Sequence[dt.date]) -> list[str]:
    if not sources:
        return []
    return [f"rows of {days.ranges(sorted(sources))}, from which its features were built, were landed again"]


def _other_features(services: Services, spec: PipelineSpec, commit: Commit) -> bool:
    """Whether the lake has other features of the day than those that were scored."""
    pinned = commit.metadata.get("features_pin")
    if pinned is None:
        return False
    return (
        pins.from_json(pinned).digest
        != services.lake.pin(spec.features_table, first=commit.day, last=commit.day).digest
    )


def _champions(
    services: Services, spec: PipelineSpec, champions: Sequence[promotions.Promotion]
) -> Iterator[StaleChampion]:
    # Not by number: a registry that was set up again numbers its versions from 1 again.
    seen = set()
    for row in champions:
        if row.model in seen:
            continue
        seen.add(row.model)
        if why := _trained_on_others(services, spec, row.model):
            yield StaleChampion(pipeline=spec.name, version=row.version, since=row.effective_from, why=why)


def _trained_on_others(services: Services, spec: PipelineSpec, model: Identity) -> str:
    """Which inputs of a model's training are other ones now, in a sentence; empty if none, as for a baseline.

    Raises LakeUnavailable, TrackerUnavailable.
    """
    try:
        if gone := model_versions.why_gone(services, spec, model):
            return f"it cannot be compared: {gone}"
        trained = model_versions.record_of(services, spec, model.version)
        if trained.tags.get(run_tags.MODEL_KIND) == run_tags.BASELINE:
            return ""
        pinned = pins.from_tags(trained.tags)
        now = {role: services.lake.pin(pin.table, first=pin.first, last=pin.last) for role, pin in pinned.items()}
    except (LakeUnavailable, TrackerUnavailable):
        # a service that does not answer makes no champion stale
        raise
    except TailraceError as error:
        return f"it cannot be compared: {error}"
    other = [pin.table for role, pin in sorted(pinned.items()) if now[role].digest != pin.digest]
    if not other:
        return ""
    first = min(pin.first for pin in pinned.values() if pin.first)
    last = max(pin.last for pin in pinned.values() if pin.last)
    return f"it was trained on rows of {' and '.join(other)} ({first} to {last}) that have changed since"
