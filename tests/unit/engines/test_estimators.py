"""The model that is registered is the model that was judged: parameters in force, seeds at every depth, importance."""

# ruff: noqa: TID253 - estimators of scikit-learn are what these tests are about.

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from tailrace.engines import models
from tailrace.engines.estimators import fit
from tailrace.engines.library_errors import error_text
from tailrace.engines.local import LocalEngine
from tailrace.engines.search import one_thread
from tailrace.engines.sklearn_models import frame
from tailrace.problems.binary import Binary
from tailrace.problems.multiclass import Multiclass
from tailrace.problems.regression import Regression
from tailrace.spec import LABEL, Candidate, Choice, Estimator, FloatRange, IntRange, SearchBudget
from tailrace.training.arrow_rows import ArrowRows
from tests.support import churn_rows

FOREST = RandomForestClassifier(5)


@pytest.fixture
def rows():
    return churn_rows(300)


@pytest.fixture
def labels(rows):
    return rows[1].to_numpy(zero_copy_only=False)


def candidate(estimator: str, parameters=None, search=None, name="it") -> Candidate:
    return Candidate(name, estimator, parameters or {}, search or {})


def fitted(spec, rows, it: Candidate, **parameters):
    table, labels = rows
    return fit(spec, it, {**it.parameters, **parameters}, rows=table, labels=labels.to_numpy(False), seed=1, threads=1)


def trained(spec, rows, *candidates, trials=1):
    table, labels = rows
    held = ArrowRows(table.append_column(LABEL, labels), tuple(spec.features.columns))
    spec = replace(spec, candidates=candidates, search=SearchBudget(trials=trials))
    return LocalEngine(1).train(spec, held, seed=1, trials=trials, on_trial=lambda trial: None)


def test_a_random_forest_of_xgboost_is_refitted_with_all_of_its_trees(spec, rows):
    found = trained(spec, rows, candidate("xgboost.XGBRFClassifier", {"n_estimators": 12}))
    assert len(found.model.booster.get_dump()) == 12
    assert found.best.parameters == {"n_estimators": 12}


def test_boosting_is_refitted_with_the_rounds_that_early_stopping_found(spec, rows):
    slow = candidate("xgboost.XGBClassifier", {"n_estimators": 60, "learning_rate": 0.9, "early_stopping_rounds": 2})
    found = trained(spec, rows, slow)
    assert found.best.parameters["n_estimators"] < 20
    assert len(found.model.booster.get_dump()) == found.best.parameters["n_estimators"]


def test_early_stopping_can_be_left_out(spec, rows):
    every = candidate(
        "xgboost.XGBClassifier", {"n_estimators": 40, "learning_rate": 0.9, "early_stopping_rounds": None}
    )
    assert len(trained(spec, rows, every).model.booster.get_dump()) == 40


@pytest.mark.parametrize("parameter", [{"random_state": 7}, {"max_bin": 8}])
def test_parameters_of_xgboost_are_in_force(spec, rows, parameter):
    trees = candidate("xgboost.XGBClassifier", {"n_estimators": 3, "subsample": 0.5})
    assert fitted(spec, rows, trees, **parameter).digest() != fitted(spec, rows, trees).digest()
    assert trained(spec, rows, candidate(trees.estimator, {"n_estimators": 3, **parameter})).best.state == "complete"


@pytest.mark.parametrize(
    ("estimator", "parameters"),
    [
        ("sklearn.calibration.CalibratedClassifierCV", {"estimator": FOREST, "cv": StratifiedKFold(2, shuffle=True)}),
        ("sklearn.ensemble.VotingClassifier", {"voting": "soft", "estimators": [("forest", FOREST)]}),
        ("sklearn.ensemble.StackingClassifier", {"estimators": [("forest", FOREST)], "cv": 2}),
        ("sklearn.multiclass.OneVsRestClassifier", {"estimator": BaggingClassifier(FOREST, 2)}),
    ],
)
def test_nested_estimators_are_seeded_and_the_specs_own_are_left_alone(spec, rows, estimator, parameters):
    before = copy.deepcopy(parameters)
    it = candidate(estimator, parameters)
    first, again = fitted(spec, rows, it), fitted(spec, rows, it)
    assert first.digest() == again.digest()
    assert first.predict(rows[0].to_batches()[0]).equals(again.predict(rows[0].to_batches()[0]))
    assert repr(parameters) == repr(before)


def test_a_split_by_path_is_seeded(spec, rows):
    split = Estimator("sklearn.model_selection.StratifiedKFold", {"n_splits": 2, "shuffle": True})
    it = candidate("sklearn.calibration.CalibratedClassifierCV", {"estimator": FOREST, "cv": split})
    assert fitted(spec, rows, it).digest() == fitted(spec, rows, it).digest()


def test_each_nested_estimator_has_a_seed_of_its_own(spec, rows):
    pair = {"voting": "soft", "estimators": [("one", FOREST), ("other", FOREST)]}
    model = fitted(spec, rows, candidate("sklearn.ensemble.VotingClassifier", pair))
    one, other = model.pipeline[-1].estimators_
    assert one.random_state != other.random_state


def test_a_seed_that_the_spec_gives_is_kept(spec, rows):
    given = {"estimator": RandomForestClassifier(3, random_state=11)}
    model = fitted(spec, rows, candidate("sklearn.calibration.CalibratedClassifierCV", given))
    assert model.pipeline[-1].estimator.random_state == 11


def test_parameters_of_a_nested_estimator_can_be_searched(spec, rows):
    nested = candidate(
        "sklearn.calibration.CalibratedClassifierCV",
        {"estimator": LogisticRegression()},
        {"estimator__C": Choice((1e-3, 1.0))},
    )
    model = fitted(spec, rows, nested, estimator__C=1e-3)
    assert model.pipeline[-1].estimator.C == 1e-3


def test_nested_estimators_are_made_from_their_paths_seeded_and_searched(spec, rows):
    forest = Estimator("sklearn.ensemble.RandomForestClassifier", {"n_estimators": 4})
    pair = Estimator("sklearn.pipeline.Pipeline", {"steps": [("forest", forest)]})
    logistic = Estimator("sklearn.linear_model.LogisticRegression", {"tol": 0.1}, {"C": FloatRange(0.01, 1, log=True)})
    stacked = candidate(
        "sklearn.ensemble.StackingClassifier",
        {"estimators": [("one", pair), ("other", pair), ("logistic", logistic)], "final_estimator": logistic, "cv": 2},
    )
    found = trained(spec, rows, stacked, trials=5)
    drawn = [(trial.parameters["logistic__C"], trial.parameters["final_estimator__C"]) for trial in found.trials]
    assert len(set(drawn)) == 5, "a searched parameter is drawn for each trial"
    stack = found.model.pipeline[-1]
    assert (stack.final_estimator_.C, stack.final_estimator_.tol) == (found.best.parameters["final_estimator__C"], 0.1)
    one, other, _ = stack.estimators_
    assert (one["forest"].n_estimators, one["forest"].random_state) != (4, other["forest"].random_state)
    assert found.model.digest() == trained(spec, rows, stacked, trials=5).model.digest()
    assert pickle.loads(pickle.dumps(stacked)) == stacked


def test_estimators_that_take_no_sparse_rows_are_given_none_when_categories_widen(spec, rows, labels):
    wide = pa.table({"plan": pa.array([f"plan {number % 12}" for number in range(300)]), "age": rows[0]["age"]})
    two = replace(spec, features=replace(spec.features, columns={"plan": "categorical", "age": "numeric"}))
    bayes = candidate("sklearn.naive_bayes.GaussianNB")
    assert fitted(two, (wide, rows[1]), bayes).predict(wide.to_batches()[0])["score"].null_count == 0


@pytest.mark.parametrize(
    "estimator", ["sklearn.linear_model.LogisticRegression", "sklearn.tree.DecisionTreeClassifier"]
)
def test_importance_goes_to_the_feature_whose_it_is(spec, estimator):
    """One feature's name is the beginning of another's, and of a category's output."""
    columns = {"plan": "categorical", "plan_b": "categorical", "age": "numeric", "age_x": "numeric"}
    table = pa.table(
        {
            "plan": ["a", "b_x", "c"] * 80,
            "plan_b": ["x", "y"] * 120,
            "age": np.arange(240) % 5,
            "age_x": np.arange(240) % 7,
        }
    )
    named = replace(spec, features=replace(spec.features, columns=columns))
    model = fitted(named, (table, pa.array([True, False] * 120)), candidate(estimator))
    assert model.importance()["plan_b"] > 0.95


def test_importance_of_a_linear_model_of_several_classes(spec):
    table = pa.table({"plan": ["a", "b", "c"] * 80, "age": np.arange(240) % 7})
    columns = {"plan": "categorical", "age": "numeric"}
    several = replace(
        spec,
        features=replace(spec.features, columns=columns),
        outcome=replace(spec.outcome, problem=Multiclass(classes=("x", "y", "z"))),
    )
    labels = pa.array(np.arange(240) % 3, pa.int32())
    model = fitted(several, (table, labels), candidate("sklearn.linear_model.LogisticRegression"))
    assert model.importance()["plan"] > 0.9


@pytest.mark.filterwarnings("ignore:The `probability`")
def test_importance_of_a_linear_machine_on_sparse_rows(spec, rows):
    wide = rows[0].set_column(0, "plan", pa.array([f"plan {number % 12}" for number in range(300)]))
    linear = candidate("sklearn.svm.SVC", {"kernel": "linear", "probability": True, "random_state": 1})
    one = replace(spec, features=replace(spec.features, columns={"plan": "categorical"}))
    assert fitted(one, (wide, rows[1]), linear).importance() == {"plan": 1.0}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            candidate("sklearn.ensemble.VotingClassifier", {"estimators": [("forest", FOREST)]}),
            "VotingClassifier gives neither probabilities nor decision values",
        ),
        (candidate("sklearn.ensemble.VotingClassifier", {"estimators": 5}), "VotingClassifier"),
        (candidate("sklearn.ensemble.StackingClassifier"), "TypeError: StackingClassifier.__init__() missing"),
        (candidate("xgboost.XGBClassifier", {"tree_method": "exact"}), "doesn't support categorical"),
        (candidate("sklearn.linear_model.LogisticRegression", {"class_weight": object()}), "class_weight"),
    ],
)
def test_any_error_ends_its_own_trial_and_a_candidate_without_a_trial_is_named(spec, rows, broken, message):
    found = trained(spec, rows, spec.candidates[0], broken, trials=2)
    assert [trial.state for trial in found.trials] == ["complete", "failed"]
    (sentence,) = found.not_trained
    assert sentence.startswith("it: 0 of 1 trials completed; the first ended with: ")
    assert message in sentence
    assert "Stack trace" not in sentence


def test_an_option_that_gives_no_probabilities_ends_its_own_trials(spec, rows):
    voting = {"voting": Choice(("soft", "hard"))}
    votes = candidate("sklearn.ensemble.VotingClassifier", {"estimators": [("forest", FOREST)]}, voting)
    found = trained(spec, rows, votes, trials=6)
    assert {trial.parameters["voting"] for trial in found.trials if trial.state == "complete"} == {"soft"}
    assert found.not_trained == ()


SVM = Estimator("sklearn.svm.LinearSVC")
STACK = Estimator("sklearn.ensemble.StackingClassifier", {"estimators": [("svm", SVM)]})


@pytest.mark.parametrize(
    ("estimator", "parameters"),
    [
        ("sklearn.svm.LinearSVC", {"C": 0.5}),
        ("sklearn.svm.SVC", {"kernel": "linear"}),
        ("sklearn.linear_model.RidgeClassifier", {}),
        ("sklearn.linear_model.SGDClassifier", {"loss": "hinge", "alpha": 0.1}),
        ("sklearn.model_selection.GridSearchCV", {"estimator": SVM, "param_grid": {"C": [0.5, 1.0]}, "cv": 2}),
    ],
)
def test_a_classifier_without_probabilities_is_calibrated(spec, rows, labels, estimator, parameters):
    model = fitted(spec, rows, candidate(estimator, parameters))
    calibrated = model.pipeline[-1]
    assert isinstance(calibrated, CalibratedClassifierCV)
    scores = model.predict(rows[0].to_batches()[0])["score"].to_numpy()
    assert scores[labels].mean() > scores[~labels].mean() + 0.05
    assert scores.mean() == pytest.approx(labels.mean(), abs=0.1)
    (inner,) = calibrated.calibrated_classifiers_
    plain = {name: value for name, value in parameters.items() if isinstance(value, str | float)}
    assert {name: getattr(inner.estimator, name) for name in plain} == plain, "parameters name the estimator inside"
    assert model.importance()["age"] > 0.1


@pytest.mark.parametrize(
    ("estimator", "parameters"),
    [
        ("sklearn.linear_model.SGDClassifier", {"loss": "log_loss"}),
        (STACK.path, STACK.parameters),
        ("sklearn.pipeline.Pipeline", {"steps": [("stack", STACK)]}),
    ],
)
def test_a_classifier_with_probabilities_is_left_as_it_is(spec, rows, estimator, parameters):
    model = fitted(spec, rows, candidate(estimator, parameters))
    assert not isinstance(model.pipeline[-1], CalibratedClassifierCV)


def test_a_class_with_one_row_cannot_be_calibrated(spec, rows):
    one = pa.array([number == 7 for number in range(300)])
    with pytest.raises(ValueError, match="need at least 2 rows of each class"):
        fitted(spec, (rows[0], one), candidate("sklearn.svm.LinearSVC"))


def test_weights_reach_what_is_calibrated_or_are_refused(spec, rows):
    weighted = replace(spec, outcome=replace(spec.outcome, problem=Binary(class_weight={True: 9.0, False: 1.0})))
    svm = candidate(SVM.path)
    coefficients = [
        fitted(each, rows, svm).pipeline[-1].calibrated_classifiers_[0].estimator.coef_ for each in (spec, weighted)
    ]
    assert not np.allclose(*coefficients)
    pairs = candidate("sklearn.multiclass.OneVsOneClassifier", {"estimator": SVM})
    with pytest.raises(ValueError, match="OneVsOneClassifier learns without weights"):
        fitted(weighted, rows, pairs)


def test_estimators_that_take_nothing_negative_are_given_nothing_negative(spec, rows):
    naive = candidate("sklearn.naive_bayes.MultinomialNB")
    model = fitted(spec, rows, naive)
    least = pa.record_batch({"plan": pa.array(["gold"]), "age": pa.array([-1e6]), "visits": pa.array([-5])})
    assert model.pipeline[0].transform(frame(least, model.features)).min() >= 0
    votes = {"voting": "soft", "estimators": [("naive", Estimator(naive.estimator))]}
    assert fitted(spec, rows, candidate("sklearn.ensemble.VotingClassifier", votes)).importance() == {}


def test_an_error_is_quoted_with_its_class_where_its_text_says_little():
    assert error_text(ValueError("C must be positive")) == "C must be positive"
    assert error_text(KeyError("plan")) == "KeyError: 'plan'"
    assert error_text(NotImplementedError()) == "NotImplementedError"


PREPARED = {
    "plan": Estimator("sklearn.preprocessing.TargetEncoder"),
    "age": Estimator("sklearn.preprocessing.SplineTransformer", {"degree": 2}, {"n_knots": IntRange(3, 5)}),
}


def test_columns_are_prepared_by_the_transformers_of_the_candidate(spec, rows):
    it = replace(candidate("sklearn.linear_model.LogisticRegression"), transformers=PREPARED)
    found = trained(spec, rows, it, trials=3)
    encoder, splines = (step for name, step, _ in found.model.pipeline[0].transformers_ if "transformer" in name)
    knots = found.best.parameters["transformers__age__n_knots"]
    assert (splines[-1].n_knots, splines[-1].degree) == (knots, 2)
    assert splines[0].strategy == "median", "gaps are filled before a transformer that refuses them"
    assert isinstance(encoder.cv.random_state, int), "folds are drawn from the seed of the training"
    assert encoder.target_type_ == "binary", "it learns from the labels"
    assert found.model.digest() == trained(spec, rows, it, trials=3).model.digest()
    assert sum(found.model.importance().values()) == pytest.approx(1)
    assert set(found.model.importance()) == {"plan", "age", "visits"}
    odd = pa.record_batch(
        {"plan": pa.array(["gold", None]), "age": pa.array([None, 1e3]), "visits": pa.array([3, None])}
    )
    assert found.model.predict(odd)["score"].null_count == 0


def test_texts_may_have_any_name_and_the_steps_of_others_keep_theirs(spec, rows):
    columns = {"note": "text", "user__comment": "text", "_remark": "text"}
    spec = replace(spec, features=replace(spec.features, columns=columns))
    texts = pa.array(["good day", "bad night", "so so"] * 100)
    table = pa.table({**dict.fromkeys(columns, texts)})
    model = fitted(spec, (table, rows[1]), candidate("sklearn.linear_model.LogisticRegression"))
    steps = {inputs: name for name, _, inputs in model.pipeline[0].transformers_ if isinstance(inputs, str)}
    assert steps == {"note": "text_note", "user__comment": "texts_1", "_remark": "texts_2"}
    assert set(model.importance()) == set(columns)


def test_labels_that_an_estimator_does_not_learn_from_are_told(spec, rows):
    numbers = replace(spec, outcome=replace(spec.outcome, problem=Regression()))
    poisson, counts = candidate("sklearn.linear_model.PoissonRegressor"), np.arange(300) % 7
    with pytest.raises(ValueError, match="PoissonRegressor learns from no negative labels, and the least one is -2"):
        fitted(numbers, (rows[0], pa.array(counts - 2.0)), poisson)
    assert fitted(numbers, (rows[0], pa.array(counts * 1.0)), poisson).importance()


def test_a_target_encoder_takes_whole_numbers_for_numbers(spec, rows):
    counts = pa.array(np.arange(300) % 7)
    numbers = replace(spec, outcome=replace(spec.outcome, problem=Regression()))
    it = replace(candidate("sklearn.ensemble.HistGradientBoostingRegressor", {"max_iter": 2}), transformers=PREPARED)
    model = fitted(numbers, (rows[0], counts), it, transformers__age__n_knots=3)
    steps = {name: step for name, step, _ in model.pipeline[0].transformers_}
    assert steps["transformer_0"].target_type_ == "continuous"
    assert model.pipeline[-1].categorical_features == [], "plan, the only category, arrives as a number"


def test_missing_numbers_reach_an_imputer_and_an_estimator_that_handle_them(spec, rows):
    for path, given in (("sklearn.impute.SimpleImputer", {"add_indicator": True}), ("sklearn.impute.KNNImputer", {})):
        it = replace(candidate("sklearn.linear_model.LogisticRegression"), transformers={"age": Estimator(path, given)})
        (step,) = [step for name, step, _ in fitted(spec, rows, it).pipeline[0].transformers_ if "transformer" in name]
        assert type(step).__name__ == path.rpartition(".")[2]


TIED = {f"column_{number}": "numeric" for number in range(18)}
NEIGHBOURS = Estimator("sklearn.neighbors.KNeighborsClassifier")


@pytest.fixture(scope="module")
def tied():
    """Many rows are equally far from each other. With fewer rows, scikit-learn's sums differ too seldom."""
    random = np.random.default_rng(0)
    values = np.hstack([random.random((3000, 14)) < 0.1, random.integers(0, 4, (3000, 4))]).astype(float)
    labels = values[:, 0] + values[:, 14] + random.normal(size=3000) > 1.5
    return pa.table(dict(zip(TIED, values.T, strict=True))), pa.array(labels)


def about(spec, columns):
    return replace(spec, features=replace(spec.features, columns=columns))


def scores(model, table, size):
    return np.concatenate([model.predict(batch)["score"].to_numpy() for batch in table.to_batches(size)])


@pytest.mark.parametrize(
    ("estimator", "parameters"),
    [
        (NEIGHBOURS.path, {}),
        ("sklearn.ensemble.BaggingClassifier", {"estimator": NEIGHBOURS, "n_estimators": 2}),
        ("sklearn.ensemble.VotingClassifier", {"voting": "soft", "estimators": [("near", NEIGHBOURS)]}),
    ],
)
def test_scores_of_neighbours_do_not_depend_on_the_batch(spec, tied, estimator, parameters):
    model = fitted(about(spec, TIED), tied, candidate(estimator, parameters))
    assert np.array_equal(scores(model, tied[0], 3000), scores(model, tied[0], 1000))


@pytest.mark.filterwarnings("ignore:max_iter")
@pytest.mark.parametrize(
    ("estimator", "parameters"),
    [
        (NEIGHBOURS.path, {"algorithm": "brute"}),
        (NEIGHBOURS.path, {"metric": "cosine"}),
        ("sklearn.ensemble.BaggingClassifier", {"estimator": replace(NEIGHBOURS, parameters={"algorithm": "brute"})}),
        ("sklearn.semi_supervised.LabelSpreading", {"kernel": "knn", "max_iter": 3}),
    ],
)
def test_neighbours_that_would_depend_on_the_batch_are_refused(spec, tied, estimator, parameters):
    with pytest.raises(ValueError, match=r"would depend on the other rows of its batch; set algorithm='ball_tree'"):
        fitted(about(spec, TIED), tied, candidate(estimator, parameters))


def test_neighbours_among_sparse_rows_stay_as_scikit_learn_chooses(spec):
    table = pa.table({"plan": [f"plan {number % 12}" for number in range(600)]})
    model = fitted(
        about(spec, {"plan": "categorical"}), (table, pa.array(np.arange(600) % 5 == 0)), candidate(NEIGHBOURS.path)
    )
    assert (model.pipeline[-1].algorithm, model.pipeline[-1]._fit_method) == ("auto", "brute")


BOOSTING = "sklearn.ensemble.HistGradientBoostingClassifier"
NOTED = {"plan": "categorical", "age": "numeric", "visits": "numeric", "note": "text"}


def noted(rows, notes):
    table, labels = rows
    return table.append_column("note", pa.array(notes, pa.string())), labels


@pytest.mark.parametrize("notes", [[None] * 300, [f"word{number}" for number in range(300)]], ids=["null", "no two"])
@pytest.mark.parametrize(
    "estimator", ["sklearn.linear_model.LogisticRegression", "sklearn.tree.DecisionTreeClassifier"]
)
def test_texts_without_a_common_word_contribute_nothing(spec, rows, tmp_path, estimator, notes):
    model = fitted(about(spec, NOTED), noted(rows, notes), candidate(estimator))
    assert model.importance()["note"] == 0
    (batch,) = noted(rows, ["new words"] * 300)[0].to_batches()
    assert model.predict(batch).equals(fitted(spec, rows, candidate(estimator)).predict(batch))
    model.save(tmp_path)
    loaded = models.load(tmp_path)
    assert (loaded.digest(), loaded.predict(batch)) == (model.digest(), model.predict(batch))


def test_a_vectorizer_of_the_spec_that_finds_no_word_is_named_with_its_column(spec, rows):
    words = {"note": Estimator("sklearn.feature_extraction.text.CountVectorizer")}
    it = replace(candidate("sklearn.linear_model.LogisticRegression"), transformers=words)
    with pytest.raises(ValueError, match=r"the transformer of 'note' finds no words .* all may be null; take it out"):
        fitted(about(spec, NOTED), noted(rows, [None] * 300), it)


@pytest.mark.parametrize("transformers", [{}, {"age": Estimator("sklearn.preprocessing.StandardScaler")}])
def test_boosting_learns_without_a_number_that_is_always_null(spec, rows, tmp_path, transformers):
    table = rows[0].set_column(1, "age", pa.nulls(300, pa.float64()))
    it = replace(candidate(BOOSTING, {"max_iter": 2}), transformers=transformers)
    (batch,) = rows[0].to_batches()
    with one_thread():
        model = fitted(spec, (table, rows[1]), it)
        model.save(tmp_path)
        assert models.load(tmp_path).predict(batch).equals(model.predict(batch))
    assert len(set(model.predict(batch)["score"].to_pylist())) > 1


def test_boosting_learns_without_a_number_that_only_rows_of_no_weight_have(spec, rows):
    age = pa.array([1.0 * number if number < 9 else None for number in range(300)])
    table = rows[0].set_column(1, "age", age).append_column("weight", pa.array((np.arange(300) >= 9) * 1.0))
    weighted = replace(spec, features=replace(spec.features, weight="weight"))
    with one_thread():
        assert fitted(weighted, (table, rows[1]), candidate(BOOSTING, {"max_iter": 2})).predict(table.to_batches()[0])


def test_a_number_that_too_few_rows_have_to_be_binned_is_named(spec):
    """Histogram gradient boosting lays a part of more than 10,000 rows aside, here the row with the only value."""
    table, labels = churn_rows(10_001)
    shown = ValueError("window shape cannot be larger than input array shape")
    few = table.set_column(1, "age", pa.array([1.0] + [None] * 10_000))
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(ValueError, match=r"'age' has a value in only 1 of 10,001"),
    ):
        patch.setattr("sklearn.pipeline.Pipeline.fit", Mock(side_effect=shown))
        fitted(spec, (few, labels), candidate(BOOSTING))


def test_nothing_to_learn_from_is_one_sentence(spec):
    table = pa.table({"age": pa.nulls(300, pa.float64()), "note": pa.nulls(300, pa.string())})
    nothing = about(spec, {"age": "numeric", "note": "text"})
    with pytest.raises(ValueError, match="there is nothing to learn from in 'age', 'note': in the learning rows"):
        fitted(nothing, (table, pa.array(np.arange(300) % 2 == 0)), candidate(BOOSTING))
