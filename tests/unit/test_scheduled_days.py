"""Which days of a warehouse run concern a pipeline, and what the warehouse's own schedule is made from."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from tailrace import settings
from tailrace.errors import BadInput
from tailrace.operations import warehouse_days
from tailrace.rows import scheduled_days
from tailrace.spec import registry
from tests.support import new_project

FLIGHTS = registry.get("flight_delay")
FIRST, LAST = dt.date(2013, 1, 1), dt.date(2014, 1, 8)
"""The first day of the flights' schedule, and the last on which outcomes of its last day can come."""
ONE = dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("days", "concerned"),
    [
        ((FIRST, FIRST), (FIRST, FIRST)),
        ((FIRST - 9 * ONE, FIRST + ONE), (FIRST, FIRST + ONE)),
        ((LAST, LAST + ONE), (LAST, LAST)),
        ((FIRST - ONE, FIRST - ONE), None),
        ((LAST + ONE, LAST + 9 * ONE), None),
    ],
)
def test_the_days_of_a_pipeline_are_those_of_its_schedule_and_of_its_last_outcomes(days, concerned):
    assert scheduled_days.of(FLIGHTS, *days) == concerned


def test_a_schedule_without_ends_has_every_day():
    free = replace(FLIGHTS, schedule=replace(FLIGHTS.schedule, start=None, end=None))
    assert scheduled_days.of(free, dt.date(1950, 1, 1), LAST) == (dt.date(1950, 1, 1), LAST)


def test_outcomes_that_come_later_lengthen_the_days():
    patient = replace(FLIGHTS, outcome=replace(FLIGHTS.outcome, late_days=60))
    assert scheduled_days.of(patient, LAST, LAST + 99 * ONE) == (LAST, LAST + 53 * ONE)


def test_it_is_said_who_has_no_part_and_how_to_load_the_days_nevertheless():
    later = replace(FLIGHTS, name="later", schedule=replace(FLIGHTS.schedule, start=LAST, end=None))
    assert scheduled_days.sentence([FLIGHTS, later], dt.date(2012, 1, 1), dt.date(2012, 1, 2)) == (
        "The schedule of flight_delay (2013-01-01 to 2013-12-31) and later (from 2014-01-08) has no part in 2012-01-01 "
        "to 2012-01-02. To load its tables of these days nevertheless, name it: "
        "tailrace warehouse flight_delay --date 2012-01-01 --to 2012-01-02."
    )


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with these pipelines, each with its zone and its first and last day."""
    flights = (settings.find_project().pipelines / "flight_delay.py").read_text()

    def make(toml: str = "", **pipelines: tuple[str, str, str]) -> None:
        made = new_project(tmp_path, monkeypatch, toml)
        for name, (zone, start, end) in pipelines.items():
            text = flights.replace('"flight_delay"', f'"{name}"').replace("America/New_York", zone)
            text = text.replace("dt.date(2013, 1, 1)", start).replace("dt.date(2013, 12, 31)", end)
            (made.pipelines / f"{name}.py").write_text(text)

    return make


def test_the_warehouse_runs_from_the_first_to_the_last_day_of_any_pipeline(project):
    project(
        'zone = "America/New_York"',
        early=("America/New_York", "dt.date(2011, 1, 1)", "dt.date(2011, 2, 1)"),
        late=("Europe/Rome", "dt.date(2015, 1, 1)", "dt.date(2015, 2, 1)"),
    )
    made = warehouse_days.schedule("15 0 * * *")
    assert (made.predict, made.timezone) == ("15 0 * * *", "America/New_York")
    assert (made.start, made.end) == (dt.date(2011, 1, 1), dt.date(2015, 2, 1))
    assert scheduled_days.absent(dt.date(2011, 1, 5), dt.date(2011, 1, 6)) == ("late",)


def test_the_warehouse_runs_on_as_long_as_one_pipeline_does(project):
    rome = "Europe/Rome"
    project(one=(rome, "dt.date(2015, 1, 1)", "None"), two=(rome, "None", "dt.date(2015, 2, 1)"))
    made = warehouse_days.schedule("15 0 * * *")
    assert (made.timezone, made.start, made.end) == (rome, None, None)


def test_pipelines_in_several_zones_need_a_zone_of_the_warehouse(project):
    project(one=("Europe/Rome", "None", "None"), two=("America/New_York", "None", "None"))
    with pytest.raises(BadInput, match="in several time zones"):
        warehouse_days.schedule("15 0 * * *")
