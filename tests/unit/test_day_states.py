"""The state of a day: a table of cases, and what must hold for every combination of records."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.champions.promotions import Promotion
from tailrace.contracts import Commit
from tailrace.operations import day_states
from tailrace.operations.day_states import Attempt, DayRecords

DAY = dt.date(2013, 3, 10)
NOON = dt.datetime(2013, 3, 11, 12, tzinfo=dt.UTC)
DAGS = {"warehouse": "warehouse", "predict": "predict__churn", "monitor": "monitor__churn"}


def hours(number: int) -> dt.datetime:
    return NOON + dt.timedelta(hours=number)


def commit(table: str, at: int, **metadata: str) -> Commit:
    return Commit(table=table, day=DAY, version="1", recorded_at=hours(at), rows=9, metadata=metadata)


def published(at: int = 0, version: str = "1", **metadata: str) -> Commit:
    return commit("predictions/churn", at, model_version=version, **metadata)


def run(task: str, at: int, outcome: str = "failed", error: str = "", **more) -> Attempt:
    name = task.rpartition(".")[2]
    kind = next((kind for kind, links in day_states.CHAIN.items() if name in links), "warehouse")
    return Attempt(
        dag_id=DAGS[kind], run_id="r", day=DAY, outcome=outcome, at=hours(at), task=task, error=error, **more
    )


def champion(version: str) -> Promotion:
    return Promotion(
        pipeline="churn",
        version=version,
        effective_from=DAY,
        recorded_at=NOON,
        training_run="",
        decided_by="ann",
        reason="better",
    )


def records(*runs: Attempt, **more) -> DayRecords:
    return DayRecords(day=DAY, attempts={each.kind: each for each in runs}, **more)


FEATURES = commit("features/churn", -1)
CASES = {
    "nothing is known": (records(), "not published", []),
    "published": (records(run("publish", 0, "success"), published=published()), "published", []),
    "features only": (records(features=FEATURES), "not published", []),
    "refused by the audit": (records(run("audit", 1), features=FEATURES), "refused", ["audit"]),
    "the audit could not reach the lake": (
        records(run("audit", 1, error="The lake does not answer."), features=FEATURES),
        "failed",
        ["audit"],
    ),
    "score failed": (records(run("score", 1, error="out of memory"), features=FEATURES), "failed", ["score"]),
    "refused by validate": (records(run("churn.validate", 1)), "refused", ["validate"]),
    "the build failed": (records(run("build", 1, error="dbt failed")), "failed", ["build"]),
    "a single dbt model failed": (records(run("build.orders", 1, error="dbt failed")), "failed", ["build"]),
    "validate refused, and score had nothing to score": (
        records(run("churn.validate", 1), run("score", 2, error="no features")),
        "refused",
        ["validate", "score"],
    ),
    "validate refused, and score waits in vain": (
        records(run("churn.validate", 1), run("score", 2, "running", "no features", waits=True)),
        "refused",
        ["validate"],
    ),
    "features were taken after the warehouse failed": (
        records(run("churn.validate", -2), features=FEATURES),
        "not published",
        [],
    ),
    "a rerun was refused": (records(run("audit", 1), published=published()), "published", ["audit"]),
    "published after it was refused": (records(run("audit", -1), published=published()), "published", []),
    "a later build was refused": (
        records(run("churn.validate", 1), features=FEATURES, published=published()),
        "published",
        ["validate"],
    ),
    "the monitor failed": (records(run("monitor", 1), published=published()), "published", ["monitor"]),
    "the monitor failed before it measured": (
        records(run("monitor", 1), published=published(), monitored=commit("performance/churn", 2)),
        "published",
        [],
    ),
    "a run scores": (records(run("score", 1, "running"), features=FEATURES), "running", []),
    "a run scores again": (records(run("score", 1, "running"), published=published()), "running", []),
    "the warehouse builds": (records(run("build", 1, "running")), "running", []),
    "the warehouse builds a published day again": (
        records(run("build", 1, "running"), published=published()),
        "published",
        [],
    ),
    "another champion since": (records(published=published(), champion=champion("2")), "out of date", []),
    "the same champion": (records(published=published(), champion=champion("1")), "published", []),
    "a version that a person asked for": (
        records(published=published(model_choice="1"), champion=champion("2")),
        "published",
        [],
    ),
    "newer features": (records(published=published(), newer_features=True), "out of date", []),
    "out of date, and a rerun was refused": (
        records(run("audit", 1), published=published(), newer_features=True),
        "out of date",
        ["audit"],
    ),
}


@pytest.mark.parametrize(("known", "status", "broken"), CASES.values(), ids=CASES)
def test_the_state_of_a_day(known, status, broken):
    state = day_states.of(known, due=True)
    assert (state.status, [each.name for each in state.broken]) == (status, broken)


def test_a_day_that_is_not_due_is_not_missing():
    assert day_states.of(records(), due=False).status == "not due"
    assert day_states.of(records(run("score", 1, error="no features")), due=False).status == "not due"


class TestMany:
    def states(self, *known: DayRecords, today: dt.date = dt.date(2013, 3, 31)):
        return day_states.all_of(known, today)

    def on(self, number: int, **more) -> DayRecords:
        return DayRecords(day=dt.date(2013, 3, number), attempts=more.pop("attempts", {}), **more)

    def test_days_between_known_ones_are_due_and_no_others(self):
        asked = {"predict": run("score", 9, error="no features")}
        states = self.states(
            self.on(1, attempts=asked),
            self.on(3, published=published()),
            self.on(4),
            self.on(5, scheduled=False),
            self.on(6, published=published()),
            self.on(25, attempts=asked),
        )
        assert [each.status for each in states.values()] == [
            "not due",
            "published",
            "not published",
            "not due",
            "published",
            "not due",
        ]
        assert day_states.headline(states).day == dt.date(2013, 3, 6)
        assert day_states.open_days(states) == {"not published": [dt.date(2013, 3, 4)]}

    def test_a_scheduled_run_makes_its_day_due_but_no_day_after_today(self):
        night = {"predict": run("score", 9, error="no features", scheduled=True)}
        states = self.states(self.on(3, published=published()), self.on(5, attempts=night), today=dt.date(2013, 3, 5))
        assert day_states.headline(states).status == "failed"
        states = self.states(self.on(3, published=published()), self.on(5, attempts=night), today=dt.date(2013, 3, 4))
        assert day_states.headline(states).status == "published"

    def test_a_mistyped_night_of_the_warehouse_makes_no_day_due(self):
        mistyped = {"warehouse": run("ingest", 9, error="the source has no such day")}
        states = self.states(self.on(3, published=published()), self.on(25, attempts=mistyped))
        assert day_states.headline(states).day == dt.date(2013, 3, 3)
        refused = {"warehouse": run("churn.validate", 9)}
        states = self.states(self.on(3, published=published()), self.on(25, attempts=refused))
        assert day_states.headline(states).status == "refused"

    def test_a_published_day_that_was_refused_again_is_among_the_refused(self):
        states = self.states(
            self.on(3, published=published(), attempts={"predict": run("audit", 1)}),
            self.on(4, published=published(), attempts={"monitor": run("monitor", 1)}),
            self.on(5, published=published(), newer_features=True),
        )
        assert {status: [day.day for day in days] for status, days in day_states.open_days(states).items()} == {
            "refused": [3],
            "failed": [4],
            "out of date": [5],
        }

    def test_nothing_known_has_no_headline(self):
        assert day_states.headline(self.states()) is None


TASKS = {"warehouse": ["ingest", "build", "churn.validate", "churn.snapshot"], "predict": ["score", "audit", "publish"]}
ATTEMPTS = {
    kind: st.none()
    | st.builds(
        run,
        st.sampled_from(TASKS.get(kind, ["monitor"])),
        st.integers(-3, 3),
        st.sampled_from(["success", "failed", "running", "queued"]),
        st.sampled_from(["", "is refused: no", "MLflow does not answer."]),
        waits=st.booleans(),
        scheduled=st.booleans(),
    )
    for kind in DAGS
}
COMMITS = {
    "published": st.none() | st.builds(published, st.integers(-3, 3), st.sampled_from(["1", "2"])),
    "features": st.none() | st.builds(commit, st.just("features/churn"), st.integers(-3, 3)),
    "monitored": st.none() | st.builds(commit, st.just("performance/churn"), st.integers(-3, 3)),
}


@settings(deadline=None, max_examples=150)
@given(
    runs=st.fixed_dictionaries(ATTEMPTS),
    made=st.fixed_dictionaries(COMMITS),
    champion=st.none() | st.sampled_from([champion("1"), champion("2")]),
    newer=st.booleans(),
    due=st.booleans(),
)
def test_every_combination_of_records_has_one_state(runs, made, champion, newer, due):
    attempts = [each for each in runs.values() if each]
    state = day_states.of(records(*attempts, **made, champion=champion, newer_features=newer), due=due)
    # What is published stays shown as published, whatever failed since.
    assert (state.published is not None) == (made["published"] is not None)
    if made["published"] is not None:
        assert state.status in ("published", "out of date", "running")
    else:
        assert state.status in ("refused", "failed", "running", "not published", "not due")
        assert not state.outdated
    # A refusal or failure that is newer than what it would have replaced is never hidden.
    latest = runs["predict"]
    if latest and latest.outcome == "failed" and (not made["published"] or latest.at > made["published"].recorded_at):
        assert latest in [each.attempt for each in state.broken]
        assert state.status not in ("published", "out of date") or made["published"]
    # One that is older is history.
    assert all(
        made[{"warehouse": "features", "predict": "published", "monitor": "monitored"}[each.attempt.kind]] is None
        or each.attempt.at
        > made[{"warehouse": "features", "predict": "published", "monitor": "monitored"}[each.attempt.kind]].recorded_at
        for each in state.broken
    )
    order = list(itertools.chain.from_iterable(day_states.CHAIN.values()))
    places = [order.index(each.name) for each in state.broken]
    assert places == sorted(places), "the first broken link comes first"
    if state.status in ("refused", "failed"):
        assert state.first_broken is not None
        assert state.first_broken.refused == (state.status == "refused")
