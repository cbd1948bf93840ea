"""Calibrated probabilities: those of scikit-learn's own calibrations, in the order of the raw ones."""

# ruff: noqa: TID253 - scikit-learn's calibrations are what ours must equal.

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from tailrace.problems.binary import Binary

METHODS = ("sigmoid", "isotonic")


def rows_of(seed: int, count: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities that are too high."""
    random = np.random.default_rng(seed)
    true = random.beta(1, 4, count)
    return random.random(count) < true, np.sqrt(true)


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None, max_examples=50)  # the first example imports scikit-learn
@given(
    scores=st.lists(st.floats(0, 1), min_size=2, max_size=50),
    labels=st.lists(st.booleans(), min_size=50, max_size=50),
    new=st.lists(st.floats(0, 1), min_size=2),
)
def test_the_order_of_the_rows_stays(method, scores, labels, new):
    truth = np.array(labels[: len(scores)])
    truth[:2] = True, False
    learned = Binary(calibration=method).adjustment(truth, np.array(scores))
    calibrated = learned.applied(np.sort(np.array(new)))
    assert (np.diff(calibrated) >= -1e-12).all()
    assert ((calibrated >= 0) & (calibrated <= 1)).all()


def test_the_sigmoid_is_that_of_scikit_learn():
    """Its calibration of a classifier that has a decision function, which is what the log odds are."""
    labels, scores = rows_of(1)
    odds = np.log(scores / (1 - scores))[:, None]
    classifier = LogisticRegression().fit(odds, labels)
    raw = classifier.predict_proba(odds)[:, 1]
    theirs = CalibratedClassifierCV(FrozenEstimator(classifier), method="sigmoid", ensemble=False, cv=5)
    ours = Binary(calibration="sigmoid").adjustment(labels, raw).applied(raw)
    assert ours == pytest.approx(theirs.fit(odds, labels).predict_proba(odds)[:, 1], abs=1e-5)


def test_the_isotonic_line_is_that_of_scikit_learn():
    labels, scores = rows_of(1)
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, labels)
    new = np.linspace(0, 1, 1001)
    ours = Binary(calibration="isotonic").adjustment(labels, scores).applied(new)
    assert ours == pytest.approx(theirs.predict(new), abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_probabilities_come_true_as_often_as_they_say(method):
    problem = Binary(calibration=method)
    learned = problem.adjustment(*rows_of(1, 5000))
    labels, scores = rows_of(2, 5000)
    raw, calibrated = (problem.figures(labels, it)["calibration_error"] for it in (scores, learned.applied(scores)))
    assert raw > 0.2 > 0.03 > calibrated


def test_a_model_that_is_worse_than_chance_is_not_turned_round():
    labels, scores = rows_of(1)
    learned = Binary(calibration="sigmoid").adjustment(labels, 1 - scores)
    assert learned.slope == 0
    assert learned.applied(np.array([0.1, 0.9])) == pytest.approx(labels.mean(), abs=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_a_stored_calibration_is_the_same(method):
    problem = Binary(calibration=method)
    learned = problem.adjustment(*rows_of(1))
    assert problem.adjustment_of(learned.described()) == learned
