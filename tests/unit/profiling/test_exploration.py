"""A table as a page and as lines: any table, with what is in it escaped."""

from __future__ import annotations

import datetime as dt
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tailrace.errors import BadInput
from tailrace.profiling import drawings, page, suites
from tailrace.profiling.columns import profiled
from tailrace.profiling.exploration import explore
from tailrace.profiling.weeks import MOST_WEEKS

RANDOM = np.random.default_rng(11)
SCRIPT = "<script>alert('x')</script>"


class Page(HTMLParser):
    """The tags of a page, its text, and the addresses that it names."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.said, self.addresses = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.said.append(data)


def orders(rows=400, days=28):
    day = np.sort(RANDOM.integers(0, days, rows))
    price = RANDOM.lognormal(2, 1, rows)
    return pa.table(
        {
            "day": pa.array([dt.date(2026, 1, 5) + dt.timedelta(days=int(each)) for each in day], pa.date32()),
            "price": price,
            SCRIPT: pa.array([SCRIPT, "plain", None, "&amp;"] * (rows // 4)),
            "drifting": day + RANDOM.normal(size=rows),
            "late": pa.array(price + RANDOM.normal(size=rows) > 8, mask=RANDOM.random(rows) < 0.1),
        }
    )


def explored(rows, **options):
    day = options.setdefault("day", "day")
    days = dict.fromkeys(rows[day].drop_null().to_pylist(), 1) if day else {}
    return explore("ml.orders", rows, words="All rows were read.", days=days, **options)


@pytest.fixture(scope="module")
def text():
    return page.html(explored(orders(), label="late"))


def test_the_page_has_charts_and_needs_no_network(text):
    read = Page(text)
    images = [address for address in read.addresses if address.startswith("data:image/png;base64,")]
    assert len(images) >= 3 + 3 * 3
    assert images == read.addresses
    assert read.tags.count("h3") == 5
    assert re.search(r"true in \d\d\.\d% of the rows", " ".join(read.said))


def test_what_is_in_the_table_is_escaped(text):
    assert "script" not in Page(text).tags
    assert SCRIPT in " ".join(Page(text).said)
    assert "<script" not in text


def test_columns_that_say_most_about_the_label_come_first():
    rows = page.table_rows(explored(orders(), label="late"))
    assert rows[0]["column"] == "price"
    assert rows[0]["roc_auc"] > 0.8


def test_drift_names_the_week():
    found = explored(orders())
    (worst,) = [each for each in page.table_rows(found) if each["column"] == "drifting"]
    assert re.fullmatch(r"\d\.\d\d \(2026-\d\d-\d\d\)", worst["drift"])
    assert found.worst("drifting") > 0.5 > 0.2 > found.worst("price")


@pytest.mark.parametrize(
    "rows",
    [
        orders().slice(0, 0),
        pa.table({"day": pa.array([None, None], pa.date32()), "x": pa.nulls(2)}),
        pa.table({"day": pa.array([dt.date(2026, 1, 1)]), "x": pa.array([float("inf")]), "y": pa.array([[1]])}),
        pa.table({"day": pa.array([dt.date(1, 1, 1), dt.date(9999, 1, 1)]), "x": pa.array([1.5, None])}),
        pa.table(
            {
                "day": pa.array([dt.date(2026, 1, 1)] * 4),
                "t": pa.array([0, 2**62, -(2**62), None], pa.timestamp("us", "UTC")),
                "huge": pa.array([1e308, -1e308, float("nan"), 0.0]),
                "": ["", "\x00", "a" * 5000, "$x$"],
                "d": pa.array([1, 2, 3, None], pa.decimal128(38, 10)),
            }
        ),
        pa.table(
            {
                "day": pa.array([dt.date(2026, 1, 1)] * 20),
                "long ids": pa.array([2**63 - 1 - number for number in range(20)]),
                "decimals": pa.array([10**19 + number for number in range(20)], pa.decimal128(20, 0)),
                "floats": 1e17 + 16.0 * np.arange(20),
                "largest": np.linspace(-1, 1, 20) * 1.7e308,
            }
        ),
    ],
    ids=["empty", "nulls", "one row", "far days", "odd values", "large numbers"],
)
def test_odd_tables_have_a_page_too(rows):
    for day in ("day", None):
        found = explored(rows, day=day)
        assert "<h1>ml.orders</h1>" in page.html(found)
        assert len(page.table_rows(found)) == rows.num_columns


def test_of_a_wide_table_only_some_columns_have_charts(monkeypatch):
    monkeypatch.setattr(drawings, "MOST_COLUMNS", 2)
    rows = pa.table({f"c{number}": RANDOM.normal(size=60) for number in range(1_000)})
    found = explored(rows, day=None)
    text = page.html(found)
    assert text.count("<h3>") == 2
    assert "998 other columns have no charts." in text
    assert len(page.table_rows(found)) == 1_000


def test_of_a_long_history_the_newest_weeks_are_compared():
    days = [dt.date(2020, 1, 6) + dt.timedelta(days=number // 10) for number in range(7 * 10 * 80)]
    rows = pa.table({"day": pa.array(days), "x": RANDOM.normal(size=len(days))})
    assert len(explored(rows).weeks) == MOST_WEEKS


def test_a_label_that_is_not_there():
    with pytest.raises(BadInput, match=r"ml\.orders has no column 'lates'\. Did you mean 'late'"):
        explored(orders(), label="lates")


def test_a_label_that_cannot_be_read_is_not_said_to_be_absent():
    with pytest.raises(BadInput, match=r"^--label: column 'tags' of ml\.orders cannot be read: cast it to text\.$"):
        explored(orders(), label="tags", unread={"tags": "cast it to text"})


ENDS = st.floats(-100, 100) | st.floats(-1e-3, 1e-3) | st.floats(-1e15, 1e15)


@given(st.lists(ENDS | st.just(float("nan")) | st.none(), min_size=1))
@example([1e-5, 3e-5])
@example([9.98502])
@example([-0.0])
def test_the_proposed_range_holds_the_values_that_it_was_proposed_from(values):
    (profile,) = profiled(pa.table({"x": pa.array(values, pa.float64())}))
    limits = suites._limits(profile)
    known = [value for value in values if value is not None and not np.isnan(value)]
    large = any(abs(value) >= suites.EXACT / 4 for value in known)
    assert bool(limits) == (bool(known) and not large)
    assert all(limits["min_value"] <= value <= limits["max_value"] for value in known if limits)


@pytest.mark.parametrize(
    ("least", "most", "limits"),
    [
        (1e-5, 3e-5, (0.0, 4e-5)),
        (0, 0, (0, 0)),
        (2.0, 8.0, (0.0, 11)),
        (9.98502, 9.98502, (9.985, 9.986)),
        (-3, 7, (-8, 12)),
    ],
)
def test_proposed_limits_are_easy_to_read(least, most, limits):
    (profile,) = profiled(pa.table({"x": pa.array([least, most], pa.float64())}))
    assert tuple(suites._limits(profile).values()) == limits
