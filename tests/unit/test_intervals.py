"""The laws of intervals: they contain the value, and as many labels as were asked for."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.problems import as_array, as_batch, intervals
from tailrace.problems.binary import Binary
from tailrace.problems.regression import Regression
from tailrace.spec import Predictions

LINKS = ("identity", "log")


def rows_of(link: str, seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions: counts, or numbers with errors of any size."""
    random = np.random.default_rng(seed)
    predicted = random.gamma(2.0, 5.0, count)
    if link == "log":
        return random.poisson(predicted).astype(float), predicted
    return predicted + random.standard_t(3, count), predicted - 0.5


def predicted(problem: Regression, learned, scores: np.ndarray) -> np.ndarray:
    """What is published of these scores, with the ends that the learned rows teach."""
    return as_array(as_batch(problem, problem.adjustment(*learned).applied(scores)))


@settings(deadline=None, max_examples=50)
@given(
    link=st.sampled_from(LINKS),
    quantiles=st.tuples(st.floats(0.02, 0.49), st.floats(0.51, 0.98)),
    labels=st.lists(st.floats(0, 1e9), min_size=50, max_size=60),
    shift=st.floats(-1e6, 1e6),
    scores=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20),
)
def test_the_value_is_always_inside(link, quantiles, labels, shift, scores):
    problem = Regression(link=link, intervals=quantiles)
    learned = np.array(labels), np.abs(np.array(labels) + shift)
    value, low, high = predicted(problem, learned, np.array(scores)).T
    assert ((low <= value) & (value <= high)).all()
    assert link == "identity" or (low >= 0).all()


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("quantiles", [(0.1, 0.9), (0.05, 0.7)])
def test_the_asked_share_of_new_labels_is_inside(link, quantiles):
    """On average over many splits of exchangeable rows; each end by itself too."""
    problem, inside, below = Regression(link=link, intervals=quantiles), [], []
    for seed in range(200):
        labels, scores = rows_of(link, seed, 120)
        _, low, high = predicted(problem, (labels[:60], scores[:60]), scores[60:]).T
        inside.append(((low <= labels[60:]) & (labels[60:] <= high)).mean())
        below.append((labels[60:] < low).mean())
    assert quantiles[1] - quantiles[0] - 0.01 <= np.mean(inside) <= quantiles[1] - quantiles[0] + 0.06
    assert np.mean(below) <= quantiles[0] + 0.01


@pytest.mark.parametrize("link", LINKS)
def test_the_measured_coverage_counts_labels_that_equal_an_end(link):
    """An amount of few digits equals the end of an interval often; rounding must not put it outside."""
    random = np.random.default_rng(1)
    labels = random.integers(0, 6, 99) / 10 + 7.3
    problem = Regression(link=link, intervals=(0.1, 0.9))
    for score in random.random(50) * 5:
        scores = np.full(99, score)
        measured = problem.measure(labels, predicted(problem, (labels, scores), scores))
        # more than a tenth of the labels are the least and the greatest one, which are the ends
        assert measured["coverage"] == 1.0
        assert measured["pinball"] > 0


def test_the_coverage_of_small_and_large_predictions_is_told():
    problem = Regression(link="log", intervals=(0.1, 0.9))
    labels, scores = rows_of("log", seed=1, count=2000)
    raw = predicted(problem, (labels, scores), scores)
    bins = problem.coverage_bins(labels, raw)
    assert (len(bins), sum(each.rows for each in bins)) == (10, 2000)
    assert [each.predicted for each in bins] == sorted(each.predicted for each in bins)
    measured = problem.measure(labels, raw)["coverage"]
    assert sum(each.rows * each.observed for each in bins) / 2000 == pytest.approx(measured)
    assert problem.coverage_bins(labels, scores) == []


def test_intervals_of_counts_grow_with_the_count():
    problem = Regression(link="log", intervals=(0.1, 0.9))
    labels, scores = rows_of("log", seed=1, count=500)
    narrow, wide = predicted(problem, (labels, scores), np.array([4.0, 400.0]))
    assert (wide[2] - wide[1]) / (narrow[2] - narrow[1]) == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize(("quantiles", "needed"), [((0.1, 0.9), 9), ((0.05, 0.9), 19), ((0.25, 0.75), 3)])
def test_so_many_rows_are_needed(quantiles, needed):
    problem = Regression(intervals=quantiles)
    assert intervals.rows_needed(quantiles) == needed
    assert problem.too_few(needed) == ""
    assert f"fewer than the {needed} " in problem.too_few(needed - 1)
    labels = np.arange(float(needed))
    ends = intervals.conformal(quantiles, labels, np.zeros(needed), grows_with_count=False)
    assert 0 in (ends.low, needed - 1 - ends.high)


def test_an_interval_that_contradicts_itself_is_counted():
    problem = Regression(intervals=(0.1, 0.9))
    rows = pa.table(
        {"score": [1.0, 1.0, 1.0, 1.0], "score_low": [0.0, 2.0, None, 0.0], "score_high": [2.0, 3.0, 2.0, float("nan")]}
    )
    assert problem.wrong_published(Predictions(), rows) == {
        "are infinite": 0,
        "have an interval without an end": 2,
        "are outside of their own interval": 1,
    }


@pytest.mark.parametrize("problem", [Regression(), Regression(intervals=(0.1, 0.9)), Binary()], ids=repr)
def test_infinite_predictions_are_counted(problem):
    ends = [float("inf"), -float("inf"), float("nan"), None, 1.0]
    rows = pa.table({name: pa.array(ends, pa.float64()) for name in ("score", "score_low", "score_high")})
    assert problem.wrong_published(Predictions(), rows)["are infinite"] == 2


def test_a_baseline_has_an_interval_too():
    problem = Regression(intervals=(0.1, 0.9))
    learned, rows = np.arange(101.0), pa.table({"last_week": pa.array([3, None])})
    assert problem.baseline("mean", learned, rows).tolist() == [[50.0, 10.0, 90.0]] * 2
    assert problem.baseline("last_week", learned, rows).tolist() == [[3.0] * 3, [50.0] * 3]
