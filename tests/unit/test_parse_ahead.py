"""A first check has dbt parse in another process; how that one ends decides nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tailrace.operations import parse_ahead
from tailrace.operations.parse_ahead import ParseAhead
from tailrace.warehouse.memory import MemoryWarehouse


@pytest.fixture
def unparsed(tmp_path):
    return SimpleNamespace(manifest=tmp_path / "manifest.json", parse=lambda: None)


def test_it_is_waited_for_however_it_ends(unparsed, monkeypatch):
    for program in ("pass", "raise SystemExit('dbt cannot read the project')"):
        monkeypatch.setattr(parse_ahead, "_PARSE", program)
        with parse_ahead.parse_ahead(unparsed) as parsing:
            parsing.wait()
            assert not parsing.runs


def test_it_ends_with_a_check_that_fails_before(unparsed, monkeypatch):
    monkeypatch.setattr(parse_ahead, "_PARSE", "import time; time.sleep(60)")
    with pytest.raises(ValueError, match="a wrong spec"), parse_ahead.parse_ahead(unparsed) as parsing:
        assert parsing.runs
        raise ValueError("a wrong spec")
    assert not parsing.runs


def test_there_is_none_where_nothing_is_won(unparsed):
    unparsed.manifest.write_text("{}")
    for warehouse in (
        unparsed,
        MemoryWarehouse({}),
        SimpleNamespace(manifest=unparsed.manifest / "none", parse=lambda: None, any_zone=True),
    ):
        with parse_ahead.parse_ahead(warehouse) as parsing:
            assert not parsing.runs
            parsing.wait()
    ParseAhead().wait()
