"""The table of promotions, in every lake: what was decided later counts, whatever the clocks of the deciders said."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from tailrace.champions import promotions
from tailrace.champions.promotions import Promotion
from tailrace.contracts import Lake
from tailrace.lake import transactions
from tailrace.lake.delta import DeltaLake
from tailrace.lake.memory import MemoryLake

MONDAY, TUESDAY = dt.date(2013, 3, 4), dt.date(2013, 3, 5)
NOON = dt.datetime(2013, 3, 6, 12, tzinfo=dt.UTC)


@pytest.fixture(params=["memory", "local"])
def lake(request, tmp_path) -> Lake:
    return MemoryLake() if request.param == "memory" else DeltaLake(str(tmp_path))


def decide(lake: Lake, version: str, clock: dt.timedelta, day: dt.date = MONDAY, decision: str = "promoted") -> None:
    made = Promotion(
        pipeline="churn",
        version=version,
        effective_from=day,
        recorded_at=NOON + clock,
        training_run="run",
        decided_by="ada",
        reason="it is better",
        decision=decision,
    )
    promotions.record(lake, made)


@pytest.mark.parametrize("behind", [dt.timedelta(days=2), dt.timedelta(seconds=2), dt.timedelta(0)])
def test_the_later_of_two_decisions_counts_though_its_clock_is_behind(lake, behind, monkeypatch):
    hours = iter(range(9, 0, -1))
    monkeypatch.setattr(transactions, "milliseconds", lambda: next(hours) * 3_600_000)
    decide(lake, "1", dt.timedelta(0))
    decide(lake, "2", -behind)
    assert [row.version for row in promotions.decisions(lake, "churn")] == ["2", "1"]
    decided = promotions.history(lake, "churn")
    assert [row.version for row in decided] == ["2", "1"]
    assert promotions.current(decided).version == promotions.as_of(decided, TUESDAY).version == "2"
    assert decided[0].recorded_at == NOON - behind


def test_the_order_outlives_upkeep(lake):
    for number in range(5):
        decide(lake, str(number), -dt.timedelta(hours=number))
        if number == 2:
            lake.optimize(promotions.TABLE)
    assert [row.version for row in promotions.decisions(lake, "churn")] == ["4", "3", "2", "1", "0"]


def test_the_day_that_a_version_takes_effect_comes_before_the_order_of_decisions(lake):
    decide(lake, "3", dt.timedelta(0), day=TUESDAY)
    decide(lake, "2", dt.timedelta(hours=1), day=MONDAY)
    decide(lake, "4", dt.timedelta(hours=2), day=TUESDAY, decision="rejected")
    decided = promotions.history(lake, "churn")
    assert [row.version for row in decided] == ["3", "2"]
    assert promotions.as_of(decided, MONDAY).version == "2"


ROLLED_BACK = Promotion(
    pipeline="churn",
    version="1",
    effective_from=MONDAY,
    recorded_at=NOON,
    training_run="run",
    decided_by="ada",
    reason="r",
    decision="rolled_back",
)


def test_the_airflow_run_of_a_decision_is_known_where_one_made_it(lake):
    made = ROLLED_BACK
    promotions.record(lake, made, airflow_run="rollback__churn/manual 1")
    others = (
        replace(made, pipeline="flights"),
        replace(made, training_run="another"),
        replace(made, decision="promoted"),
    )
    for other in others:
        promotions.record(lake, other)
    assert promotions.airflow_run(lake, made) == "rollback__churn/manual 1"
    assert [promotions.airflow_run(lake, other) for other in others] == ["", "", ""]
    # As on the command line, or by an earlier release.
    promotions.record(lake, made)
    assert promotions.airflow_run(lake, made) == ""


def test_what_an_airflow_run_decided_is_known_whatever_was_decided_since(lake):
    made = ROLLED_BACK
    assert promotions.made_by(lake, "churn", "one") is None
    promotions.record(lake, made, airflow_run="one")
    promotions.record(lake, replace(made, effective_from=TUESDAY), airflow_run="two")
    lake.optimize(promotions.TABLE)
    promotions.record(lake, replace(made, pipeline="flights"), airflow_run="three")
    promotions.record(lake, replace(made, version="2", decision="promoted"))
    days = {run: promotions.made_by(lake, "churn", run) for run in ("one", "two", "three", "")}
    assert {run: row and row.effective_from for run, row in days.items()} == {
        "one": MONDAY,
        "two": TUESDAY,
        "three": None,
        "": None,
    }


def test_the_table_keeps_the_names_of_its_columns(lake):
    """Other readers know the training run as `run_id`, and so does a table that an earlier release made."""
    decide(lake, "1", dt.timedelta(0))
    (row,) = lake.read(promotions.TABLE).read_all().to_pylist()
    assert row["run_id"] == "run"
    (decided,) = promotions.decisions(lake, "churn")
    assert (decided.training_run, promotions.as_row(decided)) == ("run", row)
