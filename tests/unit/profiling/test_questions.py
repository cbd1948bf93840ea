"""The kind of question that a column of labels asks, and why some ask none."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from tailrace.errors import BadInput
from tailrace.problems.binary import Binary
from tailrace.problems.multiclass import Multiclass
from tailrace.problems.regression import Regression
from tailrace.profiling.questions import question_of


def asked(values, type_=None, kind=""):
    return question_of("label", pa.chunked_array([pa.array(values, type_)]), kind)


NORMAL = np.random.default_rng(1).normal(size=200).tolist()
AMOUNTS = np.random.default_rng(1).lognormal(3, 1, 200).tolist()


@pytest.mark.parametrize(
    ("values", "type_", "problem"),
    [
        ([True, False, None] * 30, None, Binary()),
        ([0, 1, None] * 30, pa.int8(), Binary()),
        (["red", "green", None] * 30, None, Multiclass(classes=("green", "red"))),
        (pa.array(["b", "a"] * 30).dictionary_encode(), None, Multiclass(classes=("a", "b"))),
        (NORMAL, None, Regression()),
        (AMOUNTS, None, Regression(link="log")),
        ([1, 2, 3, 4, 5] * 20, pa.int32(), Regression()),
    ],
)
def test_values_say_the_kind(values, type_, problem):
    assert asked(values, type_).problem == problem


def test_a_person_may_say_another_kind():
    assert asked([0, 1, 2] * 30, pa.int64(), "multiclass").problem == Multiclass(classes=(0, 1, 2))
    assert asked([0, 1] * 30, pa.int64(), "regression").problem == Regression()
    with pytest.raises(BadInput, match="Did you mean 'multiclass'"):
        asked([0, 1], None, "multclass")


@pytest.mark.parametrize(
    ("values", "type_", "said"),
    [
        ([None, None], pa.bool_(), "has no value in any row"),
        ([True] * 9, None, "is True in every row"),
        (["no way", "yes"] * 9, None, r"'no way'; a class becomes part of a column's name"),
        (["Yes", "yes"] * 9, None, "databases take no notice of capitals"),
        ([str(number) for number in range(40)], None, "has 40 values"),
        ([dt.date(2026, 1, 1), dt.date(2026, 1, 2)], None, "of no type that can be predicted"),
        ([1.0, float("inf"), 2.0], None, "is inf, and a label is a finite number"),
    ],
)
def test_labels_that_ask_nothing_are_refused_with_the_way_out(values, type_, said):
    with pytest.raises(BadInput, match=said):
        asked(values, type_)


def test_0_and_1_as_numbers_with_a_point_are_no_yes_or_no():
    with pytest.raises(BadInput, match="cast it to boolean in the mart, or choose --kind regression"):
        asked([0.0, 1.0] * 9, None, "binary")
    with pytest.raises(BadInput, match=r"classes are texts or whole numbers\. Cast it in the mart"):
        asked([0.0, 1.0] * 9, None, "multiclass")


def test_what_a_person_should_know_is_said():
    assert "missing in 90% of the rows" in asked([True, False] + [None] * 18).notes[-1]
    assert "True in 2 rows" in asked([True] * 2 + [False] * 98).notes[0]
    assert "only 5 values" in asked([1, 2, 3, 4, 5] * 20).notes[0]
