"""Days that lack a table are found by whoever reads them; a corrected outcome counts from the moment it is known."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

from tailrace.days import cutoff
from tailrace.errors import UpstreamMissing
from tailrace.monitoring import performance
from tailrace.operations import reproduce
from tailrace.reporting import model_report
from tailrace.rows import completeness
from tailrace.spec import zone
from tailrace.stages import monitor, snapshot
from tests.stages.conftest import installation, memory
from tests.support import work

TRAINED = dt.date(2013, 1, 9)
HALF = dt.date(2013, 1, 6)


@pytest.fixture
def services(tmp_path, spec, monkeypatch):
    monkeypatch.setattr(model_report, "write", lambda folder, judged: None)
    return installation(memory, tmp_path, spec)


class Dies:
    """A lake whose process ends before it publishes outcomes."""

    def __init__(self, lake, table):
        self.lake, self.table = lake, table

    def __getattr__(self, name):
        return getattr(self.lake, name)

    def publish(self, staged, metadata):
        if staged.table == self.table:
            raise KeyboardInterrupt
        return self.lake.publish(staged, metadata)


def half_taken(loop, services, day):
    """A snapshot that ends between its two commits."""
    lake, services.lake = services.lake, Dies(services.lake, loop.spec.outcomes_table)
    with pytest.raises(KeyboardInterrupt):
        snapshot.run(loop.work("half"), day)
    services.lake = lake


def test_no_whole_history_is_read_to_see_that_days_are_not_due_yet(services, spec, monkeypatch):
    """It grows with every night. Only at a pipeline's beginning, where it is short, its first day has to be known."""
    lake, day = services.lake, dt.date(2013, 1, 20)
    for table in (spec.features_table, spec.outcomes_table):
        for number in range(12):
            of_day = day - dt.timedelta(days=number)
            lake.publish(lake.stage(table, of_day, "r", pa.table({"x": [1]}).to_reader()), {})
    whole = []
    days = lake.days
    monkeypatch.setattr(lake, "days", lambda table, **few: days(table, **few) if few else whole.append(table) or {})
    first, last = day - dt.timedelta(days=2), day + dt.timedelta(days=4)
    assert completeness.missing_outcomes(lake, spec, first, last) == {}
    later = last + dt.timedelta(days=30)
    lake.publish(lake.stage(spec.features_table, later, "r", pa.table({"x": [1]}).to_reader()), {})
    absent = [day + dt.timedelta(days=number) for number in range(1, 5)]
    assert completeness.missing_outcomes(lake, spec, first, last) == {spec.outcomes_table: absent}
    assert whole == []


def test_a_day_taken_by_half_is_found_by_training_and_trained_on_once_repeated(loop, services, spec):
    loop.take(last=HALF - dt.timedelta(days=1))
    half_taken(loop, services, HALF)
    loop.take(first=HALF + dt.timedelta(days=1), last=TRAINED)
    with pytest.raises(UpstreamMissing) as raised:
        loop.train(TRAINED)
    assert str(raised.value) == (
        "churn cannot be trained as of 2013-01-09: outcomes/churn of 2013-01-06 is not published; run the warehouse "
        "for these days first: tailrace warehouse --date 2013-01-06."
    )
    loop.take(HALF, HALF, run="again")
    assert services.tracker.run(loop.train(TRAINED).training_run).metrics["rows.learning"] == 4 * 150


def test_the_first_day_of_all_owes_no_outcomes(loop, services):
    """What was known by its cutoff is of days that are not there."""
    half_taken(loop, services, HALF)
    loop.take(first=HALF + dt.timedelta(days=1), last=TRAINED)
    assert services.tracker.run(loop.train(TRAINED).training_run).metrics["rows.learning"] == 150


@pytest.mark.parametrize("half", [dt.date(2013, 1, 11), dt.date(2013, 1, 14)], ids=["between others", "the last"])
def test_a_day_taken_by_half_is_found_by_the_monitor_and_by_predictions(loop, services, spec, half):
    loop.take(last=dt.date(2013, 1, 10))
    loop.challenge(TRAINED)
    loop.predict(dt.date(2013, 1, 10))
    assert performance.day_report(services.lake, spec, dt.date(2013, 1, 10)).known_outcomes == 0, "the future may lack"
    loop.take(first=dt.date(2013, 1, 11), last=half - dt.timedelta(days=1))
    half_taken(loop, services, half)
    loop.take(first=half + dt.timedelta(days=1))
    for read in (
        lambda: performance.day_report(services.lake, spec, dt.date(2013, 1, 10)),
        lambda: monitor.run(work(services, spec, "m"), dt.date(2013, 1, 10)),
    ):
        with pytest.raises(
            UpstreamMissing, match=rf"the predictions of 2013-01-10 .* outcomes/churn of {half} is .* --date {half}\."
        ):
            read()
    assert not services.lake.exists(spec.performance_table)
    loop.take(half, half, run="again")
    assert monitor.run(work(services, spec, "m"), dt.date(2013, 1, 10)).outcomes == 150


def corrected(loop, day, number, label):
    """Another outcome of a key of 2013-01-05, known by the cutoff of a later day under which it lies."""
    outcomes = loop.services.tables["churn_outcomes"]
    row = {"customer": [f"2013-01-05-{number:05d}"], "ds": [day], "known_at": [cutoff(day, zone(loop.spec))]}
    rows = pa.table({**row, "left": [label]}, schema=outcomes.schema)
    loop.services.rebuild(churn_outcomes=pa.concat_tables([outcomes, rows]))
    loop.take(day, day, run=f"corrected-{number}-{label}")


def test_a_corrected_outcome_counts_once_it_is_known(loop, services, spec):
    loop.take()
    before = loop.train(TRAINED)
    outcomes = services.tables["churn_outcomes"].to_pylist()
    label = {row["customer"]: row["left"] for row in outcomes}["2013-01-05-00003"]
    corrected(loop, TRAINED, 3, not label)
    after = loop.train(TRAINED)
    assert not after.unchanged
    assert after.model_digest != before.model_digest
    assert reproduce.run(services, spec, before.training_run).same, "it knew the outcome as it was"
    corrected(loop, dt.date(2013, 1, 10), 3, label)
    assert loop.train(TRAINED).training_run == after.training_run, "what is known later is not known as of that day"


def test_the_monitor_and_predictions_take_the_last_outcome_known(loop, services, spec):
    loop.take()
    loop.challenge(TRAINED)
    loop.predict(dt.date(2013, 1, 5), model="1")
    day = dt.date(2013, 1, 5)
    before = performance.day_report(services.lake, spec, day)
    labels = {row["customer"]: row["left"] for row in services.tables["churn_outcomes"].to_pylist()}
    corrected(loop, TRAINED, 3, not labels["2013-01-05-00003"])
    after = performance.day_report(services.lake, spec, day)
    assert after.known_outcomes == before.known_outcomes == 150
    assert after.metrics["log_loss"] != before.metrics["log_loss"]
    monitor.run(work(services, spec, "m"), day)
    (row,) = monitor.rows_of(services, spec)
    assert row["metrics"]["log_loss"] == after.metrics["log_loss"]
    corrected(loop, dt.date(2013, 1, 10), 3, None)
    assert performance.day_report(services.lake, spec, day).known_outcomes == 149
