"""The stages of a night, one after another, on services in memory and on real ones."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tailrace.champions import promotions
from tailrace.engines.local import LocalEngine
from tailrace.engines.scoring import score_stream
from tailrace.errors import (
    AuditFailed,
    BadInput,
    ContractBroken,
    GateRefused,
    KeysRepeated,
    LookAhead,
    NoChampion,
    SignatureMismatch,
    StagingGone,
    TrainingFailed,
    UnknownName,
    UpstreamMissing,
    ValidationFailed,
)
from tailrace.lake.memory import MemoryLake
from tailrace.monitoring import performance
from tailrace.operations import reproduce
from tailrace.operations.maintenance import maintain
from tailrace.spec import Audit, Gate
from tailrace.stages import audit, evaluate, monitor, promote, publish, score, snapshot, train, validate
from tests.stages.conftest import Loop, installation, memory
from tests.support import work

TRAINED = dt.date(2013, 1, 9)
LATER = dt.date(2013, 1, 12)


def day_of(table: pa.Table, day: dt.date) -> pa.Array:
    return pc.equal(table["ds"], pa.scalar(day))


class TestTheLoop:
    def test_a_night_ends_in_published_predictions(self, loop):
        loop.take()
        assert loop.challenge(TRAINED).outcome == "promoted"
        published = loop.predict(TRAINED)
        assert (published.rows, published.model_version, published.unchanged) == (150, "1", False)
        held = loop.published(TRAINED)
        assert held.schema.names == ["customer", "event_time", "score", "decision", "model_version", "ds"]
        assert held["score"].null_count == 0
        metadata = published.commit.metadata
        assert metadata["model_version"] == "1"
        assert metadata["model_choice"] == "as-of"
        assert metadata["audit"] == "passed"
        assert metadata["look_ahead"] == "false"
        assert "features/churn" in metadata["features_pin"]

    def test_every_stage_again_changes_nothing(self, loop, services, spec):
        loop.take()
        first = loop.train(TRAINED)
        loop.challenge(TRAINED)
        before = loop.predict(TRAINED).commit
        assert all(taken.features.unchanged and taken.outcomes.unchanged for taken in loop.take(run="again"))
        again = loop.train(TRAINED)
        assert again.unchanged
        assert (again.version, again.model_digest) == (first.version, first.model_digest)
        assert again.metrics == first.metrics
        loop.challenge(TRAINED)
        assert len(promotions.history(services.lake, spec.name)) == 1
        rerun = loop.predict(TRAINED, run="again")
        assert rerun.unchanged
        assert rerun.commit.version == before.version
        assert len(services.lake.commits(spec.predictions_table, TRAINED)) == 1

    def test_outcomes_tell_how_good_a_day_was(self, loop, services, spec):
        loop.take()
        loop.challenge(TRAINED)
        loop.predict(TRAINED)
        report = performance.day_report(services.lake, spec, TRAINED)
        assert report.known_outcomes == 150
        assert report.metrics["roc_auc"] > 0.6

    def test_an_empty_day_is_published_as_empty(self, loop, services, spec):
        loop.take()
        loop.challenge(TRAINED)
        features = services.tables["churn_features"]
        emptied = features.filter(pc.invert(day_of(features, LATER)))
        services.rebuild(churn_features=emptied, empty="the landed files of customers have no rows")
        taken = loop.take(LATER, LATER, run="empty")[0].features
        assert (taken.rows, taken.metadata["empty_because"]) == (0, "the landed files of customers have no rows")
        published = loop.predict(LATER)
        assert published.rows == 0
        assert services.lake.days(spec.predictions_table)[LATER].rows == 0
        assert performance.day_report(services.lake, spec, LATER).metrics == {}


class TestNoLookAhead:
    def test_a_planted_feature_of_the_future_is_caught_before_the_lake(self, loop, services):
        features = services.tables["churn_features"]
        known = pc.if_else(
            pc.equal(features["customer"], "2013-01-05-00003"),
            pc.add(features["known_at"], pa.scalar(dt.timedelta(seconds=1), pa.duration("us"))),
            features["known_at"],
        )
        planted = features.set_column(features.schema.get_field_index("known_at"), "known_at", known)
        services.rebuild(churn_features=planted)
        loop.take(last=dt.date(2013, 1, 4))
        with pytest.raises(LookAhead, match=r"1 row contains .* 2013-01-05-00003 known at") as raised:
            loop.take(dt.date(2013, 1, 5), dt.date(2013, 1, 5))
        assert "00:00 America/New_York" in str(raised.value)
        assert dt.date(2013, 1, 5) not in services.lake.days("features/churn")
        assert dt.date(2013, 1, 5) not in services.lake.days("outcomes/churn")

    def test_training_uses_only_outcomes_known_by_then(self, loop, services):
        loop.take()
        outcomes = services.tables["churn_outcomes"]
        late = pc.if_else(
            day_of(outcomes, TRAINED),
            pc.add(outcomes["known_at"], pa.scalar(dt.timedelta(hours=2), pa.duration("us"))),
            outcomes["known_at"],
        )
        before = loop.train(TRAINED)
        services.rebuild(churn_outcomes=outcomes.set_column(2, "known_at", late))
        loop.take(run="late")
        after = loop.train(TRAINED)
        rows = services.tracker.run(before.training_run).metrics["rows.holdout"]
        assert services.tracker.run(after.training_run).metrics["rows.holdout"] == rows - 150

    def test_a_backfill_of_an_early_day_never_uses_a_later_model(self, loop, services, spec):
        loop.take()
        loop.challenge(TRAINED)
        with pytest.raises(NoChampion, match=r"2013-01-08.*first one took effect on 2013-01-09"):
            loop.predict(dt.date(2013, 1, 8))
        loop.spec = replace(spec, gate=Gate(metric="log_loss", ceiling=1.0))
        training_run = loop.train(LATER, seed=7).training_run
        evaluate.run(loop.work(), training_run)
        promote.run(loop.work(), training_run, recorded_at=dt.datetime(2013, 3, 1, tzinfo=dt.UTC), decided_by="ada")
        assert loop.predict(dt.date(2013, 1, 11)).model_version == "1"
        assert loop.predict(LATER).model_version == "2"
        explicit = loop.predict(dt.date(2013, 1, 11), run="explicit", model="2")
        assert explicit.commit.metadata["look_ahead"] == "true"
        assert loop.predict(dt.date(2013, 1, 10), run="now", model="current").model_version == "2"


class TestRefusals:
    def test_a_critical_expectation_stops_the_day_and_shows_bad_rows(self, loop, services, spec):
        features = services.tables["churn_features"]
        visits = pc.if_else(pc.equal(features["customer"], "2013-01-02-00007"), -1, features["visits"])
        services.rebuild(churn_features=features.set_column(2, "visits", visits))
        with pytest.raises(ValidationFailed) as raised:
            validate.run(work(services, spec), dt.date(2013, 1, 2), dt.date(2013, 1, 2))
        text = str(raised.value)
        assert "expect_column_values_to_be_between on visits" in text
        assert "2013-01-02-00007" in text
        assert validate.run(work(services, spec), dt.date(2013, 1, 3), dt.date(2013, 1, 3)).rows["features"] == 150

    def test_a_third_of_null_scores_is_refused_and_the_day_stays(self, loop, services, spec):
        loop.take()
        loop.challenge(TRAINED)
        before = loop.predict(TRAINED)
        held = loop.published(TRAINED)
        services.engine = Forgetful()
        with pytest.raises(AuditFailed) as raised:
            loop.predict(TRAINED, run="forgetful")
        assert "30.0% of the scores are null (45 of 150); at most 0.0% may be" in str(raised.value)
        assert services.lake.days(spec.predictions_table)[TRAINED].version == before.commit.version
        assert loop.published(TRAINED).equals(held)
        with pytest.raises(StagingGone):
            services.lake.staged(spec.predictions_table, TRAINED, "forgetful")

    def test_all_reasons_of_a_refused_audit_come_at_once(self, loop, services, spec):
        loop.take()
        loop.challenge(TRAINED)
        loop.spec = replace(spec, audit=Audit(max_psi=0.01, psi_rows=50))
        services.engine = Forgetful(drop=20)
        with pytest.raises(AuditFailed) as raised:
            loop.predict(TRAINED)
        text = str(raised.value)
        assert "are null" in text
        assert "130 predictions for 150 feature rows" in text
        assert "population stability index" in text

    def test_what_was_not_audited_is_not_published(self, loop, services, spec):
        loop.take()
        loop.challenge(TRAINED)
        score.run(work(services, spec, "p"), TRAINED)
        with pytest.raises(AuditFailed, match="has not passed its audit"):
            publish.run(work(services, spec, "p"), TRAINED)
        assert services.lake.days(spec.predictions_table) == {}

    def test_a_model_whose_signature_does_not_fit_is_refused(self, loop, services, spec):
        loop.take()
        loop.challenge(TRAINED)
        services.lake = MemoryLake()
        services.rebuild(churn_features=services.tables["churn_features"].drop_columns("age"))
        ageless = {name: kind for name, kind in spec.features.columns.items() if name != "age"}
        snapshot.run(work(services, replace(spec, features=replace(spec.features, columns=ageless)), "w"), LATER)
        with pytest.raises(SignatureMismatch, match="column 'age' is missing"):
            score.run(work(services, spec, "p"), LATER, model="1")
        assert not services.lake.exists(spec.predictions_table)

    def test_repeated_and_missing_keys_of_an_earlier_release_are_not_published(self, loop, services, spec):
        loop.take()
        loop.challenge(TRAINED)
        rows = services.lake.read(spec.features_table, first=LATER, last=LATER).read_all()
        twice = pa.concat_tables([rows, rows.slice(0, 10)])
        keys = pa.array(
            [None if number in (20, 21) else key for number, key in enumerate(twice["customer"].to_pylist())]
        )
        taken = twice.set_column(twice.column_names.index("customer"), "customer", keys)
        lake = services.lake
        lake.publish(lake.stage(spec.features_table, LATER, "earlier", taken.to_reader()), {})
        with pytest.raises(AuditFailed) as raised:
            loop.predict(LATER)
        assert "10 keys (customer) have more than one prediction each. 2 predictions have no key" in str(raised.value)
        assert LATER not in lake.days(spec.predictions_table)

    def test_missing_features_and_unknown_versions_are_said(self, loop, services, spec):
        with pytest.raises(UpstreamMissing, match="no published features of 2013-01-12"):
            score.run(work(services, spec, "p"), LATER)
        loop.take()
        with pytest.raises(NoChampion, match="no model was champion"):
            score.run(work(services, spec, "p"), LATER)
        with pytest.raises(UnknownName, match="version of model churn '9'"):
            score.run(work(services, spec, "p"), LATER, model="9")
        with pytest.raises(BadInput, match="use 'as-of', 'current' or a version number"):
            score.run(work(services, spec, "p"), LATER, model="latest")
        with pytest.raises(UnknownName):
            evaluate.run(work(services, spec), "nothing")

    def test_a_window_without_rows_cannot_be_trained_on(self, loop, services):
        empty = {name: table.slice(0, 0) for name, table in services.tables.items()}
        services.rebuild(**empty, empty="nothing was landed")
        loop.take()
        with pytest.raises(TrainingFailed, match=r"features/churn and outcomes/churn have no rows"):
            loop.train(TRAINED)

    def test_a_missing_night_does_not_make_another_model(self, loop, services):
        loop.take(last=dt.date(2013, 1, 5))
        loop.take(first=dt.date(2013, 1, 7), last=dt.date(2013, 1, 8))
        with pytest.raises(UpstreamMissing) as raised:
            loop.train(TRAINED)
        assert (
            "features/churn of 2013-01-06 and outcomes/churn of 2013-01-06, 2013-01-09 are not published; run the "
            "warehouse for these days first: tailrace warehouse --date 2013-01-06 --to 2013-01-09."
        ) in str(raised.value)
        assert services.tracker.runs("churn") == ()

    def test_repeated_keys_are_refused_where_they_would_multiply(self, loop, services):
        loop.take(last=dt.date(2013, 1, 13))
        outcomes = services.tables["churn_outcomes"]
        twice = outcomes.filter(day_of(outcomes, dt.date(2013, 1, 8))).slice(0, 2)
        twice = twice.set_column(1, "ds", pa.array([TRAINED] * 2, pa.date32()))
        services.rebuild(churn_outcomes=pa.concat_tables([outcomes, twice]))
        loop.take(TRAINED, TRAINED, run="again")
        with pytest.raises(KeysRepeated, match=r"outcomes/churn: 2 keys \(customer\) .* 2013-01-07-0000"):
            loop.train(TRAINED)


class TestPromotion:
    def test_the_gate_keeps_an_equal_champion_and_a_person_may_overrule(self, loop, services, spec):
        loop.take()
        first = loop.challenge(TRAINED)
        assert ".; " not in first.reason, "the rules' sentences follow each other"
        loop.spec = replace(spec, gate=replace(spec.gate, margin=0.9))
        kept = loop.challenge(LATER)
        assert kept.outcome == "kept"
        assert "at least 0.9 better is needed" in kept.reason
        training_run = loop.train(LATER).training_run
        by_hand = promote.run(loop.work(), training_run, recorded_at=_later(), decided_by="ada", reason="fresher")
        assert (by_hand.outcome, by_hand.previous) == ("promoted", "1")
        latest = promotions.history(services.lake, spec.name)[0]
        assert (latest.decided_by, latest.reason, latest.effective_from) == ("ada", "fresher", LATER)
        aliases = {version.version: set(version.aliases) for version in services.tracker.versions(spec.name)}
        assert aliases == {"1": set(), "2": {"champion", "challenger"}}

    def test_a_person_rolls_back_to_a_former_champion(self, loop, services, spec):
        loop.take()
        loop.challenge(TRAINED)
        first = loop.train(TRAINED).training_run
        loop.spec = replace(spec, gate=Gate(metric="log_loss", ceiling=1.0))
        runs = [first, loop.train(LATER, seed=7).training_run]
        evaluate.run(loop.work(), runs[1])
        promote.run(loop.work(), runs[1], recorded_at=_later(), decided_by="ada")
        back = {"recorded_at": _later(), "decided_by": "ada", "reason": "v2 drifts"}
        with pytest.raises(BadInput, match=r"version 2 is champion from 2013-01-12 on.*--from 2013-01-12"):
            promote.run(work(services, spec), runs[0], **back)
        promote.run(work(services, spec), runs[0], takes_over=dt.date(2013, 1, 13), **back)
        assert loop.predict(LATER).model_version == "2"
        assert loop.predict(dt.date(2013, 1, 13)).model_version == "1"
        assert loop.predict(LATER, run="now", model="current").model_version == "1"
        champions = [v.version for v in services.tracker.versions("churn") if "champion" in v.aliases]
        assert champions == ["1"]

    def test_promoting_an_old_training_again_leaves_todays_champion(self, loop, services, spec):
        loop.take()
        loop.challenge(TRAINED)
        first = loop.train(TRAINED).training_run
        loop.spec = replace(spec, gate=Gate(metric="log_loss", ceiling=1.0))
        second = loop.train(LATER, seed=7).training_run
        evaluate.run(loop.work(), second)
        promote.run(loop.work(), second, recorded_at=_later(), decided_by="ada")
        promote.run(work(services, spec), first, recorded_at=dt.datetime(2013, 4, 1, tzinfo=dt.UTC))
        assert len(promotions.history(services.lake, "churn")) == 2
        champions = [v.version for v in services.tracker.versions("churn") if "champion" in v.aliases]
        assert champions == ["2"]

    def test_a_model_below_the_floor_is_promoted_by_nobody(self, loop, services, spec):
        loop.take()
        loop.spec = replace(spec, gate=replace(spec.gate, floor=0.99))
        training_run = loop.train(TRAINED).training_run
        evaluate.run(loop.work(), training_run)
        for who in ("gate", "ada"):
            with pytest.raises(GateRefused, match=r"at least 0\.99 is needed"):
                promote.run(loop.work(), training_run, recorded_at=_later(), decided_by=who)
        assert promotions.history(services.lake, spec.name) == ()

    def test_a_human_gate_waits_for_a_person(self, loop, services, spec):
        loop.take()
        loop.spec = replace(spec, gate=replace(spec.gate, approval="human"))
        waiting = loop.challenge(TRAINED)
        assert waiting.outcome == "waiting"
        assert "tailrace promote churn --run" in waiting.reason
        assert promotions.history(services.lake, spec.name) == ()

    def test_the_report_and_the_card_are_kept_with_the_run(self, loop, services, tmp_path):
        loop.take()
        loop.challenge(TRAINED)
        training_run = loop.train(TRAINED).training_run
        page = services.tracker.fetch(training_run, "evaluation/evaluation.html", tmp_path).read_text()
        card = services.tracker.fetch(training_run, "evaluation/model_card.md", tmp_path).read_text()
        assert "challenger v1" in page
        assert "Ready for production: yes" in card
        assert "features/churn" in card


class TestReproduce:
    def test_a_run_is_reproduced_from_its_pins(self, loop, services, spec):
        loop.take()
        training_run = loop.train(TRAINED).training_run
        found = reproduce.run(services, spec, training_run)
        assert found.same, found.sentence()
        assert found.changed_since == ()

    def test_after_one_source_row_changed_that_input_is_named(self, loop, services, spec):
        loop.take()
        training_run = loop.train(TRAINED).training_run
        features = services.tables["churn_features"]
        visits = pc.if_else(pc.equal(features["customer"], "2013-01-05-00000"), 99, features["visits"])
        services.rebuild(churn_features=features.set_column(2, "visits", visits))
        loop.take(run="changed")
        pinned = reproduce.run(services, spec, training_run)
        assert pinned.same, "the pinned bytes are still there"
        assert len(pinned.changed_since) == 1
        assert "features/churn of 2013-01-05" in pinned.changed_since[0]
        current = reproduce.run(services, spec, training_run, data="current")
        assert not current.same
        assert current.first_difference.name == "features"

    def test_another_spec_is_the_first_difference(self, loop, services, spec):
        loop.take()
        training_run = loop.train(TRAINED).training_run
        columns = {name: kind for name, kind in spec.features.columns.items() if name != "visits"}
        edited = replace(spec, features=replace(spec.features, columns=columns))
        assert reproduce.run(services, edited, training_run).first_difference.name == "spec"

    def test_pins_survive_optimize_and_vacuum(self, loop, services, spec):
        loop.take()
        training_run = loop.train(TRAINED).training_run
        features = services.tables["churn_features"]
        services.rebuild(churn_features=features.set_column(2, "visits", pc.add(features["visits"], 1)))
        loop.take(run="changed")
        assert {row.table for row in maintain(services, spec, dt.timedelta(0))} == {
            "features/churn",
            "outcomes/churn",
        }
        assert reproduce.run(services, spec, training_run).same


class TestTraining:
    def test_a_failed_training_is_closed_as_failed(self, loop, services, spec, monkeypatch):
        loop.take()
        monkeypatch.setattr(train, "fit_best", _raise)
        with pytest.raises(RuntimeError):
            loop.train(TRAINED)
        (record,) = services.tracker.runs(spec.name)
        assert record.status == "failed"

    def test_what_a_run_was_made_of_is_recorded(self, loop, services, spec):
        loop.take()
        result = loop.train(TRAINED)
        record = services.tracker.run(result.training_run)
        for name in ("day", "features", "outcomes", "spec", "seed", "trials", "code", "lock"):
            assert record.tags[f"tailrace.input.{name}"]
        assert record.tags["tailrace.spec_digest"] == spec.digest()
        assert record.metrics["rows.learning"] == 4 * 150
        assert record.metrics["rows.holdout"] == 2 * 150


class Forgetful(LocalEngine):
    """Forgets three scores in ten, and drops rows if told to."""

    def __init__(self, drop: int = 0) -> None:
        super().__init__()
        self.drop = drop

    def score(self, spec, model, *, version, rows, target):
        table = score_stream(spec, model, version, rows.reader()).read_all()
        keep = pa.array([number % 10 >= 3 for number in range(table.num_rows)])
        scores = pc.if_else(keep, table["score"], pa.scalar(None, pa.float64()))
        return target.write(table.set_column(2, "score", scores).slice(self.drop).to_reader())


def _raise(*arguments: object, **named: object) -> None:
    raise RuntimeError("the machine caught fire")


def _later() -> dt.datetime:
    return dt.datetime(2013, 3, 1, tzinfo=dt.UTC)


def test_auditing_what_was_never_scored_is_said(services, spec):
    with pytest.raises(StagingGone):
        audit.run(work(services, spec, "never"), TRAINED)


def test_zero_and_one_give_what_booleans_give(spec, tmp_path):
    def night(label: pa.DataType) -> tuple[object, ...]:
        (tmp_path / str(label)).mkdir()
        services = installation(memory, tmp_path / str(label), spec)
        outcomes = services.tables["churn_outcomes"]
        left = outcomes["left"].cast(label)
        services.rebuild(churn_outcomes=outcomes.set_column(outcomes.column_names.index("left"), "left", left))
        loop = Loop(services, spec)
        loop.take()
        assert services.lake.schema(spec.outcomes_table).field("left").type == label
        trained, decided = loop.train(TRAINED), loop.challenge(TRAINED)
        loop.predict(TRAINED)
        monitored = monitor.run(work(services, spec, "m"), LATER)
        report = performance.day_report(services.lake, spec, TRAINED)
        rows = monitor.rows_of(services, spec)
        return trained.metrics, trained.model_digest, decided.reason, monitored.outcomes, report.metrics, rows

    assert night(pa.int32()) == night(pa.bool_())


def test_rows_that_break_a_contract_leave_the_lake_as_it_was(spec, tmp_path):
    services = installation(memory, tmp_path, spec)
    outcomes = services.tables["churn_outcomes"]
    left = outcomes["left"].cast(pa.int8()).cast(pa.float64())
    services.rebuild(churn_outcomes=outcomes.set_column(outcomes.column_names.index("left"), "left", left))
    with pytest.raises(ContractBroken, match="churn_outcomes: label 'left' is double"):
        snapshot.run(work(services, spec, "w"), TRAINED)
    assert not services.lake.exists(spec.features_table)
    assert not services.lake.exists(spec.outcomes_table)
