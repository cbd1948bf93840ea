"""A day that is published from the same inputs is recognised before it is scored; what was asked for is recorded."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace

import pyarrow as pa
import pytest

from tailrace.errors import PinLost, SchemaMismatch, StagingGone
from tailrace.spec import Predictions
from tailrace.stages import audit, monitor, publish, score, snapshot, train
from tests.support import lose_rows, work

TRAINED = dt.date(2013, 1, 9)
ASKED = {"reason": "it <b>rained</b>", "model": "as-of", "triggered_by": "ada"}


@pytest.fixture
def published(loop):
    """The loop with TRAINED published by run p."""
    loop.take()
    loop.challenge(TRAINED)
    loop.predict(TRAINED)
    return loop


def again(loop, **asked):
    return score.run(work(loop.services, asked.pop("spec", loop.spec), "again"), TRAINED, **asked)


class TestAPublishedDay:
    def test_is_left_alone_and_says_by_whom(self, published):
        scored = again(published)
        assert scored.already.startswith("predictions/churn of 2013-01-09 is already published by p from the same")
        assert (scored.rows, scored.model_version) == (150, "1")
        with pytest.raises(StagingGone):
            published.services.lake.staged("predictions/churn", TRAINED, "again")

    def test_says_whether_this_very_run_published_it(self, published):
        assert not again(published).own
        scored = score.run(published.work("p"), TRAINED)
        assert scored.own
        assert scored.already

    def test_is_recognised_by_the_version_not_by_how_it_was_asked_for(self, published):
        assert again(published, model="1").already

    def test_is_scored_when_forced_and_the_same_bytes_make_no_commit(self, published):
        assert not again(published, force=True).already
        audit.run(published.work("again"), TRAINED)
        assert publish.run(published.work("again"), TRAINED).unchanged

    def test_is_scored_and_published_when_its_rows_are_gone(self, published):
        lake, spec = published.services.lake, published.spec
        before = lake.read("predictions/churn").read_all()
        lose_rows(lake, "predictions/churn", TRAINED)
        with pytest.raises(PinLost):
            lake.read("predictions/churn").read_all()
        assert not again(published).already
        audit.run(work(published.services, spec, "again"), TRAINED)
        assert not publish.run(work(published.services, spec, "again"), TRAINED).unchanged
        assert lake.read("predictions/churn").read_all().equals(before)
        assert again(published).already

    def test_is_scored_when_its_features_changed(self, published):
        services = published.services
        table = services.tables["churn_features"]
        column = table.schema.get_field_index("visits")
        services.rebuild(churn_features=table.set_column(column, "visits", pa.compute.add(table["visits"], 1)))
        snapshot.run(work(services, published.spec, "w2"), TRAINED)
        assert not again(published).already

    def test_is_scored_when_another_version_is_champion(self, published):
        published.train(TRAINED, seed=2)
        assert not again(published, model="2").already

    def test_is_scored_when_the_spec_publishes_other_columns(self, published):
        other = replace(published.spec, predictions=Predictions(threshold=0.9))
        assert not again(published, spec=other).already


class TestAnotherNameOfAPublishedColumn:
    """On a table that cannot lose a column."""

    @pytest.mark.parametrize("renamed", [{"score": "p"}, {"decision": "flag"}])
    def test_is_refused_before_the_table_gains_it(self, published, renamed):
        lake, former = published.services.lake, next(iter(renamed))
        names = lake.schema("predictions/churn").names
        spec = replace(published.spec, predictions=replace(published.spec.predictions, **renamed))
        with pytest.raises(SchemaMismatch, match=rf"has the column {former}, which churn does not publish any more"):
            again(published, spec=spec)
        assert lake.schema("predictions/churn").names == names
        published.predict(TRAINED + dt.timedelta(days=1))

    def test_is_refused_with_another_key_too(self, published):
        lake, features = published.services.lake, published.spec.features
        names = lake.schema("predictions/churn").names
        columns = {name: kind for name, kind in features.columns.items() if name != "plan"}
        spec = replace(published.spec, features=replace(features, key=("customer", "plan"), columns=columns))
        with pytest.raises(SchemaMismatch, match="'plan' is not in the table"):
            again(published, spec=spec)
        assert lake.schema("predictions/churn").names == names

    def test_that_an_earlier_release_added_does_not_stop_the_days_after(self, published):
        lake, after = published.services.lake, TRAINED + dt.timedelta(days=1)
        lake.add_columns("predictions/churn", pa.schema({"p": pa.float64()}))
        published.predict(after)
        assert published.published(after)["p"].null_count == 150
        monitor.run(published.work("m"), after)


def test_a_dry_run_leaves_nothing(loop):
    loop.take()
    loop.challenge(TRAINED)
    score.run(loop.work("dry"), TRAINED, force=True)
    audit.run(loop.work("dry"), TRAINED)
    assert publish.discard(loop.work("dry"), TRAINED) == 150
    assert not loop.services.lake.days("predictions/churn")
    with pytest.raises(StagingGone):
        publish.run(loop.work("dry"), TRAINED)


def test_what_was_asked_for_is_in_the_commits_and_in_the_trackers_tags(loop):
    services, spec = loop.services, loop.spec
    loop.take()
    taken = snapshot.run(work(services, spec, "w2", request=ASKED), TRAINED)
    assert taken.features.unchanged, "the same bytes keep the commit they were first made by"
    trained = train.run(work(services, spec, request=ASKED), TRAINED, seed=1)
    tags = services.tracker.run(trained.training_run).tags
    assert {name: tags[f"tailrace.request.{name}"] for name in ASKED} == ASKED
    loop.challenge(TRAINED)
    score.run(work(services, spec, "p", request=ASKED), TRAINED)
    audit.run(work(services, spec, "p"), TRAINED)
    metadata = publish.run(work(services, spec, "p"), TRAINED).commit.metadata
    assert {name: metadata[f"request_{name}"] for name in ASKED} == ASKED
    assert (metadata["engine"], tags["tailrace.engine"]) == (services.engine.name,) * 2, "what was used, chosen or not"
    monitor.run(work(services, spec, "m", request=ASKED), TRAINED)
    followed = services.lake.days(spec.performance_table)[TRAINED].metadata
    assert {name: followed[f"request_{name}"] for name in ASKED} == ASKED


def test_a_training_that_is_recognised_keeps_both_requests(loop):
    loop.take()
    first = train.run(loop.work(request=ASKED), TRAINED, seed=1)
    later = {"reason": "once more", "triggered_by": "eve"}
    assert train.run(loop.work(request=later), TRAINED, seed=1).training_run == first.training_run
    tags = loop.services.tracker.run(first.training_run).tags
    assert {name: tags[f"tailrace.request.{name}"] for name in ASKED} == ASKED
    assert json.loads(tags["tailrace.requested_again"]) == later


def test_a_training_for_the_eyes_alone_names_no_challenger(loop):
    services, spec = loop.services, loop.spec
    loop.take()
    train.run(work(services, spec), TRAINED, seed=1, dry_run=True)
    (version,) = services.tracker.versions(spec.name)
    assert version.aliases == ()
    # In earnest it is not trained once more, but it is the challenger now.
    assert train.run(work(services, spec), TRAINED, seed=1).unchanged
    (version,) = services.tracker.versions(spec.name)
    assert version.aliases == ("challenger",)


def test_a_forced_training_trains_the_same_model_again(loop):
    loop.take()
    first = loop.train(TRAINED)
    again = train.run(loop.work(), TRAINED, seed=1, force=True)
    assert (again.version, again.unchanged) == ("2", False)
    assert again.model_digest == first.model_digest
