"""Every wrong spec is told all that is wrong with it, at once, with the nearest right name."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tailrace.errors import SpecError, UnknownName
from tailrace.problems.multiclass import Multiclass
from tailrace.problems.regression import Regression
from tailrace.spec import (
    Audit,
    Candidate,
    Choice,
    Estimator,
    FloatRange,
    Gate,
    IntRange,
    Mart,
    Monitor,
    PipelineSpec,
    SearchBudget,
    Window,
    cutoff,
    problems_of,
    registry,
)
from tailrace.spec.parameters import described

SPARK_ML = "pyspark.ml.classification"
FOREST = f"{SPARK_ML}.RandomForestClassifier"
XGB = "xgboost.spark.SparkXGBClassifier"


def test_the_catalog_has_no_problems():
    assert [spec.name for spec in registry.check()] == list(registry.names())


def one_problem(spec: PipelineSpec) -> str:
    (problem,) = problems_of(spec)
    assert problem.startswith("churn: "), "a problem names its pipeline"
    return problem


def with_candidate(spec: PipelineSpec, **changes: object) -> PipelineSpec:
    trees = Candidate("trees", "xgboost.XGBClassifier", {}, {})
    return replace(spec, candidates=(replace(trees, **changes),))


def with_cutoff(spec: PipelineSpec, cutoff: str) -> PipelineSpec:
    return replace(spec, schedule=replace(spec.schedule, cutoff=cutoff))


def with_training(spec: PipelineSpec, cron: str) -> PipelineSpec:
    return replace(spec, schedule=replace(spec.schedule, train=cron))


def with_columns(spec: PipelineSpec, columns: dict[str, str]) -> PipelineSpec:
    return replace(spec, features=replace(spec.features, columns=columns), gate=Gate())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: with_columns(s, {"age": "numerical"}), "Did you mean 'numeric'?"),
        (lambda s: with_columns(s, {}), "features.columns is empty"),
        (lambda s: with_columns(s, {"left": "numeric"}), "a model must not learn from it"),
        (lambda s: replace(s, features=replace(s.features, key=())), "features.key is ()"),
        (lambda s: replace(s, features=replace(s.features, key="customer")), "it must be a tuple"),
        (lambda s: replace(s, features=replace(s.features, key=("ds",))), "a column of Tailrace's own"),
        (lambda s: with_columns(s, {"ds": "numeric"}), "a model must not learn from it"),
        (lambda s: replace(s, outcome=replace(s.outcome, lag_days=0)), "1 day later at the earliest"),
        (lambda s: replace(s, audit=Audit(max_psi=float("nan"))), "audit.max_psi is nan"),
        (lambda s: replace(s, schedule=replace(s.schedule, predict="61 99 * * 9")), "write a cron expression"),
        (
            lambda s: with_candidate(s, estimator="xgboost.XGBRegressor"),
            "XGBRegressor is no classifier",
        ),
        (lambda s: replace(s, owner=" "), "owner is empty"),
        (lambda s: replace(s, candidates=()), "candidates is empty"),
        (lambda s: replace(s, window=Window(days=5, holdout_days=5)), "more days than the holdout's"),
        (lambda s: replace(s, gate=Gate(metric="roc_acu")), "Did you mean 'roc_auc'?"),
        (lambda s: replace(s, gate=Gate(floor=1.2)), "gate.floor is 1.2; roc_auc is always between 0 and 1"),
        (lambda s: replace(s, gate=Gate(slices=("plam",))), "Did you mean 'plan'?"),
        (lambda s: replace(s, gate=Gate(slices=("age",))), "only categorical features"),
        (lambda s: replace(s, gate=Gate(approval="humans")), "Did you mean 'human'?"),
        (lambda s: replace(s, gate=Gate(approval_days=0)), "gate.approval_days is 0; it must be more than 0 days"),
        (lambda s: replace(s, monitor=Monitor(watch_psi=0.3)), "the alarm not below the watch"),
        (lambda s: replace(s, monitor=Monitor(watch_psi=float("nan"))), "monitor.watch_psi is nan"),
        (lambda s: replace(s, monitor=Monitor(rows=0)), "monitor.rows is 0"),
        (lambda s: replace(s, audit=Audit(max_null_share=-0.1)), "audit.max_null_share is -0.1"),
        (lambda s: replace(s, audit=Audit(max_psi=0)), "audit.max_psi is 0"),
        (lambda s: replace(s, audit=Audit(max_psi_excess=float("nan"))), "audit.max_psi_excess is nan"),
        (lambda s: replace(s, schedule=replace(s.schedule, timezone="America/NewYork")), "America/New_York"),
        (lambda s: with_training(s, "daily"), "which has 1 field; write a cron expression of five fields"),
        (lambda s: with_training(s, "0 * * * *"), "schedule.train is '0 * * * *', which fires more than once a day;"),
        (lambda s: with_training(s, "0 6,18 * * 1"), "which fires more than once a day; a run works on a whole day"),
        (lambda s: with_cutoff(s, "6:00"), "schedule.cutoff is '6:00'; write a time of day as HH:MM, such as '06:00'."),
        (lambda s: with_cutoff(s, "24:00"), "schedule.cutoff is '24:00'; write a time of day as HH:MM"),
        (lambda s: with_cutoff(s, "00:40"), "schedule.predict is '30 0 * * *', which fires at 00:30, before the day's"),
        (lambda s: replace(s, outcome=replace(s.outcome, late_days=-1)), "outcome.late_days is -1; it must be 0 or mo"),
        (lambda s: with_training(s, "* * * * * *"), "schedule.train is '* * * * * *', which has 6 fields; write"),
        (lambda s: with_training(s, "0 1 31 2 *"), "schedule.train is '0 1 31 2 *', a date that never comes; write"),
        (lambda s: with_training(s, "9" * 5000 + " * * * *"), "which is no cron expression; write"),
        (lambda s: replace(s, predictions=replace(s.predictions, score="customer")), "already a column"),
        (lambda s: with_candidate(s, search={"max_dept": IntRange(2, 4)}), "Did you mean 'max_depth'?"),
        (lambda s: with_candidate(s, parameters={"etaa": 1}), "XGBClassifier has no parameter 'etaa'"),
        (lambda s: with_candidate(s, estimator="xgboost.XGBClasifier"), "Did you mean 'XGBClassifier'?"),
        (lambda s: with_candidate(s, estimator="sklearn.linear.LogisticRegression"), "does not import"),
        (lambda s: with_candidate(s, estimator="os.system"), "not of scikit-learn, XGBoost, LightGBM or Spark"),
        (lambda s: with_candidate(s, estimator=f"{SPARK_ML}.GBTClasifier"), "Did you mean 'pyspark.ml.class"),
        (lambda s: with_candidate(s, estimator=f"{SPARK_ML}.LinearSVC"), "none of those that train on a cluster"),
        (lambda s: with_candidate(s, estimator="pyspark.ml.regression.LinearRegression"), "none of those that train"),
        (lambda s: with_candidate(s, estimator="xgboost.spark.SparkXGBRegressor"), "none of those that train"),
        (lambda s: with_candidate(s, estimator=FOREST, parameters={"numTree": 9}), "Did you mean 'numTrees'?"),
        (lambda s: with_candidate(s, estimator=FOREST, parameters={"featuresCol": "x"}), "no parameter 'featuresCol'"),
        (lambda s: with_candidate(s, estimator=XGB, search={"max_dept": IntRange(2, 4)}), "Did you mean 'max_depth'?"),
        (lambda s: with_candidate(s, estimator=XGB, parameters={"n_jobs": 2}), "no parameter 'n_jobs'"),
        (lambda s: with_candidate(s, estimator=XGB, search={"num_workers": IntRange(1, 2)}), "which is the cluster's"),
        (lambda s: with_candidate(s, search={"max_depth": IntRange(4, 2)}), "low must be less than high"),
        (lambda s: with_candidate(s, search={"learning_rate": FloatRange(0, 1, log=True)}), "low must be more than 0"),
        (lambda s: with_candidate(s, search={"max_depth": Choice(())}), "has no options"),
        (lambda s: with_candidate(s, search={"max_depth": (2, 4)}), "must be an IntRange"),
        (lambda s: with_candidate(s, parameters={"missing": 0.0}), "Tailrace sets 'missing' to nan (nulls are what is"),
        (
            lambda s: with_candidate(s, parameters={"objective": "binary:hinge"}),
            "objective is 'binary:hinge'; for outcome.problem Binary() it is one of binary:logistic",
        ),
        (lambda s: with_candidate(s, parameters={"eval_metric": "error"}), "sets 'eval_metric' to 'logloss' (search.m"),
        (lambda s: with_candidate(s, parameters={"enable_categorical": False}), "Tailrace sets 'enable_categorical'"),
        (lambda s: with_candidate(s, parameters={"importance_type": "gain"}), "sets 'importance_type' to 'total_gain'"),
        (
            lambda s: with_candidate(s, estimator=XGB, parameters={"eval_metric": "error"}),
            "sets 'eval_metric' to 'logl",
        ),
        (lambda s: with_candidate(s, estimator=XGB, parameters={"importance_type": "gain"}), "sets 'importance_type'"),
        (lambda s: with_candidate(s, parameters={"kwargs": {"max_dept": 3}}), "Tailrace sets 'kwargs' (write each"),
        (lambda s: with_candidate(s, search={"missing": Choice((0.0,))}), ".search: Tailrace sets 'missing'"),
        (lambda s: with_candidate(s, parameters={"base_score": len}), "has the function len, whose content cannot"),
        (lambda s: with_candidate(s, parameters={"base_score": [object()]}), "has an object of class builtins.object"),
        (lambda s: with_candidate(s, parameters={"base_score": Window}), "has the class Window"),
        (lambda s: with_candidate(s, parameters={"base_score": {1: 2, "a": 3}}), "not all texts or all numbers"),
        (lambda s: with_candidate(s, search={"max_depth": Choice((len,))}), "options[0] is <built-in function len>"),
    ],
)
def test_a_wrong_field_is_named_in_one_sentence(spec, change, expected):
    problem = one_problem(change(spec))
    assert expected in problem or expected in problem.replace("'", ""), problem


def with_key(spec: PipelineSpec, *key: object, **changes: object) -> PipelineSpec:
    return replace(spec, features=replace(spec.features, key=key, **changes))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: with_key(s, "customer", "event_time"), "features.event_time is 'event_time', which is already"),
        (lambda s: with_key(s, "customer", event_time="known_at"), "a column of the features: features.event_time."),
        (lambda s: with_key(s, "customer", "customer"), "features.key names 'customer' 2 times"),
        (lambda s: with_key(s, "customer", "Customer"), "features.key has 'customer' and 'Customer', which databases"),
        (lambda s: with_key(s, "customer", None), "features.key[1] is None; it must be a text"),
        (
            lambda s: with_key(s, "left"),
            "outcome.label is 'left', which is already a column of the outcomes",
        ),
        (
            lambda s: with_key(s, "model_version"),
            "features.key has 'model_version', which is a column of Tailrace's own",
        ),
        (
            lambda s: with_key(s, "customer", event_time="DS"),
            "features.event_time has 'DS', which is a column of T",
        ),
        (lambda s: with_key(s, "a\nb"), "a column needs a name without line breaks"),
        (lambda s: with_columns(s, {"": "numeric"}), "a column needs a name"),
        (lambda s: with_columns(s, {"age": "numeric", "Age": "numeric"}), "which databases take for one column"),
        (lambda s: with_columns(s, {"DS": "numeric"}), "['DS'] is a key, a time or the label (databases take it for"),
        (lambda s: with_columns(s, {"CUSTOMER": "numeric"}), "databases take it for 'customer'"),
        (lambda s: with_columns(s, {"Known_At": "numeric"}), "databases take it for 'known_at'"),
        (lambda s: with_columns(s, {"EVENT_TIME": "numeric"}), "databases take it for 'event_time'"),
        (lambda s: with_columns(s, {"__TIME": "numeric"}), "databases take it for '__time'"),
        (lambda s: with_columns(s, {"Left": "numeric"}), "databases take it for 'left'"),
        (
            lambda s: with_columns(s, {"wind[mph]": "numeric"}),
            "XGBoost takes no column names with [, ] or <; rename",
        ),
        (lambda s: with_columns(s, {1: "numeric"}), "features.columns has the key 1; it must be a text"),
        (
            lambda s: replace(s, outcome=replace(s.outcome, label="score")),
            "the predictions with their outcomes",
        ),
        (lambda s: replace(s, outcome=replace(s.outcome, label="known_at")), "outcomes: outcome.known_at"),
        (lambda s: replace(s, outcome=replace(s.outcome, label="ds")), "a column of Tailrace's own"),
        (lambda s: replace(s, predictions=replace(s.predictions, decision="score")), "predictions: predictions.score"),
        (
            lambda s: replace(s, search=replace(s.search, trials="16")),
            "search.trials is '16'; it must be a whole",
        ),
        (
            lambda s: replace(s, search=replace(s.search, trials=True)),
            "search.trials is True; it must be a whole",
        ),
        (lambda s: replace(s, search=replace(s.search, trials=10**400)), "at most 1,000,000 is possible"),
        (lambda s: replace(s, window=Window(days=2.5, holdout_days=1)), "window.days is 2.5; it must be a whole"),
        (
            lambda s: replace(s, window=Window(days=10**9, holdout_days=1)),
            "window.days is 1000000000; at most 36,525 is possible",
        ),
        (lambda s: replace(s, gate=Gate(slices=["plan"])), "gate.slices is ['plan']; it must be a tuple"),
        (lambda s: replace(s, gate=Gate(slices=("plan", []))), "gate.slices[1] is []; it must be a text"),
        (lambda s: replace(s, gate=Gate(margin=float("inf"))), "gate.margin is inf; it must be a finite number"),
        (lambda s: replace(s, schedule=replace(s.schedule, start=dt.datetime(2013, 1, 1))), "schedule.start is"),
        (lambda s: replace(s, schedule=replace(s.schedule, timezone="America")), "is not a time zone"),
        (lambda s: replace(s, schedule=replace(s.schedule, timezone="localtime")), "is not a time zone"),
        (lambda s: replace(s, schedule=replace(s.schedule, timezone="/etc/passwd")), "is not a time zone"),
        (lambda s: replace(s, description=None), "description is None; it must be a text"),
        (lambda s: replace(s, gate=None), "gate is None; it must be a Gate"),
        (
            lambda s: with_candidate(s, search={"max_depth": IntRange(1.5, 4)}),
            "search['max_depth'].low is 1.5",
        ),
        (lambda s: with_candidate(s, search={"max_depth": Choice([1, 2])}), "options is [1, 2]; it must be a tuple"),
        (lambda s: with_candidate(s, estimator=5), "candidates[0].estimator is 5; it must be a text"),
        (lambda s: with_candidate(s, estimator="sklearn."), "candidates['trees'].estimator"),
        (lambda s: with_candidate(s, estimator="sklearn..dummy"), "candidates['trees'].estimator"),
    ],
)
def test_fields_that_collide_or_have_another_type_are_named_in_one_sentence(spec, change, expected):
    assert expected in one_problem(change(spec))


def test_every_table_of_a_column_is_looked_at(spec):
    problems = str(problems_of(with_key(spec, "customer", "known_at")))
    assert "features.known_at is 'known_at', which is already a column of the features: features.key" in problems
    assert "outcome.known_at is 'known_at', which is already a column of the outcomes: features.key" in problems


def test_the_warehouse_is_no_pipeline(spec):
    assert "the warehouse's own DAG" in str(problems_of(replace(spec, name="warehouse")))


def test_a_label_may_have_the_name_of_the_decision_and_names_with_brackets_suit_scikit_learn(spec):
    assert problems_of(replace(spec, predictions=replace(spec.predictions, decision="left"))) == []
    bracketed = with_columns(replace(spec, candidates=spec.candidates[:2]), {"wind[mph]": "numeric"})
    assert problems_of(bracketed) == []


def test_a_wrong_type_hides_no_problem_of_another_field(spec):
    wrong = replace(
        spec,
        search=replace(spec.search, trials="16"),
        owner="",
        window=Window(days=1, holdout_days=1),
        gate=Gate(floor=7),
    )
    problems = problems_of(wrong)
    assert [said for said in ("search.trials", "owner", "window.days", "gate.floor") if said in str(problems)] == [
        "search.trials",
        "owner",
        "window.days",
        "gate.floor",
    ]


def test_all_problems_come_at_once(spec):
    wrong = replace(
        spec, owner="", window=Window(days=1, holdout_days=0), candidates=(), gate=Gate(metric="auc", floor=7)
    )
    assert len(problems_of(wrong)) >= 4


FILE = """
from dataclasses import replace
from pipelines.flight_delay import SPEC as FLIGHTS
SPEC = replace(FLIGHTS, name={name!r}, owner={owner!r})
"""


def write(catalog: Path, file: str, name: str, owner: str = "us") -> None:
    (catalog / f"{file}.py").write_text(FILE.format(name=name, owner=owner))


def test_problems_of_all_files_are_listed_together(tmp_path):
    write(tmp_path, "good", "good")
    write(tmp_path, "ownerless", "ownerless", owner="")
    (tmp_path / "broken.py").write_text("import nothing_like_this")
    (tmp_path / "silent.py").write_text("")
    with pytest.raises(SpecError) as raised:
        registry.check(tmp_path)
    text = str(raised.value)
    assert "ownerless: owner is empty" in text
    assert "broken.py does not load: ModuleNotFoundError" in text
    assert "silent.py exports no SPEC" in text


def test_two_pipelines_with_one_name_are_refused(tmp_path):
    write(tmp_path, "one", "one")
    write(tmp_path, "two", "one")
    with pytest.raises(SpecError, match=r"2 pipelines have this name: one\.py, two\.py"):
        registry.check(tmp_path)


def test_a_broken_file_does_not_take_the_others_down(tmp_path):
    write(tmp_path, "good", "good")
    (tmp_path / "broken.py").write_text("1/0")
    assert registry.get("good", tmp_path).name == "good"
    assert registry.names(tmp_path) == ("broken", "good")


WRONG = {
    "trials_as_text": "SPEC = replace(FLIGHTS, search=replace(FLIGHTS.search, trials='16'))",
    "unhashable_name": "SPEC = replace(FLIGHTS, name=['a'])",
    "nothing_right": "SPEC = replace(FLIGHTS, **dict.fromkeys(vars(FLIGHTS)))",
    "exits": "raise SystemExit(3)",
    "odd_repr": """
class Odd:
    def __repr__(self):
        raise ValueError("no")

SPEC = replace(FLIGHTS, owner=Odd())
""",
    "breaks_the_checks": """
class Odd(str):
    def strip(self):
        raise ValueError("no")

SPEC = replace(FLIGHTS, name="breaks_the_checks", owner=Odd("us"))
""",
}


def test_a_spec_that_is_wrong_in_any_way_breaks_only_itself(tmp_path):
    write(tmp_path, "good", "good")
    for name, body in WRONG.items():
        head = "from dataclasses import replace\nfrom pipelines.flight_delay import SPEC as FLIGHTS\n"
        (tmp_path / f"{name}.py").write_text(head + body)
    specs, problems = registry.load(tmp_path)
    assert [spec.name for spec in specs] == ["good"]
    with pytest.raises(SpecError) as raised:
        registry.check(tmp_path)
    assert len(raised.value.problems) == len(problems)
    for name in WRONG:
        with pytest.raises(SpecError):
            registry.get(name, tmp_path)
        assert f"{name}.py" in str(problems) or f"{name}: " in str(problems), name
    assert "search.trials is '16'" in str(problems)


def test_an_unknown_pipeline_is_told_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'flight_delay'"):
        registry.get("flight_dely")


def test_the_digest_says_everything(spec):
    assert spec.digest() == replace(spec).digest()
    assert spec.digest() != replace(spec, gate=Gate(floor=0.56)).digest()


def test_the_digest_of_a_spec_is_the_one_that_earlier_releases_recorded(spec):
    """Names and order of fields matter: a run of an earlier release is compared by it."""
    assert spec.digest() == "0721eddcf219cc74af31d23bb51a93baaafc170725e1f35324942488ae84a070"


def test_parameters_that_xgboost_is_given_anyway_may_be_said(spec):
    given = {
        "objective": "binary:logistic",
        "enable_categorical": True,
        "missing": float("nan"),
        "eval_metric": "logloss",
    }
    assert problems_of(with_candidate(spec, parameters=given)) == []


def nested(spec: PipelineSpec, estimator: object) -> PipelineSpec:
    return with_candidate(
        spec, estimator="sklearn.calibration.CalibratedClassifierCV", parameters={"estimator": estimator}
    )


def test_the_digest_says_what_is_in_a_nested_estimator(spec):
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    weights = dict.fromkeys(range(200), 1.0)
    values = [
        # Their texts are the same: scikit-learn leaves the middle of a long one out.
        *(RandomForestClassifier(class_weight={**weights, 100: other}) for other in (1.0, 2.0)),
        *(make_pipeline(RandomForestClassifier(trees)) for trees in (100, 101)),
        *(LogisticRegression(C=c) for c in (1.0, 2.0)),
    ]
    digests = [nested(spec, value).digest() for value in values]
    assert len(set(digests)) == len(values)
    assert nested(spec, RandomForestClassifier(7)).digest() == nested(spec, RandomForestClassifier(7)).digest()
    assert problems_of(nested(spec, LogisticRegression())) == []


def test_the_digest_of_a_nested_estimator_has_no_address(spec):
    from sklearn.ensemble import RandomForestClassifier, StackingClassifier
    from sklearn.model_selection import TimeSeriesSplit

    def made():
        return StackingClassifier([("forest", RandomForestClassifier())], cv=TimeSeriesSplit(3))

    assert nested(spec, made()).digest() == nested(spec, made()).digest()
    assert "0x" not in json.dumps(asdict(nested(spec, made())), sort_keys=True, default=described)


def test_the_digest_of_plain_values_is_the_one_that_earlier_releases_recorded(spec):
    """Other versions of a pipeline are told by it."""
    plain = {"class_weight": {True: 2.0, False: 1.0}, "C": 0.5, "l1_ratio": None, "solver": "saga"}
    values = replace(
        spec,
        candidates=(Candidate("it", "sklearn.linear_model.LogisticRegression", plain, {"tol": Choice((0.1, 1))}),),
        schedule=replace(spec.schedule, start=dt.date(2013, 1, 1)),
    )
    former = asdict(values)
    del former["candidates"][0]["transformers"]
    del former["outcome"]["problem"], former["gate"]["ceiling"], former["gate"]["beat"]
    del former["baselines"], former["review"]
    del former["outcome"]["late_days"], former["schedule"]["cutoff"], former["features"]["weight"]
    del former["audit"]["max_psi_excess"]
    for part in (former["features"], former["outcome"]):
        del part["table"], part["day"], part["days_back"]
    former = json.dumps(former, sort_keys=True, default=str)
    assert values.digest() == hashlib.sha256(former.encode()).hexdigest()


def test_parameters_of_a_nested_estimator_are_known(spec):
    from sklearn.linear_model import LogisticRegression

    searched = replace(nested(spec, LogisticRegression()).candidates[0], search={"estimator__C": FloatRange(0.1, 1)})
    assert problems_of(replace(spec, candidates=(searched,))) == []
    wrong = replace(searched, search={"estimator__c": FloatRange(0.1, 1)})
    assert "Did you mean 'estimator__C'?" in one_problem(replace(spec, candidates=(wrong,)))


CALIBRATED, STACK = "sklearn.calibration.CalibratedClassifierCV", "sklearn.ensemble.StackingClassifier"
SVM = "sklearn.svm.LinearSVC"
IN_PIPELINE = Estimator("sklearn.pipeline.Pipeline", {"steps": [("svm", Estimator(SVM, search={"C": Choice((1, 2))}))]})


def test_what_is_searched_in_nested_estimators_has_scikit_learns_path(spec):
    stacked = {"estimators": [("one", IN_PIPELINE)], "final_estimator": Estimator(SVM, search={"tol": Choice((1,))})}
    candidate = Candidate("stack", STACK, stacked, {"cv": IntRange(2, 3), "one__svm__tol": Choice((1,))})
    assert set(candidate.searched) == {"cv", "one__svm__tol", "one__svm__C", "final_estimator__tol"}
    assert problems_of(replace(spec, candidates=(candidate,))) == []


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (Estimator("sklearn.svmm.LinearSVC"), "the estimator at 'estimator' 'sklearn.svmm.LinearSVC' does not import"),
        (Estimator("sklearn.svm.LinearSVCC"), "no estimator 'LinearSVCC'. Did you mean 'LinearSVC'?"),
        (Estimator("sklearn.svm.l1_min_c"), "sklearn.svm has no estimator 'l1_min_c'"),
        (Estimator("os.system"), "'os.system' is not of scikit-learn"),
        (Estimator("pyspark.ml.classification.GBTClassifier"), "is not of scikit-learn"),
        (Estimator(SVM, {"los": "hinge"}), "LinearSVC has no parameter 'los'. Did you mean 'loss'?"),
        (Estimator(SVM, {"C": 1}, {"C": Choice((1, 2))}), "searches 'C', which is fixed already"),
        (Estimator(SVM, {}, {"C": FloatRange(2, 1)}), "search['C'] goes from 2 to 1"),
        (Estimator(SVM, {"C": len}), "has the function len, whose content cannot be recorded"),
        (Estimator(SVM, {}, {"C": Choice((len,))}), "['estimator'].search['C'].options[0] is <built-in function len>"),
        (Estimator(5), "candidates[0].parameters['estimator'].path is 5; it must be a text"),
        (Estimator("sklearn.pipeline.Pipeline", {"steps": [("svm", Estimator(SVM, {"c": 1}))]}), "at 'estimator__svm'"),
    ],
)
def test_a_wrong_nested_estimator_is_told(spec, estimator, expected):
    assert expected in one_problem(nested(spec, estimator))


def test_what_a_nested_estimator_searches_is_named_once_and_has_a_path(spec):
    twice = Candidate("it", CALIBRATED, {"estimator": IN_PIPELINE}, {"estimator__svm__C": Choice((1,))})
    assert "searches 'C', and so does candidates['it'].search" in one_problem(replace(spec, candidates=(twice,)))
    grid = {"estimator": IN_PIPELINE, "param_grid": {"svm": [Estimator(SVM, search={"tol": Choice((1,))})]}}
    pathless = Candidate("it", "sklearn.model_selection.GridSearchCV", grid)
    assert "has no name, so its 'tol' cannot be searched" in one_problem(replace(spec, candidates=(pathless,)))
    trees = with_candidate(spec, parameters={"base_score": Estimator(SVM)})
    assert "only scikit-learn's take others" in one_problem(trees)


def test_a_way_to_split_rows_is_written_by_its_path_too(spec):
    def named(cv: Estimator) -> PipelineSpec:
        return with_candidate(spec, estimator=CALIBRATED, parameters={"estimator": Estimator(SVM), "cv": cv})

    split = "sklearn.model_selection.KFold"
    assert problems_of(named(Estimator(split, {"n_splits": 3}))) == []
    assert "no parameter 'splits'. Did you mean 'n_splits'?" in one_problem(named(Estimator(split, {"splits": 3})))
    assert "has no estimator 'KFolds'. Did you mean 'KFold'?" in one_problem(named(Estimator(f"{split}s")))


def test_what_cannot_be_made_is_not_said_to_be_no_classifier(spec):
    search = with_candidate(spec, estimator="sklearn.model_selection.GridSearchCV", parameters={})
    assert "GridSearchCV cannot be made with these parameters" in one_problem(search)
    assert one_problem(with_candidate(spec, estimator="xgboost.Booster", parameters={})).endswith("'Booster'.")


def test_the_digest_says_what_a_nested_estimator_is_and_searches(spec):
    from sklearn.pipeline import make_pipeline

    values = [
        *(Estimator(SVM, {"C": c}) for c in (1, 2)),
        *(Estimator(SVM, search={"C": FloatRange(low, 3)}) for low in (1, 2)),
        *(make_pipeline("passthrough", Estimator(SVM, search={"C": FloatRange(low, 3)})) for low in (1, 2)),
    ]
    assert len({nested(spec, value).digest() for value in values}) == len(values)
    assert nested(spec, Estimator(SVM, {"C": 1})).digest() == nested(spec, values[0]).digest()


SPLINES = Estimator("sklearn.preprocessing.SplineTransformer", {"n_knots": 5})


def with_transformers(spec: PipelineSpec, transformers: dict[str, object], estimator: str = "") -> PipelineSpec:
    logistic = Candidate("it", estimator or "sklearn.linear_model.LogisticRegression", transformers=transformers)
    return replace(spec, candidates=(logistic,))


@pytest.mark.parametrize(
    ("transformers", "expected"),
    [
        ({"agee": SPLINES}, ".transformers has 'agee', which is not in features.columns. Did you mean 'age'?"),
        ({"age": Estimator(SVM)}, "candidates['it'].transformers['age']: LinearSVC is no transformer"),
        ({"age": Estimator("sklearn.preprocessing.Splines")}, ".transformers['age']: sklearn.preprocessing has no est"),
        ({"age": Estimator("numpy.load")}, ".transformers['age']: 'numpy.load' is not of scikit-learn"),
        ({"age": Estimator(SPLINES.path, {"knots_n": 3})}, ".transformers['age']: SplineTransformer has no parameter"),
        ({"age": Estimator(SPLINES.path, search={"n_knots": IntRange(5, 2)})}, "search['n_knots'] goes from 5 to 2"),
        ({"age": Estimator(SPLINES.path, {"degree": len})}, ".transformers['age'] has the function len"),
        ({"age": SPLINES.path}, "; it must be an Estimator"),
    ],
)
def test_a_wrong_transformer_is_told(spec, transformers, expected):
    assert expected in one_problem(with_transformers(spec, transformers))


def test_only_estimators_of_scikit_learn_have_transformers(spec):
    for path in ("xgboost.XGBClassifier", FOREST):
        found = problems_of(with_transformers(spec, {"age": SPLINES}, path))
        assert any("only scikit-learn's estimators have transformers" in sentence for sentence in found)


def test_transformers_are_a_part_of_the_digest_and_searched_by_their_paths(spec):
    knots = {"age": replace(SPLINES, parameters={}, search={"n_knots": IntRange(3, 5)})}
    named = with_transformers(spec, knots)
    assert problems_of(named) == []
    assert list(named.candidates[0].searched) == ["transformers__age__n_knots"]
    others = (with_transformers(spec, {}), with_transformers(spec, {"age": SPLINES}))
    assert len({named.digest(), *(other.digest() for other in others)}) == 3


def test_texts_and_xgboost_do_not_go_together(spec):
    texts = replace(spec, features=replace(spec.features, columns={**spec.features.columns, "note": "text"}))
    assert "candidates['trees']: XGBoost does not read texts" in one_problem(texts)


def test_texts_and_spark_ml_do_not_go_together(spec):
    texts = replace(spec, features=replace(spec.features, columns={**spec.features.columns, "note": "text"}))
    forest = replace(texts, candidates=(Candidate("forest", FOREST),))
    assert "candidates['forest']: Spark ML does not read texts" in one_problem(forest)


def test_candidates_of_a_cluster_and_of_one_machine_stand_in_one_spec_and_are_checked_without_java(spec, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    both = (
        *spec.candidates,
        Candidate("forest", FOREST, {"numTrees": 20, "seed": 3}, {"maxDepth": IntRange(3, 6)}),
        Candidate("cluster_trees", XGB, {"n_estimators": 50, "num_workers": 2}, {"max_depth": IntRange(3, 6)}),
    )
    assert problems_of(replace(spec, candidates=both)) == []


SEVERAL, AMOUNT = Multiclass(("low", "middle", "high")), Regression(link="log")
GENERAL = "pyspark.ml.regression.GeneralizedLinearRegression"


@pytest.mark.parametrize(
    ("problem", "estimator", "parameters", "expected"),
    [
        (
            SEVERAL,
            f"{SPARK_ML}.GBTClassifier",
            {},
            "GBTClassifier tells two classes apart, and outcome.problem.classes h",
        ),
        (
            Multiclass(("no", "yes")),
            XGB,
            {},
            "SparkXGBClassifier learns two classes as yes or no; say outcome.problem =",
        ),
        (
            SEVERAL,
            GENERAL,
            {},
            "is none of those that train on a cluster for outcome.problem Multiclass: xgboost.spark.",
        ),
        (AMOUNT, FOREST, {}, "is none of those that train on a cluster for outcome.problem Regression: xgboost.spark."),
        (AMOUNT, f"{GENERAL}s", {}, f"Did you mean '{GENERAL}'?"),
        (
            AMOUNT,
            GENERAL,
            {"family": "gamma"},
            "Tailrace sets 'family' (outcome.problem says how labels are distributed)",
        ),
        (AMOUNT, GENERAL, {"link": "log"}, "Tailrace sets 'link' (outcome.problem.link is it); leave it out."),
        (
            AMOUNT,
            "xgboost.spark.SparkXGBRegressor",
            {"objective": "reg:linear"},
            "objective is 'reg:linear'; for outcome",
        ),
        (SEVERAL, XGB, {"objective": "multi:softmax"}, "objective is 'multi:softmax'; for outcome.problem"),
    ],
)
def test_a_candidate_of_a_cluster_that_cannot_answer_the_question_is_refused(
    spec, problem, estimator, parameters, expected
):
    own = replace(spec, outcome=replace(spec.outcome, problem=problem))
    candidates = (Candidate("it", estimator, parameters),)
    gate = Gate(metric=problem.gate_metric, beat=problem.baselines[0])
    own = replace(own, gate=gate, search=SearchBudget(metric=problem.search_metric), candidates=candidates)
    assert expected in one_problem(own)


def test_a_meta_estimator_does_not_break_the_checks(spec):
    candidate = Candidate("vote", "sklearn.ensemble.VotingClassifier", {"estimatorz": []})
    assert "Did you mean 'estimators'?" in one_problem(replace(spec, candidates=(candidate,)))


def test_a_row_is_due_at_the_time_of_day_that_its_schedule_says(spec):
    new_york = replace(spec, schedule=replace(spec.schedule, predict="0 7 * * *", train=None, cutoff="06:00"))
    assert problems_of(new_york, estimators=False) == []
    assert cutoff(spec, dt.date(2013, 7, 1)) == dt.datetime(2013, 7, 1, 4, tzinfo=dt.UTC)
    assert cutoff(new_york, dt.date(2013, 7, 1)) == dt.datetime(2013, 7, 1, 10, tzinfo=dt.UTC)
    # The clocks go forward at 02:00 on this day.
    assert cutoff(new_york, dt.date(2013, 3, 10)) == dt.datetime(2013, 3, 10, 10, tzinfo=dt.UTC)


@pytest.mark.parametrize("cron", ["0 0 29 2 *", "0 0 L * *", "0 0 * 2 1#5", "30  0 * * 1-5", "0 0 31 2 1"])
def test_a_rare_date_is_one_that_comes(spec, cron):
    assert problems_of(with_training(spec, cron), estimators=False) == []


def test_marts_are_named_by_the_spec_or_by_the_pipeline(spec):
    assert spec.marts == (Mart(table="churn_features"), Mart(table="churn_outcomes"))
    named = replace(
        spec,
        features=replace(spec.features, table="ml.customers", day="signup_date", days_back=1, known_at=None),
        outcome=replace(spec.outcome, table="lake.ml.churned", day="left_on"),
    )
    features, outcomes = named.marts
    assert (features.table, features.known_at, features.day_of(dt.date(2024, 3, 1))) == (
        "ml.customers",
        None,
        dt.date(2024, 2, 29),
    )
    assert (outcomes.table, outcomes.day, outcomes.known_at) == ("lake.ml.churned", "left_on", "known_at")
    assert problems_of(named, estimators=False) == []
    assert named.digest() != spec.digest()


@pytest.mark.parametrize("table", ["", "a.b.c.d", "ml.", "ml. customers", "ml.\ncustomers"])
def test_a_table_is_named_as_dbt_names_it(spec, table):
    for part in ("features", "outcome"):
        wrong = replace(spec, **{part: replace(getattr(spec, part), table=table, days_back=-1)})
        problems = problems_of(wrong, estimators=False)
        assert len(problems) == 2
        assert f"{part}.table is {table!r}; write it as dbt names it" in problems[0]
        assert f"{part}.days_back is -1; it must be 0 or more." in problems[1]


def test_without_known_at_the_lake_still_has_that_column(spec):
    """So that no other role may have its name."""
    nameless = replace(spec, features=replace(spec.features, known_at=None))
    assert "of the features: features.event_time" in str(
        problems_of(replace(nameless, features=replace(nameless.features, event_time="known_at")))
    )
