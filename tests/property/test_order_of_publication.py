"""Whatever was decided before, days are published under the same policy in every order of their publication."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
from dataclasses import replace
from types import SimpleNamespace

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.champions import policies
from tailrace.errors import BadInput
from tailrace.lake.memory import MemoryLake
from tailrace.operations import thresholds
from tailrace.spec import PipelineSpec, Predictions
from tailrace.work import Work
from tests.stages.conftest import churn

PUBLISHED, *LATER = (dt.date(2013, 1, day) for day in range(10, 15))
BEFORE = dt.date(2013, 1, 8)
DECISIONS = st.lists(
    st.one_of(
        st.tuples(st.just("promotion"), st.sampled_from([PUBLISHED, *LATER])),
        st.tuples(st.just("threshold"), st.sampled_from([PUBLISHED, *LATER])),
        st.tuples(st.just("edit"), st.sampled_from([0.5, 0.6, 0.7])),
    ),
    max_size=5,
)


class Pipeline:
    """A pipeline whose policies are decided on, and whose days are published, in memory."""

    def __init__(self) -> None:
        self.lake, self.spec, self.hours = MemoryLake(), churn(), itertools.count()
        self.decide("promotion", BEFORE)

    def decide(self, kind: str, about: dt.date | float) -> None:
        at = dt.datetime(2013, 2, 1, tzinfo=dt.UTC) + dt.timedelta(hours=next(self.hours))
        if isinstance(about, float):
            self.spec: PipelineSpec = replace(self.spec, predictions=Predictions(threshold=about))
        elif kind == "promotion":
            of = {"version": str(at.hour), "recorded_at": at, "decided_by": "gate"}
            policies.record(self.lake, policies.with_promotion(self.lake, self.spec, about, **of))
        else:
            work = Work(services=SimpleNamespace(lake=self.lake), spec=self.spec, run_id="r")
            of_person = {"recorded_at": at, "decided_by": "ada", "reason": "r"}
            # Refused if it would have no effect.
            with contextlib.suppress(BadInput):
                thresholds.run(work, at.hour / 100, effective_from=about, **of_person)

    def publish(self, day: dt.date) -> float | None:
        now = policies.in_force(self.lake, self.spec, day)
        at = dt.datetime(2013, 3, 1, tzinfo=dt.UTC) + dt.timedelta(hours=next(self.hours))
        for row in policies.edited_spec(self.lake, self.spec, day, recorded_at=at, code="c"):
            policies.record(self.lake, row)
        rows = pa.table({"n": [1]}).to_reader()
        self.lake.publish(self.lake.stage(self.spec.predictions_table, day, "r", rows), {})
        return now.policy.threshold


def published(decided: list[tuple[str, dt.date | float]], order: list[dt.date], *, first: bool) -> dict[dt.date, float]:
    pipeline = Pipeline()
    if first:
        pipeline.publish(PUBLISHED)
    for kind, about in decided:
        pipeline.decide(kind, about)
    under = {day: pipeline.publish(day) for day in order}
    past = policies.history(pipeline.lake, "churn")
    assert {day: policies.recorded(past, day).policy.threshold for day in order} == under, "no day is stale at once"
    return under


@settings(max_examples=80, deadline=None)
@given(DECISIONS, st.permutations(LATER), st.booleans())
def test_a_day_has_the_same_threshold_in_every_order(decided, order, first):
    assert published(decided, order, first=first) == published(decided, LATER, first=first)


def test_an_edit_counts_on_every_day_after_the_last_published_one():
    decided = [("promotion", LATER[1]), ("edit", 0.6)]
    for order in itertools.permutations(LATER):
        assert set(published(decided, list(order), first=True).values()) == {0.6}
