"""When a challenger replaces the champion: the gate's rules as sentences."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np

from tailrace.champions.score_limits import JudgedHoldout
from tailrace.problems import Problem
from tailrace.problems.metrics import METRICS, written
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


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The holdout's encoded labels and the predictions to compare; `champion` is None if there is none yet."""

    problem: Problem
    labels: np.ndarray
    challenger: np.ndarray
    champion: np.ndarray | None = None
    baseline: np.ndarray | None = None
    """The predictions of the baseline that `Gate.beat` names."""

    def of(self, rows: np.ndarray) -> Scores:
        """The same for some of the rows."""
        champion, baseline = (None if each is None else each[rows] for each in (self.champion, self.baseline))
        ours = {"labels": self.labels[rows], "challenger": self.challenger[rows]}
        return replace(self, **ours, champion=champion, baseline=baseline)

    def gain(self, metric: str, other: np.ndarray) -> float:
        """By how much the challenger's metric is better than that of other predictions."""
        ours, theirs = (self.problem.value(metric, self.labels, each) for each in (self.challenger, other))
        return METRICS[metric].gain(ours, theirs)


def decide(
    gate: Gate, scores: Scores, slices: Mapping[str, np.ndarray], audited: JudgedHoldout | None = None
) -> Decision:
    """Compare challenger, baseline and champion on the same holdout rows; `slices` has columns to slice them by.

    `audited` says which days of the challenger's holdout the audit would have refused.
    """
    defined = not math.isnan(scores.problem.value(gate.metric, scores.labels, scores.challenger))
    rules = _limits(gate, scores) if defined else [_undefined(gate, scores)]
    if audited is not None:
        rules.append(Rule(audited.accepted, audited.sentence()))
    if defined:
        rules += _compared(gate, scores, slices)
    if any(rule.fatal and not rule.passed for rule in rules):
        return Decision("refuse", tuple(rules))
    return Decision("promote" if all(rule.passed for rule in rules) else "keep", tuple(rules))


def left_to_a_person(decision: Decision, why: str, by_hand: str) -> Decision:
    """The decision when there is a champion but the challenger could not be compared with it.

    `by_hand` says how a person promotes it; nobody may promote what is refused.
    """
    if decision.verdict == "refuse":
        return Decision("refuse", (*decision.rules, Rule(False, why)))
    return Decision("keep", (*decision.rules, Rule(False, f"{why} {by_hand}")))


def _undefined(gate: Gate, scores: Scores) -> Rule:
    """The one rule where the challenger has no value of the metric: nothing can be compared by it."""
    why = _of_these_labels(scores.problem, scores.labels)
    remedy = "Train as of a day whose holdout has other labels, give window.holdout_days more days"
    if not why:
        # Such as the interval of a challenger that was trained before the spec asked for intervals.
        why, remedy = "the challenger's predictions do not allow it", "Train again"
    return Rule(
        False,
        f"{gate.metric} is not defined on the holdout, because {why}, so nothing is judged by it. {remedy}, or choose "
        "another gate.metric.",
        True,
    )


def _of_these_labels(problem: Problem, labels: np.ndarray) -> str:
    """What may make a metric undefined on these labels; empty if nothing is unusual about them."""
    unseen = [problem.label_words(each) for each in problem.label_values or () if not (labels == each).any()]
    if unseen:
        return f"none of its {len(labels)} labels is {' or '.join(unseen)}"
    if len(labels) and (labels == labels[0]).all():
        return f"all of its {len(labels)} labels are {problem.label_words(labels[0])}"
    return ""


def _limits(gate: Gate, scores: Scores) -> list[Rule]:
    metric = METRICS[gate.metric]
    value = scores.problem.value(gate.metric, scores.labels, scores.challenger)
    return [
        Rule(
            bool(metric.reaches(value, limit)),
            f"{gate.metric} on the holdout is {written(value)}; {words} {limit:g} is needed.",
            True,
        )
        for limit, words in ((gate.floor, "at least"), (gate.ceiling, "at most"))
        if limit is not None
    ]


def _compared(gate: Gate, scores: Scores, slices: Mapping[str, np.ndarray]) -> list[Rule]:
    """The rules that compare the challenger with the baseline and the champion, as far as there are any."""
    rules = []
    if gate.beat is not None and scores.baseline is not None:
        rules.append(_baseline(gate, scores, scores.baseline))
    if scores.champion is not None:
        rules.append(_margin(gate, scores.gain(gate.metric, scores.champion)))
        rules += _slices(gate, scores, slices)
    return rules


def _baseline(gate: Gate, scores: Scores, baseline: np.ndarray) -> Rule:
    theirs = scores.problem.value(gate.metric, scores.labels, baseline)
    gain = scores.gain(gate.metric, baseline)
    if math.isnan(gain):
        why = f"{gate.metric} is not defined for the predictions of the baseline {gate.beat}"
        return Rule(False, f"{why}, so nothing can be shown to be better; name another gate.beat.", True)
    return Rule(
        bool(gain > 0),
        f"{gate.metric} is {_beside(gain)} that of the baseline {gate.beat} ({written(theirs)}); it must be better.",
        True,
    )


def _margin(gate: Gate, gain: float) -> Rule:
    if math.isnan(gain):
        # Such as the interval of a champion that predicts none.
        return Rule(False, f"{gate.metric} is not defined for the champion's predictions, so a person has to decide.")
    passed = gain > gate.margin if gate.margin == 0 else gain >= gate.margin
    needed = "more than 0" if gate.margin == 0 else f"at least {gate.margin:g}"
    return Rule(
        bool(passed),
        f"{gate.metric} is {_beside(gain)} the champion's; {needed} better is needed.",
    )


def _beside(gain: float) -> str:
    """How a metric compares with another, which the sentence names next."""
    if gain == 0:
        return "the same as"
    return f"{written(abs(gain))} {'better' if gain > 0 else 'worse'} than"


def _slices(gate: Gate, scores: Scores, slices: Mapping[str, np.ndarray]) -> list[Rule]:
    rules = []
    for column in gate.slices:
        for value in np.unique(slices[column]):
            rows = slices[column] == value
            of_slice = scores.of(rows)
            if rows.sum() < gate.slice_rows or of_slice.champion is None:
                continue
            gain = of_slice.gain(gate.metric, of_slice.champion)
            if math.isnan(gain):
                continue
            rules.append(
                Rule(
                    gain >= -gate.slice_tolerance,
                    f"{gate.metric} for {column} = {value} ({rows.sum()} rows) is {_beside(gain)} the champion's; "
                    f"it may be worse by {gate.slice_tolerance:g} at most.",
                )
            )
    return rules
