"""What a backfill of predictions would do, day by day; it changes nothing."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import pyarrow.compute as pc

from tailrace import days
from tailrace.champions import model_versions, policies
from tailrace.champions.model_versions import ChosenVersion
from tailrace.champions.policies import InForce
from tailrace.contracts import Commit, Model, Pin, Services
from tailrace.engines.scoring import check_question
from tailrace.engines.signatures import check_columns
from tailrace.errors import TailraceError
from tailrace.lineage import identity, pins
from tailrace.operations import past_runs
from tailrace.spec import PipelineSpec
from tailrace.stages import score

PreviewedOutcome = Literal["runs", "left alone", "fails"]


@dataclass(frozen=True, kw_only=True)
class PreviewedDay:
    """What would become of a day.

    `changes` is how many published rows would change: exact where only the threshold is another one, else all of them
    may (`up_to`). `overwrites` names what is published now, empty if nothing is. `seconds` is what a day took in past
    runs, None where no run tells.
    """

    day: dt.date
    outcome: PreviewedOutcome
    model: str = ""
    rows: int = 0
    changes: int = 0
    up_to: bool = True
    why: str = ""
    overwrites: str = ""
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Outlook:
    """A day, its features, the model and the policy that would make it, and what is published now."""

    day: dt.date
    pin: Pin
    chosen: ChosenVersion
    now: InForce
    published: Commit | None

    @property
    def rows(self) -> int:
        return self.pin.rows


def preview(
    services: Services,
    spec: PipelineSpec,
    first: dt.date,
    last: dt.date,
    *,
    model: str = model_versions.AS_OF,
    force: bool = False,
    load_models: bool = True,
) -> list[PreviewedDay]:
    """Each day of the range, oldest first. Raises BadInput if there is no such choice of a model, LakeUnavailable.

    Without `load_models`, a day is not known to fail because its model does not fit the features or the spec.
    """
    model_versions.check_choice(model)
    seconds = past_runs.seconds_a_day(services, spec)

    @functools.cache
    def load(version: str, digest: str) -> Model | None:
        return model_versions.load(services, spec, version, digest) if load_models else None

    return [
        _of_day(services, spec, day, model=model, force=force, seconds=seconds, load=load)
        for day in days.span(first, last)
    ]


def _of_day(
    services: Services,
    spec: PipelineSpec,
    day: dt.date,
    *,
    model: str,
    force: bool,
    seconds: float | None,
    load: Callable[[str, str], Model | None],
) -> PreviewedDay:
    if day not in services.lake.days(spec.features_table):
        return PreviewedDay(day=day, outcome="fails", why="no features are published of it")
    try:
        outlook = _outlook(services, spec, day, model)
    except TailraceError as error:
        return PreviewedDay(day=day, outcome="fails", why=str(error))
    published, version = outlook.published, outlook.chosen.version
    reasons = list(_reasons(services, spec, outlook)) + (["forced"] if force else [])
    if not reasons:
        why = "published from the same features by the same model under the same policy"
        return PreviewedDay(day=day, outcome="left alone", model=version, rows=outlook.rows, up_to=False, why=why)
    try:
        _refuse(services, spec, outlook, load)
    except TailraceError as error:
        return PreviewedDay(day=day, outcome="fails", model=version, rows=outlook.rows, up_to=False, why=str(error))
    exact = _flipped(services, spec, outlook, reasons)
    return PreviewedDay(
        day=day,
        outcome="runs",
        model=version,
        rows=outlook.rows,
        changes=(outlook.rows if exact is None else exact) if published else outlook.rows,
        up_to=published is not None and exact is None,
        why="; ".join(reasons),
        overwrites=_overwrites(published),
        seconds=seconds,
    )


def _refuse(
    services: Services, spec: PipelineSpec, outlook: _Outlook, load: Callable[[str, str], Model | None]
) -> None:
    """Raises what `score.run` raises before it reads a row."""
    lake, chosen, day = services.lake, outlook.chosen, outlook.day
    under = policies.under(spec, outlook.now.policy)
    used = model_versions.registered(services, under, chosen.model, day)
    model_versions.holdout_scores(services.tracker.run(used.training_run), chosen.version)
    features = lake.scan(outlook.pin, score.read_columns(lake, under)).schema
    if (model := load(chosen.version, chosen.model.digest)) is not None:
        check_columns(model.features, features)
        check_question(under, model, chosen.version)
    score.lacking_columns(lake, under, day, features=features, stated=spec)


def _outlook(services: Services, spec: PipelineSpec, day: dt.date, model: str) -> _Outlook:
    pin = services.lake.pin(spec.features_table, first=day, last=day)
    return _Outlook(
        day=day,
        pin=pin,
        chosen=model_versions.resolve(services, spec, day, model),
        now=policies.in_force(services.lake, spec, day),
        published=services.lake.days(spec.predictions_table).get(day),
    )


def _reasons(services: Services, spec: PipelineSpec, outlook: _Outlook) -> Iterator[str]:
    """Why the day is not recognised as published: what `score` compares, in words."""
    held, day = outlook.published, outlook.day
    if held is None:
        yield "not published yet"
        return
    pinned = held.metadata.get("features_pin")
    if pinned is None or pins.from_json(pinned).digest != outlook.pin.digest:
        yield "its features have changed"
    if not model_versions.made_by(services, spec, held, outlook.chosen.model):
        before = identity.of_commit(held.metadata).version or "an unknown version"
        yield f"version {outlook.chosen.version} instead of {before}"
    under, policy = policies.of_commit(held.metadata), outlook.now.policy
    other = list(policies.differences(policy, under)) if under else []
    if other:
        yield f"{', '.join(other)} ({outlook.now.words()})"
    published_as = score.predictions_digest(policies.under(spec, policy))
    if not other and held.metadata.get(score.PREDICTIONS_DIGEST) != published_as:
        yield "the spec publishes other columns"
    if not services.lake.sound(spec.predictions_table, day):
        yield "its published files are damaged or gone"


def _flipped(services: Services, spec: PipelineSpec, outlook: _Outlook, reasons: list[str]) -> int | None:
    """How many decisions another threshold changes, if nothing else changes; None if that is not known."""
    held, policy = outlook.published, outlook.now.policy
    under = policies.of_commit(held.metadata) if held else None
    only = len(reasons) == 1 and under is not None and under.problem == policy.problem
    if not only or under is None or under.threshold == policy.threshold or policy.threshold is None:
        return None
    columns, day = spec.predictions, outlook.day
    rows = services.lake.read(spec.predictions_table, first=day, last=day).read_all()
    now = pc.greater_equal(rows[columns.score], policy.threshold)
    return int(pc.sum(pc.not_equal(now, rows[columns.decision])).as_py() or 0)


def _overwrites(published: Commit | None) -> str:
    if published is None:
        return ""
    made = identity.of_commit(published.metadata).version or "an unknown version"
    return f"{published.rows:,} rows by version {made}, published {published.recorded_at:%Y-%m-%d %H:%M}"
