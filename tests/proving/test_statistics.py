"""What published rows say of features: one that is missing only where the label is true, one that is the label."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tailrace.champions import promotions
from tailrace.champions.promotions import Promotion
from tailrace.days import span
from tailrace.lake.memory import MemoryLake
from tailrace.lineage import pins
from tailrace.proving import statistics
from tests.support import churn_rows, keyed

FIRST, LAST = dt.date(2013, 1, 1), dt.date(2013, 2, 14)
SECOND_MONTH = LAST - dt.timedelta(days=28)
NOON = dt.datetime(2013, 3, 1, 12, tzinfo=dt.UTC)


def publish(lake, table: str, day: dt.date, rows: pa.Table) -> None:
    lake.publish(lake.stage(table, day, f"r-{table}-{rows.num_rows}", rows.to_reader()), {})


def outcomes(rows: pa.Table, labels: pa.Array) -> pa.Table:
    moments = pa.array([NOON] * rows.num_rows, pa.timestamp("us", "UTC"))
    return pa.table({"customer": rows["customer"], "ds": rows["ds"], "known_at": moments, "left": labels})


@pytest.fixture(scope="module")
def lake():
    """Six weeks; in the last four, `note` is missing only for those who leave, and `mirror` is the label."""
    made = MemoryLake()
    for number, day in enumerate(span(FIRST, LAST)):
        rows, labels = churn_rows(20, seed=number)
        rows = keyed(rows, day).append_column("known_at", pa.array([NOON] * 20, pa.timestamp("us", "UTC")))
        late = day >= SECOND_MONTH
        nothing = pa.scalar(None, pa.string())
        note = pc.if_else(labels, nothing, "x") if late else pa.array(["x"] * 20)
        mirror = labels.cast(pa.int64()) if late else pa.array([number % 3] * 20, pa.int64())
        rows = rows.append_column("note", note).append_column("mirror", mirror)
        publish(made, "features/churn", day, rows)
        publish(made, "outcomes/churn", day, outcomes(rows, labels))
    return made


@pytest.fixture
def wide(spec):
    columns = {**spec.features.columns, "note": "categorical", "mirror": "numeric"}
    return replace(spec, features=replace(spec.features, columns=columns))


def test_features_that_tell_the_label_too_well_are_named(lake, wide):
    found = {each.column: each for each in statistics.suspicions(SimpleNamespace(lake=lake), wide)}
    assert set(found) == {"note", "mirror"}
    assert all(each.leak for each in found.values())
    assert "it is missing only where the label is true" in found["note"].why
    assert "it alone predicts the label nearly perfectly" in found["mirror"].why
    assert "; in the month before roc_auc was 0." in found["mirror"].why


def test_labels_that_changed_after_they_were_used_are_counted(spec):
    lake, day = MemoryLake(), FIRST
    rows, labels = churn_rows(20)
    rows = keyed(rows, day)
    publish(lake, spec.outcomes_table, day, outcomes(rows, labels))
    pin = lake.pin(spec.outcomes_table, first=day, last=day)
    promoted = Promotion(
        pipeline="churn",
        version="1",
        effective_from=day,
        recorded_at=NOON,
        training_run="t",
        decided_by="gate",
        reason="r",
    )
    promotions.record(lake, promoted)
    trained = SimpleNamespace(training_run="t", tags=pins.to_tags({"outcomes": pin}), pipeline="churn")
    known = SimpleNamespace(version="1", training_run="t", tags={})
    tracker = SimpleNamespace(versions=lambda name: [known], run=lambda run: trained)
    services = SimpleNamespace(lake=lake, tracker=tracker)
    assert statistics.changed_labels(services, spec) == []
    flipped = pa.array([not value if at < 3 else value for at, value in enumerate(labels.to_pylist())])
    publish(lake, spec.outcomes_table, day, outcomes(rows, flipped).slice(0, 19))
    (found,) = statistics.changed_labels(services, spec)
    assert "3 of 20 labels that version 1 learned from have changed since, and 1 are gone" in found.why
    assert not found.leak
