"""A good day is not replaced by nothing: a day without rows is taken only where it is known why it has none."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tailrace.errors import AuditFailed, LandingRefused, UpstreamMissing, ValidationFailed
from tailrace.reporting import model_report
from tailrace.sources.landing import Landing
from tailrace.sources.memory import MemorySource
from tailrace.stages import ingest, snapshot
from tailrace.warehouse.memory import MemoryWarehouse
from tests.stages.conftest import FIRST, LAST, installation, memory
from tests.support import work

TRAINED = dt.date(2013, 1, 9)
DAY = dt.date(2013, 1, 12)


@pytest.fixture
def services(tmp_path, spec, monkeypatch):
    monkeypatch.setattr(model_report, "write", lambda folder, judged: None)
    return installation(memory, tmp_path, spec)


def of_day(tables, day):
    return {name: rows.filter(pc.equal(rows["ds"], pa.scalar(day))) for name, rows in tables.items()}


def published(services, spec, day):
    days = (services.lake.days(table) for table in (spec.features_table, spec.outcomes_table))
    return [held[day].version if day in held else None for held in days]


@pytest.mark.parametrize("day", [DAY, dt.date(2031, 1, 1)], ids=["published before", "of no warehouse"])
def test_a_day_that_this_warehouse_never_built_is_not_taken(loop, services, spec, day):
    loop.take()
    services.warehouse = MemoryWarehouse(of_day(services.tables, LAST))
    services.warehouse.build(LAST, LAST)
    before = published(services, spec, day)
    with pytest.raises(UpstreamMissing) as raised:
        snapshot.run(work(services, spec, "again"), day)
    assert str(raised.value) == (
        f"The warehouse has no rows of churn_features and churn_outcomes of {day}, and no record that this day was "
        f"built. What is published of {day} stays. Build it first: tailrace warehouse --date {day}."
    )
    assert published(services, spec, day) == before
    assert snapshot.run(work(services, spec, "again"), LAST).features.unchanged


def test_a_day_built_to_nothing_is_refused_unless_it_is_known_why(loop, services, spec):
    loop.take()
    before = published(services, spec, DAY)
    outcomes = services.tables["churn_outcomes"]
    emptied = outcomes.filter(pc.not_equal(outcomes["ds"], pa.scalar(DAY)))
    services.rebuild(churn_outcomes=emptied)
    with pytest.raises(
        ValidationFailed, match=rf"^churn_outcomes of {DAY} .* no rows, and nothing says why.*may_be_empty: true"
    ):
        snapshot.run(work(services, spec, "again"), DAY)
    assert published(services, spec, DAY) == before
    services.rebuild(churn_outcomes=emptied, empty="its dbt model declares that its days may be empty")
    taken = snapshot.run(work(services, spec, "again"), DAY)
    assert taken.features.unchanged
    assert (taken.outcomes.rows, "empty_because" in taken.outcomes.metadata) == (0, True)


def test_an_empty_day_that_the_schedule_does_not_have_is_not_published(services, spec):
    day = dt.date(2015, 1, 5)
    ended = replace(spec, schedule=replace(spec.schedule, end=dt.date(2014, 12, 27)))
    services.warehouse = MemoryWarehouse(services.tables, empty={day: "the landed files of visits have no rows"})
    services.warehouse.build(day, day)
    with pytest.raises(UpstreamMissing, match=rf"^The schedule of churn \(until 2014-12-27\) has no part in {day}"):
        snapshot.run(work(services, ended, "late"), day)
    assert published(services, ended, day) == [None, None]
    last_outcomes = replace(spec, schedule=replace(spec.schedule, end=dt.date(2014, 12, 28)))
    assert snapshot.run(work(services, last_outcomes, "late"), day).features.rows == 0


def test_a_warehouse_without_records_goes_on_being_read(loop, services, spec):
    """As an earlier release made it: a day that has rows counts as built, and the first day has no outcomes yet."""
    assert services.warehouse.built(FIRST) is None
    taken = loop.take()
    assert [(one.features.rows, one.outcomes.rows) for one in taken[:2]] == [(150, 0), (150, 150)]
    features, outcomes = services.tables["churn_features"], services.tables["churn_outcomes"]
    for lost in (
        {"churn_features": features.filter(pc.not_equal(features["ds"], pa.scalar(DAY)))},
        {"churn_outcomes": outcomes.filter(pc.not_equal(outcomes["ds"], pa.scalar(DAY)))},
    ):
        services.warehouse = MemoryWarehouse({**services.tables, **lost})
        with pytest.raises(UpstreamMissing, match=f"no rows of {next(iter(lost))} of {DAY}, and no record"):
            snapshot.run(work(services, spec, "again"), DAY)


def test_the_first_days_have_no_outcomes_as_long_as_these_lag(services, spec):
    late = replace(spec, outcome=replace(spec.outcome, lag_days=2))
    second, third = (FIRST + dt.timedelta(days=days) for days in (1, 2))
    outcomes = services.tables["churn_outcomes"]
    services.rebuild(churn_outcomes=outcomes.filter(pc.greater(outcomes["ds"], pa.scalar(third))))
    for day in (FIRST, second):
        taken = snapshot.run(work(services, late, "r"), day).outcomes
        assert (taken.rows, taken.metadata["empty_because"]) == (0, "no outcomes of the first features are known yet")
    with pytest.raises(ValidationFailed, match=f"churn_outcomes of {third} were built and have no rows"):
        snapshot.run(work(services, late, "r"), third)


def test_predictions_are_not_replaced_by_none_where_nobody_knows_why(loop, services, spec):
    """An earlier release took days of which the warehouse had nothing."""
    loop.take()
    loop.challenge(TRAINED)
    before = loop.predict(DAY)
    empty = services.lake.read(spec.features_table, first=DAY, last=DAY).read_all().slice(0, 0)
    services.lake.publish(services.lake.stage(spec.features_table, DAY, "emptied", empty.to_reader()), {})
    with pytest.raises(AuditFailed, match=f"no rows of {DAY}, without a reason .* and 150 predictions are published"):
        loop.predict(DAY)
    assert services.lake.days(spec.predictions_table)[DAY].version == before.commit.version


def test_nothing_of_nothing_is_not_full_coverage(loop, services, spec):
    from tailrace.stages import audit, score

    features = services.tables["churn_features"]
    services.rebuild(churn_features=features.filter(pc.not_equal(features["ds"], pa.scalar(DAY))), empty="a holiday")
    loop.take()
    loop.challenge(TRAINED)
    score.run(work(services, spec, "p"), DAY)
    assert audit.run(work(services, spec, "p"), DAY).coverage is None


# ---------------------------------------------------------------- extracts

SCHEMA = pa.schema({"number": pa.int64()})


@dataclass
class Feed:
    source: MemorySource
    landing: Landing


class Silent(MemorySource):
    """A source that does not say which days may be empty."""

    may_be_empty = property()


def feed(folder, may_be_empty=(), kind=MemorySource):
    tables = {"orders": SCHEMA, "refunds": SCHEMA}
    one = pa.table({"number": [1]}, schema=SCHEMA)
    extracts = {(table, day): one for table in tables for day in (FIRST, LAST)}
    extracts |= {("orders", DAY): one}
    source = kind(tables, extracts, (FIRST, LAST), may_be_empty)
    return Feed(source, Landing(str(folder / "landing"), tables))


@pytest.mark.parametrize("kind", [MemorySource, Silent])
def test_an_empty_extract_is_refused_and_what_was_landed_stays(tmp_path, kind):
    services = feed(tmp_path, kind=kind)
    services.landing.write("refunds", DAY, pa.table({"number": [7]}, schema=SCHEMA))
    with pytest.raises(LandingRefused) as raised:
        ingest.run(services, DAY, DAY)
    assert str(raised.value) == (
        f"The source memory gave no rows of refunds for {DAY}, so nothing of this source was landed for {DAY}: "
        "what was landed before stays. See whether the source has the day, then ingest it again. If a table may have "
        "days without rows, say so with `may_be_empty`, in the source's class or in its table in tailrace.toml."
    )
    assert services.landing.days("orders") == ()
    assert services.landing.read("refunds", DAY)["number"].to_pylist() == [7]


def test_an_extract_that_may_be_empty_is_landed_and_named(tmp_path):
    services = feed(tmp_path, may_be_empty=["refunds"])
    assert ingest.run(services, DAY, DAY).rows == {"orders": 1, "refunds": 0}
    ingest.run(services, LAST, LAST)
    assert services.landing.empty(FIRST, LAST) == {DAY: ("refunds",)}
