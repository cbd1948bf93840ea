"""A version number is not a model: with another registry, or a version deleted, nothing passes for what it is not."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from tailrace.champions import model_versions, promotions
from tailrace.errors import BadInput, ModelGone, Refused
from tailrace.lineage import identity, run_tags
from tailrace.reporting import model_report
from tailrace.spec import SearchBudget
from tailrace.stages import evaluate, monitor, promote, score, train
from tailrace.tracking import folders
from tailrace.tracking.memory import MemoryTracker
from tests.stages.conftest import installation, memory

TRAINED, NEXT, LATER = dt.date(2013, 1, 9), dt.date(2013, 1, 10), dt.date(2013, 1, 11)
AT = dt.datetime(2013, 3, 1, tzinfo=dt.UTC)


@pytest.fixture
def services(tmp_path, spec):
    return installation(memory, tmp_path, spec)


@pytest.fixture
def champion(loop, monkeypatch):
    """Version 1 is champion, and TRAINED is published by it; its training run."""
    monkeypatch.setattr(model_report, "write", lambda folder, judged: None)
    # One candidate and one trial: who is champion is the question, not how good it is.
    logistic = next(each for each in loop.spec.candidates if each.name == "logistic")
    loop.spec = replace(loop.spec, candidates=(logistic,), search=SearchBudget(trials=1))
    loop.take(dt.date(2013, 1, 3), LATER)
    loop.challenge(TRAINED)
    loop.predict(TRAINED)
    return promotions.history(loop.services.lake, "churn")[0].training_run


def start_registry_over(loop, tmp_path) -> str:
    """An empty registry beside the old lake, and in it another version 1; its training run."""
    loop.services.tracker = MemoryTracker(tmp_path / "new registry")
    trained = train.run(loop.work(), TRAINED, seed=7)
    assert trained.version == "1"
    return trained.training_run


def by_hand(loop, training_run: str) -> promote.Promoted:
    """What the messages name: a person promotes what could not be compared."""
    evaluate.run(loop.work(), training_run)
    decided = promote.run(loop.work(), training_run, recorded_at=AT)
    assert decided.outcome == "kept"
    assert f"tailrace promote churn --run {training_run} --reason" in decided.reason
    return promote.run(loop.work(), training_run, recorded_at=AT, decided_by="ada", reason="MLflow is new")


def as_earlier_releases_recorded(monkeypatch) -> None:
    monkeypatch.setattr(identity, "notes", lambda model: {identity.VERSION: model.version})


class TestARegistryThatWasStartedOver:
    @pytest.mark.parametrize("model", ["as-of", "current", "1"])
    def test_its_version_1_does_not_score_as_the_champion(self, loop, champion, tmp_path, model):
        other = start_registry_over(loop, tmp_path)
        with pytest.raises(ModelGone) as refused:
            score.run(loop.work("n"), NEXT, model=model)
        for part in (champion, other, "recreated", "Restore the registry", "tailrace promote churn --run"):
            assert part in str(refused.value)
        assert set(loop.services.lake.days("predictions/churn")) == {TRAINED}

    def test_a_person_promotes_what_is_there_and_days_are_scored_by_it(self, loop, champion, tmp_path):
        other = start_registry_over(loop, tmp_path)
        assert by_hand(loop, other).outcome == "promoted"
        assert [row.training_run for row in promotions.history(loop.services.lake, "churn")] == [other, champion]
        loop.predict(NEXT)
        metadata = loop.services.lake.days("predictions/churn")[NEXT].metadata
        (known,) = loop.services.tracker.versions("churn")
        assert identity.of_commit(metadata) == identity.of_version(known)
        assert known.aliases == ("challenger", "champion")

    def test_a_day_of_before_its_championship_is_offered_a_number_that_means_it(self, loop, champion, tmp_path):
        trained = start_registry_over(loop, tmp_path)
        gone, promoted = identity.Identity("1", champion), promotions.history(loop.services.lake, "churn")[0]
        other = replace(promoted, training_run=trained, effective_from=NEXT)
        promotions.record(loop.services.lake, other)

        def ways_out(day: dt.date) -> str:
            with pytest.raises(ModelGone) as refused:
                model_versions.registered(loop.services, loop.spec, gone, day)
            return str(refused.value).partition("used before. ")[2]

        number = f"--model 1 (training run {trained}"
        offered = f"Restore the registry from a backup, or score the day with another model: {number}"
        assert ways_out(TRAINED) == f"{offered})."
        assert model_versions.resolve(loop.services, loop.spec, TRAINED, "1").model.training_run == trained
        day = TRAINED - dt.timedelta(days=1)
        assert ways_out(day) == f"{offered}; it was trained as of {TRAINED}, so it looks ahead)."
        # A later decision gives the number to the model that is gone.
        promotions.record(loop.services.lake, replace(promoted, decision="rejected"))
        assert ways_out(day) == "Restore the registry from a backup."
        with pytest.raises(ModelGone, match="stands for two models"):
            model_versions.resolve(loop.services, loop.spec, day, "1")

    @pytest.mark.parametrize("recorded", [True, False], ids=["", "by an earlier release"])
    def test_a_day_is_not_taken_for_published_by_it(self, loop, tmp_path, monkeypatch, recorded, request):
        with monkeypatch.context() as patch:
            if not recorded:
                as_earlier_releases_recorded(patch)
            request.getfixturevalue("champion")
        assert score.run(loop.work("before"), TRAINED).already
        by_hand(loop, start_registry_over(loop, tmp_path))
        assert not score.run(loop.work("after"), TRAINED).already

    def test_a_day_that_an_earlier_release_published_by_the_former_one_is_recognised(
        self, loop, tmp_path, monkeypatch, request
    ):
        with monkeypatch.context() as patch:
            as_earlier_releases_recorded(patch)
            champion = request.getfixturevalue("champion")
        start_registry_over(loop, tmp_path)
        again = score.run(loop.work("again"), TRAINED)
        assert again.already, "the version 1 that is there now was created after the commit"
        assert again.model_version == "1"
        former = identity.Identity("1", champion)
        commit = loop.services.lake.days("predictions/churn")[TRAINED]
        (there,) = loop.services.tracker.versions("churn")
        older = replace(there, created_at=commit.recorded_at)
        assert not identity.made_by_number(commit, former, [older]), "a version of before the commit may have made it"
        assert identity.made_by_number(commit, identity.of_version(older), [older])
        assert not identity.made_by_number(commit, identity.of_version(there), [there])

    def test_it_cannot_be_rolled_back_to_a_number(self, loop, champion, tmp_path):
        loop.challenge(LATER, seed=3)
        other = start_registry_over(loop, tmp_path)
        before = promotions.decisions(loop.services.lake, "churn")
        with pytest.raises(ModelGone, match=rf"version 1 \(training run {champion}, .*{other}"):
            promote.roll_back(loop.work(), "1", recorded_at=AT, decided_by="ada", reason="r")
        assert promotions.decisions(loop.services.lake, "churn") == before
        assert "champion" not in loop.services.tracker.versions("churn")[0].aliases

    def test_the_monitor_compares_a_day_with_no_other_training(self, loop, champion, tmp_path):
        before = monitor.run(loop.work("m"), TRAINED)
        assert before.drift
        other = start_registry_over(loop, tmp_path)
        after = monitor.run(loop.work("n"), TRAINED)
        assert (after.drift, after.outcomes) == (None, before.outcomes)
        for part in (champion, other, "tailrace predict churn --date 2013-01-09 --model N"):
            assert part in after.note

    def test_files_and_tag_that_were_both_exchanged_are_another_model(self, loop, champion):
        tracker = loop.services.tracker
        (known,) = tracker._versions["churn"]
        known.tags[run_tags.MODEL_DIGEST] = "f" * 64
        with pytest.raises(ModelGone, match=r"other files of the same training run: version 1 .*ffffffffffff"):
            score.run(loop.work("n"), NEXT)
        with pytest.raises(ModelGone, match="Somebody changed the registry after the decision"):
            score.run(loop.work("n"), NEXT, model="1")

    def test_files_and_tag_that_are_exchanged_while_a_day_is_scored_are_refused(self, loop, champion, monkeypatch):
        tracker = loop.services.tracker
        (known,) = tracker._versions["churn"]
        looked_at = model_versions.holdout_scores

        def exchanged(trained, version):
            stored = tracker._model(tracker._find_version("churn", "1"))
            file = next(path for path in sorted(stored.rglob("*")) if path.is_file())
            file.write_bytes(file.read_bytes() + b" ")
            known.tags[run_tags.MODEL_DIGEST] = folders.digest(stored)
            return looked_at(trained, version)

        monkeypatch.setattr(model_versions, "holdout_scores", exchanged)
        with pytest.raises(Refused, match=r"version 1 are not those that were decided about.*the lake recorded"):
            score.run(loop.work("n"), NEXT)

    def test_the_digest_is_in_the_row_of_the_decision(self, loop, champion):
        lake = loop.services.lake
        (known,) = loop.services.tracker.versions("churn")
        (row,) = lake.read(promotions.TABLE).read_all().to_pylist()
        assert row["model_digest"] == known.tags[run_tags.MODEL_DIGEST]
        assert promotions.with_digest(lake, identity.Identity("1", champion)).digest == row["model_digest"]


class TestAVersionThatWasDeleted:
    def delete(self, services, version: str) -> None:
        held = services.tracker._versions["churn"]
        held[:] = [known for known in held if known.version != version]

    def test_a_former_champion_takes_over(self, loop, champion, services):
        training_run = train.run(loop.work(), NEXT, seed=3).training_run
        evaluate.run(loop.work(), training_run)
        promote.run(loop.work(), training_run, recorded_at=AT, decided_by="ada", reason="r")
        self.delete(services, "2")
        with pytest.raises(
            ModelGone,
            match=r"version 2 .*tailrace rollback churn --version 1 .*; score single days with .*--model 1 ",
        ) as refused:
            score.run(loop.work("n"), NEXT)
        assert "no longer has such a version" in str(refused.value)
        assert score.run(loop.work("n"), NEXT, model="1").model_version == "1"
        later = AT + dt.timedelta(hours=1)
        promote.roll_back(loop.work(), "1", recorded_at=later, decided_by="ada", reason="2 was deleted")
        assert loop.predict(NEXT).model_version == "1"

    def test_the_only_champion_is_followed_by_a_training(self, loop, champion, services):
        other = train.run(loop.work(), LATER, seed=3).training_run
        self.delete(services, "1")
        with pytest.raises(ModelGone, match=r"backup; or train as of 2013-01-09 or a later day and promote by hand"):
            score.run(loop.work("n"), NEXT)
        decided = by_hand(loop, other)
        assert (decided.outcome, decided.version, decided.effective_from) == ("promoted", "2", LATER)
        assert loop.predict(LATER).model_version == "2"

    def test_what_it_published_is_still_recognised_and_monitored(self, loop, champion, services):
        self.delete(services, "1")
        assert score.run(loop.work("again"), TRAINED).already
        assert monitor.run(loop.work("m"), TRAINED).drift
        services.tracker = None
        assert score.run(loop.work("again"), TRAINED).already, "no model has to be loaded"


def test_what_earlier_releases_recorded_goes_on_working(loop, monkeypatch, request):
    as_earlier_releases_recorded(monkeypatch)
    request.getfixturevalue("champion")
    services = loop.services
    assert identity.of_commit(services.lake.days("predictions/churn")[TRAINED].metadata) == identity.Identity("1")
    assert monitor.run(loop.work("m"), TRAINED).drift
    assert score.run(loop.work("again"), TRAINED).already
    assert model_versions.resolve(services, loop.spec, NEXT, "1").version == "1"
    assert loop.predict(NEXT).model_version == "1"


@pytest.mark.parametrize("model", ["²", "٣", "0", "01", "-1", "1.0", " 1", "1\n", "", "9" * 5000])
def test_a_version_is_asked_for_in_ascii_digits(model):
    with pytest.raises(BadInput, match="use 'as-of', 'current' or a version number such as 3"):
        model_versions.check_choice(model)
    assert model_versions.check_choice("12") == "12"
