"""What commands say where there is nothing to do, and of one thing rather than several."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from tailrace.commands import proving
from tailrace.commands.main import app
from tailrace.proving.prove import DayProof

DAY = dt.date(2024, 1, 2)


def proof(day: dt.date) -> DayProof:
    return DayProof(pipeline="churn", day=day, rows=600, later=7, findings=())


def test_one_day_is_no_days() -> None:
    one = proving._sentence("churn", [proof(DAY)], [])
    assert one == "churn does not look ahead: 600 rows of 1 day are the same without what came after them."
    assert "1,200 rows of 2 days are" in proving._sentence("churn", [proof(DAY), proof(DAY)], [])


@pytest.mark.parametrize(("option", "said"), [([], "churn has no column to add."), (["--json"], "[]")])
def test_evolve_says_that_there_is_nothing_to_add(
    monkeypatch: pytest.MonkeyPatch, option: list[str], said: str
) -> None:
    found = SimpleNamespace(notes=(), columns=())
    monkeypatch.setattr("tailrace.operations.evolve.plan", lambda *given: found)
    monkeypatch.setattr("tailrace.commands.options.services", lambda: None)
    monkeypatch.setattr("tailrace.commands.evolving.registry.get", lambda name: None)
    assert CliRunner().invoke(app, ["evolve", "churn", *option]).stdout.strip() == said
