"""Marts that somebody else built: other names and columns, no `ds`, no `known_at`."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tailrace.errors import ContractBroken, KeysRepeated
from tailrace.lineage import run_tags
from tailrace.monitoring import performance
from tailrace.rows import marts, taken
from tailrace.spec import Candidate, SearchBudget
from tailrace.stages import score, snapshot, train, validate
from tailrace.warehouse.memory import MemoryWarehouse
from tests.stages.conftest import FIRST, LAST, ROWS_A_DAY, Loop, installation, memory
from tests.support import work

FEATURES, OUTCOMES = "ml.customers", "ml.leavers"
DAY = dt.date(2013, 1, 10)
THAT_NIGHT = dt.datetime(2013, 1, 10, 9, tzinfo=dt.UTC)
YEARS_LATER = dt.datetime(2026, 11, 29, tzinfo=dt.UTC)


@pytest.fixture
def foreign(spec):
    """The spec of the same pipeline on marts of others; it trains in milliseconds."""
    return replace(
        spec,
        features=replace(spec.features, table=FEATURES, day="signup_date", known_at=None),
        outcome=replace(spec.outcome, table=OUTCOMES, day="left_on", known_at=None),
        candidates=(Candidate("logistic", "sklearn.linear_model.LogisticRegression"),),
        search=SearchBudget(trials=1),
    )


@pytest.fixture
def services(tmp_path, spec):
    return installation(memory, tmp_path, spec)


@pytest.fixture
def loop(services, foreign):
    features, outcomes = (
        services.tables[name].drop_columns("known_at") for name in ("churn_features", "churn_outcomes")
    )
    rebuild(services, features=renamed(features, "signup_date"), outcomes=renamed(outcomes, "left_on"))
    return Loop(services, foreign)


def renamed(rows, day):
    return rows.rename_columns([day if name == "ds" else name for name in rows.column_names])


def rebuild(services, *, features=None, outcomes=None):
    services.tables |= {FEATURES: features} if features is not None else {}
    services.tables |= {OUTCOMES: outcomes} if outcomes is not None else {}
    services.warehouse = MemoryWarehouse({name: services.tables[name] for name in (FEATURES, OUTCOMES)})


def take(loop, at, day=DAY, run="w"):
    return snapshot.run(loop.work(f"{run}-{day}"), day, taken_at=at)


def moments(loop, table):
    return set(loop.services.lake.read(table, first=DAY, last=DAY).read_all()["known_at"].to_pylist())


def test_the_lake_has_the_day_and_the_moment_of_the_snapshot(loop, foreign):
    validated = validate.run(loop.work(), DAY, DAY)
    taken_one = take(loop, THAT_NIGHT)
    rows = loop.services.lake.read(foreign.features_table, first=DAY, last=DAY).read_all()
    assert validated.rows == {"features": rows.num_rows, "outcomes": taken_one.outcomes.rows}
    assert rows["ds"] == rows["signup_date"]
    assert moments(loop, foreign.features_table) == moments(loop, foreign.outcomes_table) == {THAT_NIGHT}


def test_an_event_time_that_is_a_date_is_its_first_moment(services, foreign):
    """Also where the clocks skip midnight; the snapshot of the same day again changes nothing."""
    days = replace(foreign.features, event_time="signup_date")
    abroad = replace(foreign, features=days, schedule=replace(foreign.schedule, timezone="America/Sao_Paulo"))
    made = services.tables["churn_features"].drop_columns("known_at")
    outcomes = services.tables["churn_outcomes"].drop_columns("known_at")
    rebuild(services, features=renamed(made, "signup_date"), outcomes=renamed(outcomes, "left_on"))
    loop = Loop(services, abroad)
    validate.run(loop.work(), DAY, DAY)
    take(loop, THAT_NIGHT)
    rows = services.lake.read(abroad.features_table, first=DAY, last=DAY).read_all()
    assert set(rows["signup_date"].to_pylist()) == {dt.datetime(2013, 1, 10, 2, tzinfo=dt.UTC)}
    assert take(loop, YEARS_LATER, run="again").features.unchanged
    skipped = marts.first_moments(pa.array([dt.date(2018, 11, 4), None]), ZoneInfo("America/Sao_Paulo"))
    assert skipped.to_pylist() == [dt.datetime(2018, 11, 4, 3, tzinfo=dt.UTC), None]


def test_the_same_rows_keep_their_moment_and_others_get_a_new_one(loop, services, foreign):
    first = take(loop, THAT_NIGHT)
    again = take(loop, YEARS_LATER, run="again")
    assert again.features.unchanged
    assert again.outcomes.unchanged
    assert again.features.version == first.features.version

    features = services.tables[FEATURES]
    more = pc.add(features["visits"], 1)
    rebuild(services, features=features.set_column(features.column_names.index("visits"), "visits", more))
    corrected = take(loop, YEARS_LATER, run="corrected")
    assert not corrected.features.unchanged
    assert corrected.outcomes.unchanged
    assert moments(loop, foreign.features_table) == {YEARS_LATER}


def test_a_backfilled_day_is_used_and_named(loop, services, foreign, caplog):
    for day in [FIRST + dt.timedelta(days=number) for number in range((LAST - FIRST).days + 1)]:
        in_time = dt.datetime.combine(day, dt.time(9), dt.UTC)
        take(loop, in_time if day >= DAY else YEARS_LATER, day)
    assert taken.late(services.lake, foreign, FIRST, LAST)[-1] == DAY - dt.timedelta(days=1)

    trained = train.run(loop.work(), LAST, seed=1)
    tags = services.tracker.run(trained.training_run).tags
    assert tags[run_tags.TAKEN_LATE] == f"2013-01-08..{DAY - dt.timedelta(days=1)}"
    assert "features/churn of 2013-01-08..2013-01-09 were taken after these 2 days, and ml.customers" in caplog.text

    # the same rows, taken at another moment, are the same inputs
    right, day = services.tables[FEATURES], LAST - dt.timedelta(days=3)
    wrong = right.set_column(right.column_names.index("visits"), "visits", pc.add(right["visits"], 1))
    for run, rows in (("wrong", wrong), ("right", right)):
        rebuild(services, features=rows)
        take(loop, dt.datetime.combine(day, dt.time(11), dt.UTC), day, run)
    assert train.run(loop.work(), LAST, seed=1).unchanged
    caplog.clear()
    score.run(loop.work("p"), LAST, model=trained.version)
    assert not caplog.text
    noted = services.lake.staged(foreign.predictions_table, LAST, "p").notes
    assert noted[score.FEATURES_TAKEN_AT] == "2013-01-14T09:00:00+00:00"
    score.run(loop.work("q"), FIRST, model=trained.version)
    assert "features/churn of 2013-01-01 were taken after this day" in caplog.text
    loop.predict(DAY, model=trained.version)
    assert performance.day_report(services.lake, foreign, DAY).known_outcomes == ROWS_A_DAY


def test_outcomes_of_marts_by_the_day_they_are_about_are_read_when_they_are_known(loop, services, foreign):
    about = services.tables[OUTCOMES]
    yesterday = pc.subtract(about["left_on"], pa.scalar(dt.timedelta(days=1))).cast(pa.date32())
    rebuild(services, outcomes=about.set_column(about.column_names.index("left_on"), "signup_date", yesterday))
    spec = replace(foreign, outcome=replace(foreign.outcome, day="signup_date", days_back=1))
    snapshot.run(work(services, spec), DAY)
    rows = services.lake.read(spec.outcomes_table, first=DAY, last=DAY).read_all()
    assert set(rows["ds"].to_pylist()) == {DAY}
    assert set(rows["signup_date"].to_pylist()) == {DAY - dt.timedelta(days=1)}


def test_rows_of_the_day_before_may_be_under_ds(loop, services, foreign):
    features = services.tables[FEATURES]
    rebuild(services, features=features.rename_columns([n.replace("signup_date", "ds") for n in features.column_names]))
    spec = replace(foreign, features=replace(foreign.features, day="ds", days_back=1))
    snapshot.run(work(services, spec), DAY)
    rows = services.lake.read(spec.features_table, first=DAY, last=DAY).read_all()
    assert set(rows["ds"].to_pylist()) == {DAY}
    assert rows["customer"][0].as_py().startswith("2013-01-09")


def test_a_column_that_the_lake_adds_must_not_be_the_marts_own(loop, services, foreign):
    features = services.tables[FEATURES]
    rebuild(
        services,
        features=features.append_column("ds", features["signup_date"]).append_column(
            "known_at", features["event_time"]
        ),
    )
    with pytest.raises(ContractBroken) as refused:
        take(loop, THAT_NIGHT)
    assert str(refused.value) == (
        "churn: ml.customers cannot be read: it has a column 'ds', which the lake's table needs for the day, and "
        "features.day is 'signup_date'; it has a column 'known_at', and features.known_at is None, which says that it "
        'has none: if the column says when a row became known, set features.known_at="known_at". Correct the spec, '
        "or name the mart's column differently."
    )
    assert not services.lake.exists(foreign.features_table)


def test_messages_name_the_mart(loop, services, foreign):
    features = services.tables[FEATURES]
    position = features.column_names.index("age")
    rebuild(services, features=features.set_column(position, "age", pc.cast(features["age"], pa.string())))
    with pytest.raises(ContractBroken, match=r"ml\.customers: feature 'age' is string, the spec says numeric"):
        take(loop, THAT_NIGHT)


def test_an_outcome_twice_in_a_day_is_refused(loop, services, foreign):
    outcomes = services.tables[OUTCOMES]
    of_day = outcomes.filter(pc.equal(outcomes["left_on"], pa.scalar(DAY)))
    rebuild(services, outcomes=pa.concat_tables([outcomes, of_day.slice(0, 1)]))
    with pytest.raises(KeysRepeated, match=r"1 key .* appears more than once with the same ds"):
        take(loop, THAT_NIGHT)
