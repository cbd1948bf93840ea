"""A rule of the spec as the first champion: scored, audited, published and monitored, and then beaten."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tailrace.champions import promotions
from tailrace.commands.stage_call import _latest_training_run
from tailrace.contracts import Model
from tailrace.engines import baseline_models, dry_run
from tailrace.errors import BadInput, SignatureMismatch, UnknownName, UpstreamMissing
from tailrace.lineage import run_tags
from tailrace.operations import baselines, reproduce
from tailrace.problems.binary import Binary
from tailrace.problems.multiclass import Multiclass
from tailrace.problems.regression import Regression
from tailrace.spec import Baseline, Candidate, Gate, PipelineSpec, problems_of
from tailrace.stages import evaluate, monitor, promote
from tailrace.training import missed_trainings
from tests.stages.conftest import FIRST, LAST, NOW, Loop, embedded, installation, memory
from tests.stages.test_every_kind import AMOUNTS, CLASSES, RANGES, Kind, loop_of

TRAINED = FIRST.replace(day=9)
YES_OR_NO = Kind(
    Binary(),
    lambda features: pc.greater(features["visits"], 5),
    (Candidate("logistic", "sklearn.linear_model.LogisticRegression"),),
    Gate(metric="roc_auc", floor=0.5, slices=("plan",)),
    (),
)
RULES = {
    "binary": (YES_OR_NO, Baseline(name="guess", sql="case when plan = 'free' then 0.7 else 0.4 end", otherwise=0.5)),
    "constant": (YES_OR_NO, Baseline(name="guess", constant=0.25)),
    "classes": (CLASSES, Baseline(name="guess", constant="middle")),
    "amounts": (AMOUNTS, Baseline(name="guess", column="visits", otherwise=1)),
    "ranges": (RANGES, Baseline(name="guess", sql="visits * 2.5", otherwise=1)),
}


def promoted(loop: Loop, name: str = "guess", day: Any = None) -> promote.Promoted:
    of_person = {"recorded_at": NOW, "decided_by": "me", "reason": "to begin with"}
    return baselines.make_champion(loop.work(), name, takes_over=day, **of_person)


@pytest.fixture(params=RULES)
def begun(request, tmp_path: Path, spec: PipelineSpec) -> Loop:
    kind, rule = RULES[request.param]
    make = embedded if request.param == "constant" else memory
    loop = loop_of(make, tmp_path, replace(spec, baselines=(rule,)), kind, kind.candidates[:1])
    loop.take(FIRST, FIRST)
    return loop


def test_it_is_scored_audited_published_and_monitored_from_the_first_day(begun: Loop) -> None:
    decided = promoted(begun)
    assert (decided.outcome, decided.version, decided.effective_from) == ("promoted", "1", FIRST)
    published = begun.predict(FIRST)
    assert published.rows == begun.published(FIRST).num_rows == 150
    assert begun.published(FIRST)["score"].null_count == 0

    begun.take(FIRST.replace(day=2), FIRST.replace(day=3))
    begun.predict(FIRST.replace(day=2))
    monitor.run(begun.work(), FIRST.replace(day=3))
    assert begun.services.lake.exists(begun.spec.performance_table)


def test_a_challenger_is_compared_with_it_and_takes_over(tmp_path: Path, spec: PipelineSpec) -> None:
    kind, rule = RULES["binary"]
    loop = loop_of(memory, tmp_path, replace(spec, baselines=(rule,)), kind)
    loop.take(FIRST, TRAINED)
    promoted(loop, day=FIRST)
    result = loop.train(TRAINED)
    evaluated = evaluate.run(loop.work(), result.training_run)
    assert evaluated.champion == "1"
    assert evaluated.champion_metrics["roc_auc"] < evaluated.metrics["roc_auc"]
    again = promote.run(loop.work(), result.training_run, recorded_at=NOW)
    assert (again.outcome, again.previous) == ("promoted", "1")
    loop.predict(FIRST, model="1")
    assert set(loop.published(FIRST)["score"].to_pylist()) == {0.4, 0.7}


@pytest.fixture
def loop(tmp_path: Path, spec: PipelineSpec) -> Loop:
    rules = (Baseline(name="guess", constant=0.25), Baseline(name="by age", column="age", otherwise=0.5))
    own = replace(spec, baselines=rules)
    return Loop(installation(memory, tmp_path, own), own)


def test_registering_it_again_changes_nothing(loop: Loop) -> None:
    loop.take(FIRST, FIRST)
    first = promoted(loop)
    again = replace(first, previous="1")
    assert promoted(loop) == again
    loop.take(FIRST.replace(day=2), FIRST.replace(day=2))
    assert promoted(loop) == again, "also where there are more days by now"
    assert len(promotions.history(loop.services.lake, loop.spec.name)) == 1
    assert len(loop.services.tracker.versions(loop.spec.name)) == 1
    other = promoted(loop, "by age", FIRST.replace(day=2))
    assert (other.version, other.previous, other.effective_from) == ("2", "1", FIRST.replace(day=2))


def test_a_mistyped_day_registers_nothing_that_a_retry_would_take_up(loop: Loop) -> None:
    loop.take(FIRST, FIRST)
    far = FIRST.replace(year=2031)
    with pytest.raises(BadInput, match="from 2031-01-01 on: that is far ahead"):
        promoted(loop, day=far)
    assert loop.services.tracker.versions(loop.spec.name) == ()
    assert promoted(loop).effective_from == FIRST
    with pytest.raises(BadInput, match="version of this baseline would take over on 2012-12-31, but version 1 is"):
        promoted(loop, "by age", FIRST - dt.timedelta(days=1))
    assert len(loop.services.tracker.versions(loop.spec.name)) == 1


def test_a_day_far_ahead_is_refused_whichever_way_a_person_decides(loop: Loop) -> None:
    """Also of a version that an earlier release registered for such a day."""
    loop.take(FIRST, FIRST)
    made = baselines.run(loop.work(), "guess", FIRST.replace(year=2031))
    said = "that is far ahead, and until then no other version could take over. Name a day up to 2013-02-01"
    by_hand = {"recorded_at": NOW, "decided_by": "me", "reason": "r"}
    for decide in (promote.run, promote.approve):
        with pytest.raises(BadInput, match=said):
            decide(loop.work(), made.training_run, **by_hand)
    with pytest.raises(BadInput, match=said):
        promoted(loop)
    assert promoted(loop, day=FIRST).effective_from == FIRST


def test_it_is_known_what_it_was_and_who_decided(loop: Loop) -> None:
    loop.take(FIRST, FIRST)
    promoted(loop)
    (decided,) = promotions.history(loop.services.lake, loop.spec.name)
    assert (decided.decided_by, decided.reason) == ("me", "to begin with")
    trained = loop.services.tracker.run(decided.training_run)
    assert trained.tags[run_tags.MODEL_KIND] == "baseline"
    assert trained.tags[run_tags.SPEC_DIGEST] == loop.spec.digest()
    assert trained.params["candidate"] == "guess"


def test_by_itself_it_never_becomes_champion(loop: Loop) -> None:
    loop.take(FIRST, FIRST)
    made = baselines.run(loop.work(), "guess")
    kept = promote.run(loop.work(), made.training_run, recorded_at=NOW)
    assert (kept.outcome, kept.reason) == ("kept", baselines.NOT_JUDGED)


def test_it_is_no_training(loop: Loop) -> None:
    loop.take()
    made = baselines.run(loop.work(), "guess", LAST)
    with pytest.raises(BadInput, match="registered a baseline, which learned nothing, so it cannot be evaluated"):
        evaluate.run(loop.work(), made.training_run)
    with pytest.raises(BadInput, match="cannot be reproduced"):
        reproduce.run(loop.services, loop.spec, made.training_run)
    with pytest.raises(BadInput, match="has no finished training run as of"):
        _latest_training_run(loop.work(), LAST)
    assert missed_trainings.missed(loop.services, loop.spec) is not None


def test_without_features_and_without_such_a_name_it_is_refused(loop: Loop) -> None:
    with pytest.raises(UpstreamMissing, match="has no rows yet"):
        baselines.run(loop.work(), "guess")
    with pytest.raises(UnknownName, match=r"There is no baseline of churn 'gues'\. Did you mean 'guess'"):
        baselines.run(loop.work(), "gues")


@pytest.mark.parametrize(
    ("rule", "problem", "said"),
    [
        ({}, Binary(), "has none of constant, column, sql; give it exactly one"),
        ({"constant": 1, "sql": "1"}, Binary(), "has constant and sql of"),
        ({"constant": 1.5}, Binary(), "constant is 1.5; a prediction is a probability, between 0 and 1"),
        ({"constant": "x"}, Multiclass(classes=("a", "b", "c")), "a prediction is one of the classes 'a', 'b', 'c'"),
        ({"constant": -1}, Regression(link="log"), "0 or more where the link is 'log'"),
        ({"constant": "x"}, Regression(), "a prediction is a number"),
        ({"constant": 0.1, "otherwise": 0.1}, Binary(), "otherwise is never used"),
        ({"column": "age"}, Binary(), "otherwise is missing"),
        ({"column": "agee", "otherwise": 0}, Binary(), "column is 'agee', which is not in features.columns. Did you"),
        ({"column": "plan", "otherwise": 0}, Binary(), "which is categorical; for Binary() a prediction is read from"),
    ],
)
def test_what_is_wrong_in_the_spec_is_said_at_once(spec, rule, problem, said) -> None:
    own = replace(
        spec,
        outcome=replace(spec.outcome, problem=problem),
        search=replace(spec.search, metric=problem.search_metric),
        gate=Gate(metric=problem.gate_metric, beat=problem.baselines[0]),
        baselines=(Baseline(name="guess", **rule),),
    )
    found = [each for each in problems_of(own, estimators=False) if "baselines" in each]
    assert len(found) == 1
    assert said in found[0]


def test_names_of_baselines_are_their_own(spec) -> None:
    rule = Baseline(name="trees", constant=0.5)
    first, second = problems_of(replace(spec, baselines=(rule, rule)), estimators=False)
    assert "baselines has 'trees' 2 times" in first
    assert "which is a candidate's name too" in second


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("age >", "is no SQL expression (syntax error"),
        ("agee + 1", "reads 'agee', which is not in features.columns. Did you mean 'age'?"),
        ("random()", "has random(), which gives another value each time"),
        ("max(age)", "has max(), which needs several rows"),
        ("sum(age) over ()", "has a window function"),
        ("(select 1)", "has a query inside"),
        ("1), (2", "is not a single expression"),
        ("1) from read_csv('x') union all select (1", "is not a single expression"),
        ("nosuch(age)", "Scalar Function with name nosuch does not exist"),
        ("plan", "Could not convert string"),
    ],
)
def test_the_dry_run_says_what_is_wrong_with_sql(spec, sql, said) -> None:
    own = replace(spec, candidates=(), baselines=(Baseline(name="guess", sql=sql, otherwise=0.5),))
    (problem,) = dry_run.problems(own)
    assert problem.startswith("churn: baselines['guess']")
    assert said in problem


@pytest.mark.parametrize(
    "rule", [{"column": name} for name in "ifd"] + [{"sql": sql} for sql in ("i", "f", "d", "round(f)", "i * 1.0")]
)
def test_a_whole_number_of_any_type_is_its_class(rule: dict[str, str]) -> None:
    columns = {"i": pa.int64(), "f": pa.float64(), "d": pa.decimal128(30, 2)}
    rows = pa.record_batch({name: pa.array([1, 20, 7, None], pa.int64()).cast(kind) for name, kind in columns.items()})
    model = baseline_models.BaselineModel(
        Baseline(name="guess", otherwise=3, **rule), Multiclass((1, 20, 3)), dict.fromkeys(columns, "numeric")
    )
    found = model.predict(rows)
    assert [found.column(name).to_pylist() for name in ("1", "20", "3")] == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]


def test_a_rule_reads_no_files(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n")
    rows = pa.record_batch({"age": [1.0]})
    model: Model = baseline_models.BaselineModel(
        Baseline(name="guess", sql=f"(select a from '{tmp_path}/x.csv')", otherwise=0.5),  # noqa: S608
        Binary(),
        {"age": "numeric"},
    )
    with pytest.raises(SignatureMismatch, match="cannot be computed"):
        model.predict(rows)
