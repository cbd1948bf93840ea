"""What every warehouse does, and what dbt does with the real project and real flights, on DuckDB and on Postgres."""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.sources.nycflights13 import NEW_YORK, TABLES, NycFlights
from tailrace.contracts import Warehouse
from tailrace.days import cutoff, span
from tailrace.errors import BuildFailed, LandingRefused, UpstreamMissing, WarehouseBusy
from tailrace.sources.landing import Landing
from tailrace.warehouse.duckdb import DuckDBWarehouse
from tailrace.warehouse.memory import MemoryWarehouse
from tailrace.warehouse.postgres import PostgresWarehouse
from tests.postgres import Server, postgres
from tests.support import marts_of_others

__all__ = ["postgres"]

# the suite shares one build, so one process runs it

PROJECT = Path(__file__).resolve().parents[2] / "dbt"
FIRST = dt.date(2013, 1, 1)
LAST = dt.date(2013, 1, 10)
"""The last day built; the day after it is landed too."""
NEXT = LAST + dt.timedelta(days=1)
FEATURES, OUTCOMES = "flight_delay_features", "flight_delay_outcomes"
ORDER = {FEATURES: ["scheduled_departure", "flight_key"], OUTCOMES: ["flight_key"]}
TIMESTAMP = pa.timestamp("us", tz="UTC")
OTHERS = marts_of_others("flight_delay")
NOTHING_LANDED = "the landed files of arrivals have no rows"


@dataclass
class Site:
    """A warehouse with its files."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "warehouse.duckdb"

    @property
    def landing(self) -> Landing:
        return Landing(str(self.folder / "landing"), TABLES)

    @property
    def warehouse(self) -> DuckDBWarehouse:
        return DuckDBWarehouse(self.database, project=PROJECT, landing=self.landing, work=self.folder / "work")

    def landed(self, table: str, day: dt.date) -> Path:
        return self.folder / "landing" / table / f"ds={day}" / "part-0.parquet"

    def rows(self, table: str, day: dt.date) -> pa.Table:
        return self.warehouse.read(table, day, ORDER[table]).read_all()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The real project, built for FIRST..LAST in one go. Tests only read it."""
    site = Site(tmp_path_factory.mktemp("warehouse"))
    source = NycFlights(site.folder / "cache")
    for table in TABLES:
        for day in span(FIRST, NEXT):
            site.landing.write(table, day, source.extract(table, day))
    site.warehouse.build(FIRST, LAST, without=OTHERS)
    return site


@pytest.fixture
def site(built: Site, tmp_path: Path) -> Iterator[Site]:
    """The same, for a test that changes it; put back in place afterwards, where dbt has it parsed."""
    shutil.copytree(built.folder / "landing", tmp_path / "landing")
    shutil.copy(built.database, tmp_path)
    yield built
    shutil.rmtree(built.folder / "landing")
    shutil.move(tmp_path / "landing", built.folder)
    shutil.move(tmp_path / built.database.name, built.database)


@pytest.fixture(scope="session")
def on_postgres(built: Site, postgres: Server) -> PostgresWarehouse:
    """The same days of the same project, built on Postgres."""
    made = postgres.database("warehouse")
    warehouse = PostgresWarehouse(
        made.url, password=made.password, project=PROJECT, landing=built.landing, work=built.folder / "work-postgres"
    )
    warehouse.build(FIRST, LAST, without=OTHERS)
    return warehouse


@pytest.fixture(scope="session", params=["duckdb", "postgres", "memory"])
def warehouse(request: pytest.FixtureRequest, built: Site) -> Warehouse:
    if request.param == "duckdb":
        return built.warehouse
    if request.param == "postgres":
        return request.getfixturevalue("on_postgres")
    days = list(span(FIRST, LAST))
    tables = {table: pa.concat_tables([built.rows(table, day) for day in days]) for table in ORDER}
    held = MemoryWarehouse(tables, built.warehouse.sources(NEXT), {FIRST: NOTHING_LANDED})
    held.build(FIRST, LAST, without=OTHERS)
    return held


# ---------------------------------------------------------------- every warehouse


@pytest.mark.parametrize("table", [FEATURES, OUTCOMES])
def test_reading_gives_the_rows_of_the_day_in_the_order_asked_for(warehouse: Warehouse, table: str) -> None:
    rows = warehouse.read(table, LAST, ORDER[table]).read_all()

    assert rows.num_rows > 800
    assert pc.unique(rows["ds"]).to_pylist() == [LAST]
    assert rows == rows.sort_by([(column, "ascending") for column in ORDER[table]])
    by_another = warehouse.read(table, LAST, ["known_at", "flight_key"]).read_all()
    assert by_another == rows.sort_by([("known_at", "ascending"), ("flight_key", "ascending")])


def test_columns_have_the_types_of_the_contract(warehouse: Warehouse) -> None:
    features = warehouse.read(FEATURES, LAST, []).schema
    kinds = {"ds": pa.date32(), "scheduled_departure": TIMESTAMP, "known_at": TIMESTAMP}
    kinds |= dict.fromkeys(["flight_key", "carrier", "origin", "dest"], pa.string())
    kinds |= dict.fromkeys(["departure_hour", "weekday", "month", "scheduled_departures_same_hour"], pa.int32())
    assert {field.name: field.type for field in features} == {
        field.name: kinds.get(field.name, pa.float64()) for field in features
    }
    assert warehouse.read(OUTCOMES, LAST, []).schema == pa.schema(
        {
            "ds": pa.date32(),
            "flight_key": pa.string(),
            "flight_day": pa.date32(),
            "scheduled_departure": TIMESTAMP,
            "known_at": TIMESTAMP,
            "late": pa.bool_(),
            "arrival_delay_minutes": pa.float64(),
            "cancelled": pa.bool_(),
            "diverted": pa.bool_(),
        }
    )


def test_a_day_that_was_not_built_has_no_rows_and_all_columns(warehouse: Warehouse) -> None:
    rows = warehouse.read(FEATURES, dt.date(2013, 8, 1), ORDER[FEATURES]).read_all()
    assert rows.num_rows == 0
    assert rows.schema == warehouse.read(FEATURES, LAST, []).schema


def test_a_table_that_was_never_built_is_missing(warehouse: Warehouse) -> None:
    with pytest.raises(UpstreamMissing, match="no table flight_delay_forecasts"):
        warehouse.read("flight_delay_forecasts", LAST, [])


def test_building_tells_the_rows_of_the_days(warehouse: Warehouse) -> None:
    results = {result.name: result for result in warehouse.build(LAST, LAST, without=OTHERS)}

    for table, order in ORDER.items():
        assert results[table].kind == "model"
        assert results[table].status == "success"
        assert results[table].rows == warehouse.read(table, LAST, order).read_all().num_rows


def test_the_days_built_are_recorded_with_the_reason_why_one_may_be_empty(warehouse: Warehouse) -> None:
    recorded = warehouse.built(FIRST) or {}
    assert (set(recorded), recorded[OUTCOMES]) == (set(ORDER), NOTHING_LANDED)
    assert warehouse.built(LAST) == dict.fromkeys(ORDER, "")
    assert warehouse.built(NEXT) == warehouse.built(dt.date(2031, 1, 1)) == {}


@pytest.mark.services
def test_both_databases_tell_the_rows_of_every_table(built: Site, on_postgres: PostgresWarehouse) -> None:
    ours, theirs = (
        {node.unique_id: node for node in one.build(LAST, LAST, without=OTHERS)}
        for one in (built.warehouse, on_postgres)
    )
    assert {name: node.rows for name, node in ours.items()} == {name: node.rows for name, node in theirs.items()}
    told = {node.name: node.rows for node in ours.values()}
    assert told["int_flights__days"] == 1
    assert told["int_flights__scheduled"] > told[FEATURES] > 800
    assert told["stg_schedules"] is None, "a view has none of its own"
    assert {node.rows for node in ours.values() if node.kind == "test"} == {0}


def test_source_days_are_those_landed_up_to_the_day(warehouse: Warehouse) -> None:
    assert list(warehouse.sources(LAST)) == list(span(FIRST, LAST))
    assert warehouse.sources(FIRST).items() <= warehouse.sources(LAST).items()
    assert warehouse.sources(LAST, FIRST) == warehouse.sources(LAST), "all of them lie within the look back"
    assert len(set(warehouse.sources(LAST).values())) == len(warehouse.sources(LAST))


# ---------------------------------------------------------------- the marts


def test_every_scheduled_flight_has_features(built: Site) -> None:
    for day in span(FIRST, LAST):
        scheduled = pq.read_table(built.landed("schedules", day), partitioning=None)
        features = built.rows(FEATURES, day)
        assert features.num_rows == scheduled.num_rows
        assert len(pc.unique(features["flight_key"])) == features.num_rows


def test_every_landed_outcome_is_in_the_mart_of_its_day(built: Site) -> None:
    for day in span(FIRST, LAST):
        assert built.rows(OUTCOMES, day).num_rows == pq.read_metadata(built.landed("arrivals", day)).num_rows


def test_nothing_was_known_after_the_cutoff(built: Site) -> None:
    for day in span(FIRST, LAST):
        due = cutoff(day, NEW_YORK)
        assert pc.max(built.rows(FEATURES, day)["known_at"]).as_py() <= due
        outcomes = built.rows(OUTCOMES, day)
        assert outcomes.filter(pc.field("known_at") > due).num_rows == 0
        assert outcomes.filter(pc.field("known_at") <= cutoff(day - dt.timedelta(days=1), NEW_YORK)).num_rows == 0


def test_the_outcomes_of_a_day_come_on_the_next_day_or_after_midnight_one_later(built: Site) -> None:
    day = dt.date(2013, 1, 2)
    next_day = built.rows(OUTCOMES, dt.date(2013, 1, 3)).filter(pc.field("flight_day") == day)
    day_after = built.rows(OUTCOMES, dt.date(2013, 1, 4)).filter(pc.field("flight_day") == day)

    assert day_after.num_rows > 0
    assert pc.min(day_after["known_at"]).as_py() > cutoff(dt.date(2013, 1, 3), NEW_YORK)
    keys = next_day["flight_key"].to_pylist() + day_after["flight_key"].to_pylist()
    assert sorted(keys) == sorted(built.rows(FEATURES, day)["flight_key"].to_pylist())


def test_late_rates_are_those_counted_by_hand(built: Site) -> None:
    outcomes = pa.concat_tables([built.rows(OUTCOMES, day) for day in span(FIRST, LAST)])
    week = outcomes.filter(pc.field("flight_day") >= LAST - dt.timedelta(days=7)).to_pylist()
    of_carrier = [row["late"] for row in week if row["flight_key"].split("/")[1] == "UA"]
    of_origin = [row["late"] for row in week if row["flight_key"].split("/")[3] == "LGA"]

    features = built.rows(FEATURES, LAST)
    united = pc.unique(features.filter(pc.field("carrier") == "UA")["carrier_late_rate_7d"]).to_pylist()
    la_guardia = pc.unique(features.filter(pc.field("origin") == "LGA")["origin_late_rate_7d"]).to_pylist()
    assert united == pytest.approx([sum(of_carrier) / len(of_carrier)])
    assert la_guardia == pytest.approx([sum(of_origin) / len(of_origin)])


@dataclass(frozen=True)
class Flight:
    key: str
    carrier: str
    plane: str | None


def _scheduled(site: Site, day: dt.date) -> list[Flight]:
    """The flights of the day by their keys."""
    rows = pq.read_table(site.landed("schedules", day), partitioning=None).to_pylist()
    number = "{carrier}/{flight}/{origin}/{sched_dep_time:04d}"
    return sorted(
        (Flight(f"{day}/{number.format(**row)}", row["carrier"], row["tailnum"]) for row in rows),
        key=lambda flight: flight.key,
    )


def _drawn(flight: Flight, before: list[Flight], of_the_day: list[Flight]) -> str:
    """The plane that stands in, drawn by the last 64 bits of the MD5 of the flight's key."""

    def planes(flights: list[Flight]) -> list[str]:
        return [other.plane for other in flights if other.carrier == flight.carrier and other.plane]

    pool = planes(before) or planes(of_the_day)
    digest = hashlib.md5(flight.key.encode(), usedforsecurity=False).digest()
    return pool[int.from_bytes(digest[8:], "little") % len(pool)]


def test_a_flight_without_a_tail_number_looks_like_the_others_of_the_plane_that_stands_in(built: Site) -> None:
    columns = ["plane_age_years", "plane_seats", "plane_late_rate_7d", "plane_late_rate_28d"]
    before: list[Flight] = []
    compared = 0
    for day in span(FIRST, LAST):
        flights = _scheduled(built, day)
        features = {row["flight_key"]: row for row in built.rows(FEATURES, day).to_pylist()}
        for flight in (flight for flight in flights if flight.plane is None):
            plane = _drawn(flight, before, flights)
            for other in (other for other in flights if other.plane == plane and other.carrier == flight.carrier):
                assert [features[flight.key][c] for c in columns] == [features[other.key][c] for c in columns]
                compared += 1
        before += flights

    assert compared >= 10


# ---------------------------------------------------------------- building


def test_building_a_day_touches_that_day_only(site: Site) -> None:
    before = {(table, day): site.rows(table, day) for table in ORDER for day in span(FIRST, LAST)}

    results = {result.name: result for result in site.warehouse.build(NEXT, NEXT, without=OTHERS)}

    scheduled = pq.read_metadata(site.landed("schedules", NEXT)).num_rows
    assert results[FEATURES].rows == site.rows(FEATURES, NEXT).num_rows == scheduled
    assert results[OUTCOMES].rows == site.rows(OUTCOMES, NEXT).num_rows > 0
    assert results["unique_flight_delay_features_flight_key"].kind == "test"
    assert {(table, day): site.rows(table, day) for table in ORDER for day in span(FIRST, LAST)} == before


def test_a_day_is_the_same_however_often_and_with_whatever_later_days_it_is_built(site: Site) -> None:
    before = {table: site.rows(table, LAST) for table in ORDER}
    for table in TABLES:
        shutil.rmtree(site.landed(table, NEXT).parent)

    site.warehouse.build(LAST, LAST, without=OTHERS)

    assert {table: site.rows(table, LAST) for table in ORDER} == before


def test_a_source_day_landed_again_is_another_if_its_rows_are(site: Site) -> None:
    before, second = site.warehouse.sources(LAST), FIRST + dt.timedelta(days=1)
    weather = pq.read_table(site.landed("weather", second), partitioning=None).select(TABLES["weather"].names)

    site.landing.write("weather", second, weather)
    assert site.warehouse.sources(LAST) == before
    site.landing.write("weather", second, weather.slice(1))
    after = site.warehouse.sources(LAST)
    assert [day for day in before if before[day] != after[day]] == [second]


def test_source_days_are_those_of_the_tables_that_the_marts_are_made_from(site: Site) -> None:
    marts = {part: [f"flight_delay_{part}"] for part in ("features", "outcomes")}
    before = {part: site.warehouse.sources(LAST, marts=names) for part, names in marts.items()}
    weather = pq.read_table(site.landed("weather", LAST), partitioning=None).select(TABLES["weather"].names)

    site.landing.write("weather", LAST, weather.slice(1))
    after = {part: site.warehouse.sources(LAST, marts=names) for part, names in marts.items()}
    assert after["features"][LAST] != before["features"][LAST], "made from the weather"
    assert after["outcomes"] == before["outcomes"], "not made from the weather"
    assert site.warehouse.sources(LAST, marts=["made_elsewhere"]) == site.warehouse.sources(LAST), "nobody can tell"


def test_source_days_reach_as_far_back_as_the_features_look(built: Site) -> None:
    assert min(built.warehouse.sources(FIRST + dt.timedelta(days=28))) == FIRST
    assert min(built.warehouse.sources(FIRST + dt.timedelta(days=29))) > FIRST
    assert min(built.warehouse.sources(FIRST + dt.timedelta(days=29), FIRST + dt.timedelta(days=28))) == FIRST


def test_a_day_landed_again_with_fewer_rows_is_replaced_whole(site: Site) -> None:
    site.landing.write("schedules", LAST, TABLES["schedules"].empty_table())

    results = {result.name: result for result in site.warehouse.build(LAST, LAST, without=OTHERS)}

    assert results[FEATURES].rows == site.rows(FEATURES, LAST).num_rows == 0
    assert site.rows(OUTCOMES, LAST).num_rows > 0


def test_an_observation_from_the_future_stops_the_build(site: Site) -> None:
    before = site.rows(FEATURES, LAST)
    weather = pq.read_table(site.landed("weather", LAST), partitioning=None).select(TABLES["weather"].names)
    ahead = pc.add(weather["time_hour"], pa.scalar(dt.timedelta(hours=20), pa.duration("us")))
    column = weather.schema.get_field_index("time_hour")
    site.landing.write("weather", LAST, weather.set_column(column, weather.schema.field(column), ahead))

    with pytest.raises(BuildFailed) as failure:
        site.warehouse.build(LAST, LAST, without=OTHERS)

    message = str(failure.value)
    assert "test known_by_cutoff_stg_weather_observed_at" in message
    assert f"for {LAST}" in message
    assert "57 rows fail" in message
    query = next(Path(word) for word in message.split() if word.endswith(".sql"))
    assert "observed_at" in query.read_text()
    assert site.rows(FEATURES, LAST) == before


def corrupt(site: Site) -> None:
    site.landed("planes", LAST).write_bytes(b"PAR1 and then nothing")


def drop_column(site: Site) -> None:
    file = site.landed("weather", LAST)
    pq.write_table(pq.read_table(file, partitioning=None).drop_columns(["temp"]), file)


def change_type(site: Site) -> None:
    file = site.landed("schedules", LAST)
    rows = pq.read_table(file, partitioning=None)
    column = rows.schema.get_field_index("distance")
    pq.write_table(rows.set_column(column, "distance", rows["distance"].cast(pa.string())), file)


def remove(site: Site) -> None:
    site.landed("airports", LAST).unlink()


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (corrupt, LandingRefused, f"planes of {LAST}: not a readable Parquet file"),
        (drop_column, LandingRefused, f"weather of {LAST}: column temp is missing"),
        (change_type, LandingRefused, f"schedules of {LAST}: column distance is string and should be int32"),
        (remove, UpstreamMissing, f"airports: {LAST}"),
    ],
)
def test_a_landing_that_is_not_sound_changes_nothing(
    site: Site, damage: Callable[[Site], None], error: type[Exception], message: str
) -> None:
    before = site.database.read_bytes()
    damage(site)

    with pytest.raises(error, match=message):
        site.warehouse.build(LAST, LAST, without=OTHERS)

    assert site.database.read_bytes() == before


def test_a_night_that_was_never_landed_is_not_looked_over(site: Site) -> None:
    """Without its outcomes the late rates of the days after it would be others."""
    skipped = LAST - dt.timedelta(days=2)
    before = site.database.read_bytes()
    for table in TABLES:
        shutil.rmtree(site.landed(table, skipped).parent)

    with pytest.raises(UpstreamMissing, match=f"not landed: {skipped}. .*warehouse --date {skipped} --to {LAST};"):
        site.warehouse.build(LAST, LAST, without=OTHERS)

    assert site.database.read_bytes() == before


# ---------------------------------------------------------------- two databases, one project


def test_both_databases_give_the_same_marts_row_by_row(built: Site, on_postgres: PostgresWarehouse) -> None:
    for table, order in ORDER.items():
        for day in span(FIRST, LAST):
            assert on_postgres.read(table, day, order).read_all() == built.rows(table, day)


@pytest.mark.services
def test_a_day_landed_again_is_replaced_whole_on_both(site: Site, on_postgres: PostgresWarehouse) -> None:
    other_day = on_postgres.read(FEATURES, FIRST, ORDER[FEATURES]).read_all()
    schedules = pq.read_table(site.landed("schedules", LAST), partitioning=None).select(TABLES["schedules"].names)
    site.landing.write("schedules", LAST, schedules.slice(0, 100))

    for warehouse in (site.warehouse, on_postgres):
        results = {result.name: result for result in warehouse.build(LAST, LAST, without=OTHERS)}
        assert results[FEATURES].rows == 100

    assert on_postgres.read(FEATURES, LAST, ORDER[FEATURES]).read_all() == site.rows(FEATURES, LAST)
    assert on_postgres.read(FEATURES, FIRST, ORDER[FEATURES]).read_all() == other_day


# ---------------------------------------------------------------- one file, one writer


def test_the_file_is_free_after_a_build_and_after_a_read(site: Site) -> None:
    site.warehouse.build(LAST, LAST, without=OTHERS)
    reader = site.warehouse.read(FEATURES, LAST, [])

    script = f"import duckdb; duckdb.connect({str(site.database)!r}).execute('create table t as select 1')"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)

    assert reader.read_all().num_rows > 0


def test_a_file_that_another_process_holds_is_busy(site: Site) -> None:
    script = f"import duckdb; held = duckdb.connect({str(site.database)!r}); print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        for use in (
            lambda: site.warehouse.read(FEATURES, LAST, []),
            lambda: site.warehouse.build(LAST, LAST, without=OTHERS),
        ):
            with pytest.raises(WarehouseBusy, match=f"in use by process {holder.pid}"):
                use()
        holder.communicate(b"\n", timeout=60)

    assert site.rows(FEATURES, LAST).num_rows > 0


def test_without_a_warehouse_there_is_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(UpstreamMissing, match="Run the build stage first"):
        Site(tmp_path).rows(FEATURES, LAST)
