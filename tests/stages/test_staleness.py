"""Rows that arrive late: the days that looked back on them are named until they are made again."""

from __future__ import annotations

import datetime as dt
from types import MappingProxyType

import pytest

from tailrace import days
from tailrace.errors import LakeUnavailable
from tailrace.rows import staleness
from tailrace.warehouse.memory import MemoryWarehouse
from tests.stages.conftest import FIRST, LAST, Loop, installation, memory

REPAIRED = dt.date(2013, 1, 3)
LANDED = {day: f"rows of {day}, as a digest" for day in days.span(FIRST, LAST)}


@pytest.fixture
def services(tmp_path, spec):
    return installation(memory, tmp_path, spec)


def landed(services, changed=MappingProxyType({})) -> None:
    """Have the warehouse built anew from what is landed, some days with other rows."""
    services.warehouse = MemoryWarehouse(services.tables, {**LANDED, **changed})


def test_the_days_that_looked_back_on_a_repaired_day_are_named_until_they_are_made_again(loop: Loop, services, spec):
    landed(services)
    loop.take()
    assert staleness.warning(services, spec, FIRST, LAST) == ""
    landed(services, {REPAIRED: "corrected"})
    loop.take(REPAIRED, REPAIRED, run="repaired")
    assert staleness.warning_after(services, spec, REPAIRED) == (
        "features/churn of 2013-01-04..2013-01-14 (11 days) were made from rows of 2013-01-03 that have changed "
        "since. Build and take them again, oldest first: tailrace warehouse churn --date 2013-01-04 --to 2013-01-14."
    )
    assert staleness.warning(services, spec, FIRST, REPAIRED) == "", "the repaired day itself was taken again"
    assert "of 2013-01-09 (1 days) were made" in staleness.warning(services, spec, *[dt.date(2013, 1, 9)] * 2)
    loop.take(dt.date(2013, 1, 4), LAST, run="again")
    assert staleness.warning(services, spec, FIRST, LAST) == "", "though not a row of theirs is another"
    landed(services)
    assert set(staleness.stale(services.lake, services.warehouse, spec, first=FIRST, last=LAST)) == set(
        days.span(REPAIRED, LAST)
    )


def test_a_source_day_that_is_first_landed_later_makes_the_days_that_look_back_on_it_stale(loop, services, spec):
    late = {day: digest for day, digest in LANDED.items() if day != REPAIRED}
    services.warehouse = MemoryWarehouse(services.tables, late)
    loop.take()
    assert staleness.warning(services, spec, FIRST, LAST) == ""
    landed(services)
    found = staleness.stale(services.lake, services.warehouse, spec, first=FIRST, last=LAST)
    assert found == {day: [REPAIRED] for day in days.span(REPAIRED, LAST)}


def test_taking_the_same_again_keeps_no_notes(loop: Loop, services, spec):
    landed(services)
    loop.take()
    loop.take(run="again")
    assert not services.lake.exists("sources/churn")
    landed(services, {REPAIRED: "corrected"})
    for run in ("repaired", "once more"):
        loop.take(run=run)
    assert services.lake.read("sources/churn").read_all().num_rows == len(list(days.span(REPAIRED, LAST)))


def test_a_warning_does_not_stop_what_it_warns_of(loop: Loop, services, spec):
    landed(services)
    loop.take()

    class Silent(MemoryWarehouse):
        def sources(self, day, first=None, *, marts=()):
            raise LakeUnavailable("The storage does not answer.")

    services.warehouse = Silent(services.tables)
    assert "are landed now: The storage does not" in staleness.warning(services, spec, FIRST, LAST)
