"""Which columns become features, of which kind, and why the others do not."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from tailrace.profiling.columns import profiled
from tailrace.profiling.features import chosen

ROWS = 400
RANDOM = np.random.default_rng(3)
LABEL = pa.array(RANDOM.random(ROWS) < 0.4)
WORDS = ["late", "broken", "box", "again", "never", "thanks"]
NUMBERS = RANDOM.normal(size=ROWS)
PROSE = [" ".join(RANDOM.choice(WORDS, 6)) + str(number) for number in range(ROWS)]


def of(**columns):
    rows = pa.table({**columns, "label": LABEL})
    return chosen(rows, profiled(rows), taken={"label": "it is the label"}, label="label")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (NUMBERS, "numeric"),
        (pa.array(NUMBERS).cast(pa.decimal128(20, 6), safe=False), "numeric"),
        (pa.array(NUMBERS > 0, mask=NUMBERS > 1), "numeric"),
        (RANDOM.choice(["a", "b", "<script>"], ROWS).tolist(), "categorical"),
        (pa.array(RANDOM.choice(["a", "b"], ROWS).tolist()).dictionary_encode(), "categorical"),
        (pa.array(RANDOM.choice(["a", None], ROWS).tolist()), "categorical"),
        (PROSE, "text"),
    ],
)
def test_values_say_the_kind(values, kind):
    assert of(column=values).kinds == {"column": kind}


def test_whole_numbers_that_name_something_are_categories():
    codes = RANDOM.integers(10_000, 10_040, ROWS)
    assert of(zip_code=codes, amount=codes + 1).kinds == {"zip_code": "categorical", "amount": "numeric"}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (["x"] * ROWS, "it is always 'x'"),
        (pa.nulls(ROWS, pa.float64()), "it is missing in every row"),
        (np.full(ROWS, np.nan), "it is missing in every row"),
        (pa.nulls(ROWS), "it is missing in every row"),
        ([1.0, *[None] * (ROWS - 1)], "it is missing in 99.8% of the rows"),
        ([f"id{number}" for number in range(ROWS)], "it names its row"),
        (np.arange(ROWS) + 7, "it numbers the rows"),
        ([f"{value:.4f}" for value in NUMBERS], "its texts are numbers"),
        ([f"k{number % 150}" for number in range(ROWS)], "too many for categories"),
        (np.where(NUMBERS > 2, np.inf, NUMBERS), "which no model accepts"),
        (RANDOM.integers(2**54, 2**60, ROWS), "which no model accepts"),
        ([dt.date(2026, 1, 1 + number % 9) for number in range(ROWS)], "it is a day"),
        (pa.array([0] * ROWS, pa.timestamp("us", "UTC")), "it is a moment"),
        ([b"x"] * ROWS, "models do not read the type binary"),
        ([[1]] * ROWS, "models do not read the type list"),
        (LABEL, "it says the same as the label 'label'"),
        (
            pa.array(np.where(LABEL.to_numpy(zero_copy_only=False), "yes", "no").tolist()),
            "it says the same as the label",
        ),
    ],
)
def test_what_cannot_be_used_is_left_out_with_the_reason(values, why):
    found = of(other=NUMBERS, column=values)
    assert list(found.kinds) == ["other"]
    assert why in found.left_out["column"]


def test_a_copy_of_another_column_is_left_out():
    found = of(price=NUMBERS, copied=NUMBERS, other=NUMBERS + 1)
    assert list(found.kinds) == ["price", "other"]
    assert found.left_out["copied"] == "it always has the value of 'price'"


def test_a_number_that_is_the_label_in_another_unit_is_its_twin():
    amount = RANDOM.lognormal(3, 1, ROWS)
    rows = pa.table({"cents": amount * 100, "near": amount + RANDOM.normal(size=ROWS), "amount": amount})
    found = chosen(rows, profiled(rows), taken={"amount": "it is the label"}, label="amount")
    assert list(found.kinds) == ["near"]
    assert found.left_out["cents"] == "it says the same as the label 'amount'"


def test_names_that_no_table_can_have_are_left_out():
    assert set(of(**{"a\nb": NUMBERS, "__row": NUMBERS + 1, "fine": NUMBERS + 2}).kinds) == {"fine"}
