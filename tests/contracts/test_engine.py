"""What every engine keeps to."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tailrace.engines.local import LocalEngine
from tailrace.engines.memory import MemoryEngine
from tailrace.engines.spark.engine import SparkEngine
from tailrace.errors import SignatureMismatch, TrainingFailed
from tailrace.lake.delta import DeltaLake
from tailrace.lake.memory import MemoryLake
from tailrace.settings import SparkSettings
from tailrace.spec import LABEL, Candidate, Estimator, FloatRange, IntRange
from tailrace.training.arrow_rows import ArrowRows
from tests.support import churn_rows, keyed

DAY = dt.date(2013, 3, 1)
SPARK = SparkSettings(master="local[2]", driver_memory="1g")
LEARNERS = {"local": LocalEngine, "spark": lambda: SparkEngine(SPARK)}
ENGINES = {**LEARNERS, "memory": MemoryEngine}


def each(engines):
    """Their names; those that need Java are marked so."""
    return [pytest.param(name, marks=pytest.mark.spark if name == "spark" else ()) for name in engines]


LAKES = {"delta": lambda folder: DeltaLake(str(folder)), "memory": lambda folder: MemoryLake()}


@pytest.fixture(params=LAKES)
def lake(request, tmp_path):
    return LAKES[request.param](tmp_path / "lake")


@pytest.fixture(params=each(ENGINES))
def engine(request):
    return ENGINES[request.param]()


@pytest.fixture(params=each(LEARNERS))
def learner(request):
    """An engine that searches and fits; the one in memory does neither."""
    return LEARNERS[request.param]()


def train(engine, spec, rows, seed=1, trials=6):
    told = []
    table, labels = rows
    held = ArrowRows(table.append_column(LABEL, labels), tuple(spec.features.columns))
    trained = engine.train(spec, held, seed=seed, trials=trials, on_trial=told.append)
    assert tuple(told) == trained.trials
    return trained


def score(engine, spec, model, version, lake, features):
    """What is published of scoring a day of features that are in the lake."""
    lake.publish(lake.stage("features", DAY, "r", features.to_reader()), {})
    scan = lake.scan(lake.pin("features", first=DAY, last=DAY))
    lake.publish(engine.score(spec, model, version=version, rows=scan, target=lake.target("predictions", DAY, "p")), {})
    return lake.read("predictions").read_all()


def test_the_same_inputs_give_the_same_model(engine, spec, rows):
    first, second = train(engine, spec, rows), train(engine, spec, rows)
    assert first.model.digest() == second.model.digest()
    assert first.best.parameters == second.best.parameters


def test_other_rows_give_another_model(engine, spec, rows):
    assert train(engine, spec, rows).model.digest() != train(engine, spec, churn_rows(1500, seed=9)).model.digest()


def test_a_saved_model_predicts_alike(engine, spec, rows, tmp_path):
    model = train(engine, spec, rows).model
    model.save(tmp_path)
    loaded = engine.load(tmp_path)
    batch = rows[0].to_batches()[0]
    assert loaded.predict(batch).equals(model.predict(batch))
    assert not list(tmp_path.glob("*.pkl"))


def test_scores_are_the_published_columns_in_order(engine, spec, rows, lake):
    model = train(engine, spec, rows).model
    table = keyed(rows[0], DAY)
    whole = score(engine, spec, model, "3", lake, table)
    assert whole.schema.names == ["customer", "event_time", "score", "decision", "model_version", "ds"]
    assert whole["customer"].equals(table["customer"])
    assert whole["score"].combine_chunks().equals(model.predict(table.combine_chunks().to_batches()[0])["score"])
    assert pc.all(pc.equal(whole["decision"], pc.greater_equal(whole["score"], 0.5))).as_py()
    assert set(whole["model_version"].to_pylist()) == {"3"}


def test_no_rows_give_no_scores(engine, spec, rows, lake):
    model = train(engine, spec, rows).model
    empty = keyed(rows[0].slice(0, 0), DAY)
    assert score(engine, spec, model, "1", lake, empty).num_rows == 0
    empty_batch = pa.RecordBatch.from_arrays([column.combine_chunks() for column in empty.columns], schema=empty.schema)
    assert len(model.predict(empty_batch)) == 0


def test_features_that_do_not_fit_are_all_named(engine, spec, rows, lake):
    model = train(engine, spec, rows).model
    table = keyed(rows[0], DAY)
    wrong = table.drop_columns("age").append_column("agee", table["age"])
    wrong = wrong.set_column(wrong.schema.get_field_index("visits"), "visits", table["visits"].cast(pa.string()))
    with pytest.raises(SignatureMismatch) as raised:
        score(engine, spec, model, "1", lake, wrong)
    assert "'age' is missing. Did you mean 'agee'?" in str(raised.value)
    assert "'visits' is string, but the model needs numeric" in str(raised.value)


def replaced(table, column, row, value):
    """The table with one value changed; whole numbers become what holds it."""
    values = table[column].to_pylist()
    values[row] = value
    kind = pa.int64() if isinstance(value, int) else pa.float64()
    return table.set_column(table.schema.get_field_index(column), column, pa.array(values, kind))


UNUSABLE = [("age", float("inf")), ("age", float("-inf")), ("age", 1e300), ("visits", 2**53 + 1), ("visits", -(2**60))]


def test_numbers_that_no_model_takes_are_named_with_their_keys(engine, spec, rows, lake):
    small = (rows[0].slice(0, 400), rows[1].slice(0, 400))
    for candidate in spec.candidates:
        model = train(engine, replace(spec, candidates=(candidate,)), small, trials=1).model
        for column, value in UNUSABLE:
            wrong = replaced(rows[0].slice(0, 20), column, 3, value)
            with pytest.raises(SignatureMismatch, match=rf"column '{column}': 1 of 20 values, for example .*\(row 3\)"):
                model.predict(wrong.combine_chunks().to_batches()[0])
    wrong = keyed(replaced(rows[0].slice(0, 20), "age", 3, float("inf")), DAY)
    with pytest.raises(SignatureMismatch, match=r"inf \(customer 2013-03-01-00003\)") as raised:
        score(engine, spec, model, "1", lake, wrong)
    assert "Rows of features/churn on 2013-03-01 have numbers that no model accepts" in str(raised.value)


def test_numbers_that_no_model_takes_are_not_learned_from(learner, spec, rows):
    table, labels = rows[0].slice(0, 400), rows[1].slice(0, 400)
    wrong = replaced(replaced(table, "age", 3, float("inf")), "visits", 5, 2**60)
    with pytest.raises(SignatureMismatch, match="The rows that churn learns from have numbers") as raised:
        train(learner, spec, (wrong, labels))
    assert "column 'age': 1 of 400" in str(raised.value)
    assert "column 'visits': 1 of 400" in str(raised.value)


def test_missing_values_are_no_such_numbers(engine, spec, rows):
    small = (rows[0].slice(0, 400), rows[1].slice(0, 400))
    model = train(engine, spec, small, trials=3).model
    missing = pa.record_batch(
        {
            "plan": pa.array(["pro"] * 2),
            "age": pa.array([float("nan"), None]),
            "visits": pa.array([None, None], pa.int64()),
        }
    )
    scores = model.predict(missing)["score"]
    assert scores[0] == scores[1]
    assert scores.null_count == 0


def test_one_class_cannot_be_learned(engine, spec, rows):
    with pytest.raises(TrainingFailed, match="one class"):
        train(engine, spec, (rows[0], pa.array([True] * rows[0].num_rows)))


def what_counts(trials):
    return [(trial.candidate, trial.parameters, trial.value, trial.state) for trial in trials]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda: LocalEngine(cores=4), id="four cores"),
        pytest.param(LEARNERS["spark"], id="spark", marks=pytest.mark.spark),
    ],
)
def test_neither_cores_nor_the_engine_change_the_search(spec, rows, other):
    one, many = (train(engine, spec, rows, trials=14) for engine in (LocalEngine(cores=1), other()))
    assert what_counts(one.trials) == what_counts(many.trials)
    assert one.best.number == many.best.number
    assert one.model.digest() == many.model.digest()


def test_every_candidate_is_tried_and_the_search_beats_the_baseline(learner, spec, rows):
    trained = train(learner, spec, rows, trials=8)
    assert {trial.candidate for trial in trained.trials} == {"baseline", "logistic", "trees"}
    assert len(trained.trials) == 8
    assert trained.best.candidate != "baseline"


def test_a_hopeless_trial_is_pruned(learner, spec, rows):
    trees = Candidate(
        "trees", "xgboost.XGBClassifier", {"n_estimators": 80}, {"learning_rate": FloatRange(1e-6, 0.5, log=True)}
    )
    trained = train(learner, replace(spec, candidates=(trees,)), rows, trials=16)
    assert "pruned" in {trial.state for trial in trained.trials}


@pytest.mark.parametrize(
    "estimator",
    ["sklearn.ensemble.HistGradientBoostingClassifier", "sklearn.ensemble.RandomForestClassifier"],
)
def test_other_estimators_of_scikit_learn_work(learner, spec, rows, tmp_path, estimator):
    trained = train(learner, replace(spec, candidates=(Candidate("other", estimator),)), rows, trials=1)
    trained.model.save(tmp_path)
    batch = rows[0].to_batches()[0]
    assert learner.load(tmp_path).predict(batch).equals(trained.model.predict(batch))


def test_estimators_inside_others_and_transformers_are_searched_and_stored(learner, spec, rows, tmp_path):
    svm = Estimator("sklearn.svm.LinearSVC", {}, {"C": FloatRange(0.1, 1.0)})
    splines = Estimator("sklearn.preprocessing.SplineTransformer", {}, {"n_knots": IntRange(3, 5)})
    bagged = Candidate(
        "bagged",
        "sklearn.multiclass.OneVsRestClassifier",
        {"estimator": svm},
        transformers={"age": splines, "plan": Estimator("sklearn.preprocessing.TargetEncoder")},
    )
    trained = train(learner, replace(spec, candidates=(bagged,)), rows, trials=2)
    assert [set(trial.parameters) for trial in trained.trials] == [
        {"estimator", "estimator__C", "transformers__age__n_knots"}
    ] * 2
    trained.model.save(tmp_path)
    batch = rows[0].to_batches()[0]
    assert learner.load(tmp_path).predict(batch).equals(trained.model.predict(batch))
    assert learner.load(tmp_path).digest() == trained.model.digest()


def test_texts_are_learned_from(learner, spec, rows, tmp_path):
    table, labels = rows
    notes = pa.array(["wants to cancel soon" if left else "all is well" for left in labels.to_pylist()])
    features = replace(spec.features, columns={**spec.features.columns, "note": "text"})
    texts = replace(spec, features=features, candidates=spec.candidates[:2])
    trained = train(learner, texts, (table.append_column("note", notes), labels), trials=2)
    assert trained.best.value < 0.1
    assert trained.best.candidate == "logistic"
    assert trained.model.importance()["note"] > 0.5


def test_an_unseen_category_and_a_null_are_scored(learner, spec, rows):
    for candidate in spec.candidates:
        model = train(learner, replace(spec, candidates=(candidate,)), rows, trials=1).model
        odd = pa.record_batch(
            {"plan": pa.array(["gold", None]), "age": pa.array([None, 30.0]), "visits": pa.array([3, None])}
        )
        assert model.predict(odd)["score"].null_count == 0


def test_a_failing_trial_ends_alone(learner, spec, rows):
    broken = Candidate("broken", "sklearn.linear_model.LogisticRegression", {"C": -1.0})
    trained = train(learner, replace(spec, candidates=(broken, spec.candidates[0])), rows, trials=2)
    assert [trial.state for trial in trained.trials] == ["failed", "complete"]
    assert "C" in trained.trials[0].parameters["error"]


def test_a_candidate_of_which_no_trial_completed_is_named(learner, spec, rows):
    within = {"estimator": Estimator("sklearn.linear_model.Perceptron")}
    broken = Candidate("broken", "sklearn.multiclass.OutputCodeClassifier", within)
    trained = train(learner, replace(spec, candidates=(broken, spec.candidates[0])), rows, trials=2)
    (sentence,) = trained.not_trained
    assert sentence.startswith(
        "broken: 0 of 1 trials completed; the first ended with: OutputCodeClassifier gives neither probabilities"
    )


def test_importance_names_the_features(learner, spec, rows):
    trained = train(learner, spec, rows)
    shares = trained.model.importance()
    assert set(shares) == set(spec.features.columns)
    assert sum(shares.values()) == pytest.approx(1)


def test_numbers_beyond_float32_are_learned_from_and_scored(learner, spec, rows):
    table, labels = rows
    big = table.set_column(2, "visits", pc.add(table["visits"], 2**24 + 1))
    trees = replace(spec, candidates=spec.candidates[2:])
    trained = train(learner, trees, (big, labels), trials=1)
    assert trained.best.state == "complete"
    assert trained.model.predict(big.to_batches()[0])["score"].null_count == 0


def test_a_function_that_reads_files_is_not_loaded(learner, spec, rows, tmp_path):
    import functools

    import numpy as np
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    model = train(learner, replace(spec, candidates=spec.candidates[:1]), rows, trials=1).model
    model.save(tmp_path)
    harmful = FunctionTransformer(functools.partial(np.load, allow_pickle=True))
    skops.io.dump(harmful, tmp_path / "model.skops")
    with pytest.raises(SignatureMismatch, match=r"does not trust: numpy"):
        learner.load(tmp_path)


def test_a_model_file_of_foreign_types_is_not_loaded(learner, spec, rows, tmp_path):
    import fractions

    import skops.io

    model = train(learner, replace(spec, candidates=spec.candidates[:1]), rows, trials=1).model
    model.save(tmp_path)
    skops.io.dump(fractions.Fraction(1, 3), tmp_path / "model.skops")
    with pytest.raises(SignatureMismatch, match="does not trust"):
        learner.load(tmp_path)
