"""How numbers read on the card of an approval."""

from __future__ import annotations

import math

import pytest

from tailrace.reporting.comparison import Change, _differences
from tailrace.reporting.templating import between, number


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.1, 0.2, "0.1 to 0.2"),
        (0.0, 1.25, "0 to 1.25"),
        (-math.inf, 3.70001, "below 3.7"),
        (3.7, math.inf, "3.7 and more"),
        (-math.inf, math.inf, "all"),
    ],
)
def test_a_range_of_predictions_may_have_no_end(low, high, words):
    assert between(low, high) == words


def test_small_and_huge_numbers_have_digits_that_say_something():
    """An approver compares two errors of some millionths by them."""
    assert [
        number(value) for value in (-0.00002, 0.0000312, -0.0, 0.25, -3.0, 12_000.0, 1e160, math.inf, math.nan)
    ] == [
        "-2e-05",
        "3.12e-05",
        "0.0000",
        "0.2500",
        "-3",
        "12,000",
        "1e+160",
        "inf",
        "–",
    ]


def test_parameters_have_four_digits_unless_they_differ_in_later_ones():
    before = {"learning_rate": "0.08024567162908981", "alpha": "0.123456", "depth": "10000", "loss": "squared"}
    after = {"learning_rate": "1.2108e-05", "alpha": "0.123457", "depth": "10001", "loss": "poisson"}
    assert list(_differences("parameters", before, after)) == [
        Change("parameters", "learning_rate", "0.08025", "1.211e-05"),
        Change("parameters", "alpha", "0.123456", "0.123457"),
        Change("parameters", "depth", "10000", "10001"),
        Change("parameters", "loss", "squared", "poisson"),
    ]
