"""A day is judged by what single days are like: sound days pass, planted faults are caught, a trend is watched."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tailrace.champions import gate
from tailrace.champions.score_limits import judge, judge_holdout
from tailrace.lake.memory import MemoryLake
from tailrace.lineage import identity
from tailrace.lineage.identity import Identity
from tailrace.monitoring import drift
from tailrace.monitoring.references import Reference
from tailrace.problems.binary import Binary
from tailrace.problems.distributions import Distribution, allowed, equal_edges, furthest_day
from tailrace.spec import Audit, Gate, Monitor
from tailrace.stages import audit

FIRST = dt.date(2013, 1, 1)
WINDOW, BEFORE, ROWS = 42, 28, 400
TODAY = FIRST + dt.timedelta(days=BEFORE)
AUDIT = Audit(max_psi_excess=0.25)


def a_day(random: np.random.Generator, rows: int = ROWS, level: float = 0.0) -> np.ndarray:
    """Numbers whose mean differs from day to day, as weather does."""
    return random.normal(50 + level + random.normal(0, 3), 10, rows)


def column(values: np.ndarray) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, from_pandas=True)])


def reference_of(days: list[np.ndarray], *, fewest: int = 1) -> Reference:
    of_day = [FIRST + dt.timedelta(days=number) for number, values in enumerate(days) for _ in values]
    return Reference.of(column(np.concatenate(days)), pa.chunked_array([pa.array(of_day)]), fewest=fewest)


@dataclass
class Feature:
    """A feature with its training window and the days that were published since."""

    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    trend: float = 0.0

    def __post_init__(self) -> None:
        self.reference = reference_of([a_day(self.random) for _ in range(WINDOW)])
        self.published = [a_day(self.random, level=self.trend * number) for number in range(BEFORE)]
        looks = [drift.look(self.reference, column(values)) for values in self.published]
        self.before = {FIRST + dt.timedelta(days=number): look for number, look in enumerate(looks)}

    def judge(self, values: np.ndarray) -> drift.Moved:
        return drift.judge("temp", self.reference, column(values), day=TODAY, before=self.before, monitor=Monitor())

    def light(self, values: np.ndarray) -> str:
        return drift.light({"temp": self.judge(values)}, Monitor(), "")


FAULTS = {
    "another unit": lambda day: (day - 32) / 1.8 - 40,
    "stuck": lambda day: np.full(len(day), day[0]),
    "lost": lambda day: np.full(len(day), np.nan),
    "half lost": lambda day: np.where(np.arange(len(day)) % 2, day, np.nan),
    "swapped with another column": lambda day: np.arange(len(day)) / 2,
    "mistaken for its share": lambda day: day / 100,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_an_alarm_the_same_night(fault):
    feature = Feature()
    day = a_day(feature.random)
    assert feature.light(day) == "ok"
    assert feature.light(FAULTS[fault](day)) == "alarm"
    assert feature.judge(FAULTS[fault](day)).jumped.startswith("temp jumped: ")


def test_the_sentence_says_which_measure_broke():
    feature = Feature()
    day = a_day(feature.random)
    assert "100% of its rows have one and the same value" in feature.judge(FAULTS["stuck"](day)).jumped
    assert "of its values lie far outside" in feature.judge(day + 500).jumped
    assert "its PSI is" in feature.judge(FAULTS["lost"](day)).jumped


def test_a_feature_that_lost_half_of_its_values_is_an_alarm_however_much_single_days_differ():
    random = np.random.default_rng(7)
    varied = reference_of([one_temperature(random.uniform(20, 70)) for _ in range(WINDOW)])
    day = one_temperature(44)
    before = {TODAY - dt.timedelta(days=1): drift.look(varied, column(one_temperature(43)))}
    half = column(np.where(np.arange(ROWS) % 2, day, np.nan))
    moved = drift.judge("temp", varied, half, day=TODAY, before=before, monitor=Monitor())
    assert moved.psi < moved.allowance, "by its distribution alone it would be as usual"
    assert moved.changed
    assert moved.jumped == "temp jumped: 50% of its rows have no value; on no day before was it more than 0%."
    again = before | {TODAY - dt.timedelta(days=2): drift.look(varied, half)}
    assert drift.judge("temp", varied, half, day=TODAY, before=again, monitor=Monitor()).jumped == ""


def rare(random: np.random.Generator, share: float, rows: int = ROWS) -> np.ndarray:
    """An amount that few rows have; the others have 0."""
    return np.where(random.random(rows) < share, random.uniform(1, 100, rows), 0.0)


@pytest.mark.parametrize("share", [0.02, 0.05, 0.09, 0.11, 0.15])
@pytest.mark.parametrize("amounts", [rare, lambda *asked: rare(*asked) > 0], ids=["amount", "flag"])
def test_what_few_rows_have_may_not_become_usual_unseen(amounts, share):
    random = np.random.default_rng(3)

    def made(part: float) -> np.ndarray:
        return np.asarray(amounts(random, part), float)

    reference = reference_of([made(share) for _ in range(WINDOW)])
    before = {FIRST + dt.timedelta(days=n): drift.look(reference, column(made(share))) for n in range(BEFORE)}
    judged = [
        drift.judge("paid", reference, column(made(part)), day=TODAY, before=before, monitor=Monitor())
        for part in (share, 0.6)
    ]
    assert [bool(each.jumped) for each in judged] == [False, True]


def test_a_value_may_be_as_rare_as_single_days_have_it_and_half_as_far_again():
    random = np.random.default_rng(3)

    def jumped(reference: Reference, part: float) -> str:
        day = column(rare(random, part))
        return drift.judge("rain", reference, day, day=TODAY, before={}, monitor=Monitor()).jumped

    steady = reference_of([rare(random, 0.05) for _ in range(WINDOW)])
    assert jumped(steady, 0.4) == (
        "rain jumped: only 59% of its rows have 0, the most common value; on every day of the training it was 93% or "
        "more."
    )
    with_a_storm = reference_of([*(rare(random, 0.05) for _ in range(WINDOW)), rare(random, 0.6)])
    assert "the most common value" not in jumped(with_a_storm, 0.7)


def test_predictions_that_hardly_ever_are_more_than_0_may_not_all_be_so():
    random = np.random.default_rng(3)
    scores, days = of_holdout([rare(random, 0.05) / 100 for _ in range(7)])
    holdout = Distribution.of(scores, days=days)
    assert judge(AUDIT, holdout, rare(random, 0.05) / 100).problems == ()
    assert judge(AUDIT, holdout, rare(random, 0.6) / 100).problems


def test_a_day_of_one_row_says_nothing_of_what_single_days_are_like():
    feature = Feature()
    days = [a_day(feature.random) for _ in range(WINDOW)]
    alone = reference_of([*days, np.array([np.nan])], fewest=100)
    assert (alone.repeats, alone.nulls) == (reference_of(days).repeats, 0.0)
    assert alone.usual == pytest.approx(reference_of(days).usual, abs=0.01)
    assert reference_of([np.array([1.0])] * 5, fewest=100).repeats == 1.0, "all days are so small"
    scores, of_day = of_holdout([*(some_scores(feature.random, ROWS) for _ in range(7)), np.array([0.5])])
    assert Distribution.of(scores, days=of_day, fewest=200).repeats < 0.1


@given(st.permutations(["young", "middle", "old"]), st.permutations(["young", "middle", "old"]))
def test_shares_of_classes_follow_their_order(trained, today):
    shares = {"young": 0.2, "middle": 0.3, "old": 0.5}
    holdout = Distribution(edges=(0.5, 1.5), shares=tuple(shares[each] for each in trained), classes=tuple(trained))
    assert Distribution.from_json(holdout.to_json()) == holdout
    assert holdout.in_order_of(today).shares == tuple(shares[each] for each in today)
    assert holdout.in_order_of(["young", "new", "old"]).shares == holdout.shares
    assert Distribution(edges=(0.5,), shares=(0.4, 0.6)).in_order_of(()).shares == (0.4, 0.6)


def test_bins_of_one_value_are_joined_for_a_picture():
    random = np.random.default_rng(3)
    made = Distribution.of(rare(random, 0.15, 10_000))
    drawn = made.without_thin_bins()
    assert len(drawn.edges) == len(made.edges) - 1
    assert drawn.edges[0] == 0.0
    assert sum(drawn.shares) == pytest.approx(sum(made.shares))


@given(st.lists(st.floats()), st.integers(1, 40))
@example([1e17 + 16 * step for step in range(10)], 40)
@example([-1.7e308, 1.7e308], 40)
@example([sys.float_info.max] * 2, 40)
@example([0.0, 5e-324], 40)
def test_equal_bins_hold_all_finite_values(values, bins):
    values = np.array(values, dtype=float)
    edges = equal_edges(values, bins)
    assert 2 <= len(edges) <= bins + 1
    assert np.isfinite(edges).all()
    assert np.histogram(values, edges)[0].sum() == np.isfinite(values).sum()


def test_equal_bins_are_those_of_numpy():
    values = np.random.default_rng(5).normal(size=100)
    assert equal_edges(values, 20).tolist() == np.histogram_bin_edges(values, 20).tolist()
    assert equal_edges(values, 3, (-0.5, 2.5)).tolist() == [-0.5, 0.5, 1.5, 2.5]


SPRING = (41, 47, 39, 44, 52, 58, 49, 43, 48, 48, 47, 55, 61, 48)
"""Degrees Fahrenheit of two weeks: the furthest step between two days is 13."""


def one_temperature(level: float) -> np.ndarray:
    """A day's rows: nearly the same temperature in all of them."""
    return level + np.resize([-1.0, 0.0, 1.0], ROWS)


def step(today: float, days: Sequence[float], *, pause: int = 0) -> str:
    """What is said of a day whose rows have this temperature, after these days; the training had 18 to 68 degrees."""
    reference = reference_of([one_temperature(level) for level in range(19, 68)])
    first = TODAY - dt.timedelta(days=len(days) + pause)
    looks = [drift.look(reference, column(one_temperature(level))) for level in days]
    before = {first + dt.timedelta(days=number): look for number, look in enumerate(looks)}
    rows, quiet = column(one_temperature(today)), Monitor(alarm_psi=100)
    return drift.judge("temp", reference, rows, day=TODAY, before=before, monitor=quiet).jumped


def test_a_step_out_of_the_range_is_an_alarm_if_no_step_before_it_was_so_great():
    # 58 degrees Fahrenheit are 14 Celsius, which is too near to 18 to be far outside the range.
    assert step(14, SPRING) == (
        "temp jumped: its median is 14, outside 18 to 68, where it was before, and moved by 34 since 2013-01-28; in "
        "the days before by 13 at most."
    )


@pytest.mark.parametrize(
    ("today", "days", "pause"),
    [
        (14, [*SPRING, 32], 0),
        (20, SPRING, 0),
        (14, SPRING, 1),
        (14, SPRING[-7:], 0),
        (14, [40] * 14, 0),
    ],
    ids=[
        "not much further than the step of 16 degrees before it",
        "within the range",
        "after a longer pause",
        "too few days",
        "it stood still, as the number of a month does",
    ],
)
def test_a_step_is_not_an_alarm(today, days, pause):
    assert step(today, days, pause=pause) == ""


def test_sound_days_are_seldom_watched_and_hardly_ever_an_alarm():
    feature = Feature()
    lights = [feature.light(a_day(feature.random)) for _ in range(300)]
    assert lights.count("alarm") == 0
    assert lights.count("watch") <= 6


def test_a_trend_is_watched_since_the_day_it_left_the_training():
    feature = Feature(trend=1.0)
    today = a_day(feature.random, level=1.0 * BEFORE)
    assert feature.light(today) == "watch"
    since = drift.since(feature.reference, feature.before, Monitor())
    assert FIRST < since < TODAY
    untouched = Feature()
    assert untouched.light(today) == "alarm", "for a feature that stood still until now, it is a jump"
    assert drift.since(untouched.reference, untouched.before, Monitor()) is None


@pytest.mark.parametrize(
    ("rows", "before", "said"),
    [
        (390, [800] * 28, "Only 390 rows; each of the 28 days before that have rows has 800 or more."),
        (390, [800] * 27 + [500], ""),
        (390, [800] * 6, ""),
        (800, [800] * 28, ""),
    ],
    ids=["half", "a small day was there before", "too few days", "as before"],
)
def test_lost_rows_are_an_alarm(rows, before, said):
    # 0.75 * 500 = 375, which 390 reaches
    assert drift.lost_rows(rows, before) == said
    assert drift.light({}, Monitor(), said) == ("alarm" if said else "ok")


def of_holdout(scores: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    days = [np.datetime64(FIRST) + number for number, each in enumerate(scores) for _ in each]
    return np.concatenate(scores), np.array(days)


def some_scores(random: np.random.Generator, rows: int) -> np.ndarray:
    return random.beta(2, 5, rows)


@pytest.mark.parametrize("rows", [60, 200, 1000])
def test_a_day_of_the_holdouts_own_distribution_is_hardly_ever_refused(rows):
    """However few its rows are: chance moves a small day further. The seed is fixed."""
    random = np.random.default_rng(3)
    scores, days = of_holdout([some_scores(random, rows) for _ in range(7)])
    holdout = Distribution.of(scores, days=days)
    strict = Audit(max_psi_excess=1e-9, psi_rows=1)
    refused = sum(bool(judge(strict, holdout, some_scores(random, rows)).problems) for _ in range(500))
    assert refused <= 10


def test_a_small_day_may_differ_more_than_a_large_one():
    assert allowed([0.1], bins=10, rows=100) > allowed([0.1], bins=10, rows=1000) > 0.15
    assert allowed([], bins=10, rows=10**9) == pytest.approx(0, abs=1e-6)
    assert furthest_day(np.array([[10, 10], [0, 0]])) == 0.0


def test_a_new_champion_is_judged_by_the_days_of_its_training_too():
    """A quiet holdout says little about single days: after one promotion five sound days in a week were refused."""
    random = np.random.default_rng(3)
    scores, days = of_holdout([random.beta(2, 5, 300) for _ in range(7)])
    holdout = Distribution.of(scores, days=days)
    learned, of_window = of_holdout([random.beta(2 + number % 3, 5, 300) for number in range(42)])
    known = holdout.with_days(learned, of_window, fewest=200)
    unusual = random.beta(3.7, 5, 300)
    assert judge(AUDIT, holdout, unusual).problems
    assert judge(AUDIT, known, unusual).problems == ()
    assert judge(AUDIT, known, random.beta(9, 2, 300)).problems, "further than any day of the training"
    assert holdout.with_days(learned, of_window, fewest=301) == holdout, "too small to say what single days are like"


def test_scores_that_moved_or_all_agree_are_refused():
    random = np.random.default_rng(3)
    scores, days = of_holdout([some_scores(random, 300) for _ in range(7)])
    holdout = Distribution.of(scores, days=days)
    (moved,) = judge(AUDIT, holdout, random.beta(8, 2, 300)).problems
    assert "predictions moved away from the training holdout's" in moved
    assert "audit.max_psi_excess allows 0.25 more" in moved
    assert (
        "100% of the predictions are one and the same number" in judge(AUDIT, holdout, np.full(300, 0.2)).problems[-1]
    )
    assert judge(AUDIT, holdout, random.beta(8, 2, 300), before=[9.0]).problems == (), "such days were published before"


BY_TRAINING = "By the single days of the training, a day may have "
BY_PUBLISHED = "By the days that this version published before, a day may have "
BY_BOTH = "By the single days of the training and the days that this version published before, a day may have "
BY_NONE = (
    "No single day of this version is known: an earlier release of Tailrace trained it, and it published no day of 200 "
    "rows or more in the 28 days before. So a day may have only 0.07, by chance, and audit.max_psi_excess allows 0.25 "
    "more. Train again: a training stores what its single days are like."
)


@pytest.mark.parametrize(
    ("trained_now", "before", "said"),
    [(True, [], BY_TRAINING), (True, [0.1], BY_BOTH), (False, [0.1], BY_PUBLISHED), (False, [], BY_NONE)],
    ids=["of the training", "of both", "of an earlier release, published", "of an earlier release, none published"],
)
def test_a_refusal_names_the_single_days_that_are_known(trained_now, before, said):
    random = np.random.default_rng(3)
    scores, days = of_holdout([some_scores(random, 300) for _ in range(7)])
    holdout = Distribution.of(scores, days=days if trained_now else None)
    (moved,) = judge(AUDIT, holdout, random.beta(8, 2, 300), before=before).problems
    assert said in moved
    assert moved.endswith("and audit.max_psi_excess allows 0.25 more.") == (said != BY_NONE)
    judged = judge(AUDIT, holdout, some_scores(random, 300), before=before)
    assert judged.problems == ()
    assert judged.limit == allowed([holdout.usual or 0.0, *before], bins=10, rows=300) + 0.25


def test_the_former_limit_refuses_what_it_refused():
    random = np.random.default_rng(3)
    holdout = Distribution.of(some_scores(random, 2000))
    moved = random.beta(5, 2, 300)
    (said,) = judge(Audit(max_psi=0.25), holdout, moved).problems
    assert said.endswith("at most 0.25 is accepted.")
    assert judge(Audit(max_psi=0.25, max_psi_excess=0.25), holdout, moved, before=[9.0]).problems == (said,)


def test_the_former_limit_is_deprecated_in_a_sentence():
    (said,) = Audit(max_psi=1.5).deprecated()
    assert "Replace it by max_psi_excess=0.25 and train again" in said
    assert list(AUDIT.deprecated()) == []


def test_the_gate_does_not_promote_what_the_audit_would_refuse():
    random = np.random.default_rng(3)
    alike = [some_scores(random, 300) for _ in range(7)]
    scores, days = of_holdout(alike)
    labels = (scores > random.random(len(scores))).astype(int)
    by = gate.Scores(problem=Binary(), labels=labels, challenger=scores)
    rules = Gate(metric="roc_auc", floor=0.5)
    accepted = judge_holdout(AUDIT, Binary(), days, scores)
    assert (accepted.days, accepted.refused) == (3, ())
    assert gate.decide(rules, by, {}, accepted).verdict == "promote"

    moving = [each if number < 4 else 1 - each for number, each in enumerate(alike)]
    erratic = judge_holdout(AUDIT, Binary(), days, np.concatenate(moving))
    decision = gate.decide(rules, by, {}, erratic)
    assert decision.verdict == "keep"
    assert decision.broken() == [
        "Of 3 days of the holdout, judged one by one, the audit would have refused 3 "
        "(2013-01-05, 2013-01-06, 2013-01-07); at most 2 may be."
    ]
    assert judge_holdout(Audit(), Binary(), days, scores) is None, "the audit judges no such thing"


def test_a_former_limit_that_single_days_cannot_keep_is_told_by_the_gate():
    random = np.random.default_rng(3)
    scores, days = of_holdout([random.beta(2, 5 + 4 * (number % 3), 300) for number in range(7)])
    assert not judge_holdout(Audit(max_psi=0.15), Binary(), days, scores).accepted
    assert judge_holdout(AUDIT, Binary(), days, scores).accepted


def test_days_of_a_constant_or_of_another_model_do_not_widen_the_limit(spec):
    random, lake, day = np.random.default_rng(3), MemoryLake(), FIRST + dt.timedelta(days=10)
    holdout = Distribution.of(
        random.beta(2, 5, 6 * ROWS), edges=(), days=np.repeat([FIRST + dt.timedelta(days=n) for n in range(6)], ROWS)
    )
    champion, former = (Identity(number, training_run=f"run {number}") for number in "21")
    scores = {
        FIRST: (champion, np.full(ROWS, 0.2)),
        day - dt.timedelta(days=2): (former, random.beta(9, 2, ROWS)),
        day - dt.timedelta(days=1): (champion, random.beta(2, 5, ROWS)),
    }
    for each, (model, values) in scores.items():
        rows = pa.table({spec.predictions.score: pa.array(values, pa.float64())})
        lake.publish(lake.stage(spec.predictions_table, each, "night", rows.to_reader()), identity.notes(model))
    before = audit._days_before(lake, spec, day, model=champion, holdout=holdout)
    assert len(before) == 1, "the constant's day, and another model's, are no days to compare with"
    bad = random.beta(5, 2, ROWS)
    assert judge(AUDIT, holdout, bad, before=before).problems
