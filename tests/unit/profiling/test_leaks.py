"""What looks like a leak, and what does not."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from tailrace.days import cutoff
from tailrace.problems.binary import Binary
from tailrace.problems.multiclass import Multiclass
from tailrace.problems.regression import Regression
from tailrace.profiling.associations import associations
from tailrace.profiling.columns import profiled
from tailrace.profiling.leaks import Times, known_late, leaks

ROWS = 600
RANDOM = np.random.default_rng(5)
LABEL = RANDOM.random(ROWS) < 0.3
DAY = [dt.date(2026, 1, 1) + dt.timedelta(days=number // 60) for number in range(ROWS)]
EVENT = [dt.datetime.combine(day, dt.time(9), dt.UTC) for day in DAY]
NOISE = RANDOM.normal(size=ROWS)


def table(label=LABEL, **columns):
    return pa.table(
        {
            "key": pa.array(range(ROWS), pa.int64()),
            "day": pa.array(DAY, pa.date32()),
            "event": pa.array(EVENT, pa.timestamp("us", "UTC")),
            **columns,
            "label": pa.array(label),
        }
    )


def found(rows, problem=Binary(), key=("key",)):
    names = [name for name in rows.column_names if name not in ("key", "day", "event", "label")]
    return leaks(
        rows,
        profiled(rows, names),
        label="label",
        problem=problem,
        found=associations(rows, "label", problem, names=names),
        key=key,
        times=Times("event", "day", None),
    )


def test_a_column_that_alone_predicts_the_label():
    rows = table(leak=LABEL * 10 + NOISE, honest=LABEL + 2 * NOISE)
    (leak,) = found(rows)
    assert leak.column == "leak"
    assert leak.why == "it alone predicts the label nearly perfectly (roc_auc 1.000)"


def test_texts_of_which_each_names_its_outcome():
    texts = [f"{'sent back' if label else 'kept'} {number % 9}" for number, label in enumerate(LABEL)]
    assert [leak.column for leak in found(table(status=texts, other=[text[-1] for text in texts]))] == ["status"]


def test_classes_and_amounts_leak_too():
    kinds = np.array(["a", "b", "c"])[RANDOM.integers(0, 3, ROWS)]
    rows = table(kinds.tolist(), leak=np.char.find("abc", kinds) + NOISE / 100, noise=NOISE)
    assert [leak.column for leak in found(rows, Multiclass(classes=("a", "b", "c")))] == ["leak"]
    amount = RANDOM.lognormal(2, 1, ROWS)
    rows = table(amount, leak=np.log(amount), noise=NOISE, weak=amount + 20 * NOISE)
    assert [leak.column for leak in found(rows, Regression())] == ["leak"]


@pytest.mark.parametrize("without", [~LABEL, LABEL])
def test_a_column_that_is_missing_only_for_one_class(without):
    rows = table(refund=pa.array(NOISE, mask=without & (RANDOM.random(ROWS) < 0.9)))
    (leak,) = [leak for leak in found(rows) if "missing" in leak.why]
    assert leak.why.startswith(f"it is missing only where the label is {str(bool(without[LABEL].any())).lower()} (")


def test_a_column_that_is_always_missing_for_one_class():
    rows = table(note=pa.array(NOISE, mask=LABEL | (RANDOM.random(ROWS) < 0.5)))
    assert "it is always missing where the label is true" in " ".join(leak.why for leak in found(rows))


def test_values_that_are_missing_by_chance_are_no_leak():
    rows = table(gaps=pa.array(NOISE, mask=RANDOM.random(ROWS) < 0.4), few=pa.array(NOISE, mask=np.arange(ROWS) < 10))
    assert not found(rows)


def test_a_row_that_was_written_to_after_its_event():
    later = [at + dt.timedelta(hours=30) for at in EVENT]
    before = [at - dt.timedelta(hours=30) for at in EVENT]
    moments = {
        name: pa.array(values, pa.timestamp("us", "UTC")) for name, values in (("late", later), ("early", before))
    }
    (leak,) = found(table(**moments))
    assert leak.column == "late"
    assert "it is after event in 600 of 600 rows" in leak.why


def test_a_column_that_differs_between_snapshots_of_the_same_event():
    rows = table(status=["open", "closed"] * (ROWS // 2), kept=NOISE)
    twice = np.repeat(np.arange(ROWS // 2), 2)
    moments = np.array([at.replace(tzinfo=None) for at in EVENT], "datetime64[us]")[twice]
    rows = rows.set_column(0, "key", pa.array(twice, pa.int64()))
    rows = rows.set_column(
        1, "day", pa.array([DAY[0] + dt.timedelta(days=number % 2) for number in range(ROWS)], pa.date32())
    )
    rows = rows.set_column(2, "event", pa.array(moments, pa.timestamp("us", "UTC")))
    rows = rows.set_column(rows.column_names.index("kept"), "kept", pa.array(NOISE[twice]))
    (leak,) = found(rows)
    assert leak.column == "status"
    assert "it differs between days of the same key, event in 300 of 300 cases" in leak.why


@pytest.mark.parametrize(("hours", "needed"), [(0, 0), (-5, 0), (1, 1), (24, 1), (25, 2)])
def test_how_many_days_late_rows_become_known(hours, needed):
    from zoneinfo import ZoneInfo

    zone = ZoneInfo("America/New_York")
    known = [cutoff(day, zone) + dt.timedelta(hours=hours) for day in DAY]
    column = pa.chunked_array([pa.array(known, pa.timestamp("us", "UTC"))])
    days = pa.chunked_array([pa.array(DAY, pa.date32())])
    assert known_late(column, days, lambda day: cutoff(day, zone)) == (needed, 0)


def test_rows_that_became_known_long_after_their_day_are_counted():
    known = [at + dt.timedelta(days=20) for at in EVENT]
    column = pa.chunked_array([pa.array(known, pa.timestamp("us", "UTC"))])
    days = pa.chunked_array([pa.array(DAY, pa.date32())])
    needed, late = known_late(column, days, lambda day: dt.datetime.combine(day, dt.time(), dt.UTC))
    assert needed > 7
    assert late == ROWS
