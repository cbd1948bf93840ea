"""The stages in the order of a night, for each kind of question."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tailrace import days
from tailrace.champions import model_versions, policies
from tailrace.engines.local import LocalEngine
from tailrace.engines.scoring import check_question, score_stream
from tailrace.engines.spark.engine import SparkEngine
from tailrace.errors import AuditFailed, ContractBroken, SchemaMismatch, SignatureMismatch, TrainingFailed
from tailrace.monitoring import performance
from tailrace.operations import reproduce
from tailrace.problems import Problem
from tailrace.problems.binary import Binary
from tailrace.problems.multiclass import Multiclass
from tailrace.problems.regression import Regression
from tailrace.reporting import approval_card, model_report
from tailrace.settings import SparkSettings
from tailrace.spec import Audit, Candidate, Gate, PipelineSpec, SearchBudget, problems_of
from tailrace.stages import evaluate, monitor, promote, score
from tests.stages.conftest import FIRST, LAST, NOW, Installation, Loop, embedded, installation, memory
from tests.support import work

SPARK = SparkSettings(master="local[2]", driver_memory="1g", conf={"spark.sql.shuffle.partitions": "2"})
TRAINED, NEXT = FIRST.replace(day=9), FIRST.replace(day=10)


@dataclass(frozen=True)
class Kind:
    """A kind with its labels from the rows of the small installation, and what answers it."""

    problem: Problem
    labels: Callable[[pa.Table], pa.Array]
    candidates: tuple[Candidate, ...]
    gate: Gate
    on_spark: tuple[Candidate, ...]
    """What answers it with the engine `spark`: a candidate that trains on all executors, where there is one."""


def _plans(features: pa.Table) -> pa.Array:
    age = features["age"].to_numpy()
    return pa.array(np.select([np.nan_to_num(age) < 35, np.nan_to_num(age) < 55], ["young", "middle"], "old").tolist())


def _amounts(features: pa.Table) -> pa.Array:
    visits = features["visits"].cast(pa.float64()).to_numpy()
    return pa.array(np.round(np.nan_to_num(visits) * 3).astype(np.int64), pa.int64())


CLASSES = Kind(
    Multiclass(classes=("young", "middle", "old")),
    _plans,
    (
        Candidate("prior", "sklearn.dummy.DummyClassifier"),
        Candidate("logistic", "sklearn.linear_model.LogisticRegression"),
        Candidate("trees", "xgboost.XGBClassifier", {"n_estimators": 12}),
    ),
    Gate(metric="macro_f1", floor=0.3, beat="most_frequent", slices=("plan",)),
    (Candidate("big_trees", "xgboost.spark.SparkXGBClassifier", {"n_estimators": 12}),),
)
AMOUNTS = Kind(
    Regression(link="log"),
    _amounts,
    (
        Candidate("mean", "sklearn.dummy.DummyRegressor"),
        Candidate("linear", "sklearn.linear_model.LinearRegression"),
        Candidate("trees", "xgboost.XGBRegressor", {"n_estimators": 12}),
    ),
    Gate(metric="mae", ceiling=50.0, beat="mean", slices=("plan",)),
    (Candidate("big_linear", "pyspark.ml.regression.GeneralizedLinearRegression", {"regParam": 0.01}),),
)


RANGES = replace(
    AMOUNTS,
    problem=Regression(link="log", intervals=(0.1, 0.9)),
    on_spark=(Candidate("trees", "xgboost.XGBRegressor"),),
)


@pytest.fixture(params=[CLASSES, AMOUNTS, RANGES], ids=["classes", "amounts", "ranges"])
def kind(request) -> Kind:
    return request.param


def spec_of(spec: PipelineSpec, kind: Kind, candidates: tuple[Candidate, ...] = ()) -> PipelineSpec:
    return replace(
        spec,
        outcome=replace(spec.outcome, problem=kind.problem),
        candidates=candidates or kind.candidates,
        search=SearchBudget(trials=3),
        gate=kind.gate,
    )


def loop_of(make, tmp_path: Path, spec: PipelineSpec, kind: Kind, candidates: tuple[Candidate, ...] = ()) -> Loop:
    own = spec_of(spec, kind, candidates)
    services = installation(make, tmp_path, own)
    features, outcomes = (services.tables[f"{own.name}_{part}"] for part in ("features", "outcomes"))
    place = outcomes.schema.get_field_index(own.outcome.label)
    services.rebuild(**{f"{own.name}_outcomes": outcomes.set_column(place, own.outcome.label, kind.labels(features))})
    return Loop(services, own)


@pytest.fixture(params=["memory", "embedded", pytest.param("spark", marks=pytest.mark.spark)])
def loop(request, tmp_path, spec, kind) -> Loop:
    if request.param != "spark":
        return loop_of({"memory": memory, "embedded": embedded}[request.param], tmp_path, spec, kind)
    made = loop_of(embedded, tmp_path, spec, kind, kind.on_spark)
    made.services.engine = SparkEngine(SPARK)
    return made


def test_the_spec_can_run(spec, kind):
    assert problems_of(spec_of(spec, kind)) == []
    assert problems_of(spec_of(spec, kind, kind.on_spark)) == []


def test_a_night_from_the_warehouse_to_the_measured_predictions(loop):
    spec, services = loop.spec, loop.services
    loop.take()
    decided = loop.challenge(TRAINED)
    assert decided.outcome == "promoted"
    loop.predict(TRAINED)
    loop.predict(NEXT)

    names = [name for _, name in spec.problem.published_names(spec.predictions)]
    published = loop.published(NEXT)
    assert published.num_rows == 150
    assert set(names) <= set(published.column_names)
    model = model_versions.load(services, spec, "1")
    assert model.problem == spec.problem

    told = monitor.run(work(services, spec, "m"), NEXT.replace(day=11))
    assert told.outcomes == 300
    (row, _) = monitor.rows_of(services, spec)
    assert set(row["metrics"]) == {metric.name for metric in spec.problem.measured}
    assert row["drift"] in ("ok", "watch", "alarm")

    training_run = model_versions.trained_by(services, spec, services.lake.days(spec.predictions_table)[NEXT])
    compared = evaluate.comparison_of(services, training_run.training_run)
    assert {each.metric for each in compared.metrics} == set(row["metrics"])
    decision = evaluate.decision_of(services, training_run.training_run)
    assert any(f"the baseline {spec.gate.beat}" in rule.sentence for rule in decision.rules)
    card = approval_card.write(spec, compared, decision, {})
    assert spec.problem.calibration_words[0] in card
    assert reproduce.run(services, spec, training_run.training_run).same


def test_rows_count_by_their_weight_while_a_model_learns(tmp_path, spec):
    """And the weight is no input of the model: neither its signature nor its scoring has it."""
    plain = loop_of(memory, tmp_path / "plain", spec, AMOUNTS)
    columns = {name: kind for name, kind in spec.features.columns.items() if name != "visits"}
    weighing = replace(plain.spec, features=replace(plain.spec.features, columns=columns, weight="visits"))
    without = replace(weighing, features=replace(weighing.features, weight=None))
    models = []
    for place, each in enumerate((weighing, without)):
        loop = Loop(installation(memory, tmp_path / str(place), each), each)
        loop.services.rebuild(**plain.services.tables)
        loop.take()
        loop.train(TRAINED)
        loop.predict(NEXT, model="1")
        models.append(model_versions.load(loop.services, each, "1"))
        if each is weighing:
            record = model_versions.record_of(loop.services, each, "1")
            assert reproduce.run(loop.services, each, record.training_run).same
    assert set(models[0].features) == set(models[1].features) == {"plan", "age"}
    assert models[0].digest() != models[1].digest()


def test_wrong_labels_are_refused_before_anything_is_taken(tmp_path, spec, kind):
    loop = loop_of(memory, tmp_path, spec, kind)
    name = f"{loop.spec.name}_outcomes"
    outcomes = loop.services.tables[name]
    place = outcomes.schema.get_field_index("left")
    for wrong in (pa.array([True] * outcomes.num_rows), pa.array(["none of them"] * outcomes.num_rows)):
        loop.services.rebuild(**{name: outcomes.set_column(place, "left", wrong)})
        with pytest.raises(ContractBroken, match=r"label 'left' is .*; a label is"):
            loop.take(LAST, LAST)
    assert not loop.services.lake.exists(loop.spec.outcomes_table)


def test_labels_that_teach_nothing_are_refused(tmp_path, spec, kind):
    loop = loop_of(memory, tmp_path, spec, kind)
    name = f"{loop.spec.name}_outcomes"
    outcomes = loop.services.tables[name]
    place = outcomes.schema.get_field_index("left")
    one = outcomes["left"][0]
    loop.services.rebuild(**{name: outcomes.set_column(place, "left", pa.repeat(one, outcomes.num_rows))})
    loop.take()
    with pytest.raises(TrainingFailed, match=r"never have the class|have only one value"):
        loop.train(TRAINED)


@pytest.mark.parametrize("make", [memory, embedded])
def test_a_pipeline_may_begin_to_publish_intervals(make, tmp_path, spec):
    loop = loop_of(make, tmp_path, spec, AMOUNTS)
    loop.take()
    loop.challenge(TRAINED)
    loop.predict(TRAINED)

    loop.spec = spec_of(spec, RANGES)
    with pytest.raises(SignatureMismatch, match=r"version 1 was trained for .* does not predict low, high"):
        loop.predict(NEXT)
    loop.train(NEXT)
    with pytest.raises(SchemaMismatch, match=r"has no score_low, score_high yet, which .* a dry run adds nothing"):
        score.run(loop.work(), NEXT, model="2", dry_run=True)
    assert "score_low" not in loop.services.lake.schema(loop.spec.predictions_table).names
    loop.predict(NEXT, model="2")
    score.run(loop.work(), NEXT, model="2", dry_run=True)
    earlier, later = loop.published(TRAINED), loop.published(NEXT)
    assert (earlier["score_low"].null_count, later["score_low"].null_count) == (150, 0)
    monitor.run(work(loop.services, loop.spec, "m"), NEXT.replace(day=11))
    earlier, later = monitor.rows_of(loop.services, loop.spec)
    assert set(later["metrics"]) - set(earlier["metrics"]) == {"pinball", "coverage"}
    assert earlier["known_outcomes"] == later["known_outcomes"] == 150


@pytest.mark.parametrize("make", [memory, embedded])
def test_days_have_the_ends_of_intervals_that_their_policy_asks_for(make, tmp_path, spec):
    loop = loop_of(make, tmp_path, spec, AMOUNTS, AMOUNTS.candidates[1:2])
    loop.take()
    loop.challenge(TRAINED)
    loop.predict(TRAINED)

    loop.spec = spec_of(spec, RANGES, RANGES.candidates[1:2])
    training_run = loop.train(NEXT).training_run
    evaluate.run(loop.work(), training_run)
    promote.run(loop.work(), training_run, recorded_at=NOW, decided_by="ann", reason="intervals")
    loop.predict(NEXT)
    loop.predict(TRAINED, run="again")
    assert [loop.published(day)["score_high"].null_count for day in (TRAINED, NEXT)] == [150, 0]

    off = replace(loop.spec, outcome=replace(loop.spec.outcome, problem=AMOUNTS.problem))
    Loop(loop.services, off).predict(NEXT.replace(day=11))
    later = loop.published(NEXT.replace(day=11))
    assert (later["score"].null_count, later["score_low"].null_count) == (0, 150)
    loop.predict(NEXT.replace(day=12))
    assert loop.published(NEXT.replace(day=12))["score_low"].null_count == 0


def test_an_earlier_day_has_no_probability_of_a_class_that_was_added_later(tmp_path, spec, monkeypatch):
    monkeypatch.setattr(model_report, "write", lambda folder, judged: None)
    loop = _with_two_classes(tmp_path, spec)
    loop.challenge(TRAINED)
    loop.predict(TRAINED)
    measured = _monitored(loop.services, loop.spec)
    _with_a_class_more(loop, spec)
    training_run = loop.train(NEXT).training_run
    evaluate.run(loop.work(), training_run)
    promote.run(loop.work(), training_run, recorded_at=NOW, decided_by="ann", reason="a class more")
    loop.predict(NEXT)
    loop.predict(TRAINED, run="again")
    assert [loop.published(day)["score_middle"].null_count for day in (TRAINED, NEXT)] == [150, 0]
    assert monitor.run(loop.work("m"), NEXT).days == 1
    earlier, later = monitor.rows_of(loop.services, loop.spec)
    assert earlier == measured, "it has no column of the class that its metrics would need"
    assert later["known_outcomes"] == 150


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Regression(), Binary()),
        (CLASSES.problem, Multiclass(classes=("young", "old"))),
        (RANGES.problem, replace(RANGES.problem, intervals=(0.2, 0.8))),
        (Regression(), Regression(link="log")),
    ],
)
def test_a_model_is_not_scored_with_for_another_question(spec, before, after):
    """Although it has every column that would be published."""
    asked = [replace(spec, outcome=replace(spec.outcome, problem=each)) for each in (before, after)]
    trained: Any = SimpleNamespace(problem=before)
    check_question(asked[0], trained, "1")
    with pytest.raises(SignatureMismatch, match=r"trained for .* does not predict what the spec's"):
        check_question(asked[1], trained, "1")


def test_a_model_of_counts_answers_for_any_number_and_either_is_compared_with_the_other(spec):
    counts, numbers = Regression(link="log"), Regression()
    asked = replace(spec, outcome=replace(spec.outcome, problem=numbers))
    check_question(asked, SimpleNamespace(problem=counts), "1")
    assert counts.comparable(numbers)
    assert numbers.comparable(counts)
    assert not counts.comparable(Binary())


def _with_two_classes(tmp_path: Path, spec: PipelineSpec) -> Loop:
    two = replace(
        CLASSES,
        problem=Multiclass(classes=("young", "old")),
        labels=lambda rows: pc.replace_substring(_plans(rows), "middle", "old"),
    )
    loop = loop_of(memory, tmp_path, spec, two)
    loop.take()
    return loop


def _with_a_class_more(loop: Loop, spec: PipelineSpec) -> None:
    loop.spec = spec_of(spec, CLASSES)
    features, outcomes = (loop.services.tables[f"churn_{part}"] for part in ("features", "outcomes"))
    place = outcomes.schema.get_field_index("left")
    loop.services.rebuild(churn_outcomes=outcomes.set_column(place, "left", CLASSES.labels(features)))
    loop.take(run="again")


def test_a_class_more_makes_a_challenger_that_is_compared_with_no_champion(tmp_path, spec):
    loop = _with_two_classes(tmp_path, spec)
    loop.challenge(TRAINED)
    _with_a_class_more(loop, spec)
    told = loop.challenge(TRAINED)
    assert (told.outcome, told.previous) == ("kept", "1")
    assert (
        "The champion, version 1, was trained for another question: Multiclass(classes=('young', 'old'))."
        in told.reason
    )
    assert "a person decides" in told.reason


class Inverted(LocalEngine):
    """Exchanges the ends of all intervals, and forgets some of them."""

    def score(self, spec, model, *, version, rows, target):
        table = score_stream(spec, model, version, rows.reader()).read_all()
        places = [table.column_names.index(name) for name in ("score_low", "score_high")]
        low, high = (table.column(place) for place in places)
        keep = pa.array([number >= 10 for number in range(table.num_rows)])
        table = table.set_column(places[0], "score_low", pc.if_else(keep, high, pa.scalar(None, pa.float64())))
        return target.write(table.set_column(places[1], "score_high", low).to_reader())


class Overflowing(LocalEngine):
    """Predicts more than a floating-point number can be for some rows, as the exponent of a large number is."""

    def score(self, spec, model, *, version, rows, target):
        table = score_stream(spec, model, version, rows.reader()).read_all()
        place = table.column_names.index("score")
        few = pa.array([number < 10 for number in range(table.num_rows)])
        return target.write(table.set_column(place, "score", pc.if_else(few, math.inf, table["score"])).to_reader())


def test_intervals_that_contradict_themselves_are_not_published(tmp_path, spec):
    loop = loop_of(memory, tmp_path, spec, RANGES)
    loop.take()
    loop.challenge(TRAINED)
    loop.services.engine = Inverted()
    with pytest.raises(AuditFailed) as raised:
        loop.predict(TRAINED)
    assert "10 of 150 predictions have an interval without an end." in str(raised.value)
    assert "of 150 predictions are outside of their own interval." in str(raised.value)


def test_a_day_is_judged_by_the_order_of_classes_that_it_was_scored_under(tmp_path, spec, monkeypatch):
    monkeypatch.setattr(model_report, "write", lambda folder, judged: None)
    loop = loop_of(memory, tmp_path, spec, CLASSES, CLASSES.candidates[1:2])
    loop.take()
    loop.challenge(TRAINED)
    for day in (TRAINED, NEXT):
        loop.predict(day)
    today = Multiclass(classes=("old", "middle", "young"))
    edited = replace(
        loop.spec,
        outcome=replace(loop.spec.outcome, problem=today),
        audit=Audit(max_psi_excess=0.1, psi_rows=50),
    )
    before = loop.predict(TRAINED, run="before").commit.metadata
    later = Loop(loop.services, edited).predict(TRAINED, run="later").commit.metadata
    assert later[policies.POLICY] == before[policies.POLICY], "the edit counts from the next day on"
    found = [_monitored(loop.services, each) for each in (loop.spec, edited)]
    assert found[0] == found[1]


def test_classes_in_another_order_are_compared_with_the_training_as_before(tmp_path, spec, monkeypatch):
    monkeypatch.setattr(model_report, "write", lambda folder, judged: None)
    loop = loop_of(memory, tmp_path, spec, CLASSES, CLASSES.candidates[1:2])
    loop.take()
    loop.challenge(TRAINED)
    edited = replace(
        loop.spec,
        outcome=replace(loop.spec.outcome, problem=Multiclass(classes=("old", "middle", "young"))),
        audit=Audit(max_psi_excess=0.1, psi_rows=50),
    )
    audited = Loop(loop.services, edited).predict(TRAINED, run="edited").commit.metadata
    row = _monitored(loop.services, edited)
    assert float(audited["audit_psi"]) < 0.1
    assert row["score_psi"] < row["score_allowance"]
    assert row["drift"] == "ok"


def test_infinite_predictions_are_not_published(tmp_path, spec):
    loop = loop_of(memory, tmp_path, spec, RANGES)
    loop.take()
    loop.challenge(TRAINED)
    loop.services.engine = Overflowing()
    with pytest.raises(AuditFailed, match="10 of 150 predictions are infinite"):
        loop.predict(TRAINED)


def test_intervals_are_measured_by_the_quantiles_that_they_were_published_for(tmp_path, spec, monkeypatch):
    monkeypatch.setattr(model_report, "write", lambda folder, judged: None)
    loop = loop_of(memory, tmp_path, spec, RANGES, RANGES.candidates[1:2])
    loop.take()
    loop.challenge(TRAINED)
    loop.predict(TRAINED)
    for today in (replace(RANGES.problem, intervals=(0.3, 0.7)), replace(RANGES.problem, intervals=None)):
        edited = replace(loop.spec, outcome=replace(loop.spec.outcome, problem=today))
        found = [_monitored(loop.services, each)["metrics"] for each in (loop.spec, edited)]
        assert found[0] == found[1]
        assert performance.day_report(loop.services.lake, edited, TRAINED).metrics == found[0]


def _monitored(services: Installation, spec: PipelineSpec) -> Mapping[str, Any]:
    """What the performance table says of TRAINED when the pipeline is monitored with this spec."""
    monitor.run(work(services, spec, "m"), TRAINED)
    return next(row for row in monitor.rows_of(services, spec) if row["ds"] == TRAINED)


def test_days_of_the_small_installation_are_the_ones_that_are_used_here():
    assert NEXT in days.span(FIRST, LAST)
