"""The policy of a day: recorded with each promotion, set by an operator, and kept for days that are scored again."""

from __future__ import annotations

import copy
import datetime as dt
from dataclasses import replace

import pyarrow.compute as pc
import pytest

from tailrace.champions import policies
from tailrace.champions.policies import Policy, PolicyDecision
from tailrace.errors import BadInput
from tailrace.lake.delta import DeltaLake
from tailrace.lake.memory import MemoryLake
from tailrace.operations import thresholds
from tailrace.problems.multiclass import Multiclass
from tailrace.problems.regression import Regression
from tailrace.reporting import model_report
from tailrace.spec import Predictions
from tailrace.stages import audit, publish, score
from tests.stages.conftest import NOW, Loop, churn, copy_of, installation, memory
from tests.support import work

FIRST, SECOND, THIRD = dt.date(2013, 1, 9), dt.date(2013, 1, 10), dt.date(2013, 1, 11)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A champion from FIRST on, and three published days.

    In memory: `test_rows_have_an_order_in_every_lake` has the lake of files too.
    """
    spec = churn()
    made = Loop(installation(memory, tmp_path_factory.mktemp("policies"), spec), spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_report, "write", lambda folder, judged: None)
        made.take()
        made.challenge(FIRST)
        for day in (FIRST, SECOND, THIRD):
            made.predict(day, run=f"night-{day}")
    return made


@pytest.fixture
def loop(made, tmp_path, monkeypatch):
    monkeypatch.setattr(model_report, "write", lambda folder, judged: None)
    return Loop(copy_of(made.services, tmp_path), made.spec)


def set_threshold(loop, value: float, day: dt.date | None = None, **more):
    said = {"recorded_at": NOW, "decided_by": "ada", "reason": "too many calls", **more}
    return thresholds.run(loop.work(), value, effective_from=day, **said)


def again(loop, day: dt.date, spec=None, run: str = "again"):
    """The commit of a day that is scored once more; it says which threshold its decisions have."""
    of = work(loop.services, spec or loop.spec, run)
    if score.run(of, day).already:
        return loop.services.lake.days(loop.spec.predictions_table)[day]
    audit.run(of, day)
    return publish.run(of, day, recorded_at=NOW).commit


def decided_by(loop, day: dt.date, limit: float) -> bool:
    rows = loop.published(day)
    return rows["decision"].equals(pc.greater_equal(rows["score"], limit))


class TestAPromotion:
    def test_records_the_policy_and_the_days_say_so(self, loop):
        (row,) = policies.history(loop.services.lake, "churn")
        assert (row.set_by, row.version, row.threshold, row.effective_from) == ("promotion", "1", 0.5, FIRST)
        noted = loop.services.lake.days("predictions/churn")[SECOND].metadata
        assert policies.of_commit(noted) == Policy(threshold=0.5, problem={})
        assert (noted[policies.IN_FORCE], noted[policies.SINCE]) == ("promotion of version 1", str(FIRST))

    def test_of_an_earlier_release_leaves_the_spec_in_force_and_the_commit_says_so(self, loop, monkeypatch):
        monkeypatch.setattr(policies, "history", lambda lake, pipeline: ())
        other = replace(loop.spec, predictions=Predictions(threshold=0.9))
        noted = again(loop, FIRST, other).metadata
        assert decided_by(loop, FIRST, 0.9)
        assert noted[policies.RECORDED] == "false"
        assert noted[policies.IN_FORCE] == policies.NOT_RECORDED

    def test_leaves_an_operators_threshold_in_force(self, loop):
        set_threshold(loop, 0.3, SECOND)
        loop.challenge(THIRD, seed=2)
        loop.challenge(FIRST, seed=3)
        now = policies.in_force(loop.services.lake, loop.spec, THIRD)
        assert (now.policy.threshold, now.words()) == (0.3, "set by ada: too many calls")


class TestAnEditedSpec:
    edited = Predictions(threshold=0.9)

    def test_leaves_old_days_as_they_were(self, loop):
        spec = replace(loop.spec, predictions=self.edited)
        before = loop.services.lake.days("predictions/churn")[FIRST]
        assert again(loop, FIRST, spec) == before
        assert decided_by(loop, FIRST, 0.5)

    def test_counts_from_the_next_night_on_and_is_recorded(self, loop):
        spec = replace(loop.spec, predictions=self.edited)
        later = THIRD + dt.timedelta(days=2)
        noted = again(loop, later, spec).metadata
        assert decided_by(loop, later, 0.9)
        assert noted[policies.IN_FORCE] == "the spec was edited"
        row = policies.history(loop.services.lake, "churn")[0]
        assert (row.set_by, row.threshold, row.effective_from) == ("spec", 0.9, THIRD + dt.timedelta(days=1))
        # A day between, published later, has the same policy; one before keeps its own.
        again(loop, THIRD + dt.timedelta(days=1), spec, "gap")
        assert decided_by(loop, THIRD + dt.timedelta(days=1), 0.9)
        assert len(policies.history(loop.services.lake, "churn")) == 2
        again(loop, THIRD, spec, "old")
        assert decided_by(loop, THIRD, 0.5)

    def test_counts_before_no_decision_that_it_replaces(self, loop):
        later = THIRD + dt.timedelta(days=2)
        set_threshold(loop, 0.3, later)
        spec = replace(loop.spec, predictions=self.edited)
        again(loop, later, spec)
        past = policies.history(loop.services.lake, "churn")
        assert past[0].effective_from == later
        assert policies.recorded(past, later).policy.threshold == 0.9, "what the day was published under"

    def test_that_is_edited_back_does_not_bring_an_operators_threshold_back(self, loop):
        """An edit to the very number that the operator had set, and an edit before the operator's day came."""
        lake, days = loop.services.lake, [THIRD + dt.timedelta(days=number) for number in (1, 2, 3)]
        for value, begins in ((0.9, days[0]), (0.3, days[1])):
            own = Loop(copy.copy(loop.services), loop.spec)
            own.services.lake = copy.deepcopy(lake)
            set_threshold(own, value, begins, recorded_at=NOW - dt.timedelta(hours=1))
            again(own, days[0], replace(loop.spec, predictions=self.edited))
            assert decided_by(own, days[0], 0.9)
            again(own, days[1])
            assert decided_by(own, days[1], 0.5), f"{value} was ended by the first edit"
            assert policies.in_force(own.services.lake, loop.spec, days[2]).policy.threshold == 0.5

    def test_ends_an_operators_threshold_only_where_it_says_another_one(self, loop):
        set_threshold(loop, 0.3)
        day = THIRD + dt.timedelta(days=1)
        lake = loop.services.lake
        assert policies.in_force(lake, loop.spec, day).policy.threshold == 0.3
        spec = replace(loop.spec, predictions=self.edited)
        assert policies.in_force(lake, spec, day).policy.threshold == 0.9


class TestAnOperator:
    @pytest.mark.parametrize(("dry_run", "says"), [(True, "would have"), (False, "have")])
    def test_says_which_days_become_stale(self, loop, caplog, dry_run, says):
        assert set_threshold(loop, 0.3, SECOND, dry_run=dry_run).published == 2
        assert f"churn: published days from {SECOND} on that {says} another threshold: 2." in caplog.text
        caplog.clear()
        assert set_threshold(loop, 0.4, THIRD + dt.timedelta(days=1), dry_run=dry_run).published == 0
        assert not caplog.text

    def test_sets_a_threshold_from_the_next_day_on(self, loop):
        done = set_threshold(loop, 0.3)
        day = THIRD + dt.timedelta(days=1)
        assert (done.outcome, done.previous, done.effective_from, done.published) == ("set", 0.5, day, 0)
        again(loop, day)
        assert decided_by(loop, day, 0.3)
        assert again(loop, THIRD).metadata["run_id"] == f"night-{THIRD}", "the days before are left alone"

    def test_sets_one_for_published_days_which_stay_until_they_are_scored_again(self, loop):
        assert set_threshold(loop, 0.3, SECOND).published == 2
        assert decided_by(loop, SECOND, 0.5)
        again(loop, SECOND)
        assert decided_by(loop, SECOND, 0.3)

    def test_is_the_one_that_the_report_measures_decisions_at(self, loop, monkeypatch):
        reports = []
        monkeypatch.setattr(model_report, "write", lambda folder, judged: reports.append(judged))
        set_threshold(loop, 0.3, SECOND)
        for day in (FIRST, SECOND):
            loop.challenge(day, seed=2)
        assert [judged.spec.predictions.threshold for judged in reports] == [0.5, 0.3]

    def test_changes_nothing_twice_or_in_a_dry_run(self, loop):
        assert set_threshold(loop, 0.3, dry_run=True).outcome == "set"
        assert set_threshold(loop, 0.5).outcome == "kept"
        set_threshold(loop, 0.3)
        assert set_threshold(loop, 0.3).reason == "Nothing changes: set by ada: too many calls."
        assert [row.set_by for row in policies.history(loop.services.lake, "churn")] == ["threshold", "promotion"]

    def test_may_set_one_before_a_threshold_that_an_edit_ended(self, loop):
        first, second, third = (THIRD + dt.timedelta(days=number) for number in (1, 2, 3))
        set_threshold(loop, 0.4, third, recorded_at=NOW - dt.timedelta(hours=1))
        loop.spec = replace(loop.spec, predictions=Predictions(threshold=0.6))
        again(loop, first)
        assert set_threshold(loop, 0.3, second).outcome == "set"
        assert policies.in_force(loop.services.lake, loop.spec, third).policy.threshold == 0.3

    def test_who_clears_a_run_does_not_set_it_over_a_later_one(self, loop):
        run = {"airflow_run": "threshold__churn/manual 1"}
        set_threshold(loop, 0.4, **run)
        set_threshold(loop, 0.3, decided_by="bob", reason="fewer people")
        again = set_threshold(loop, 0.4, **run)
        assert (again.outcome, again.threshold, again.previous) == ("kept", 0.4, 0.3)
        assert again.reason.startswith("The run threshold__churn/manual 1 set the threshold 0.4 from 2013-01-12 on")
        assert "Nothing changes: set by bob: fewer people." in again.reason
        assert [row.threshold for row in policies.history(loop.services.lake, "churn")] == [0.3, 0.4, 0.5]
        assert set_threshold(loop, 0.4, airflow_run="threshold__churn/manual 2").outcome == "set"

    def test_is_refused_what_would_have_no_effect_or_no_meaning(self, loop, spec):
        set_threshold(loop, 0.3, THIRD)
        with pytest.raises(BadInput, match=r"threshold is 0\.3 from 2013-01-11 on .set by ada.*2013-01-11 or a later"):
            set_threshold(loop, 0.4, SECOND)
        with pytest.raises(BadInput, match=r"far ahead[.] Name a day up to 2013-02-01"):
            set_threshold(loop, 0.4, dt.date(2014, 1, 1))
        with pytest.raises(BadInput, match=r"threshold is 1\.5; it must be between 0 and 1"):
            set_threshold(loop, 1.5)
        loop.spec = replace(spec, outcome=replace(spec.outcome, problem=Regression()))
        with pytest.raises(BadInput, match="has no threshold"):
            set_threshold(loop, 0.4)


@pytest.mark.parametrize("kind", ["memory", "files"])
def test_rows_have_an_order_in_every_lake(kind, tmp_path):
    lake = MemoryLake() if kind == "memory" else DeltaLake(str(tmp_path))
    assert policies.history(lake, "churn") == ()
    for number, (day, value) in enumerate([(SECOND, 0.1), (FIRST, 0.2), (SECOND, 0.3), (SECOND, 0.3)]):
        policies.record(
            lake,
            PolicyDecision(
                pipeline="churn",
                effective_from=day,
                recorded_at=NOW - dt.timedelta(hours=number),
                set_by="threshold",
                threshold=value,
                problem={"classes": ["a", "b"]},
                spec_threshold=0.5,
                decided_by="ada",
                reason="r",
            ),
        )
    past = policies.history(lake, "churn")
    assert [(row.effective_from, row.threshold) for row in past] == [(SECOND, 0.3), (SECOND, 0.1), (FIRST, 0.2)]
    assert policies.recorded(past, THIRD).policy == Policy(threshold=0.3, problem={"classes": ["a", "b"]})
    assert policies.recorded(past, FIRST).policy.threshold == 0.2
    assert policies.recorded(past, FIRST - dt.timedelta(days=1)) is None


@pytest.mark.parametrize(
    ("problem", "other"),
    [
        (Multiclass(classes=("a", "b")), Multiclass(classes=("b", "a"))),
        (Regression(intervals=(0.1, 0.9)), Regression(intervals=None)),
    ],
)
def test_intervals_and_the_order_of_classes_are_of_the_policy_too(spec, problem, other):
    now, then = (replace(spec, outcome=replace(spec.outcome, problem=each)) for each in (other, problem))
    stated = Policy.from_json(policies.of_spec(then).to_json())
    assert stated.threshold is None
    assert policies.under(now, stated).problem == problem
    assert list(policies.differences(stated, policies.of_spec(now)))
