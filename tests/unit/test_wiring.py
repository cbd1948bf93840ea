"""What a project uses is named in one table, or is its own by an import path; what cannot be loaded is said at once."""

from __future__ import annotations

import ast
import datetime as dt
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tailrace import settings
from tailrace.errors import (
    BadInput,
    ExtractsMissing,
    ExtractsRefused,
    ExtractsUnavailable,
    LandingRefused,
    SettingsError,
    Unavailable,
    UpstreamMissing,
)
from tailrace.lake.memory import MemoryLake
from tailrace.stages import ingest
from tailrace.wiring import IMPLEMENTATIONS, Wiring
from tests.support import new_project

DAY = dt.date(2024, 1, 2)
OWN = """
import datetime as dt

import pyarrow as pa

from tailrace.lake.memory import MemoryLake
from tailrace.sources.memory import MemorySource

SCHEMA = pa.schema({"number": pa.int64()})
NUMBER = 1


class OwnLake(MemoryLake):
    @classmethod
    def from_settings(cls, settings, *, keep_open):
        return cls()


def source(first, last, *names):
    tables = dict.fromkeys(names, SCHEMA)
    extracts = {(name, dt.date(2024, 1, 2)): pa.table({"number": [1]}, schema=SCHEMA) for name in names}
    return lambda cache: MemorySource(tables, extracts, (dt.date(2024, 1, first), dt.date(2024, 1, last)))


orders = source(1, 3, "orders", "refunds")
weather = source(2, 9, "weather")
more_orders = source(2, 9, "weather", "orders")


def ruined(cache):
    raise ValueError("no key was given")
"""


@pytest.fixture
def wired(tmp_path, monkeypatch):
    """The services of a project that has the module `own_parts`, with this tailrace.toml."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def wire(text: str) -> Wiring:
        project = new_project(tmp_path, monkeypatch, text)
        (tmp_path / "own_parts.py").write_text(OWN)
        (tmp_path / "half.py").write_text("import a_package_that_is_not_there")
        importlib.invalidate_caches()
        return Wiring(settings.load({"TAILRACE_PROJECT": str(project.root)}))

    yield wire
    sys.modules.pop("own_parts", None)


def test_the_table_names_classes_that_there_are():
    """Their files are read, not imported: that would take seconds."""
    for names in IMPLEMENTATIONS.values():
        for path in names.values():
            module, _, name = path.partition(":")
            parsed = ast.parse(Path(importlib.util.find_spec(module).origin).read_text())
            (found,) = [each for each in parsed.body if isinstance(each, ast.ClassDef) and each.name == name]
            assert "from_settings" in {each.name for each in found.body if isinstance(each, ast.FunctionDef)}, path
    assert {part: tuple(names) for part, names in IMPLEMENTATIONS.items()} == settings.NAMES


def test_a_part_of_ones_own_is_made_from_the_settings(wired):
    services = wired('use.lake = "own_parts:OwnLake"')
    assert isinstance(services.lake, MemoryLake)
    assert services.problems() == []


def test_a_name_that_no_setting_was_asked_about_is_refused_when_the_part_is_used(wired):
    services = wired("")
    with pytest.raises(SettingsError, match="engine is 'sprak'; it must be an import path such as"):
        _ = Wiring(replace(services.settings, engine="sprak")).engine


def test_all_parts_that_cannot_be_loaded_are_said(wired):
    services = wired(
        'engine = "half:Engine"\n'
        'sources = ["own_parts:order", "own_parts:ruined", "pipelines.sources.nowhere:Orders"]\n'
        'use = {lake = "own_parts:OwnLak", tracker = "own_part:Tracker", validator = "own_parts:NUMBER"}'
    )
    assert services.problems() == [
        "use.lake is 'own_parts:OwnLak', and own_parts has no OwnLak. Did you mean 'OwnLake'?",
        "engine is 'half:Engine', and half does not import "
        "(ModuleNotFoundError: No module named 'a_package_that_is_not_there').",
        "use.tracker is 'own_part:Tracker', and own_part does not import "
        "(ModuleNotFoundError: No module named 'own_part').",
        "use.validator is 'own_parts:NUMBER', which has no class method from_settings: see docs/settings.md.",
        "sources names 'own_parts:order', and own_parts has no order. Did you mean 'orders'?",
        "sources names 'own_parts:ruined', which cannot be made (ValueError: no key was given).",
        "sources names 'pipelines.sources.nowhere:Orders', and pipelines.sources.nowhere does not import "
        "(ModuleNotFoundError: No module named 'pipelines.sources.nowhere').",
    ]
    with pytest.raises(SettingsError, match="has no OwnLak"):
        _ = services.lake


def test_the_tables_of_several_sources_are_landed_together(wired):
    services = wired('sources = ["own_parts:orders", "own_parts:weather"]')
    assert services.source.calendar == (dt.date(2024, 1, 1), dt.date(2024, 1, 9))
    assert ingest.run(services, DAY, DAY).rows == {"orders": 1, "refunds": 1, "weather": 1}
    assert services.landing.days("weather") == (DAY,)


def test_a_source_is_landed_on_the_days_of_its_own_calendar(wired):
    services = wired('sources = ["own_parts:orders", "own_parts:weather"]')
    with pytest.raises(LandingRefused, match="gave no rows of weather for 2024-01-04, so"):
        ingest.run(services, dt.date(2024, 1, 4), dt.date(2024, 1, 4))
    with pytest.raises(LandingRefused, match="gave no rows of orders, refunds for 2024-01-01, so"):
        ingest.run(services, dt.date(2024, 1, 1), DAY)
    with pytest.raises(BadInput) as refused:
        ingest.run(services, DAY, dt.date(2024, 1, 11))
    assert str(refused.value) == (
        "memory, memory has no extract of 2024-01-10 to 2024-01-11; it has orders, refunds from 2024-01-01 to "
        "2024-01-03 and weather from 2024-01-02 to 2024-01-09. Nothing was landed."
    )
    ingest.run(services, DAY, DAY)
    assert services.landing.gaps(DAY, dt.date(2024, 1, 11)) == tuple(dt.date(2024, 1, day) for day in range(3, 10))


def test_a_table_of_two_sources_is_refused(wired):
    services = wired('sources = ["own_parts:orders", "own_parts:more_orders"]')
    assert services.problems() == [
        "sources: own_parts:orders and own_parts:more_orders have a table 'orders'; rename it in one of them.",
    ]


def test_a_table_of_tailrace_toml_overrides_what_the_source_says(wired, tmp_path):
    (tmp_path / "rain" / "stations").mkdir(parents=True)
    (tmp_path / "rain" / "stations" / f"{DAY}.csv").write_text("station,rain\nRome,0.5\n")
    services = wired(f"""
[sources.shop]
class = "own_parts:orders"
tables = ["orders"]
since = 2024-01-02
look_back_days = 5

[sources.weather]
files = "{tmp_path}/rain/{{table}}/{{day}}.csv"
columns.stations = {{ station = "string", rain = "decimal(4, 1)" }}
since = 2024-01-01
optional = true
""")
    source = services.source
    assert {*source.tables} == {"orders", "stations"}, "refunds is left out"
    assert source.calendars["orders"] == (DAY, dt.date(2024, 1, 3))
    assert (source.look_back_days["orders"], source.optional) == (5, {"stations"})
    assert ingest.run(services, DAY, DAY).rows == {"orders": 1, "stations": 1}
    assert ingest.run(services, DAY, dt.date(2024, 1, 2)).absent == {}
    before = ingest.run(services, dt.date(2024, 1, 1), dt.date(2024, 1, 1))
    assert (before.rows, before.absent) == ({}, {"stations": [dt.date(2024, 1, 1)]})


def test_a_table_that_a_source_does_not_have_is_said_with_its_key(wired):
    services = wired("""
[sources.shop]
class = "own_parts:orders"
tables = ["orders", "refund"]
since = { refunds = 2024-01-02 }
optional = ["order"]
may_be_empty = ["refunds"]

[sources.weather]
files = "{table}/{day}.csv"
columns.stations = { station = "text" }
""")
    assert services.problems() == [
        "sources.shop.tables names 'refund', which is none of the source's tables. Did you mean 'refunds'?",
        "sources.shop.since names 'refunds', which sources.shop.tables leaves out.",
        "sources.shop.optional names 'order', which is none of the source's tables. Did you mean 'orders'?",
        "sources.shop.may_be_empty names 'refunds', which sources.shop.tables leaves out.",
        "sources.weather.columns.stations.station is 'text'; it must be one of bool, int32, int64, float32, float64, "
        "string, binary, date, timestamp, decimal(p, s).",
    ]


def test_a_project_without_sources_has_nothing_to_ingest(wired):
    services = wired("")
    assert services.problems() == []
    assert services.landing.gaps(DAY, DAY) == ()
    with pytest.raises(BadInput, match=r"nothing to ingest: .*tailrace\.toml names no sources"):
        ingest.run(services, DAY, DAY)


def test_a_source_that_fails_does_not_keep_the_others_from_being_landed(wired, tmp_path):
    (tmp_path / "rain" / "stations").mkdir(parents=True)
    services = wired(f"""
[sources.shop]
class = "own_parts:orders"

[sources.weather]
files = "{tmp_path}/rain/{{table}}/{{day}}.csv"
columns.stations = {{ station = "string" }}
""")
    with pytest.raises(ExtractsMissing) as raised:
        ingest.run(services, DAY, DAY)
    missing = f"The source weather has no file of stations of {DAY}: there is no {tmp_path}/rain/stations/{DAY}.csv."
    assert str(raised.value) == (
        f"{missing}\nLanded: orders, refunds. Only pipelines that read the others are stopped."
    )
    assert raised.value.tables == {"stations": missing}
    assert (services.landing.days("orders"), services.landing.days("stations")) == ((DAY,), ())
    assert services.landing.lacking(DAY, DAY) == {"stations": (DAY,)}

    (tmp_path / "rain" / "stations" / f"{DAY}.csv").write_text("station\n")
    named = "source weather gave no rows of stations for 2024-01-02, so nothing of this source was landed"
    with pytest.raises(ExtractsRefused, match=named):
        ingest.run(services, DAY, DAY)


@pytest.mark.parametrize(("said", "empty"), [("true", True), ('["stations"]', True), ("[]", False), ("false", False)])
def test_tables_of_files_that_may_be_empty_are_named_in_the_settings(wired, tmp_path, said, empty):
    (tmp_path / f"stations-{DAY}.csv").write_text("station\n")
    services = wired(f"""
[sources.weather]
files = "{{table}}-{{day}}.csv"
columns.stations = {{ station = "string" }}
may_be_empty = {said}
""")
    if not empty:
        with pytest.raises(LandingRefused, match="say so with `may_be_empty`"):
            ingest.run(services, DAY, DAY)
        return
    assert ingest.run(services, DAY, DAY).rows == {"stations": 0}


def test_a_source_that_does_not_answer_is_no_source_that_delivers_late():
    made = ingest._failed({"stations": Unavailable("The server is down.")}, {"orders": 3})
    assert isinstance(made, ExtractsUnavailable)
    assert not isinstance(made, UpstreamMissing), "a night would wait for it for forty minutes"
    assert made.tables == {"stations": "The server is down."}
