"""The suites of flight_delay: an ordinary day passes, and every critical expectation catches its fault."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import great_expectations as gx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from great_expectations.data_context.types.base import DataContextConfig

from pipelines.flight_delay import SPEC
from tailrace.contracts import ExpectationResult, Verdict
from tailrace.errors import BadInput
from tailrace.operations import checks
from tailrace.validation import words
from tailrace.validation.great_expectations import GreatExpectationsValidator
from tailrace.validation.memory import MemoryValidator
from tests.suite_faults import faults, replace, with_value

EXPECTATIONS = Path(__file__).parents[2] / "expectations"
SUITES = ("features", "outcomes", "predictions")
DAY = dt.date(2013, 2, 1)
MIDNIGHT = dt.datetime(2013, 2, 1, 5, tzinfo=dt.UTC)
CARRIERS = ("9E", "AA", "B6", "DL", "EV", "MQ", "UA", "US", "WN")
UTC = pa.timestamp("us", "UTC")


def ordinary(suite: str, rows: int = 900) -> pa.Table:
    """A day like those of the winter of 2013."""
    random = np.random.default_rng(20130201)
    departures = [MIDNIGHT + dt.timedelta(minutes=int(minute)) for minute in random.integers(300, 1430, rows)]
    common = {
        "ds": pa.array([DAY] * rows, pa.date32()),
        "flight_key": [f"2013-02-01-{number:04}" for number in range(rows)],
        "scheduled_departure": pa.array(departures, UTC),
    }
    return pa.table(common | _COLUMNS[suite](random, departures))


def _features(random: np.random.Generator, departures: list[dt.datetime]) -> dict[str, Any]:
    rows = len(departures)

    def normal(mean: float, spread: float, low: float, high: float, missing: float = 0.0) -> pa.Array:
        values = np.clip(random.normal(mean, spread, rows), low, high)
        return pa.array(values, mask=random.random(rows) < missing)

    columns = {
        "known_at": pa.array([MIDNIGHT] * rows, UTC),
        "carrier": random.choice(CARRIERS, rows),
        "origin": random.choice(["EWR", "LGA", "JFK"], rows),
        "dest": random.choice(["ORD", "ATL", "LAX", "BOS"], rows),
        "departure_hour": pa.array([(moment - MIDNIGHT).seconds // 3600 for moment in departures], pa.int32()),
        "weekday": pa.array([5] * rows, pa.int32()),
        "month": pa.array([2] * rows, pa.int32()),
        "distance_miles": normal(1040, 730, 17, 4983),
        "scheduled_departures_same_hour": pa.array(random.integers(1, 39, rows), pa.int32()),
        "plane_age_years": normal(11.6, 6.4, 0, 57, missing=0.17),
        "plane_seats": normal(137, 72, 2, 450, missing=0.16),
        "temperature_f": normal(38, 6, 10, 101),
        "dew_point_f": normal(25, 6, -10, 79),
        "humidity_pct": normal(62, 15, 12, 100),
        "wind_speed_mph": normal(10.5, 5, 0, 43),
        "precipitation_in": normal(0, 0.01, 0, 1.3),
        "pressure_mb": normal(1018, 7, 983, 1043, missing=0.33),
        "visibility_miles": normal(9.3, 2, 0, 10),
        "weather_age_minutes": pa.array([60.0] * rows),
    }
    rates = [f"{what}_late_rate_{days}d" for what in ("carrier", "origin", "route", "plane") for days in (7, 28)]
    missing = {"route": 0.02, "plane": 0.25}
    return columns | {name: normal(0.24, 0.1, 0, 1, missing.get(name.split("_")[0], 0.0)) for name in rates}


def _outcomes(random: np.random.Generator, departures: list[dt.datetime]) -> dict[str, Any]:
    cancelled = random.random(len(departures)) < 0.03
    diverted = ~cancelled & (random.random(len(departures)) < 0.003)
    delay = np.clip(random.normal(7, 45, len(departures)), -86, 1272)
    return {
        "flight_day": pa.array([DAY - dt.timedelta(days=1)] * len(departures), pa.date32()),
        "known_at": pa.array([moment + dt.timedelta(days=1) for moment in departures], UTC),
        "late": cancelled | diverted | (delay >= 15),
        "arrival_delay_minutes": pa.array(delay, mask=cancelled | diverted),
        "cancelled": cancelled,
        "diverted": diverted,
    }


def _predictions(random: np.random.Generator, departures: list[dt.datetime]) -> dict[str, Any]:
    probability = random.beta(2, 6, len(departures))
    return {
        "late_probability": probability,
        "late_predicted": probability >= 0.5,
        "model_version": ["3"] * len(departures),
    }


_COLUMNS: Mapping[str, Callable[[np.random.Generator, list[dt.datetime]], dict[str, Any]]] = {
    "features": _features,
    "outcomes": _outcomes,
    "predictions": _predictions,
}


def content(suite: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((EXPECTATIONS / "flight_delay" / f"{suite}.json").read_text())
    return loaded


CRITICAL = [
    (suite, position)
    for suite in SUITES
    for position, expectation in enumerate(content(suite)["expectations"])
    if expectation["severity"] == "critical"
]


def label(case: tuple[str, int]) -> str:
    suite, position = case
    expectation = content(suite)["expectations"][position]
    return "-".join([suite, expectation["type"], *words.judged_columns(expectation["kwargs"])])


@pytest.fixture(scope="module")
def real() -> GreatExpectationsValidator:
    return GreatExpectationsValidator(EXPECTATIONS)


def judge(
    validator: GreatExpectationsValidator | MemoryValidator, suite: str, rows: pa.Table, day: dt.date = DAY
) -> Verdict:
    return validator.validate(f"flight_delay/{suite}", day, rows.to_reader(), ["flight_key"])


def described(results: tuple[ExpectationResult, ...]) -> list[str]:
    return [f"{result.expectation} {result.column}: {result.observed}" for result in results]


@pytest.mark.parametrize("suite", SUITES)
def test_an_ordinary_day_passes_without_a_warning(real: GreatExpectationsValidator, suite: str) -> None:
    verdict = judge(real, suite, ordinary(suite))
    assert described(verdict.failures("critical") + verdict.failures("warning")) == []
    assert verdict.rows == 900


@pytest.mark.parametrize("suite", SUITES)
def test_both_validators_agree_on_an_ordinary_day(real: GreatExpectationsValidator, suite: str) -> None:
    rows = ordinary(suite)
    assert judge(MemoryValidator(EXPECTATIONS), suite, rows).results == judge(real, suite, rows).results


@pytest.mark.parametrize("case", CRITICAL, ids=label)
def test_every_critical_expectation_catches_its_fault(case: tuple[str, int]) -> None:
    suite, position = case
    expectation = content(suite)["expectations"][position]
    for broken in faults(ordinary(suite), expectation):
        result = judge(MemoryValidator(EXPECTATIONS), suite, broken).results[position]
        assert (result.expectation, result.severity) == (expectation["type"], "critical")
        assert not result.success, result


@pytest.mark.parametrize("suite", SUITES)
def test_the_real_validator_catches_the_faults_of_all_columns(real: GreatExpectationsValidator, suite: str) -> None:
    """One fault per column and table, until every critical expectation on a column was broken in every way."""
    waiting: dict[str, list[tuple[int, pa.Table]]] = {}
    for position, expectation in enumerate(content(suite)["expectations"]):
        column = expectation["kwargs"].get("column") or expectation["kwargs"].get("column_A")
        if column and expectation["severity"] == "critical":
            broken = [(position, table) for table in faults(ordinary(suite), expectation)]
            waiting.setdefault(column, []).extend(broken)
    while any(waiting.values()):
        rows, planted = ordinary(suite), set()
        for column, broken in waiting.items():
            if broken:
                position, table = broken.pop()
                rows = replace(rows, column, table[column])
                planted.add(position)
        results = judge(real, suite, rows).results
        assert described(tuple(results[position] for position in planted if results[position].success)) == []


@pytest.mark.parametrize("suite", SUITES)
def test_an_empty_day_is_a_warning(real: GreatExpectationsValidator, suite: str) -> None:
    verdict = judge(real, suite, ordinary(suite).slice(0, 0), dt.date(2013, 1, 1))
    assert described(verdict.failures("critical")) == []
    assert "expect_table_row_count_to_be_between" in {item.expectation for item in verdict.failures("warning")}


@pytest.mark.parametrize("suite", SUITES)
def test_the_suites_can_run_on_the_columns_that_the_spec_names(real: GreatExpectationsValidator, suite: str) -> None:
    columns = checks.columns_of(SPEC, suite)
    real.check(f"flight_delay/{suite}", columns)
    MemoryValidator(EXPECTATIONS).check(f"flight_delay/{suite}", columns)


def test_a_misspelled_column_of_the_predictions_is_found(tmp_path: Path) -> None:
    folder = shutil.copytree(EXPECTATIONS, tmp_path / "expectations")
    file = folder / "flight_delay" / "predictions.json"
    file.write_text(file.read_text().replace('"late_probability"', '"late_probabilty"'))
    columns = checks.columns_of(SPEC, "predictions")
    for validator in (GreatExpectationsValidator(folder), MemoryValidator(folder)):
        with pytest.raises(BadInput, match=r"no column 'late_probabilty'. Did you mean 'late_probability'\?"):
            validator.check("flight_delay/predictions", columns)


WARNED = [
    ("features", lambda rows: rows.slice(0, 499), "expect_table_row_count_to_be_between"),
    ("features", lambda rows: with_value(rows, "carrier", "ZZ"), "expect_column_values_to_be_in_set"),
    (
        "features",
        lambda rows: replace(rows, "weather_age_minutes", pa.array([300.0] * rows.num_rows)),
        "expect_column_values_to_be_between",
    ),
    (
        "features",
        lambda rows: replace(rows, "temperature_f", pa.nulls(rows.num_rows, pa.float64())),
        "expect_column_values_to_not_be_null",
    ),
    (
        "outcomes",
        lambda rows: replace(rows, "late", pa.array([False] * rows.num_rows)),
        "expect_column_values_to_be_in_set",
    ),
    (
        "outcomes",
        lambda rows: replace(rows, "late", pa.array([True] * rows.num_rows)),
        "expect_column_values_to_be_in_set",
    ),
    (
        "predictions",
        lambda rows: replace(rows, "late_probability", pc.divide(rows["late_probability"], 100)),
        "expect_column_mean_to_be_between",
    ),
]


@pytest.mark.parametrize(("suite", "fault", "expectation"), WARNED)
def test_what_is_unusual_warns_and_does_not_stop(
    suite: str, fault: Callable[[pa.Table], pa.Table], expectation: str
) -> None:
    verdict = judge(MemoryValidator(EXPECTATIONS), suite, fault(ordinary(suite)))
    assert described(verdict.failures("critical")) == []
    assert [result.expectation for result in verdict.failures("warning")] == [expectation]


def test_a_third_of_the_scores_missing_stops_the_day(real: GreatExpectationsValidator) -> None:
    rows = ordinary("predictions")
    missing = pa.array(rows["late_probability"].to_numpy(), mask=np.arange(rows.num_rows) % 10 < 3)
    verdict = judge(real, "predictions", replace(rows, "late_probability", missing))
    (failure,) = verdict.failures("critical")
    assert (failure.column, failure.observed) == ("late_probability", "30 % null (270 of 900)")
    assert failure.bad_rows[0] == {"flight_key": "2013-02-01-0000", "late_probability": None}


@pytest.mark.parametrize("suite", SUITES)
def test_the_files_survive_a_round_trip_through_great_expectations(suite: str) -> None:
    file = content(suite)
    suite_object = gx.ExpectationSuite(**file)
    assert len(suite_object.expectations) == len(file["expectations"])
    assert without_ids(suite_object.to_json_dict()) == without_ids(file)


def test_great_expectations_own_tools_edit_the_files(tmp_path: Path) -> None:
    folder = shutil.copytree(EXPECTATIONS, tmp_path / "expectations")
    suite = editor(folder).suites.get("flight_delay.predictions")
    mean = next(item for item in suite.expectations if item.expectation_type == "expect_column_mean_to_be_between")
    mean.max_value = 0.1
    suite.save()
    verdict = judge(GreatExpectationsValidator(folder), "predictions", ordinary("predictions"))
    assert [result.expected for result in verdict.failures("warning")] == ["mean between 0.03 and 0.1"]


def editor(folder: Path) -> Any:
    """A Great Expectations context whose suites are the files of a folder."""
    files = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)}
    return gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            expectations_store_name="suites",
            validation_results_store_name="results",
            checkpoint_store_name="checkpoints",
            stores={
                "suites": {"class_name": "ExpectationsStore", "store_backend": files},
                "results": {"class_name": "ValidationResultsStore"},
                "checkpoints": {"class_name": "CheckpointStore"},
                "validation_definition_store": {"class_name": "ValidationDefinitionStore"},
            },
            analytics_enabled=False,
        ),
    )


def without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_ids(item) for name, item in value.items() if name != "id" and item is not None}
    return [without_ids(item) for item in value] if isinstance(value, list) else value
