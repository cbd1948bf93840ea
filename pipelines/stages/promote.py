"""Make the challenger champion if the gate, or a person, says so; write down who decided."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from pipelines import models, promotions
from pipelines.errors import GateRefused
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
) -> Promoted:
    """Promote the model of a training run. A person's decision (decided_by other than the gate) overrules `keep`.

    Raises GateRefused where a fatal rule is broken, whoever asks; UnknownName if the run was not evaluated.
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
    previous = promotions.current(promotions.history(services.lake, spec.name))
    previous_version = previous.version if previous else None
    if decision.verdict == "keep" and by_gate:
        return Promoted(spec.name, version, "kept", previous_version, broken)
    if spec.gate.approval == "human" and by_gate:
        how = f"Approve it with: tailrace promote {spec.name} --run {run_id} --reason '...'."
        return Promoted(spec.name, version, "waiting", previous_version, f"The gate passed; a person decides. {how}")
    effective_from = dt.date.fromisoformat(services.tracker.run(run_id).tags["tailrace.day"])
    why = reason or "; ".join(rule.sentence for rule in decision.rules)
    if previous is None or (previous.version, previous.effective_from) != (version, effective_from):
        promotions.record(
            services.lake,
            Promotion(spec.name, version, effective_from, recorded_at, run_id, decided_by, why, previous_version),
        )
    services.tracker.set_alias(spec.name, models.CHAMPION, version)
    return Promoted(spec.name, version, "promoted", previous_version, why)
