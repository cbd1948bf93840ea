"""The gate's rules, and the measures they rest on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.champions.gate import Decision, Scores, decide, left_to_a_person
from tailrace.operations.reproduce import metric_to_compare
from tailrace.problems.binary import Binary
from tailrace.problems.distributions import Distribution, population_stability_index
from tailrace.problems.metrics import written
from tailrace.problems.multiclass import Multiclass
from tailrace.problems.regression import Regression
from tailrace.spec import Gate

RANDOM = np.random.default_rng(5)
LABELS = RANDOM.random(2000) < 0.3
GOOD = np.clip(LABELS * 0.4 + RANDOM.random(2000) * 0.6, 0, 1)
BAD = RANDOM.random(2000)
SLICES = {"plan": np.where(np.arange(2000) % 2 == 0, "free", "pro")}
GATE = Gate(metric="roc_auc", floor=0.6, slices=("plan",))


def decided(gate: Gate, challenger: np.ndarray, champion: np.ndarray | None) -> Decision:
    scores = Scores(problem=Binary(), labels=LABELS, challenger=challenger, champion=champion)
    return decide(gate, scores, SLICES)


def test_the_first_good_model_is_promoted():
    assert decided(GATE, GOOD, None).verdict == "promote"


def test_a_model_below_the_floor_is_refused_and_told_how_far_off():
    decision = decided(GATE, BAD, None)
    assert decision.verdict == "refuse"
    assert "at least 0.6 is needed" in decision.broken()[0]


def test_an_error_in_small_amounts_is_told_with_its_digits():
    labels = np.linspace(0, 4e-6, 100)
    scores = Scores(problem=Regression(), labels=labels, challenger=labels + 2e-6, champion=labels + 3e-6)
    said = [rule.sentence for rule in decide(Gate(metric="mae", ceiling=1e-6), scores, {}).rules]
    assert said[0] == "mae on the holdout is 2e-06; at most 1e-06 is needed."
    assert said[1].startswith("mae is 1e-06 better than the champion's")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.66402, "0.6640"),
        (0.0, "0.0000"),
        (0.0001, "0.0001"),
        (-4.21e-7, "-4.21e-07"),
        (123456.789, "123456.7890"),
        (1.23456e160, "1.235e+160"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_a_value_is_written_with_digits_that_tell_something(value, said):
    assert written(value) == said


def test_an_equal_model_does_not_replace_the_champion():
    assert decided(GATE, GOOD, GOOD).verdict == "keep"


def test_a_margin_is_needed_in_full():
    better = np.clip(LABELS * 0.42 + (GOOD - LABELS * 0.4), 0, 1)
    assert decided(GATE, better, GOOD).verdict == "promote"
    assert decided(Gate(metric="roc_auc", floor=0.6, margin=0.3), better, GOOD).verdict == "keep"


def test_a_slice_that_falls_keeps_the_champion():
    # Better overall, much worse for the free plan.
    worse_for_free = np.where(SLICES["plan"] == "free", np.where(RANDOM.random(2000) < 0.5, GOOD, BAD), LABELS * 1.0)
    decision = decided(GATE, worse_for_free, GOOD)
    assert decision.verdict == "keep"
    assert any("plan = free" in sentence for sentence in decision.broken())


def test_a_slice_is_said_to_be_better_or_worse_whichever_way_the_metric_goes():
    gate = Gate(metric="log_loss", ceiling=0.7, slices=("plan",), slice_tolerance=0.1)
    for_free = np.where(SLICES["plan"] == "free", GOOD, 0.5)
    sentences = [rule.sentence for rule in decided(gate, for_free, np.full(2000, 0.5)).rules]
    assert any("plan = free" in each and "better than the champion's" in each for each in sentences)
    worse = decided(gate, np.full(2000, 0.5), for_free).broken()
    assert any("plan = free" in each and "worse than the champion's" in each for each in worse)


def test_less_is_better_for_losses():
    gate = Gate(metric="log_loss", ceiling=0.7)
    assert decided(gate, GOOD, np.full(2000, 0.5)).verdict == "promote"
    assert decided(Gate(metric="log_loss", ceiling=0.1), GOOD, None).verdict == "refuse"


def test_small_numbers_are_said_with_their_digits():
    """A rate such as 0.00003 has errors of which four decimals show nothing."""
    labels, off = np.arange(20) * 1e-6, 1e-6
    scores = Scores(problem=Regression(), labels=labels, challenger=labels + off, champion=labels + 3 * off)
    decision = decide(Gate(metric="mae", ceiling=1e-5), scores, {})
    assert [rule.sentence for rule in decision.rules] == [
        "mae on the holdout is 1e-06; at most 1e-05 is needed.",
        "mae is 2e-06 better than the champion's; more than 0 better is needed.",
    ]
    same = decide(Gate(metric="mae"), replace(scores, challenger=labels, champion=labels), {})
    assert "mae is the same as the champion's" in same.broken()[0]


def test_a_decision_survives_the_tracker():
    decision = decided(GATE, GOOD, BAD)
    assert Decision.from_json(decision.to_json()) == decision


@pytest.mark.parametrize(
    ("recorded", "compared"), [(0.1 + 0.2, 0.1 + 0.2), (0.3001, 0.3), (float("nan"), 0.3), (None, 0.3)]
)
def test_a_metric_that_was_recorded_with_other_rounding_is_reproduced(recorded, compared):
    assert repr(metric_to_compare(0.3, recorded)) == repr(compared)


def test_one_class_has_no_ranking_metric():
    assert np.isnan(Binary().measure(np.zeros(5, bool), np.linspace(0, 1, 5))["roc_auc"])


@given(st.lists(st.floats(0, 1), min_size=20, max_size=200))
def test_a_distribution_did_not_move_from_itself(scores):
    held = np.array(scores)
    assert population_stability_index(Distribution.of(held), held) == pytest.approx(0)


@given(st.integers(0, 10**6))
def test_the_index_is_never_negative_and_sees_a_shift(seed):
    random = np.random.default_rng(seed)
    before, after = Distribution.of(random.beta(2, 5, 1000)), random.beta(5, 2, 1000)
    assert population_stability_index(before, after) > 0.25
    assert Distribution.from_json(before.to_json()) == before
    assert population_stability_index(before, random.beta(2, 5, 1000)) < 0.1


def test_a_champion_without_the_interval_that_the_gate_judges_is_left_to_a_person():
    labels = np.arange(100.0)
    ends = np.column_stack([labels, labels - 1, labels + 1])
    scores = Scores(problem=Regression(intervals=(0.1, 0.9)), labels=labels, challenger=ends, champion=labels)
    decision = decide(Gate(metric="pinball", ceiling=1.0), scores, {})
    assert decision.verdict == "keep"
    assert "pinball is not defined for the champion's predictions" in decision.broken()[0]


def test_what_is_refused_is_left_to_nobody():
    refused = left_to_a_person(decided(GATE, BAD, None), "The champion is gone.", "A person decides.")
    assert (refused.verdict, refused.broken()[-1]) == ("refuse", "The champion is gone.")
    kept = left_to_a_person(decided(GATE, GOOD, None), "The champion is gone.", "A person decides.")
    assert (kept.verdict, kept.broken()) == ("keep", ["The champion is gone. A person decides."])


EVERY_CLASS = Multiclass(classes=("good", "fair", "bad"))
UNDEFINED = {
    "one class": (Binary(), Gate(metric="roc_auc", beat="prior"), np.zeros(40, bool), "none of its 40 labels is true"),
    "a class is missing": (
        EVERY_CLASS,
        Gate(metric="roc_auc_ovr", beat="prior"),
        np.arange(40) % 2,
        "none of its 40 labels is bad",
    ),
    "one number": (Regression(), Gate(metric="r2", beat="mean"), np.full(40, 2.5), "all of its 40 labels are 2.5"),
}


@pytest.mark.parametrize("case", UNDEFINED)
def test_a_metric_that_the_labels_do_not_define_is_one_sentence(case):
    problem, gate, labels, why = UNDEFINED[case]
    random = np.random.default_rng(1)
    shares = random.dirichlet([1.0] * 3, 40) if problem is EVERY_CLASS else random.random(40)
    scores = Scores(problem=problem, labels=labels, challenger=shares, champion=shares, baseline=shares)
    decision = decide(
        replace(gate, slices=("plan",), slice_rows=1).completed(problem), scores, {"plan": SLICES["plan"][:40]}
    )
    assert decision.verdict == "refuse"
    assert [rule.sentence for rule in decision.rules] == [
        f"{gate.metric} is not defined on the holdout, because {why}, so nothing is judged by it. Train as of a day "
        "whose holdout has other labels, give window.holdout_days more days, or choose another gate.metric."
    ]


def test_a_challenger_without_the_interval_that_the_gate_judges_is_told_to_train_again():
    labels = np.arange(100.0)
    scores = Scores(problem=Regression(intervals=(0.1, 0.9)), labels=labels, challenger=labels, champion=labels)
    decision = decide(Gate(metric="pinball", ceiling=1.0), scores, {})
    assert decision.verdict == "refuse"
    assert decision.broken() == [
        "pinball is not defined on the holdout, because the challenger's predictions do not allow it, so nothing is "
        "judged by it. Train again, or choose another gate.metric."
    ]


def test_a_baseline_for_which_the_metric_is_not_defined_cannot_be_beaten():
    labels = np.arange(100.0)
    scores = Scores(problem=Regression(), labels=labels, challenger=labels, baseline=np.full(100, np.nan))
    decision = decide(Gate(metric="mae", beat="mean"), scores, {})
    assert decision.verdict == "refuse"
    assert "mae is not defined for the predictions of the baseline mean" in decision.broken()[0]
