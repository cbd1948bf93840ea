"""Who is champion: the gate or a person decides, and it is written down who and why."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass
from typing import Literal

from tailrace.champions import model_versions, policies, promotions
from tailrace.champions.gate import Decision
from tailrace.champions.promotions import Promotion
from tailrace.errors import BadInput, GateRefused, UnknownName
from tailrace.lineage import run_tags
from tailrace.lineage.identity import Identity
from tailrace.spec import PipelineSpec, zone
from tailrace.stages.evaluate import champion_against, comparison_of, decision_of, model_of
from tailrace.tracking import folders
from tailrace.work import Work

log = logging.getLogger("tailrace")

GATE, TIMEOUT = "gate", "timeout"
PromotionState = Literal["promoted", "kept", "waiting", "rejected", "rolled_back"]


@dataclass(frozen=True, kw_only=True)
class Promoted:
    """What happened to the champion, and why.

    `kept`: it stays who it is, at least as good as the challenger, or decided on before; `waiting`: a person has to
    approve; `rejected`: a person, or the approval's timeout, said no; `rolled_back`: a former champion is champion
    again. `effective_from` is the day from which on the version is champion, None where it is not.
    """

    pipeline: str
    version: str
    outcome: PromotionState
    previous: str | None
    reason: str
    effective_from: dt.date | None = None


@dataclass(frozen=True)
class _Standing:
    """What a decision on a training run's model goes by: the champions so far, and the day it was trained as of."""

    past: tuple[Promotion, ...]
    previous: Promotion | None
    trained: dt.date

    @property
    def champion(self) -> str | None:
        """The version in force."""
        return self.previous.version if self.previous else None

    @property
    def later(self) -> Promotion | None:
        """The version in force, if it was trained as of a later day: a promotion would not change who is champion."""
        return self.previous if self.previous and self.previous.effective_from > self.trained else None

    def begins(self, model: Identity) -> dt.date | None:
        """The first day on which the model is champion; None if nobody made it champion.

        A person may have named a later day than the one it was trained as of.
        """
        return min((row.effective_from for row in self.past if not row.model.differs(model)), default=None)

    def in_force(self, model: Identity, effective_from: dt.date) -> bool:
        """Whether the decision in force makes the model champion from exactly that day on."""
        row = self.previous
        return row is not None and row.effective_from == effective_from and not row.model.differs(model)


def run(
    work: Work,
    training_run: str,
    *,
    recorded_at: dt.datetime,
    decided_by: str = GATE,
    reason: str = "",
    takes_over: dt.date | None = None,
    airflow_run: str = "",
) -> Promoted:
    """Promote the model of a training run, from the day it was trained as of, or from `takes_over` if that is later.

    `airflow_run` goes into the decision's commit; `decided_before` recognises the decision by it.
    A person's decision (decided_by other than the gate) overrules `keep`. The gate never takes the
    championship from a version trained on later data: a training run again for an old day changes nothing.
    Raises GateRefused where a fatal rule is broken, whoever asks; UnknownName if the run was not evaluated;
    BadInput if a person's decision would have no effect, or would take effect long after the next day, and if another
    version became champion since the gate compared the challenger.
    """
    spec = work.spec
    model = model_of(work, training_run)
    version = model.version
    decision = _not_refused(work, training_run, version)
    by_gate = decided_by == GATE
    at = _standing(work, training_run)
    _refuse_without_files(work, training_run)
    effective_from = max(at.trained, takes_over or at.trained)
    if takes_over or not by_gate:
        _refuse_far_ahead(work, effective_from, recorded_at)
    if by_gate and (begins := at.begins(model)):
        _point_alias(work)
        said = "It was promoted before; nothing changes."
        return Promoted(
            pipeline=spec.name,
            version=version,
            outcome="promoted",
            previous=at.champion,
            reason=said,
            effective_from=begins,
        )
    if decision.verdict == "keep" and by_gate:
        return Promoted(
            pipeline=spec.name,
            version=version,
            outcome="kept",
            previous=at.champion,
            reason=" ".join(decision.broken()),
        )
    if spec.gate.approval == "human" and by_gate:
        return _awaited(work, training_run, model, at.champion)
    if by_gate:
        _refuse_overtaken(work, training_run, model, at, what="the gate's judgement")
    else:
        _refuse_without_effect(spec, version, effective_from, at.previous)
    why = reason or " ".join(rule.sentence for rule in decision.rules)
    if not at.in_force(model, effective_from):
        decided = Promotion(
            pipeline=spec.name,
            version=version,
            effective_from=effective_from,
            recorded_at=recorded_at,
            training_run=training_run,
            decided_by=decided_by,
            reason=why,
            previous=at.champion,
        )
        _record(work, decided, model.digest, airflow_run)
    _point_alias(work)
    return Promoted(
        pipeline=spec.name,
        version=version,
        outcome="promoted",
        previous=at.champion,
        reason=why,
        effective_from=effective_from,
    )


def approve(work: Work, training_run: str, *, recorded_at: dt.datetime, decided_by: str, reason: str) -> Promoted:
    """Promote the model of a training run that a person approved.

    Raises BadInput where another version became champion since the challenger was compared: what was shown no
    longer holds; and where the day it was trained as of is long after the next day. Raises GateRefused, UnknownName as
    `run` does.
    """
    spec = work.spec
    model = model_of(work, training_run)
    version = model.version
    _not_refused(work, training_run, version)
    at = _standing(work, training_run)
    _refuse_without_files(work, training_run)
    if begins := at.begins(model):
        _point_alias(work)
        said = f"{_before(at.past, model)} Nothing changes."
        return Promoted(
            pipeline=spec.name,
            version=version,
            outcome="promoted",
            previous=at.champion,
            reason=said,
            effective_from=begins,
        )
    _refuse_far_ahead(work, at.trained, recorded_at)
    _refuse_overtaken(work, training_run, model, at, what="the approval", later=at.later)
    decided = Promotion(
        pipeline=spec.name,
        version=version,
        effective_from=at.trained,
        recorded_at=recorded_at,
        training_run=training_run,
        decided_by=decided_by,
        reason=reason,
        previous=at.champion,
    )
    _record(work, decided, model.digest)
    _point_alias(work)
    return Promoted(
        pipeline=spec.name,
        version=version,
        outcome="promoted",
        previous=at.champion,
        reason=reason,
        effective_from=at.trained,
    )


def reject(work: Work, training_run: str, *, recorded_at: dt.datetime, decided_by: str, reason: str) -> Promoted:
    """Write down that the model of a training run is not to be champion. Raises BadInput if it is already."""
    spec = work.spec
    model = model_of(work, training_run)
    version = model.version
    at = _standing(work, training_run)
    if at.begins(model):
        raise BadInput(
            f"{spec.name}: version {version} cannot be rejected any more. {_before(at.past, model)} To take it back, "
            f"roll back to a former champion: tailrace rollback {spec.name} --version N --reason '...'."
        )
    if (earlier := _rejection(work, model)) is not None:
        return Promoted(
            pipeline=spec.name,
            version=version,
            outcome="rejected",
            previous=at.champion,
            reason=f"{_who(earlier)} Nothing changes.",
        )
    decided = Promotion(
        pipeline=spec.name,
        version=version,
        effective_from=at.trained,
        recorded_at=recorded_at,
        training_run=training_run,
        decided_by=decided_by,
        reason=reason,
        previous=at.champion,
        decision="rejected",
    )
    promotions.record(work.services.lake, decided, model.digest)
    return Promoted(pipeline=spec.name, version=version, outcome="rejected", previous=at.champion, reason=reason)


def roll_back(
    work: Work,
    version: str,
    *,
    recorded_at: dt.datetime,
    decided_by: str,
    reason: str,
    takes_over: dt.date | None = None,
    dry_run: bool = False,
    airflow_run: str = "",
) -> Promoted:
    """Make a former champion champion again, from `takes_over` on; with `dry_run` only say what that would do.

    That day is by default the one after the last published day, so that what is published stays what a backfill would
    publish. `airflow_run` goes into the decision's commit: a run that is tried again, or cleared, recognises its
    decision by it, and does not decide over a later one.
    Raises UnknownName naming the former champions if the version is none, ModelGone if the registry does not have it
    any more, BadInput if it would have no effect, or take effect long after the next day.
    """
    services, spec = work.services, work.spec
    if before := decided_before(work, airflow_run):
        return before
    past = promotions.history(services.lake, spec.name)
    former = [row for row in past if row.version == version]
    previous = promotions.current(past)
    if not former or previous is None:
        hint = "Only a version that was champion can be rolled back to; any other is approved or promoted."
        raise UnknownName(f"former champion of {spec.name}", version, {row.version for row in past}, hint)
    model = _still_there(work, former)
    if not previous.model.differs(model):
        if not dry_run:
            _point_alias(work)
        return _champion_already(spec, past, model, previous)
    published = services.lake.days(spec.predictions_table)
    next_day = max(published) + dt.timedelta(days=1) if published else previous.effective_from
    effective_from = takes_over or max(next_day, previous.effective_from)
    _refuse_far_ahead(work, effective_from, recorded_at)
    _refuse_without_effect(spec, version, effective_from, previous)
    decided = Promotion(
        pipeline=spec.name,
        version=version,
        effective_from=effective_from,
        recorded_at=recorded_at,
        training_run=model.training_run,
        decided_by=decided_by,
        reason=reason,
        previous=previous.version,
        decision="rolled_back",
    )
    if not dry_run:
        _record(work, decided, model.digest, airflow_run)
        _point_alias(work)
    return Promoted(
        pipeline=spec.name,
        version=version,
        outcome="rolled_back",
        previous=previous.version,
        reason=reason,
        effective_from=effective_from,
    )


def _champion_already(
    spec: PipelineSpec, past: tuple[Promotion, ...], model: Identity, in_force: Promotion
) -> Promoted:
    """A rollback to the champion: one that was made before changes nothing; otherwise it is refused with BadInput."""
    if in_force.decision != "rolled_back":
        raise BadInput(
            f"{spec.name}: version {in_force.version} is the champion already, from {in_force.effective_from} on; "
            f"name one of its predecessors."
        )
    return Promoted(
        pipeline=spec.name,
        version=in_force.version,
        outcome="kept",
        previous=in_force.previous,
        reason=f"{_before(past, model)} Nothing changes.",
        effective_from=in_force.effective_from,
    )


def decided_before(work: Work, airflow_run: str) -> Promoted | None:
    """The decision that this Airflow run made before, with nothing changed by it now; None if it made none."""
    lake, spec = work.services.lake, work.spec
    made = promotions.made_by(lake, spec.name, airflow_run)
    if made is None:
        return None
    _point_alias(work)
    now = promotions.current(promotions.history(lake, spec.name))
    since = f" Since then: {_sentence(now)}" if now and now != made else ""
    return Promoted(
        pipeline=spec.name,
        version=made.version,
        outcome="kept",
        previous=made.previous,
        reason=(
            f"The run {airflow_run} decided before: {_sentence(made)}{since} Nothing changes. To decide once more, "
            "start another run."
        ),
        effective_from=made.effective_from,
    )


def run_of(work: Work, named: str) -> str:
    """The training run that is named by its id or by its model version's number. Raises UnknownName."""
    spec = work.spec
    runs = {known.version: known.training_run for known in work.services.tracker.versions(spec.name)}
    if named in runs.values():
        return named
    if named not in runs:
        raise UnknownName(f"version or training run of {spec.name}", named, runs)
    return runs[named]


def _record(work: Work, decided: Promotion, digest: str, airflow_run: str = "") -> None:
    """Record the policy under which the version scores from that day on, and then that it is champion."""
    lake = work.services.lake
    policy = policies.with_promotion(
        lake,
        work.spec,
        decided.effective_from,
        version=decided.version,
        recorded_at=decided.recorded_at,
        decided_by=decided.decided_by,
    )
    policies.record(lake, policy, airflow_run)
    promotions.record(lake, decided, digest, airflow_run)


def _still_there(work: Work, former: list[Promotion]) -> Identity:
    """The one of these former champions of one number that the registry has. Raises ModelGone."""
    services, spec = work.services, work.spec
    known = [promotions.with_digest(services.lake, row.model) for row in former]
    there = (model for model in known if not model_versions.why_gone(services, spec, model))
    return model_versions.registered(services, spec, next(there, known[0]))


def _not_refused(work: Work, training_run: str, version: str) -> Decision:
    spec = work.spec
    decision = decision_of(work.services, training_run)
    if decision.verdict == "refuse":
        raise GateRefused(
            f"{spec.name}: version {version} is not promoted: {' '.join(decision.broken())} The champion stays. Look "
            f"at the evaluation report of run {training_run}; the gate is in pipelines/{spec.name}.py."
        )
    return decision


def _awaited(work: Work, training_run: str, model: Identity, previous: str | None) -> Promoted:
    """The gate passed, and a person has said no already, or has yet to say something."""
    spec = work.spec
    if (earlier := _rejection(work, model)) is not None:
        return Promoted(
            pipeline=spec.name, version=model.version, outcome="rejected", previous=previous, reason=_who(earlier)
        )
    how = (
        f"Approve or reject it in Airflow (approve__{spec.name}), or with: "
        f"tailrace promote {spec.name} --run {training_run} --reason '...'."
    )
    return Promoted(
        pipeline=spec.name,
        version=model.version,
        outcome="waiting",
        previous=previous,
        reason=f"The gate passed; a person decides. {how}",
    )


def _refuse_without_effect(
    spec: PipelineSpec, version: str, effective_from: dt.date, previous: Promotion | None
) -> None:
    if previous and previous.effective_from > effective_from:
        raise BadInput(
            f"{spec.name}: version {version} would take over on {effective_from}, but version {previous.version} is "
            f"champion from {previous.effective_from} on. Say from which later day on, such as --from "
            f"{previous.effective_from}."
        )


def _refuse_far_ahead(work: Work, day: dt.date, recorded_at: dt.datetime) -> None:
    """Raises BadInput for a day that is not decided on yet: until it comes, nobody else could become champion."""
    spec = work.spec
    if day > (latest := latest_day(work, recorded_at)):
        raise BadInput(
            f"{spec.name}: nobody is made champion from {day} on: that is far ahead, and until then no other version "
            f"could take over. Name a day up to {latest}, or decide when it comes."
        )


def refuse_day(work: Work, version: str, takes_over: dt.date, recorded_at: dt.datetime) -> str | None:
    """Raise BadInput if a person could not make a version champion from that day on; returns the present champion."""
    _refuse_far_ahead(work, takes_over, recorded_at)
    previous = promotions.current(promotions.history(work.services.lake, work.spec.name))
    _refuse_without_effect(work.spec, version, takes_over, previous)
    return previous.version if previous else None


def latest_day(work: Work, recorded_at: dt.datetime) -> dt.date:
    """The last day that may be decided on at this moment: tomorrow, or the day after the last published one."""
    spec = work.spec
    published = work.services.lake.days(spec.predictions_table)
    tomorrow = recorded_at.astimezone(zone(spec)).date() + dt.timedelta(days=1)
    return max([tomorrow, *(one + dt.timedelta(days=1) for one in published)])


def _refuse_overtaken(
    work: Work, training_run: str, model: Identity, at: _Standing, *, what: str, later: Promotion | None = None
) -> None:
    """Raise BadInput if the challenger would be compared with another champion now than it was, or one is `later`."""
    services, spec = work.services, work.spec
    compared = comparison_of(services, training_run)
    shown = Identity(compared.champion, compared.champion_training_run or "") if compared.champion else None
    now = champion_against(work, at.trained, model)
    if now and model_versions.why_gone(services, spec, now):
        now = None
    same = (now is None and shown is None) or (now is not None and shown is not None and not now.differs(shown))
    if same and not later:
        return
    champion = later.model if later else now
    judged = f"judged against version {shown.version}" if shown else "judged where there was no champion"
    after = f" {_before(at.past, champion)}" if champion else ""
    # Judged again, it would still be older than the champion.
    way = (
        "say from which later day on it is champion: "
        f"tailrace promote {spec.name} --run {training_run} --from {later.effective_from} --reason '...'."
        if later
        else "evaluate it again and go by what that shows: "
        f"tailrace run evaluate {spec.name} --date {at.trained} --run {training_run}."
    )
    raise BadInput(
        f"{spec.name}: {what} of version {model.version} was overtaken. It was {judged}"
        f"{'' if same else '; that has changed'}.{after} Nothing changes. To let it compete, train as of a later day, "
        f"or {way}"
    )


def _rejection(work: Work, model: Identity) -> Promotion | None:
    """The last decision on a model, if it is a rejection."""
    decided = promotions.decisions(work.services.lake, work.spec.name)
    last = next((row for row in decided if not row.model.differs(model)), None)
    return last if last is not None and last.decision == "rejected" else None


def _before(past: tuple[Promotion, ...], model: Identity) -> str:
    return _sentence(next(row for row in past if not row.model.differs(model)))


def _sentence(row: Promotion) -> str:
    how = "was rolled back to" if row.decision == "rolled_back" else "became champion"
    return f"Version {row.version} {how}, from {row.effective_from} on (decided by {row.decided_by})."


def _who(rejection: Promotion) -> str:
    return f"Version {rejection.version} was rejected by {rejection.decided_by}: {rejection.reason}"


def _standing(work: Work, training_run: str) -> _Standing:
    services = work.services
    past = promotions.history(services.lake, work.spec.name)
    trained = dt.date.fromisoformat(services.tracker.run(training_run).tags[run_tags.DAY])
    return _Standing(past, promotions.current(past), trained)


def _refuse_without_files(work: Work, training_run: str) -> None:
    """Raises ModelGone if upkeep deleted the files of the version: no day could be scored with it."""
    record = work.services.tracker.run(training_run)
    if run_tags.FILES_DELETED in record.tags:
        versions = work.services.tracker.versions(work.spec.name)
        number = next((known.version for known in versions if known.training_run == training_run), "of that run")
        folders.refuse_deleted(record.tags, work.spec.name, number)


def _point_alias(work: Work) -> None:
    """Set again whenever a decision is made again: the tracker may have been away the first time."""
    services, spec = work.services, work.spec
    champion = promotions.current(promotions.history(services.lake, spec.name))
    if champion is None:
        return
    if gone := model_versions.why_gone(services, spec, champion.model):
        log.warning("%s: the alias %r stays as it is. %s", spec.name, model_versions.CHAMPION, gone)
        return
    services.tracker.set_alias(spec.name, model_versions.CHAMPION, champion.version)
