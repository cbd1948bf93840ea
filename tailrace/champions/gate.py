"""When a challenger replaces the champion: the gate's rules as sentences."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from tailrace.problems.metrics import METRICS, measure
from tailrace.spec import Gate

GateVerdict = Literal["promote", "keep", "refuse"]


@dataclass(frozen=True)
class Rule:
    """One rule of the gate, applied to this challenger. `fatal`: a model that breaks it must not be promoted."""

    passed: bool
    sentence: str
    fatal: bool = False


@dataclass(frozen=True)
class Decision:
    """`promote`: every rule passed; `keep`: the champion is at least as good; `refuse`: a fatal rule was broken."""

    verdict: GateVerdict
    rules: tuple[Rule, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Decision:
        fields = json.loads(text)
        return cls(fields["verdict"], tuple(Rule(**rule) for rule in fields["rules"]))

    def broken(self) -> list[str]:
        return [rule.sentence for rule in self.rules if not rule.passed]


def decide(
    gate: Gate,
    labels: np.ndarray,
    *,
    challenger: np.ndarray,
    champion: np.ndarray | None,
    slices: Mapping[str, np.ndarray],
) -> Decision:
    """Compare the scores of challenger and champion (None: there is no champion yet) on the same holdout rows."""
    rules = [_floor(gate, labels, challenger)]
    if champion is not None:
        rules.append(_margin(gate, labels, challenger, champion))
        rules += _slices(gate, labels, challenger, champion=champion, slices=slices)
    if any(rule.fatal and not rule.passed for rule in rules):
        return Decision("refuse", tuple(rules))
    return Decision("promote" if all(rule.passed for rule in rules) else "keep", tuple(rules))


def left_to_a_person(decision: Decision, why: str) -> Decision:
    """The decision when there is a champion but the challenger could not be compared with it."""
    verdict: GateVerdict = "refuse" if decision.verdict == "refuse" else "keep"
    return Decision(verdict, (*decision.rules, Rule(False, why)))


def _floor(gate: Gate, labels: np.ndarray, scores: np.ndarray) -> Rule:
    value = measure(labels, scores)[gate.metric]
    needed = "at least" if METRICS[gate.metric] else "at most"
    passed = value >= gate.floor if METRICS[gate.metric] else value <= gate.floor
    return Rule(bool(passed), f"{gate.metric} on the holdout is {value:.4f}; {needed} {gate.floor:g} is needed.", True)


def _margin(gate: Gate, labels: np.ndarray, challenger: np.ndarray, champion: np.ndarray) -> Rule:
    gain = _gain(gate, labels, challenger, champion)
    passed = gain > gate.margin if gate.margin == 0 else gain >= gate.margin
    needed = "more than 0" if gate.margin == 0 else f"at least {gate.margin:g}"
    return Rule(
        bool(passed),
        f"{gate.metric} is {abs(gain):.4f} {'better' if gain > 0 else 'worse'} than the champion's; "
        f"{needed} better is needed.",
    )


def _slices(
    gate: Gate, labels: np.ndarray, challenger: np.ndarray, *, champion: np.ndarray, slices: Mapping[str, np.ndarray]
) -> list[Rule]:
    rules = []
    for column in gate.slices:
        for value in np.unique(slices[column]):
            rows = slices[column] == value
            if rows.sum() < gate.slice_rows:
                continue
            gain = _gain(gate, labels[rows], challenger[rows], champion[rows])
            if math.isnan(gain):
                continue
            rules.append(
                Rule(
                    gain >= -gate.slice_tolerance,
                    f"{gate.metric} for {column} = {value} ({rows.sum()} rows) is {gain:+.4f} compared with the "
                    f"champion's; it may be worse by {gate.slice_tolerance:g} at most.",
                )
            )
    return rules


def _gain(gate: Gate, labels: np.ndarray, challenger: np.ndarray, champion: np.ndarray) -> float:
    sign = 1 if METRICS[gate.metric] else -1
    return sign * (measure(labels, challenger)[gate.metric] - measure(labels, champion)[gate.metric])
