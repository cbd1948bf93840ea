"""The dbt project on its own: its unit tests pass, and its data tests catch what is planted."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.compute as pc
import pytest
import yaml
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner

from tailrace.contracts import Source
from tailrace.days import span
from tailrace.operations import exposures
from tailrace.sources.landing import Landing
from tailrace.spec import PipelineSpec, registry
from tailrace.warehouse.manifest import DbtManifest
from pipelines.sources.nycflights13 import TABLES, NycFlights
from pipelines.sources.pizzaplace import Pizzaplace
from pipelines.sources.rated_texts import RatedTexts

# the suite shares one build, so one process runs it

PROJECT = Path(__file__).resolve().parents[2] / "dbt"
FIRST, LAST = dt.date(2013, 1, 3), dt.date(2013, 1, 5)
"""The days of flights that are landed."""
SOURCES: dict[Callable[[Path], Source], tuple[dt.date, dt.date]] = {
    NycFlights: (FIRST, LAST),
    RatedTexts: (dt.date(2014, 3, 3), dt.date(2014, 3, 5)),
    Pizzaplace: (dt.date(2015, 2, 22), dt.date(2015, 3, 3)),
}
"""Each source, with the first and the last day that is landed. One build makes all days from the first to the last."""
BUILT = min(first for first, _ in SOURCES.values()), max(last for _, last in SOURCES.values())

ZONED = {"known_by_cutoff", "known_after_previous_cutoff", "on_local_day"}
Dbt = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dbt")
    for make, (first, last) in SOURCES.items():
        source = make(folder / "cache")
        landing = Landing(str(folder / "landing"), source.tables)
        for table in source.tables:
            for day in span(first, last):
                landing.write(table, day, source.extract(table, day))
    return folder


@pytest.fixture(scope="module")
def dbt(folder: Path) -> Iterator[Dbt]:
    """Runs dbt on the landed days; its results by node name."""

    def run(*arguments: str) -> dict[str, Any]:
        paths = ("--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--target-path", str(folder / "target"))
        try:
            outcome = dbtRunner().invoke(
                ["--log-level", "none", "--log-path", str(folder / "logs"), "--no-version-check", *arguments, *paths]
            )
        finally:
            if DuckDBConnectionManager._ENV is not None:
                DuckDBConnectionManager._ENV.close()
            DuckDBConnectionManager.close_all_connections()
        assert outcome.exception is None, outcome.exception
        return {result.node.name: result for result in outcome.result.results}

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAILRACE_WAREHOUSE", str(folder / "warehouse.duckdb"))
        patch.setenv("TAILRACE_LANDING", str(folder / "landing"))
        patch.setenv("BUILD_FIRST_DAY", str(BUILT[0]))
        patch.setenv("BUILD_LAST_DAY", str(BUILT[1]))
        yield run


@pytest.fixture(scope="module")
def built(dbt: Dbt) -> dict[str, Any]:
    return dbt("build")


def test_models_tests_and_unit_tests_pass(built: dict[str, Any]) -> None:
    shown = {name for name, result in built.items() if result.node.resource_type == "exposure"}
    sound = ("success", "pass")
    bad = {name: result.message for name, result in built.items() if result.status not in sound}
    assert bad.keys() <= shown, bad
    assert shown == set(registry.names())


def test_the_exposures_are_what_the_command_writes(folder: Path, built: dict[str, Any]) -> None:
    manifest = DbtManifest.read(folder / "target" / "manifest.json", PROJECT)
    specs, wrong = registry.load(estimators=False)
    assert not wrong
    assert exposures.file_of(manifest.project).read_text() == exposures.text_of(manifest, specs)


def test_the_unit_tests_run(built: dict[str, Any]) -> None:
    unit_tests = {name for name, result in built.items() if result.node.resource_type == "unit_test"}
    assert unit_tests >= {
        "a_missing_tail_number_looks_like_the_plane_that_stands_in",
        "a_stand_in_is_drawn_from_the_flights_of_the_carrier",
        "arrivals_over_a_change_of_clocks",
        "cutoffs_across_daylight_saving",
        "departures_across_the_start_of_daylight_saving",
        "features_of_an_item",
        "look_back_windows",
        "outcomes_of_every_kind",
        "recent_units_pass_over_closed_days",
        "sales_across_daylight_saving_in_rome",
        "texts_are_measured",
        "texts_are_read_as_people_see_them",
        "the_last_observation_before_the_cutoff",
        "the_mood_is_cut_at_half_a_point",
        "units_of_open_days",
    }


FAULTS = {
    "known_by_cutoff_flight_delay_features_known_at__America_New_York": (
        "update flight_delay_features set known_at = known_at + interval 1 minute where departure_hour = 6"
    ),
    "unique_flight_delay_features_flight_key": ("insert into flight_delay_features from flight_delay_features limit 1"),
    "within_flight_delay_features_weekday__7__1": "update flight_delay_features set weekday = 0 where carrier = 'B6'",
    "known_by_cutoff_flight_delay_outcomes_known_at__America_New_York": (
        "update flight_delay_outcomes set known_at = known_at + interval 2 days where cancelled"
    ),
    "known_after_previous_cutoff_flight_delay_outcomes_known_at__America_New_York": (
        "update flight_delay_outcomes set known_at = known_at - interval 3 days where diverted"
    ),
    "unique_flight_delay_outcomes_flight_key": ("insert into flight_delay_outcomes from flight_delay_outcomes limit 1"),
    "on_local_day_flight_delay_outcomes_scheduled_departure__flight_day__America_New_York": (
        "update flight_delay_outcomes set flight_day = flight_day - 1 where flight_key like '%/UA/%'"
    ),
    "outcomes_are_of_scheduled_flights": (
        "update flight_delay_outcomes set flight_key = 'x' || flight_key where not late and flight_day = '2013-01-04'"
    ),
    "known_by_cutoff_journal_mood_features_known_at__UTC": (
        "update journal_mood_features set known_at = known_at + interval 6 hours where genre = 'film'"
    ),
    "known_after_previous_cutoff_journal_mood_features_known_at__UTC": (
        "update journal_mood_features set known_at = known_at - interval 1 day where genre = 'tweet'"
    ),
    "accepted_values_journal_mood_features_genre__editorial__film__product__tweet": (
        "update journal_mood_features set genre = 'poem' where genre = 'product'"
    ),
    "unique_journal_mood_features_text_id": "insert into journal_mood_features from journal_mood_features limit 1",
    "known_by_cutoff_journal_mood_outcomes_known_at__UTC": (
        "update journal_mood_outcomes set known_at = known_at + interval 12 hours where mood = 'neutral'"
    ),
    "known_after_previous_cutoff_journal_mood_outcomes_known_at__UTC": (
        "update journal_mood_outcomes set known_at = known_at - interval 1 day where mood = 'positive'"
    ),
    "accepted_values_journal_mood_outcomes_mood__negative__neutral__positive": (
        "update journal_mood_outcomes set mood = 'angry' where mean_rating < -3"
    ),
    "within_journal_mood_outcomes_mean_rating__4___4": "update journal_mood_outcomes set mean_rating = 5 where raters = 15",
    "known_by_cutoff_pizza_demand_features_known_at__Europe_Rome": (
        "update pizza_demand_features set known_at = known_at + interval 1 minute where size = 'XXL'"
    ),
    "on_local_day_pizza_demand_features_sold_from__ds__Europe_Rome": (
        "update pizza_demand_features set sold_from = sold_from - interval 1 second where size = 'XL'"
    ),
    "unique_within_day_pizza_demand_features_item": ("insert into pizza_demand_features from pizza_demand_features limit 1"),
    "within_pizza_demand_features_units_last_week__200__0": (
        "update pizza_demand_features set units_last_week = -1 where pizza = 'hawaiian'"
    ),
    "within_pizza_demand_features_weekday__7__1": "update pizza_demand_features set weekday = 8 where weekday = 7",
    "known_by_cutoff_pizza_demand_outcomes_known_at__Europe_Rome": (
        "update pizza_demand_outcomes set known_at = known_at + interval 1 second where item = 'hawaiian/M'"
    ),
    "known_after_previous_cutoff_pizza_demand_outcomes_known_at__Europe_Rome": (
        "update pizza_demand_outcomes set known_at = known_at - interval 1 day where item = 'hawaiian/L'"
    ),
    "unique_within_day_pizza_demand_outcomes_item": ("insert into pizza_demand_outcomes from pizza_demand_outcomes limit 1"),
    "within_pizza_demand_outcomes_units__200__0": "update pizza_demand_outcomes set units = -1 where units = 0",
}


def test_each_planted_fault_is_caught(folder: Path, dbt: Dbt, built: dict[str, Any]) -> None:
    with duckdb.connect(folder / "warehouse.duckdb") as connection:
        for fault in FAULTS.values():
            (changed,) = connection.execute(fault).fetchone() or (0,)
            assert changed > 0, fault

    results = dbt("test", "--exclude-resource-type", "unit_test")

    assert {name for name, result in results.items() if result.status == "fail"} == set(FAULTS)


@pytest.mark.parametrize("column", ["late", "known_at", "flight_key"])
def test_the_contract_keeps_nulls_out(folder: Path, built: dict[str, Any], column: str) -> None:
    with (
        duckdb.connect(folder / "warehouse.duckdb") as connection,
        pytest.raises(duckdb.ConstraintException, match=f"NOT NULL constraint failed: .*{column}"),
    ):
        connection.execute(f"update flight_delay_outcomes set {column} = null")  # noqa: S608 - one of three names


def test_stale_sources_are_noticed(folder: Path, dbt: Dbt, built: dict[str, Any]) -> None:
    now = dt.datetime.now(dt.UTC)
    ages = {"planes": dt.timedelta(days=2), "airlines": dt.timedelta(days=8)}
    for table, age in ages.items():
        landing = Landing(str(folder / "landing"), TABLES, clock=lambda age=age: now - age)
        for day in span(FIRST, LAST):
            landing.write(table, day, TABLES[table].empty_table() if day < LAST else _one_row(folder, table))

    results = dbt("source", "freshness")

    (declared,) = yaml.safe_load((PROJECT / "models" / "staging" / "sources.yml").read_text())["sources"]
    expected = {table["name"]: "pass" for table in declared["tables"]} | {"planes": "warn", "airlines": "error"}
    assert {name: str(result.status) for name, result in results.items()} == expected


def _one_row(folder: Path, table: str) -> Any:
    return NycFlights(folder / "cache").extract(table, LAST).slice(0, 1)


def test_the_seed_holds_exactly_the_airports_that_the_register_lacks(folder: Path) -> None:
    source = NycFlights(folder / "cache")
    registered = set(source.extract("airports", LAST)["faa"].to_pylist())
    flown_to = {
        dest
        for day in span(dt.date(2013, 1, 1), dt.date(2013, 12, 31))
        for dest in pc.unique(source.extract("schedules", day)["dest"]).to_pylist()
    }
    with (PROJECT / "seeds" / "airport_time_zones.csv").open() as seed:
        assert {row["faa"] for row in csv.DictReader(seed)} == flown_to - registered


@pytest.mark.parametrize("spec", registry.load(estimators=False)[0], ids=lambda spec: spec.name)
def test_the_tests_of_a_mart_name_the_zone_of_its_pipeline(spec: PipelineSpec) -> None:
    for part in ("features", "outcomes"):
        (mart,) = yaml.safe_load((PROJECT / "models" / "marts" / f"{spec.name}_{part}.yml").read_text())["models"]
        tests = [test for column in mart["columns"] for test in column.get("data_tests", ()) if isinstance(test, dict)]
        zones = [test[name]["arguments"]["zone"] for test in tests for name in test if name in ZONED]
        assert set(zones) == {spec.schedule.timezone}, mart["name"]


@pytest.mark.parametrize("model", sorted((PROJECT / "models").rglob("*.sql")), ids=lambda path: path.stem)
def test_each_model_says_its_grain_in_the_file_beside_it(model: Path) -> None:
    (described,) = yaml.safe_load(model.with_suffix(".yml").read_text())["models"]
    assert described["name"] == model.stem
    assert described["description"].startswith("One row per ")
