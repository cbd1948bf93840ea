"""Trainings that the schedule would have made: one that was missed is named until a later one is there."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from tailrace.reporting import model_report
from tailrace.spec import Schedule
from tailrace.training import missed_trainings
from tests.stages.conftest import LAST, installation, memory

MONDAY = dt.date(2013, 1, 14)


@pytest.fixture
def services(tmp_path, spec, monkeypatch):
    monkeypatch.setattr(model_report, "write", lambda folder, judged: None)
    return installation(memory, tmp_path, spec)


def test_the_last_scheduled_training_is_missed_until_one_as_of_it_or_later_is_there(loop, services, spec):
    assert missed_trainings.missed(services, spec) is None, "nothing is published"
    loop.take(last=dt.date(2013, 1, 13))
    assert missed_trainings.missed(services, spec) == dt.date(2013, 1, 7)
    loop.train(dt.date(2013, 1, 8))
    assert missed_trainings.missed(services, spec) is None, "a later one makes up for it"
    loop.take(LAST, LAST)
    assert missed_trainings.missed(services, spec) == MONDAY == LAST
    loop.train(MONDAY)
    assert missed_trainings.missed(services, spec) is None


def test_without_a_schedule_none_is_missed(loop, services, spec):
    loop.take()
    assert missed_trainings.missed(services, replace(spec, schedule=Schedule(train=None, predict=None))) is None


def test_what_lies_outside_of_the_schedule_is_not_missed(loop, services, spec):
    loop.take()

    def missed(**limits: dt.date) -> dt.date | None:
        return missed_trainings.missed(services, replace(spec, schedule=replace(spec.schedule, **limits)))

    assert missed(start=MONDAY, end=MONDAY) == MONDAY, "both included"
    assert missed(start=MONDAY + dt.timedelta(days=1)) is None
    assert missed(end=MONDAY - dt.timedelta(days=1)) == dt.date(2013, 1, 7), "the last before the end"
    assert missed(start=dt.date(2013, 1, 8), end=dt.date(2013, 1, 13)) is None
    assert missed(end=dt.date.max) == MONDAY
