"""What is said of predictions that move, for each kind of question."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from tailrace.impact.finding import TouchedPipeline
from tailrace.impact.pipeline_diff import (
    AFTER,
    BEFORE,
    ComparedPipeline,
    MetricChange,
    PipelineComparison,
    PipelineDiff,
    _beyond,
)
from tailrace.problems.multiclass import Multiclass
from tailrace.problems.regression import Regression
from tailrace.spec import Gate, PipelineSpec, Review

DAY = dt.date(2013, 3, 1)
ROWS = 40


def compared(
    folder: Path, spec: PipelineSpec, predictions: dict[str, dict[str, list]], edited: PipelineSpec | None = None
) -> PipelineDiff:
    """Predictions before and after an edit, compared as a diff does it."""
    chosen = ComparedPipeline(
        touched=TouchedPipeline(pipeline="churn", owners=()), before=spec, after=edited or spec, days=(DAY,)
    )
    made = PipelineComparison(None, None, chosen=chosen, warehouses={}, base_suites=folder, folder=folder)  # type: ignore[arg-type]
    made._left_range = lambda found: {}  # type: ignore[method-assign]  # it needs a champion's training
    customers = [f"{each:03d}" for each in range(ROWS)]
    features = pa.table({"customer": customers, "plan": ["free", "pro"] * (ROWS // 2), "event_time": customers})
    for side, its_spec in ((BEFORE, spec), (AFTER, edited or spec)):
        made._write("features", side, DAY, rows=features)
        rows = pa.table({"customer": customers, **predictions[side]})
        made._write("predictions", side, DAY, rows=made._with_former_names(its_spec, rows))
    found = PipelineDiff(pipeline="churn", days=(DAY,), predictions=made._compared("predictions", ["customer"]))
    return made._details(found, ["customer"])


@pytest.mark.parametrize("classes", [("few", "many"), (7, 8)])
def test_classes_flip_and_the_probabilities_of_the_predicted_ones_move(tmp_path, spec, classes):
    few, many = classes
    asked = replace(spec, outcome=replace(spec.outcome, problem=Multiclass(classes)))
    score = [0.6, 0.8] * (ROWS // 2)
    decision = [few, many] * (ROWS // 2)
    found = compared(
        tmp_path,
        asked,
        {
            BEFORE: {"score": score, "decision": decision},
            AFTER: {"score": [each + 0.1 for each in score], "decision": [many] * ROWS},
        },
    )
    assert found.flips == ROWS // 2
    assert found.shift == pytest.approx(1.0)  # the deviation of 0.6 and 0.8 is 0.1
    assert [(each.value, each.flips, round(each.mean_size, 9)) for each in found.slices] == [
        ("free", ROWS // 2, 0.1),
        ("pro", 0, 0.1),
    ]


def test_predictions_under_another_name_are_compared(tmp_path, spec):
    edited = replace(spec, predictions=replace(spec.predictions, score="chance", decision="leaves"))
    before = {"score": [0.2, 0.6] * (ROWS // 2), "decision": [False, True] * (ROWS // 2)}
    after = {"chance": [0.8, 0.6] * (ROWS // 2), "leaves": [True] * ROWS}
    found = compared(tmp_path, spec, {BEFORE: before, AFTER: after}, edited)
    assert (found.flips, found.moved) == (ROWS // 2, ROWS // 2)
    assert found.shift == pytest.approx(0.3 / 0.2)


def test_infinite_predictions_have_moved_beyond_every_limit(tmp_path, spec):
    asked = replace(spec, outcome=replace(spec.outcome, problem=Regression()), gate=Gate(metric="mae"))
    before = [float(each) for each in range(ROWS)]
    found = compared(tmp_path, asked, {BEFORE: {"score": before}, AFTER: {"score": [*before[:-1], math.inf]}})
    assert found.shift == math.inf
    back = compared(tmp_path, asked, {AFTER: {"score": before}, BEFORE: {"score": [*before[:-1], math.inf]}})
    assert back.shift == math.inf
    worse = replace(found, metrics=(MetricChange(metric="mae", before=1.0, after=math.inf, rows=ROWS),))
    limits = replace(asked, review=Review(max_loss=0.5))
    assert [said.partition(";")[0] for said in _beyond(limits, worse)] == [
        "scores move by inf standard deviations on average",
        "mae is inf worse",
    ]
