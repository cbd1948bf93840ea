"""A person approves, rejects and rolls back; the table `promotions` says who, and the alias follows."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pyarrow as pa
import pytest

from tailrace.champions import promotions
from tailrace.errors import BadInput, GateRefused, UnknownName
from tailrace.lineage.identity import Identity
from tailrace.reporting import approval_card, model_report
from tailrace.reporting.comparison import Comparison
from tailrace.spec import Gate
from tailrace.stages import evaluate, promote, score, train
from tests.stages.conftest import embedded, installation, memory
from tests.support import work

RUN = {"model_run_id": "first"}
FIRST, SECOND, THIRD = dt.date(2013, 1, 9), dt.date(2013, 1, 11), dt.date(2013, 1, 12)
AT = dt.datetime(2013, 3, 1, tzinfo=dt.UTC)
on_both = pytest.mark.parametrize("services", [memory, embedded], indirect=True, ids=["memory", "embedded"])


@pytest.fixture
def services(request, tmp_path, spec):
    """In memory, unless a test asks for both."""
    return installation(getattr(request, "param", memory), tmp_path, spec)


@pytest.fixture
def approvals(loop, services, spec, monkeypatch):
    """A champion, version 1, and a gate that every challenger passes, after which a person decides."""
    # Its pictures take longer than all the rest, and decide nothing.
    monkeypatch.setattr(model_report, "write", lambda folder, judged: None)
    loop.take()
    assert loop.challenge(FIRST).outcome == "promoted"
    passes = Gate(metric="log_loss", ceiling=1.0, margin=-1.0, slices=("plan",), slice_tolerance=1.0, approval="human")
    loop.spec = replace(spec, gate=passes)
    return loop


def challenge(loop, day: dt.date, seed: int = 7) -> str:
    """A challenger that waits for a person; its training run."""
    trained = train.run(loop.work(), day, seed=seed)
    evaluate.run(loop.work(), trained.training_run)
    decided = promote.run(loop.work(), trained.training_run, recorded_at=AT)
    assert decided.outcome == "waiting"
    return trained.training_run


def answer(
    loop, training_run: str, kind: str = "approve", who: str = "ada", reason: str = "it is better", hours: int = 0
):
    decide = {"approve": promote.approve, "reject": promote.reject}[kind]
    at = AT + dt.timedelta(hours=hours)
    return decide(loop.work(), training_run, recorded_at=at, decided_by=who, reason=reason)


def champion(services) -> list[str]:
    return [known.version for known in services.tracker.versions("churn") if "champion" in known.aliases]


def rows(services) -> list[tuple[str, str, str, str]]:
    held = reversed(promotions.decisions(services.lake, "churn"))
    return [(row.version, row.decision, row.decided_by, row.reason) for row in held]


class TestApproval:
    @on_both
    def test_approved_is_champion_from_the_day_it_was_trained_as_of(self, approvals, services):
        decided = answer(approvals, challenge(approvals, SECOND))
        assert (decided.outcome, decided.version, decided.previous) == ("promoted", "2", "1")
        assert decided.effective_from == SECOND
        assert rows(services)[1:] == [("2", "promoted", "ada", "it is better")]
        assert champion(services) == ["2"]
        assert promotions.as_of(promotions.history(services.lake, "churn"), FIRST).version == "1"

    def test_rejected_leaves_the_alias_and_writes_a_row(self, approvals, services):
        training_run = challenge(approvals, SECOND)
        decided = answer(approvals, training_run, "reject", reason="it drifts")
        assert (decided.outcome, decided.effective_from) == ("rejected", None)
        assert rows(services)[1:] == [("2", "rejected", "ada", "it drifts")]
        assert champion(services) == ["1"]
        assert promotions.current(promotions.history(services.lake, "churn")).version == "1"
        assert approvals.predict(THIRD).model_version == "1"

    def test_what_was_rejected_is_not_asked_again(self, approvals):
        training_run = challenge(approvals, SECOND)
        answer(approvals, training_run, "reject", reason="it drifts")
        again = promote.run(approvals.work(), training_run, recorded_at=AT)
        assert (again.outcome, again.reason) == ("rejected", "Version 2 was rejected by ada: it drifts")

    def test_of_two_answers_one_counts(self, approvals, services):
        training_run = challenge(approvals, SECOND)
        answer(approvals, training_run)
        second = answer(approvals, training_run, who="bob", hours=1)
        assert second.reason.startswith("Version 2 became champion, from 2013-01-11 on (decided by ada).")
        with pytest.raises(BadInput, match=r"cannot be rejected any more\. .*decided by ada.*tailrace rollback churn"):
            answer(approvals, training_run, "reject", who="eve", hours=2)
        assert len(rows(services)) == 2

    def test_two_rejections_are_one_row_and_a_person_may_think_again(self, approvals, services):
        training_run = challenge(approvals, SECOND)
        answer(approvals, training_run, "reject")
        assert "was rejected by ada" in answer(approvals, training_run, "reject", who="bob", hours=1).reason
        assert len(rows(services)) == 2
        assert answer(approvals, training_run, who="bob", hours=2).outcome == "promoted"
        assert [row[1] for row in rows(services)] == ["promoted", "rejected", "promoted"]

    @pytest.mark.parametrize("later", [SECOND, THIRD], ids=["of the same day", "of a later day"])
    def test_an_overtaken_approval_says_by_whom(self, approvals, services, later):
        waiting = challenge(approvals, SECOND)
        answer(approvals, challenge(approvals, later, seed=8), who="bob")
        with pytest.raises(BadInput) as raised:
            answer(approvals, waiting, hours=1)
        text = str(raised.value)
        assert "the approval of version 2 was overtaken. It was judged against version 1" in text
        assert f"Version 3 became champion, from {later} on (decided by bob)." in text
        assert champion(services) == ["3"]
        assert len(rows(services)) == 2
        assert answer(approvals, waiting, "reject", hours=2).outcome == "rejected"

    def test_an_approval_older_than_the_champion_names_a_way_that_leads_on(self, approvals):
        """Judged again, it would still be older."""
        waiting = challenge(approvals, SECOND)
        answer(approvals, challenge(approvals, THIRD, seed=8))
        with pytest.raises(BadInput, match=rf"tailrace promote churn --run {waiting} --from {THIRD} --reason"):
            answer(approvals, waiting)
        of_person = {"recorded_at": AT, "decided_by": "ada", "reason": "r"}
        assert promote.run(approvals.work(), waiting, takes_over=THIRD, **of_person).effective_from == THIRD

    def test_of_two_trainings_at_once_the_gate_promotes_only_what_was_compared_with_the_champion(
        self, approvals, services
    ):
        approvals.spec = replace(approvals.spec, gate=replace(approvals.spec.gate, approval="auto"))
        first, second = (train.run(approvals.work(), day, seed=7).training_run for day in (SECOND, THIRD))
        for each in (first, second):
            evaluate.run(approvals.work(), each)
        assert promote.run(approvals.work(), first, recorded_at=AT).outcome == "promoted"
        overtaken = (
            r"the gate's judgement of version 3 was overtaken\. It was judged against version 1.*run evaluate churn"
        )
        with pytest.raises(BadInput, match=overtaken):
            promote.run(approvals.work(), second, recorded_at=AT)
        assert champion(services) == ["2"]
        evaluate.run(approvals.work(), second)
        assert promote.run(approvals.work(), second, recorded_at=AT).previous == "2"
        assert champion(services) == ["3"]

    @pytest.mark.parametrize("gate", ["human", "auto"])
    def test_what_a_person_promoted_from_a_later_day_stays_so(self, approvals, services, gate):
        training_run = challenge(approvals, SECOND)
        of_person = {"recorded_at": AT, "decided_by": "ann", "reason": "after the holiday"}
        promote.run(approvals.work(), training_run, takes_over=THIRD, **of_person)
        with pytest.raises(BadInput, match=r"cannot be rejected any more\. .*from 2013-01-12 on \(decided by ann\)"):
            answer(approvals, training_run, "reject", who="timeout", reason="Nobody answered.")
        approvals.spec = replace(approvals.spec, gate=replace(approvals.spec.gate, approval=gate))
        cleared = promote.run(approvals.work(), training_run, recorded_at=AT)
        assert (cleared.reason, cleared.effective_from) == ("It was promoted before; nothing changes.", THIRD)
        approved = answer(approvals, training_run, hours=1)
        assert approved.reason.endswith("from 2013-01-12 on (decided by ann). Nothing changes.")
        assert rows(services)[1:] == [("2", "promoted", "ann", "after the holiday")]

    def test_nobody_approves_what_the_gate_refuses(self, approvals, spec):
        approvals.spec = replace(spec, gate=Gate(floor=0.99, approval="human"))
        training_run = approvals.train(SECOND, seed=7).training_run
        evaluate.run(approvals.work(), training_run)
        with pytest.raises(GateRefused, match=r"at least 0\.99 is needed"):
            answer(approvals, training_run)

    def test_the_alias_is_set_again_if_the_tracker_was_away(self, approvals, services):
        training_run = challenge(approvals, SECOND)
        answer(approvals, training_run)
        services.tracker.set_alias("churn", "champion", "1")
        answer(approvals, training_run)
        assert champion(services) == ["2"]

    def test_a_user_called_gate_is_a_person(self, approvals, services):
        assert answer(approvals, challenge(approvals, SECOND), who="gate").outcome == "promoted"
        assert champion(services) == ["2"]

    def test_a_challenger_is_named_by_its_run_or_its_version(self, approvals, services, spec):
        training_run = challenge(approvals, SECOND)
        assert (
            promote.run_of(work(services, spec), "2")
            == promote.run_of(work(services, spec), training_run)
            == training_run
        )
        with pytest.raises(UnknownName, match="There is no version or training run of churn '7'"):
            promote.run_of(work(services, spec), "7")


class TestTheCard:
    def card(self, loop, training_run: str) -> tuple[Comparison, str]:
        compared = evaluate.comparison_of(loop.services, training_run)
        decision = evaluate.decision_of(loop.services, training_run)
        return compared, approval_card.write(loop.spec, compared, decision, {"MLflow run": "http://mlflow/1"})

    def test_it_shows_what_a_person_needs(self, approvals):
        champion = promotions.history(approvals.services.lake, "churn")[0]
        first = evaluate.comparison_of(approvals.services, champion.training_run)
        assert (first.champion, first.changes) == (None, ())
        compared, card = self.card(approvals, challenge(approvals, SECOND))
        assert (compared.version, compared.champion, compared.holdout_rows) == ("2", "1", 300)
        assert compared == Comparison.from_json(compared.to_json())
        for row in compared.metrics:
            low, high = row.challenger_interval
            assert low <= row.challenger <= high
            low, high = row.difference
            assert low <= row.challenger - row.champion <= high
        assert {row.value for row in compared.slices} == {"free", "plus", "pro"}
        assert sum(one.rows for one in compared.calibration if one.model == "champion") == 300
        changed = {(row.kind, row.what): (row.champion, row.challenger) for row in compared.changes}
        assert changed["parameters", "seed"] == ("1", "7")
        assert changed["data", "trained as of"] == ("2013-01-09", "2013-01-11")
        assert changed["data", "features, days"] == ("2013-01-03 to 2013-01-08", "2013-01-05 to 2013-01-10")
        for text in (
            "version 2",
            "version 1",
            "95 % intervals",
            "plan = pro",
            "true share",
            "within 3 days",
            "2013-01-11",
        ):
            assert text in card
        assert "[MLflow run](<http://mlflow/1>)" in card

    def test_features_that_came_and_went_are_named(self, approvals, spec):
        columns = {name: kind for name, kind in spec.features.columns.items() if name != "visits"}
        approvals.spec = replace(approvals.spec, features=replace(spec.features, columns=columns))
        compared, _ = self.card(approvals, challenge(approvals, SECOND))
        features = [(row.what, row.champion, row.challenger) for row in compared.changes if row.kind == "features"]
        assert features == [("visits", "numeric", "–")]

    def test_markup_in_a_description_is_text(self, approvals):
        approvals.spec = replace(approvals.spec, description="<script>alert(1)</script> | [x](javascript:alert(1))")
        _, card = self.card(approvals, challenge(approvals, SECOND))
        assert "\\<script\\>alert(1)\\</script\\> \\| \\[x\\](javascript:alert(1))" in card


class TestRollback:
    def back(self, loop, version: str, takes_over: dt.date | None = None, reason: str = "2 drifts"):
        at = {"recorded_at": AT + dt.timedelta(days=1), "decided_by": "ada", "reason": reason}
        return promote.roll_back(loop.work(), version, takes_over=takes_over, **at)

    @on_both
    def test_a_former_champion_is_champion_from_the_first_unpublished_day(self, approvals, services):
        answer(approvals, challenge(approvals, SECOND))
        assert approvals.predict(THIRD).model_version == "2"
        decided = self.back(approvals, "1")
        assert (decided.outcome, decided.previous) == ("rolled_back", "2")
        assert decided.effective_from == THIRD + dt.timedelta(days=1)
        assert rows(services)[-1] == ("1", "rolled_back", "ada", "2 drifts")
        assert champion(services) == ["1"]
        again = score.run(approvals.work("again"), THIRD)
        assert again.already, "a backfill finds what is published to be what it would publish"
        assert approvals.predict(dt.date(2013, 1, 13)).model_version == "1"

    def test_a_dry_run_says_what_it_would_do_and_does_nothing(self, approvals, services):
        answer(approvals, challenge(approvals, SECOND))
        before = rows(services)
        for version in ("1", "2"):
            at = {"recorded_at": AT, "decided_by": "ada", "reason": "2 drifts", "dry_run": True}
            if version == "1":
                decided = promote.roll_back(approvals.work(), version, **at)
                assert (decided.previous, decided.effective_from) == ("2", SECOND)
            else:
                with pytest.raises(BadInput, match="is the champion already"):
                    promote.roll_back(approvals.work(), version, **at)
        assert rows(services) == before
        assert champion(services) == ["2"]

    def test_the_day_can_be_named_and_has_to_have_an_effect(self, approvals):
        answer(approvals, challenge(approvals, SECOND))
        with pytest.raises(BadInput, match=r"version 2 is champion from 2013-01-11 on.*--from 2013-01-11"):
            self.back(approvals, "1", FIRST)
        assert self.back(approvals, "1", THIRD).effective_from == THIRD
        assert approvals.predict(SECOND).model_version == "2"
        assert approvals.predict(THIRD).model_version == "1"

    def test_nobody_takes_over_far_ahead(self, approvals, services):
        training_run = challenge(approvals, SECOND)
        far = dt.date(2130, 1, 1)
        with pytest.raises(BadInput, match=r"from 2130-01-01 on: that is far ahead.*Name a day up to 2013-03-01"):
            promote.run(approvals.work(), training_run, recorded_at=AT, decided_by="ada", reason="r", takes_over=far)
        answer(approvals, training_run)
        with pytest.raises(BadInput, match="from 2130-01-01 on: that is far ahead"):
            self.back(approvals, "1", far)
        assert champion(services) == ["2"]
        assert len(rows(services)) == 2

    def test_only_former_champions_can_be_rolled_back_to(self, approvals, services):
        answer(approvals, challenge(approvals, SECOND))
        answer(approvals, challenge(approvals, THIRD), "reject")
        for version in ("3", "9"):
            with pytest.raises(UnknownName, match=rf"no former champion of churn '{version}'\..*Known: 1, 2\."):
                self.back(approvals, version)
        with pytest.raises(BadInput, match="version 2 is the champion already, from 2013-01-11 on"):
            self.back(approvals, "2")
        assert len(rows(services)) == 3

    def test_rolled_back_again_changes_nothing_but_sets_the_alias(self, approvals, services):
        answer(approvals, challenge(approvals, SECOND))
        self.back(approvals, "1")
        services.tracker.set_alias("churn", "champion", "2")
        again = self.back(approvals, "1")
        assert (again.outcome, "Version 1 was rolled back to" in again.reason) == ("kept", True)
        assert champion(services) == ["1"]
        assert len(rows(services)) == 3

    def test_a_cleared_run_does_not_decide_over_a_later_decision(self, approvals, services):
        answer(approvals, challenge(approvals, SECOND))
        at = {"recorded_at": AT, "decided_by": "ada", "reason": "2 drifts", "airflow_run": "rollback__churn/manual 1"}
        first = promote.roll_back(approvals.work(), "1", **at)
        answer(approvals, challenge(approvals, THIRD, seed=8), who="bob")
        before = rows(services)
        again = promote.roll_back(approvals.work(), "1", **at)
        assert (again.outcome, again.effective_from) == ("kept", first.effective_from)
        assert again.reason == (
            "The run rollback__churn/manual 1 decided before: Version 1 was rolled back to, from 2013-01-11 on "
            "(decided by ada). Since then: Version 3 became champion, from 2013-01-12 on (decided by bob). Nothing "
            "changes. To decide once more, start another run."
        )
        assert (rows(services), champion(services)) == (before, ["3"])
        other = promote.roll_back(approvals.work(), "1", **at | {"airflow_run": "rollback__churn/manual 2"})
        assert other.outcome == "rolled_back"
        nameless = at | {"airflow_run": ""}
        answer(approvals, challenge(approvals, dt.date(2013, 1, 13), seed=9), who="bob")
        assert promote.roll_back(approvals.work(), "1", **nameless).outcome == "rolled_back"


def test_rows_of_before_there_were_decisions_are_promotions(services, spec):
    old = pa.schema([field for field in promotions.SCHEMA if field.name != "decision"])
    row = {"pipeline": "churn", "version": "1", "effective_from": FIRST, "recorded_at": AT, "reason": "r"}
    services.lake.append(promotions.TABLE, pa.Table.from_pylist([row], schema=old), {})
    assert [one.decision for one in promotions.history(services.lake, "churn")] == ["promoted"]


@on_both
def test_a_decision_adds_the_digests_column_to_the_table_of_an_earlier_release(services, spec):
    old = pa.schema([field for field in promotions.SCHEMA if field.name != "model_digest"])
    made = promotions.Promotion(
        pipeline="churn",
        version="1",
        effective_from=FIRST,
        recorded_at=AT,
        training_run="first",
        decided_by="ada",
        reason="r",
    )
    row = promotions.as_row(made)
    del row["model_digest"]
    services.lake.append(promotions.TABLE, pa.Table.from_pylist([row], schema=old), {"model_digest": "a" * 64} | RUN)
    promotions.record(services.lake, replace(made, version="2", training_run="second"), "b" * 64)
    assert [one.digest for one in promotions.decisions(services.lake, "churn")] == ["b" * 64, None]
    of = {run: promotions.with_digest(services.lake, Identity("", run)).digest for run in ("first", "second")}
    assert of == {"first": "a" * 64, "second": "b" * 64}, "the earlier one's is in its commit"
