"""The laws that hold for every kind of question, and the sentences about wrong ones."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_sample_weight  # noqa: TID253 - what the weights must equal

import tailrace
from tailrace.problems import Problem, as_array, as_batch, from_description
from tailrace.problems.binary import Binary
from tailrace.problems.metrics import METRICS
from tailrace.problems.multiclass import Multiclass
from tailrace.problems.regression import Regression
from tailrace.spec import Features, Gate, Predictions, problems_of

CLASSES = Multiclass(classes=("negative", "neutral", "positive"))
INTERVALS = Regression(link="log", intervals=(0.1, 0.9))
CALIBRATED = Binary(class_weight={True: 5.0, False: 1.0}, calibration="isotonic")
WEIGHTED = replace(CLASSES, class_weight="balanced")
KINDS: tuple[Problem, ...] = (
    Binary(),
    CALIBRATED,
    CLASSES,
    WEIGHTED,
    Regression(),
    Regression(link="log"),
    INTERVALS,
)


@dataclass(frozen=True)
class Rows:
    labels: np.ndarray
    predictions: np.ndarray


def rows_of(problem: Problem, seed: int, count: int = 60) -> Rows:
    random = np.random.default_rng(seed)
    labels = problem.made_up_labels(count)
    if "low" in problem.raw_columns:
        scores = labels + random.normal(5, 1, count)
        return Rows(labels, np.column_stack([scores, scores - random.random(count), scores + random.random(count)]))
    if len(problem.raw_columns) > 1:
        return Rows(labels, random.dirichlet([1.0] * len(problem.raw_columns), count))
    return Rows(labels, random.random(count) if problem.label_values else labels + random.normal(5, 1, count))


def told_by_parts(problem: Problem, labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """The metrics as a cluster computes them: from what two batches add to the sums of each group."""
    halves = (slice(0, len(labels) // 2), slice(len(labels) // 2, None))
    both = pa.concat_tables(pa.table(problem.tally(labels[half], predictions[half])) for half in halves)
    names = [name for name in both.column_names if name != "group"]
    added = both.group_by("group").aggregate([(name, "sum") for name in names]).sort_by("group")
    return problem.of_tally(added.rename_columns(["group", *names]))


@pytest.mark.parametrize("problem", KINDS, ids=repr)
@settings(deadline=None, max_examples=30)  # the first example imports scikit-learn
@given(seed=st.integers(0, 1000))
def test_metrics_are_the_same_with_equal_weights_and_from_parts_that_are_added_up(problem, seed):
    rows = rows_of(problem, seed)
    measured = problem.measure(rows.labels, rows.predictions)
    ones = np.ones(len(rows.labels))
    weighted = {name: problem.weighted(name, rows.labels, rows.predictions)(ones) for name in measured}
    told = told_by_parts(problem, rows.labels, rows.predictions)
    assert weighted == pytest.approx(measured, abs=1e-6)
    # Scores within one in a million count as equal, which moves a ranking metric of few rows.
    assert told == pytest.approx(measured, abs=1e-3)


def test_the_order_in_which_a_cluster_adds_large_numbers_does_not_change_the_metrics():
    problem, random = Regression(link="log"), np.random.default_rng(0)
    labels = random.gamma(2, 4e6, 5000)
    predictions = labels * random.normal(1, 0.1, 5000).clip(min=0)

    def metrics(order):
        return told_by_parts(problem, labels[order], predictions[order])

    in_order = metrics(np.arange(5000))
    assert metrics(random.permutation(5000)) == in_order
    assert in_order == pytest.approx(problem.measure(labels, predictions))


def normal(mean: float, deviation: float) -> np.ndarray:
    return np.random.default_rng(1).normal(mean, deviation, 4000)


@pytest.mark.parametrize(
    ("labels", "error"),
    [
        (np.arange(20130401.0, 20130431), 0.5),
        (normal(1.7e9, 1000), 100.0),
        (normal(-1.7e12, 3.6e6), 3.6e5),
        (np.arange(2.0**24 - 20, 2.0**24 + 20), 1.0),
        (normal(0, 3), 1.0),
        (np.repeat([0.0, -0.0, 1.0], 5), 0.1),
    ],
    ids=["days", "seconds", "milliseconds", "around a power of two", "around zero", "few values"],
)
def test_r2_is_right_however_large_the_labels_are_beside_their_spread(labels, error):
    problem, predictions = Regression(), labels + error * np.resize([1.0, -1.0], len(labels))
    # The deviations from the first label are exact, and small numbers lose no digits.
    right = 1 - np.mean((predictions - labels) ** 2) / np.var(labels - labels[0])
    assert problem.measure(labels, predictions)["r2"] == pytest.approx(right, abs=1e-9)
    assert told_by_parts(problem, labels, predictions)["r2"] == pytest.approx(right, abs=2e-9)
    twice = np.resize([2, 0], len(labels))
    repeated = problem.value("r2", np.repeat(labels, twice), np.repeat(predictions, twice))
    assert problem.weighted("r2", labels, predictions)(twice) == pytest.approx(repeated, abs=1e-9)


@pytest.mark.parametrize("label", [0.0, 0.1, -7.3, 20130401.3, 1.7e12])
def test_r2_of_equal_labels_is_not_defined(label):
    labels, predictions = np.full(1001, label), label + np.linspace(-1, 1, 1001)
    assert math.isnan(Regression().value("r2", labels, predictions))
    assert math.isnan(told_by_parts(Regression(), labels, predictions)["r2"])
    one_value = np.append(labels, label + 5), np.append(predictions, label)
    assert math.isnan(Regression().weighted("r2", *one_value)(np.append(np.ones(1001), 0)))


@pytest.mark.parametrize("problem", KINDS, ids=repr)
def test_predictions_come_back_from_what_was_published(problem):
    rows, columns = rows_of(problem, seed=1), Predictions()
    raw = as_batch(problem, rows.predictions)
    assert np.array_equal(as_array(raw), rows.predictions)
    names = [name for _, name in problem.published_names(columns)]
    published = pa.table(problem.published(columns, raw), names=names)
    assert tuple(published.schema.types) == problem.published_types(columns)
    assert np.array_equal(problem.of_published(columns, published), rows.predictions)
    told_by = problem.drift_values(published[problem.drift_column(columns)])
    assert np.array_equal(told_by, problem.drift_of(rows.predictions))
    assert from_description(json.loads(json.dumps(problem.described()))) == problem


def test_the_published_class_is_the_most_probable_one():
    raw = as_batch(CLASSES, np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]]))
    score, decision, *_ = CLASSES.published(Predictions(), raw)
    assert (score.to_pylist(), decision.to_pylist()) == ([0.5, 0.6], ["neutral", "negative"])


def test_a_count_is_never_predicted_below_zero():
    predicted = np.array([-1.0, 2.0])
    assert as_array(as_batch(Regression(link="log"), predicted)).tolist() == [0.0, 2.0]
    assert as_array(as_batch(Regression(), predicted)).tolist() == [-1.0, 2.0]


@pytest.mark.parametrize(
    ("problem", "labels", "sentence"),
    [
        (Regression(), pa.array([1.0, float("nan")]), "nan"),
        (Regression(), pa.array([1.0, float("inf")]), "inf"),
        (Regression(), pa.array([2**53 + 2]), str(2**53 + 2)),
        (Regression(), pa.array([True]), "bool"),
        (Regression(link="log"), pa.array([3, -1]), "-1"),
        (CLASSES, pa.array(["neutral", "angry"]), "angry"),
        (CLASSES, pa.array([1, 2]), "int64"),
        (Multiclass(classes=(1, 2, 3)), pa.array([1, 4]), "4"),
        (Multiclass(classes=(1, 300)), pa.array([1, 2], pa.int8()), "2"),
        (Multiclass(classes=(1, 300)), pa.array([1, 2**64 - 1], pa.uint64()), str(2**64 - 1)),
        (Binary(), pa.array([0, 2]), "2"),
        (Binary(), pa.array(["yes"]), "string"),
    ],
)
def test_labels_of_another_kind_are_named(problem, labels, sentence):
    assert problem.wrong_labels(pa.chunked_array([labels])).what == sentence


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.uint64()], ids=str)
def test_whole_numbers_of_every_type_are_classes(kind):
    column = pa.chunked_array([pa.array([100, 1, None], kind)])
    problem = Multiclass(classes=(1, 300, 100))
    assert problem.wrong_labels(column) is None
    assert problem.encoded(column).to_pylist() == [2, 0, None]


def test_the_type_of_labels_alone_is_judged_without_pandas():
    """`tailrace check` judges types; pyarrow imports pandas to make a value or an array: 0.4 seconds."""
    program = """
import sys, pyarrow as pa
from tailrace import Binary, Multiclass, Regression
for problem, right, wrong in (
    (Binary(), pa.int64(), pa.string()),
    (Multiclass(classes=("a", "b")), pa.string(), pa.int64()),
    (Regression(link="log"), pa.int64(), pa.string()),
):
    assert problem.wrong_labels(pa.chunked_array([], right)) is None
    assert problem.wrong_labels(pa.chunked_array([], wrong)).what == str(wrong)
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("problem", KINDS, ids=repr)
def test_unknown_outcomes_are_no_wrong_labels(problem):
    kind = pa.string() if problem.label_kind == "text" else pa.int64()
    column = pa.chunked_array([pa.nulls(3, kind)])
    assert problem.wrong_labels(column) is None
    assert problem.encoded(column).null_count == 3


FEATURES = Features(key=("item",), event_time="at", columns={"units_last_week": "numeric", "shop": "categorical"})


@pytest.mark.parametrize(
    ("problem", "gate", "sentence"),
    [
        (Regression(), Gate(metric="mae", floor=0.5), "lower is better for mae; say gate.ceiling"),
        (Binary(), Gate(metric="roc_auc", ceiling=0.5), "higher is better for roc_auc; say gate.floor"),
        (Regression(), Gate(metric="mae"), "gate has no limit for mae"),
        (Regression(), Gate(metric="roc_auc", floor=0.5), "gate.metric is 'roc_auc'; it must be one of mae, rmse, r2"),
        (Regression(), Gate(metric="mae", beat="units_last_weak"), "Did you mean 'units_last_week'?"),
        (Regression(), Gate(metric="mae", beat="shop"), "gate.beat is 'shop', which is categorical"),
        (CLASSES, Gate(metric="macro_f1", beat="mean"), "gate.beat is 'mean'; it must be one of prior"),
        (CLASSES, Gate(metric="accuracy", floor=2), "accuracy is always between 0 and 1"),
    ],
)
def test_a_gate_that_does_not_suit_the_question_is_one_sentence(problem, gate, sentence):
    (found,) = gate.completed(problem).problems(FEATURES, problem)
    assert sentence in found


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [
        (Multiclass(classes=("one",)), "at least 2 classes"),
        (Multiclass(classes=("a", "A")), "take no notice of capitals"),
        (Multiclass(classes=("a b", "c")), "only letters, digits and underscores"),
        (Multiclass(classes=(1, 2**63)), f"has {2**63}; a class is at most {2**63 - 1}"),
        (Multiclass(classes=("a", 1)), "all texts or all whole numbers"),  # type: ignore[arg-type]
        (Regression(link="logit"), "must be one of identity, log"),  # type: ignore[arg-type]
        (Regression(intervals=(0.1, 1.2)), "more than 0 and less than 1"),
        (Regression(intervals=(0.0, 0.9)), "more than 0 and less than 1"),
        (Regression(intervals=(0.9, 0.1)), "the lower one first"),
        (Regression(intervals=(0.5, 0.5)), "the lower one first"),
        (Regression(intervals=(0.1,)), "must be two quantiles"),
        (Regression(intervals=()), "must be two quantiles"),
        (Regression(intervals=(0.6, 0.9)), "one quantile must be less than 0.5"),
        (Binary(calibration="isotonous"), "must be one of sigmoid, isotonic, or None. Did you mean 'isotonic'?"),  # type: ignore[arg-type]
        (Binary(class_weight="balance"), "must be 'balanced', or a dict with each class's weight. Did you mean"),
        (Binary(class_weight={True: 2.0}), "has no weight for False; give every class one"),
        (Binary(class_weight={True: 2.0, False: 0.0}), "class_weight[False] is 0.0; a weight is a finite number"),
        (replace(CLASSES, class_weight={"negative": 1.0, "neutral": 1.0}), "has no weight for 'positive'"),
        (
            replace(CLASSES, class_weight={"negative": 1.0, "neutral": 1.0, "positive": 1.0, "positiv": 2.0}),
            "has 'positiv', which is no class; the classes are 'negative', 'neutral', 'positive'. Did you mean",
        ),
    ],
)
def test_a_problem_that_cannot_be_is_told(problem, sentence):
    (found,) = problem.problems()
    assert sentence in found


def test_what_is_wrong_inside_a_field_is_told(spec):
    """Not what the field might have been instead: a dict, a text or None."""

    def told(problem: Problem) -> list[str]:
        return problems_of(replace(spec, outcome=replace(spec.outcome, problem=problem)), estimators=False)

    assert told(Binary(class_weight={True: math.nan, False: 1.0})) == [
        "churn: outcome.problem.class_weight[True] is nan; it must be a finite number."
    ]
    assert "intervals[0] is '0.1'; it must be a finite number." in told(Regression(intervals=("0.1", 0.9)))[0]  # type: ignore[arg-type]
    no_keys: Any = [([True], 2.0), ([False], 1.0)]
    assert "class_weight is [([True], 2.0), ([False], 1.0)]" in told(Binary(class_weight=no_keys))[0]


def test_a_class_that_is_named_twice_is_told_once(spec):
    twice = replace(spec, outcome=replace(spec.outcome, problem=Multiclass(classes=("a", "b", "a"))))
    assert [each for each in problems_of(twice, estimators=False) if "'a'" in each] == [
        "churn: outcome.problem.classes has 'a' and 'a'; each class needs a column of its own, and databases take no "
        "notice of capitals."
    ]


def test_what_release_0_1_could_say_is_described_as_it_was():
    assert Binary().described() == {"kind": "binary"}
    assert Regression().described() == {"kind": "regression"}


@settings(deadline=None)
@given(labels=st.lists(st.integers(0, 2), min_size=1), seed=st.integers(0, 9))
def test_balanced_classes_weigh_the_same_and_all_rows_what_they_did(labels, seed):
    codes = np.array([*labels, 0, 1, 2], dtype=np.int32)
    own = np.random.default_rng(seed).random(len(codes)) + 0.1
    found = WEIGHTED.row_weights(codes, own)
    assert np.bincount(codes, weights=found) == pytest.approx(own.sum() / 3)
    assert WEIGHTED.row_weights(codes) == pytest.approx(compute_sample_weight("balanced", codes))


def test_weights_of_classes_multiply_those_of_rows():
    labels = np.array([True, False, True])
    assert CALIBRATED.row_weights(labels).tolist() == [5.0, 1.0, 5.0]
    assert CALIBRATED.row_weights(labels, np.array([1.0, 2.0, 3.0])).tolist() == [5.0, 2.0, 15.0]
    assert Binary().row_weights(labels) is None


def test_every_metric_of_a_kind_is_in_the_registry():
    for problem in KINDS:
        assert {metric.name for metric in problem.measured} <= set(METRICS)
        assert problem.search_metric in problem.metrics
        assert problem.gate_metric in problem.metrics


def test_without_the_file_of_regressions_only_regressions_are_gone(tmp_path):
    here = Path(tailrace.__file__).parent
    shutil.copytree(here, tmp_path / "tailrace", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tailrace" / "problems" / "regression.py").unlink()
    code = """
from tailrace import Binary, Multiclass
from tailrace.engines import local
from tailrace.orchestration import dags
from tailrace.stages import evaluate, monitor, score, train
try:
    from tailrace import Regression
except ModuleNotFoundError as error:
    print(error.name)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "AIRFLOW_HOME": str(tmp_path / "airflow")},
    )
    assert done.stdout.strip() == "tailrace.problems.regression", done.stderr
