"""Make the challenger champion if the gate, or a person, says so; write down who decided."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from pipelines import models, promotions
from pipelines.errors import BadInput, GateRefused
from pipelines.interfaces import Services
from pipelines.promotions import Promotion
from pipelines.spec import PipelineSpec
from pipelines.stages.evaluate import decision_of, version_of

GATE = "gate"
Outcome = Literal["promoted", "kept", "waiting"]


@dataclass(frozen=True)
class Promoted:
    """What happened to the champion, and why.

    `kept`: it is at least as good as the challenger; `waiting`: a person has to approve.
    """

    pipeline: str
    version: str
    outcome: Outcome
    previous: str | None
    reason: str


def run(
    services: Services,
    spec: PipelineSpec,
    run_id: str,
    *,
    recorded_at: dt.datetime,
    decided_by: str = GATE,
    reason: str = "",
    takes_over: dt.date | None = None,
) -> Promoted:
    """Promote the model of a training run, from the day it was trained as of, or from `takes_over` if that is later.

    A person's decision (decided_by other than the gate) overrules `keep`. The gate never takes the
    championship from a version trained on later data: a training run again for an old day changes nothing.
    Raises GateRefused where a fatal rule is broken, whoever asks; UnknownName if the run was not evaluated;
    BadInput if a person's decision would have no effect.
    """
    version = version_of(services, spec, run_id)
    decision = decision_of(services, run_id)
    broken = " ".join(decision.broken())
    if decision.verdict == "refuse":
        raise GateRefused(
            f"{spec.name}: version {version} is not promoted: {broken} The champion stays. Look at the evaluation "
            f"report of run {run_id}; the gate is in pipelines/catalog/{spec.name}.py."
        )
    by_gate = decided_by == GATE
    past = promotions.history(services.lake, spec.name)
    previous = promotions.current(past)
    previous_version = previous.version if previous else None
    trained = dt.date.fromisoformat(services.tracker.run(run_id).tags["tailrace.day"])
    effective_from = max(trained, takes_over or trained)
    if by_gate and any((row.version, row.effective_from) == (version, effective_from) for row in past):
        return Promoted(spec.name, version, "promoted", previous_version, "It was promoted before; nothing changes.")
    if decision.verdict == "keep" and by_gate:
        return Promoted(spec.name, version, "kept", previous_version, broken)
    if spec.gate.approval == "human" and by_gate:
        how = f"Approve it with: tailrace promote {spec.name} --run {run_id} --reason '...'."
        return Promoted(spec.name, version, "waiting", previous_version, f"The gate passed; a person decides. {how}")
    if not by_gate and previous and previous.effective_from > effective_from:
        raise BadInput(
            f"{spec.name}: version {version} would take over on {effective_from}, but version {previous.version} is "
            f"champion from {previous.effective_from} on. Say from which later day on with --from, such as "
            f"--from {previous.effective_from}."
        )
    why = reason or "; ".join(rule.sentence for rule in decision.rules)
    decided = Promotion(spec.name, version, effective_from, recorded_at, run_id, decided_by, why, previous_version)
    if previous is None or (previous.version, previous.effective_from) != (version, effective_from):
        promotions.record(services.lake, decided)
    champion = promotions.current(promotions.history(services.lake, spec.name))
    services.tracker.set_alias(spec.name, models.CHAMPION, champion.version if champion else version)
    return Promoted(spec.name, version, "promoted", previous_version, why)
