"""How published days turned out and how far they drifted, as the lake table `performance` tells it."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tailrace.champions import model_versions
from tailrace.errors import SchemaMismatch, UpstreamMissing
from tailrace.lake.memory import MemoryLake
from tailrace.monitoring import drift, references
from tailrace.problems.distributions import allowed
from tailrace.reporting import model_report
from tailrace.spec import Monitor
from tailrace.stages import monitor
from tests.stages.conftest import ROWS_A_DAY, embedded, installation, memory
from tests.support import work

TRAINED = dt.date(2013, 1, 9)
NEXT = TRAINED + dt.timedelta(days=1)
AFTER = NEXT + dt.timedelta(days=1)
on_both = pytest.mark.parametrize("services", [memory, embedded], indirect=True, ids=["memory", "embedded"])


@pytest.fixture
def services(request, tmp_path, spec):
    """In memory, unless a test asks for both."""
    return installation(getattr(request, "param", memory), tmp_path, spec)


@pytest.fixture
def published(loop, monkeypatch):
    """Two published days; outcomes of the first are known, the second's are not yet."""
    # Its pictures take longer than all the rest, and change nothing here.
    monkeypatch.setattr(model_report, "write", lambda folder, judged: None)
    loop.take(last=NEXT)
    loop.challenge(TRAINED)
    loop.predict(TRAINED)
    loop.predict(NEXT)
    return loop


def performance(loop) -> dict[dt.date, dict]:
    return {row["ds"]: row for row in monitor.rows_of(loop.services, loop.spec)}


def allowance(reference: references.Reference) -> float:
    """The PSI that a day of the installation may have by the training alone."""
    return allowed([reference.usual], bins=len(reference.shares), rows=ROWS_A_DAY)


def with_features(loop, day: dt.date, name: str, values) -> None:
    """Other values of a feature on a day, as a change at its source would make them."""
    features = loop.services.tables["churn_features"]
    of_day = pc.equal(features["ds"], pa.scalar(day))
    position = features.schema.get_field_index(name)
    changed = pc.if_else(of_day, values(features[name]), features[name])
    loop.services.rebuild(churn_features=features.set_column(position, name, changed))


@on_both
def test_outcomes_are_found_as_they_become_known(published, services, spec):
    done = monitor.run(work(services, spec, "m1"), NEXT)
    assert (done.days, done.changed, done.outcomes) == (2, 2, 150)
    before = performance(published)
    assert before[TRAINED]["known_outcomes"] == 150
    assert before[TRAINED]["metrics"]["roc_auc"] > 0.6
    assert 0 < before[TRAINED]["mean_label"] < 1
    assert (before[NEXT]["known_outcomes"], before[NEXT]["metrics"], before[NEXT]["mean_label"]) == (0, {}, None)
    assert before[NEXT]["mean_score"] > 0
    published.take(AFTER, AFTER)
    published.predict(AFTER)
    done = monitor.run(work(services, spec, "m2"), AFTER)
    assert (done.days, done.changed) == (3, 2), "the first day is told already"
    assert performance(published)[NEXT]["known_outcomes"] == 150
    assert performance(published)[NEXT]["model_version"] == "1"


def test_again_changes_nothing_in_any_order(published, services, spec):
    monitor.run(work(services, spec, "m1"), NEXT)
    before = performance(published)
    assert monitor.run(work(services, spec, "m2"), NEXT).changed == 0
    assert monitor.run(work(services, spec, "m3"), TRAINED).changed == 0, "an earlier day late forgets no outcome"
    assert performance(published) == before


@on_both
def test_a_run_that_changes_nothing_leaves_nothing_behind(published, services, spec):
    def left() -> list[str]:
        if isinstance(services.lake, MemoryLake):
            known = services.lake._tables[spec.performance_table]
            return sorted([*known.blocks, *map(str, known.stagings)])
        return sorted(file.path for file in services.lake.tables.files(spec.performance_table).list())

    monitor.run(work(services, spec, "m1"), NEXT)
    before = left()
    assert monitor.run(work(services, spec, "m2"), NEXT).changed == 0
    assert left() == before
    assert monitor.run(work(services, spec, "m1"), NEXT).changed == 0, "a retry of the run that published"
    assert len(performance(published)) == 2


@pytest.mark.parametrize(("late_days", "days"), [(0, 1), (1, 2), (60, 2)])
def test_outcomes_are_looked_for_as_late_as_the_spec_says(published, services, spec, late_days, days):
    patient = replace(spec, outcome=replace(spec.outcome, late_days=late_days))
    assert monitor.run(work(services, patient, "m1"), AFTER).days == days


def test_a_day_like_the_training_does_not_drift(published, services, spec):
    done = monitor.run(work(services, spec, "m1"), NEXT)
    row = performance(published)[NEXT]
    assert done.drift == row["drift"] == "ok"
    assert set(json.loads(row["feature_psi"])) == {"plan", "age", "visits"}
    assert row["worst_feature_psi"] == pytest.approx(json.loads(row["feature_psi"])[row["worst_feature"]], abs=1e-6)
    assert row["score_psi"] >= 0
    assert row["note"] == ""
    held = references.of_run(services.tracker, model_versions.record_of(services, spec, "1").training_run)
    assert row["score_allowance"] == allowance(held.score)
    usual = {name: allowance(reference) for name, reference in held.features.items()}
    assert json.loads(row["feature_allowance"]) == pytest.approx(usual, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("age", lambda column: pc.add(column, 30.0)),
        ("age", lambda column: pa.scalar(None, pa.float64())),
        ("age", lambda column: pa.scalar(float("nan"), pa.float64())),
        ("plan", lambda column: pa.scalar("gold")),
        ("plan", lambda column: pa.scalar(None, pa.string())),
    ],
    ids=["shifted", "lost", "not a number", "unseen category", "no category"],
)
def test_a_feature_that_moved_is_an_alarm_and_named(published, services, spec, name, values):
    published.take(AFTER, AFTER)
    with_features(published, AFTER, name, values)
    published.take(AFTER, AFTER, run="moved")
    published.predict(AFTER)
    done = monitor.run(work(services, spec, "m"), AFTER)
    assert (done.drift, done.worst_feature) == ("alarm", name)
    assert name in json.loads(performance(published)[AFTER]["jumped"])
    assert performance(published)[AFTER]["worst_feature_psi"] > 0.25


def test_a_jump_is_an_alarm_once_and_then_watched_since_that_day(published, services, spec, monkeypatch):
    published.take(AFTER, AFTER)
    for day in (NEXT, AFTER):
        with_features(published, day, "age", lambda column: pc.add(column, 30.0))
        published.take(day, day, run="moved")
        published.predict(day, run="moved")
    monitor.run(work(services, spec, "m"), AFTER)
    rows = performance(published)
    assert [rows[day]["drift"] for day in (TRAINED, NEXT, AFTER)] == ["ok", "alarm", "watch"]
    assert rows[NEXT]["note"].startswith("age jumped: its PSI is ")
    assert rows[AFTER]["note"] == (
        f"age has moved slowly since {NEXT}, further than on any day of the training but without a jump; "
        "a retraining will learn it."
    )
    monkeypatch.setattr(monitor, "ROWS_AT_ONCE", 1)
    assert monitor.run(work(services, spec, "m2"), AFTER).changed == 0, "days are read one by one where they are large"


def test_days_before_those_that_are_written_anew_are_compared_with_too(published, services, spec):
    last = AFTER + dt.timedelta(days=1)
    punctual = replace(spec, outcome=replace(spec.outcome, late_days=0))
    published.take(AFTER, last)
    published.predict(AFTER)
    for day in (NEXT, last):
        with_features(published, day, "age", lambda column: pc.add(column, 30.0))
        published.take(day, day, run="moved")
        published.predict(day, run="moved")
    assert monitor.run(work(services, punctual, "m"), last).days == 2
    assert performance(published)[last]["drift"] == "watch", f"{NEXT} was like this"


@on_both
def test_a_table_of_release_0_1_keeps_its_rows_and_gains_the_new_columns(published, services, spec):
    former = {"base_rate": 0.2, "roc_auc": 0.7, "log_loss": 0.5, "brier": 0.1}
    shared = {"model_version": "1", "rows": 150, "known_outcomes": 140, "mean_score": 0.25, "drift": "ok", "note": ""}
    fields = [field for field in monitor.SCHEMA if field.name not in ("mean_label", "metrics")]
    schema = pa.schema([*fields, *(pa.field(name, pa.float64()) for name in former)])
    old, lake = TRAINED - dt.timedelta(days=20), services.lake
    rows = pa.Table.from_pylist([former | shared], schema=schema)
    for day in (old, TRAINED):
        lake.publish(lake.stage(spec.performance_table, day, "0.1", rows.to_reader()), {})

    monitor.run(work(services, spec, "m1"), NEXT)

    assert set(lake.schema(spec.performance_table).names) == {*schema.names, *monitor.SCHEMA.names, "ds"}
    told = performance(published)
    assert (told[old]["mean_label"], told[old]["mean_score"]) == (0.2, 0.25)
    assert told[old]["metrics"] == {"roc_auc": 0.7, "log_loss": 0.5, "brier": 0.1}
    assert told[TRAINED]["known_outcomes"] == 150, "this day was measured again"
    assert {"roc_auc", "pr_auc", "log_loss", "brier"} <= set(told[TRAINED]["metrics"])
    assert not set(former) & set(told[TRAINED])
    (again,) = lake.read(spec.performance_table, first=TRAINED, last=TRAINED).read_all().to_pylist()
    assert [again[name] for name in former] == [None] * 4
    assert monitor.run(work(services, spec, "m2"), NEXT).changed == 0


@pytest.mark.parametrize("noted", [True, False], ids=["this release", "an earlier one"])
def test_a_day_is_not_measured_by_a_column_that_it_was_published_without(published, services, monkeypatch, noted):
    monitor.run(published.work("m"), AFTER)
    before = performance(published)
    if not noted:
        monkeypatch.setattr(monitor, "PUBLISHED_COLUMNS", "not noted")
    renamed = replace(published.spec, predictions=replace(published.spec.predictions, score="p"))
    for _ in range(2):
        with pytest.raises(SchemaMismatch, match="of 2013-01-10 was published without p, which churn names now"):
            monitor.run(work(services, renamed, "m2"), NEXT)
        # As an earlier release did for the first day under the new name.
        services.lake.add_columns("predictions/churn", pa.schema({"p": pa.float64()}))
    assert performance(published) == before
    assert monitor.run(published.work("m3"), AFTER).changed == 0


def test_the_thresholds_are_the_specs(published, services, spec):
    strict = replace(spec, monitor=Monitor(watch_psi=1e-9, alarm_psi=1e9))
    held = references.of_run(services.tracker, model_versions.record_of(services, spec, "1").training_run)
    assert all(reference.usual > 0 for reference in held.features.values())
    with_features(published, NEXT, "age", lambda column: pc.add(column, 30.0))
    published.take(NEXT, NEXT, run="moved")
    published.predict(NEXT, run="again")
    assert monitor.run(work(services, strict, "m"), NEXT).drift == "watch"
    few = replace(spec, monitor=Monitor(rows=151))
    row = monitor.run(work(services, few, "m2"), NEXT)
    assert (row.drift, row.note) == (None, "150 scores are too few to tell drift by; monitor.rows is 151.")


def test_a_model_without_references_says_so(published, services, spec, monkeypatch):
    monkeypatch.setattr(references, "of_run", lambda tracker, training_run: None)
    done = monitor.run(work(services, spec, "m"), NEXT)
    assert done.drift is None
    assert "Version 1 was trained without keeping what its features were like" in done.note
    row = performance(published)[NEXT]
    assert row["score_psi"] >= 0
    assert (row["worst_feature"], row["feature_psi"]) == (None, None)


def test_a_run_without_the_artifact_has_no_references(services):
    training_run = services.tracker.start_run("churn", "old", {})
    assert references.of_run(services.tracker, training_run) is None


def test_empty_and_missing_days(published, services, spec):
    features = services.tables["churn_features"]
    emptied = features.filter(pc.not_equal(features["ds"], pa.scalar(NEXT)))
    services.rebuild(churn_features=emptied, empty="nobody was a customer")
    published.take(NEXT, NEXT, run="empty")
    published.predict(NEXT, run="empty")
    monitor.run(work(services, spec, "m"), NEXT)
    row = performance(published)[NEXT]
    assert (row["rows"], row["known_outcomes"], row["mean_score"], row["drift"]) == (0, 0, None, None)
    late = monitor.run(work(services, spec, "m2"), AFTER)
    assert late.note == f"{AFTER} is not published; the last published day before it is {NEXT}."
    with pytest.raises(UpstreamMissing, match="no published predictions from 2012-12-31 to 2013-01-08"):
        monitor.run(work(services, spec, "m3"), TRAINED - dt.timedelta(days=1))
    assert list(performance(published)) == [TRAINED, NEXT]


def test_nothing_is_known_before_the_first_run(services, spec):
    assert monitor.rows_of(services, spec) == []


def test_a_closed_day_has_lost_no_rows(published, services, spec):
    features = services.tables["churn_features"]
    closed = features.filter(pc.not_equal(features["ds"], pa.scalar(NEXT)))
    services.rebuild(churn_features=closed, empty="nobody was a customer")
    published.take(NEXT, NEXT, run="empty")
    published.predict(NEXT, run="empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drift, "FEWEST_DAYS", 1)
        assert monitor.run(work(services, spec, "m"), NEXT).drift is None


def test_rows_without_a_score_are_not_lost_rows(published, services, spec, monkeypatch):
    monkeypatch.setattr(drift, "FEWEST_DAYS", 1)
    column, read = spec.predictions.score, services.lake.read

    def half_null(table, **asked):
        rows = read(table, **asked).read_all()
        if table == spec.predictions_table and column in rows.column_names:
            known = pa.array([number % 2 == 0 for number in range(rows.num_rows)])
            place = rows.column_names.index(column)
            rows = rows.set_column(place, column, pc.if_else(known, rows[column], None))
        return rows.to_reader()

    monkeypatch.setattr(services.lake, "read", half_null)
    monitor.run(work(services, replace(spec, monitor=Monitor(rows=50)), "m"), NEXT)
    assert "Only" not in performance(published)[NEXT]["note"]


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_day_of_which_another_program_deleted_the_predictions_is_not_looked_at(
    published, services, spec, monkeypatch
):
    read = services.lake.read

    def without(table, **asked):
        rows = read(table, **asked).read_all()
        if table == spec.predictions_table and "ds" in rows.column_names:
            rows = rows.filter(pc.not_equal(rows["ds"], pa.scalar(TRAINED)))
        return rows.to_reader()

    monkeypatch.setattr(services.lake, "read", without)
    assert monitor.run(work(services, spec, "m"), NEXT).drift == "ok"


@pytest.mark.parametrize(("name", "kind"), [("age", "categorical"), ("plan", "numeric")])
def test_a_feature_of_another_kind_than_in_the_training_is_not_compared(published, services, spec, name, kind):
    edited = replace(spec, features=replace(spec.features, columns={**spec.features.columns, name: kind}))
    monitor.run(work(services, edited, "m"), NEXT)
    row = performance(published)[NEXT]
    assert row["drift"] == "ok"
    assert name not in json.loads(row["feature_psi"])
    assert row["note"] == (
        f"The drift of {name} is not known, since version 1 was trained with it as another kind of feature than the "
        "spec has now; train again to see it."
    )


def test_a_change_that_was_there_before_is_watched_and_named(published, services, spec):
    published.take(AFTER, AFTER)
    for day in (NEXT, AFTER):
        with_features(published, day, "age", lambda column: pc.if_else(pc.greater(column, 30.0), None, column))
        published.take(day, day, run="moved")
        published.predict(day, run="moved")
    monitor.run(work(services, replace(spec, monitor=Monitor(watch_psi=1e9, alarm_psi=1e9)), "m"), AFTER)
    row = performance(published)[AFTER]
    assert row["drift"] == "watch"
    assert row["note"].startswith("age changed since the training, as it did on days before: ")
    assert row["note"].endswith("81% of its rows have no value; on no day of the training was it more than 8%.")


def test_a_large_window_is_looked_at_evenly(loop, services, spec, monkeypatch):
    loop.take()
    monkeypatch.setattr(references, "SAMPLE_ROWS", 90)
    seen = []
    monkeypatch.setattr(
        references.Reference,
        "of",
        classmethod(
            lambda cls, column, days, **_: seen.append(days) or references.Reference(edges=(), values=(), shares=(1.0,))
        ),
    )
    loop.train(TRAINED)
    counted = seen[0].value_counts().to_pylist()
    assert [found["counts"] for found in counted] == [15] * 6
