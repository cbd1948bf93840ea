"""Published days that would be predicted otherwise today, the backfills that put them right, and their preview."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tailrace import days
from tailrace.champions import promotions
from tailrace.champions.promotions import Promotion
from tailrace.errors import BadInput
from tailrace.operations import baselines, stale, thresholds
from tailrace.operations.preview import preview
from tailrace.reporting import model_report
from tailrace.spec import Baseline, Predictions
from tailrace.stages import audit, publish, score
from tailrace.tracking.memory import MemoryTracker
from tailrace.warehouse.memory import MemoryWarehouse
from tests.stages.conftest import FIRST, LAST, NOW, Loop, churn, copy_of, installation, memory
from tests.support import work

D9, D10, D11, D12 = (dt.date(2013, 1, day) for day in (9, 10, 11, 12))
LANDED = {day: f"rows of {day}" for day in days.span(FIRST, LAST)}


def landed(services, changed=MappingProxyType({})) -> None:
    services.warehouse = MemoryWarehouse(services.tables, {**LANDED, **changed})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Version 1 is champion from D9 on, and D9 to D11 are published."""
    spec = churn()
    made = Loop(installation(memory, tmp_path_factory.mktemp("stale"), spec), spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_report, "write", lambda folder, judged: None)
        landed(made.services)
        made.take()
        made.challenge(D9)
        for day in (D9, D10, D11):
            made.predict(day, run=f"night-{day}")
    return made


@pytest.fixture
def loop(made, tmp_path, monkeypatch):
    monkeypatch.setattr(model_report, "write", lambda folder, judged: None)
    return Loop(copy_of(made.services, tmp_path), made.spec)


def changed_visits(services, day: dt.date) -> None:
    """The mart's rows of a day get other values."""
    table = services.tables["churn_features"]
    rows = table.to_pylist()
    for row in rows:
        row["visits"] += row["ds"] == day
    services.rebuild(churn_features=pa.Table.from_pylist(rows, table.schema))


def why(loop) -> dict[dt.date, tuple[str, ...]]:
    return {each.day: each.why for each in stale.find(loop.services, loop.spec).days}


class TestStale:
    def test_nothing_is_where_nothing_has_changed(self, loop):
        found = stale.find(loop.services, loop.spec)
        assert (found.days, found.champions) == ((), ())

    def test_a_source_day_landed_again_and_features_taken_again(self, loop):
        services = loop.services
        landed(services, {D10: "corrected"})
        found = why(loop)
        assert set(found) == {D10, D11}
        assert found[D11] == ("rows of 2013-01-10, from which its features were built, were landed again",)
        changed_visits(services, D10)
        services.warehouse = MemoryWarehouse(services.tables, {**LANDED, D10: "corrected"})
        loop.take(D10, D11, run="again")
        assert why(loop) == {D10: ("its features were taken again after it was predicted",)}
        (step,) = stale.repairs(stale.find(services, loop.spec))
        assert (step.kind, step.first, step.last) == ("predict", D10, D10)

    def test_a_newer_champion_and_another_threshold(self, loop):
        loop.train(D10, seed=4)
        (second,) = [each for each in loop.services.tracker.versions("churn") if each.version == "2"]
        row = Promotion(
            pipeline="churn",
            version=second.version,
            effective_from=D10,
            recorded_at=NOW,
            training_run=second.training_run,
            decided_by="ada",
            reason="better",
        )
        promotions.record(loop.services.lake, row)
        thresholds.run(loop.work(), 0.3, recorded_at=NOW, decided_by="ada", reason="r", effective_from=D11)
        found = why(loop)
        assert set(found) == {D10, D11}
        assert found[D10][0].startswith(f"v{second.version} is the champion as of this day by a later decision")
        assert found[D11][1] == "threshold 0.3 instead of 0.5 (set by ada: r)"

    def test_the_last_day_is_what_the_edited_spec_makes_of_it(self, loop):
        """An operator's threshold that an edit has ended, of which no row says so yet, makes no day stale for good."""
        of_person = {"recorded_at": NOW, "decided_by": "ada", "reason": "r", "effective_from": D10}
        loop.spec = replace(loop.spec, predictions=Predictions(threshold=0.4))
        thresholds.run(loop.work(), 0.3, **of_person)
        loop.spec = replace(loop.spec, predictions=Predictions(threshold=0.5))
        assert why(loop) == {D10: ("threshold 0.3 instead of 0.5 (set by ada: r)",)}
        (last,) = preview(loop.services, loop.spec, D11, D11)
        assert last.outcome == "left alone"
        loop.spec = replace(loop.spec, predictions=Predictions(threshold=0.6))
        assert why(loop)[D11] == ("threshold 0.6 instead of 0.5 (the spec was edited)",)

    def test_a_day_that_is_predicted_again_is_stale_no_more_although_no_row_changes(self, loop):
        rows = loop.published(D10)
        highest = pc.max(rows.filter(pc.invert(rows["decision"]))["score"]).as_py()
        of_person = {"recorded_at": NOW, "decided_by": "ada", "reason": "r", "effective_from": D10}
        thresholds.run(loop.work(), (highest + 0.5) / 2, **of_person)
        assert D10 in why(loop)
        assert not loop.predict(D10, run="again").unchanged
        assert loop.published(D10).equals(rows)
        assert D10 not in why(loop)
        assert loop.predict(D10, run="once more").unchanged

    def test_a_champion_whose_training_rows_have_changed(self, loop):
        changed_visits(loop.services, dt.date(2013, 1, 5))
        loop.take(dt.date(2013, 1, 5), dt.date(2013, 1, 5), run="again")
        (champion,) = stale.find(loop.services, loop.spec).champions
        assert champion.version == "1"
        assert "it was trained on rows of features/churn (2013-01-03 to 2013-01-09) that have changed" in champion.why

    def test_a_champion_is_not_compared_with_another_model_of_its_number(self, loop, tmp_path):
        loop.services.tracker = MemoryTracker(tmp_path / "set up again")
        loop.train(D11, seed=5)
        changed_visits(loop.services, D9)
        loop.take(D9, D9, run="again")
        (champion,) = stale.find(loop.services, loop.spec).champions
        assert champion.why.startswith("it cannot be compared: The lake records version 1 (training run ")
        assert "the model registry has another model under this number: version 1 (training run " in champion.why

    def test_a_baseline_was_trained_on_no_rows(self, loop):
        loop.spec = replace(loop.spec, baselines=(Baseline(name="half", constant=0.5),))
        of_person = {"recorded_at": NOW, "decided_by": "ada", "reason": "r"}
        made = baselines.make_champion(loop.work(), "half", takes_over=D11, **of_person)
        changed_visits(loop.services, D10)
        loop.take(D10, D10, run="again")
        found = stale.find(loop.services, loop.spec).champions
        assert made.version not in [champion.version for champion in found]

    def test_repairs_take_features_first_and_the_oldest_first(self, loop):
        made = stale.StaleFindings(
            days=tuple(
                stale.StaleDay(pipeline="churn", day=day, why=("x",), repair=kind)
                for day, kind in ((D9, "predict"), (D10, "warehouse"), (D12, "warehouse"))
            ),
            champions=(),
        )
        steps = [(each.kind, each.first, each.last) for each in stale.repairs(made)]
        assert steps == [
            ("warehouse", D10, D10),
            ("warehouse", D12, D12),
            ("predict", D9, D10),
            ("predict", D12, D12),
        ]


class TestPreview:
    def of(self, loop, first=D9, last=D12, **more):
        return {each.day: each for each in preview(loop.services, loop.spec, first, last, **more)}

    def test_says_what_would_become_of_each_day_and_that_is_what_becomes(self, loop):
        changed_visits(loop.services, D10)
        loop.take(D10, D10, run="again")
        thresholds.run(loop.work(), 0.3, recorded_at=NOW, decided_by="ada", reason="r", effective_from=D11)
        before = loop.published(D11)
        found = self.of(loop, dt.date(2013, 1, 8))
        assert found[dt.date(2013, 1, 8)].outcome == "fails"
        assert "no model was champion" in found[dt.date(2013, 1, 8)].why
        assert (found[D9].outcome, found[D9].model) == ("left alone", "1")
        assert (found[D10].why, found[D10].up_to, found[D10].changes) == ("its features have changed", True, 150)
        assert found[D11].why == "threshold 0.3 instead of 0.5 (set by ada: r)"
        assert (found[D12].why, found[D12].overwrites) == ("not published yet", "")
        assert found[D10].overwrites.startswith("150 rows by version 1, published ")
        ran = set()
        for day in found:
            of = work(loop.services, loop.spec, "backfill")
            if found[day].outcome == "fails" or score.run(of, day).already:
                continue
            audit.run(of, day)
            publish.run(of, day)
            ran.add(day)
        assert ran == {day for day, each in found.items() if each.outcome == "runs"}
        flipped = pc.sum(pc.not_equal(before["decision"], loop.published(D11)["decision"])).as_py()
        assert (found[D11].changes, found[D11].up_to) == (flipped, False)
        assert flipped

    def test_forced_and_with_another_model(self, loop):
        assert self.of(loop, D9, D9, force=True)[D9].why == "forced"
        loop.train(D10, seed=4)
        (day,) = self.of(loop, D9, D9, model="2").values()
        assert (day.outcome, day.model, day.why) == ("runs", "2", "version 2 instead of 1")
        with pytest.raises(BadInput, match="model is 'x'"):
            self.of(loop, model="x")

    def test_a_day_fails_whose_model_is_gone(self, loop):
        loop.services.tracker._versions["churn"].clear()
        found = self.of(loop)
        assert [found[day].outcome for day in (D9, D11, D12)] == ["left alone", "left alone", "fails"]
        assert "the model registry no longer has such a version" in found[D12].why

    def test_a_day_fails_whose_model_has_a_feature_more(self, loop):
        columns = {name: kind for name, kind in loop.spec.features.columns.items() if name != "age"}
        loop.spec = replace(loop.spec, features=replace(loop.spec.features, columns=columns))
        assert "column 'age' is missing" in self.of(loop)[D12].why
        assert {each.outcome for each in self.of(loop).values()} == {"fails"}
        unloaded = self.of(loop, load_models=False)
        assert {each.outcome for each in unloaded.values()} == {"runs"}

    def test_a_day_fails_whose_columns_do_not_fit(self, loop):
        loop.spec = replace(loop.spec, predictions=replace(loop.spec.predictions, score="p"))
        found = self.of(loop)
        assert {each.outcome for each in found.values()} == {"fails"}
        assert "has the column score, which churn does not publish any more" in found[D12].why
        loop.spec = replace(loop.spec, features=replace(loop.spec.features, key=("nobody",)))
        assert "nobody" in self.of(loop)[D12].why

    def test_days_without_features_fail(self, loop):
        later = LAST + dt.timedelta(days=1)
        assert self.of(loop, later, later)[later].why == "no features are published of it"
