"""A stored model is the model that was fitted: its digest, and the libraries that it is loaded with."""

# ruff: noqa: TID253 - estimators of scikit-learn are what these tests are about.

from __future__ import annotations

import copy
import json
import logging

import numpy as np
import pytest
import sklearn
from scipy.sparse import csr_matrix
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tailrace.engines import models, versions
from tailrace.engines.estimators import fit
from tailrace.engines.fingerprint import fingerprint
from tailrace.engines.models import digest_to_compare
from tailrace.engines.signatures import DESCRIPTION
from tailrace.errors import SignatureMismatch
from tailrace.spec import Candidate
from tests.support import churn_rows

SKLEARN = {
    "sklearn.linear_model.LogisticRegression": {},
    "sklearn.linear_model.SGDClassifier": {"loss": "log_loss"},
    "sklearn.tree.DecisionTreeClassifier": {},
    "sklearn.ensemble.RandomForestClassifier": {"n_estimators": 3},
    "sklearn.ensemble.GradientBoostingClassifier": {"n_estimators": 3},
    "sklearn.ensemble.HistGradientBoostingClassifier": {"max_iter": 3},
    "sklearn.ensemble.AdaBoostClassifier": {"n_estimators": 3},
    "sklearn.ensemble.BaggingClassifier": {"estimator": LogisticRegression(), "n_estimators": 3},
    "sklearn.ensemble.VotingClassifier": {"voting": "soft", "estimators": [("forest", RandomForestClassifier(2))]},
    "sklearn.calibration.CalibratedClassifierCV": {"estimator": RandomForestClassifier(2), "method": "isotonic"},
    "sklearn.neighbors.KNeighborsClassifier": {"algorithm": "ball_tree", "metric": "manhattan"},
    "sklearn.neural_network.MLPClassifier": {"solver": "sgd", "max_iter": 3},
    "sklearn.naive_bayes.GaussianNB": {},
    "sklearn.svm.SVC": {"probability": True},
    "sklearn.discriminant_analysis.LinearDiscriminantAnalysis": {},
    "sklearn.model_selection.GridSearchCV": {"estimator": LogisticRegression(), "param_grid": {"C": [1.0]}, "cv": 2},
}
XGBOOST = {
    "xgboost.XGBClassifier": {"n_estimators": 3, "booster": "dart"},
    "xgboost.XGBRFClassifier": {"n_estimators": 3},
}


def fitted(spec, estimator, parameters):
    table, labels = churn_rows(200)
    labels = labels.to_numpy(zero_copy_only=False)
    return fit(spec, Candidate("it", estimator, parameters), parameters, rows=table, labels=labels, seed=1, threads=1)


@pytest.fixture
def logistic(spec):
    return fitted(spec, "sklearn.linear_model.LogisticRegression", {})


@pytest.fixture
def batch():
    return churn_rows(50, seed=4)[0].to_batches()[0]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "parameters"), [*SKLEARN.items(), *XGBOOST.items()])
def test_the_digest_is_the_same_once_stored_and_used_and_fitted_again(spec, batch, tmp_path, estimator, parameters):
    model = fitted(spec, estimator, parameters)
    digest = model.digest()
    assert fitted(spec, estimator, parameters).digest() == digest
    model.save(tmp_path)
    loaded = models.load(tmp_path)
    assert loaded.predict(batch).equals(model.predict(batch))
    assert loaded.digest() == model.digest() == digest
    loaded.save(tmp_path)
    assert models.load(tmp_path).digest() == digest


def test_the_digest_says_what_was_learned(spec):
    one, other = (fitted(spec, "sklearn.linear_model.LogisticRegression", {"C": c}) for c in (1.0, 1.0 + 1e-9))
    assert one.digest() != other.digest()


def test_a_digest_that_an_earlier_release_recorded_is_recognised(logistic, spec):
    assert digest_to_compare(logistic, logistic.former_digest()) == logistic.former_digest()
    assert digest_to_compare(logistic, "another") == logistic.digest()
    other = fitted(spec, "sklearn.linear_model.LogisticRegression", {"C": 0.1})
    assert digest_to_compare(other, logistic.former_digest()) == other.digest()


def record(kind: str) -> np.ndarray:
    """One number in a record whose other bytes hold anything."""
    padded = np.dtype({"names": ["value"], "formats": [kind], "offsets": [8], "itemsize": 24})
    array = np.frombuffer(np.random.default_rng().bytes(24), padded).copy()
    array["value"] = 3
    return array


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(6.0).reshape(2, 3)),
        (np.arange(3, dtype=">i8"), np.arange(3, dtype="<i8")),
        (record("<f8"), record("<f8")),
        ({"a": 1, "b": 2.0}, {"b": np.float64(2), "a": np.int64(1)}),
        ([1, (2, None)], (1, [2, None])),
        ({1, 2, 3}, {3, 2, 1}),
        (csr_matrix([[0, 1.0], [2, 0]]), csr_matrix(([2, 1.0], ([1, 0], [0, 1])))),
        ([shared := np.ones(3), shared], [np.ones(3), np.ones(3)]),
        (np.random.RandomState(3), np.random.RandomState(3)),
        (float("nan"), np.float64("nan")),
    ],
)
def test_equal_values_have_one_fingerprint_however_they_lie_in_memory(one, same):
    assert fingerprint(one) == fingerprint(same)
    assert fingerprint(copy.deepcopy(one)) == fingerprint(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(3, 2)),
        (np.ones(2, "f4"), np.ones(2, "f8")),
        ({"a": 1}, {"a": True}),
        (["ab", "c"], ["a", "bc"]),
        ([1, [2]], [[1], 2]),
        (np.random.RandomState(3), np.random.RandomState(4)),
        (LogisticRegression(C=1), LogisticRegression(C=2)),
        (LogisticRegression, RandomForestClassifier),
        (np.array(["a", "b"], object), np.array(["a", "c"], object)),
    ],
)
def test_other_values_have_another_fingerprint(one, other):
    assert fingerprint(one) != fingerprint(other)


def test_what_refers_to_itself_has_a_fingerprint():
    loop: list[object] = [1]
    loop.append(loop)
    assert len(fingerprint(loop)) == 64


def changed(folder, **description):
    path = folder / DESCRIPTION
    path.write_text(json.dumps(json.loads(path.read_text()) | description))


def test_the_libraries_are_recorded_beside_the_model(logistic, tmp_path):
    logistic.save(tmp_path)
    recorded = json.loads((tmp_path / DESCRIPTION).read_text())[versions.RECORDED]
    assert recorded["scikit-learn"] == sklearn.__version__


def test_a_model_of_another_version_that_works_is_loaded_with_a_warning(logistic, batch, tmp_path, caplog):
    logistic.save(tmp_path)
    changed(tmp_path, libraries={"scikit-learn": "1.8.9"})
    with caplog.at_level(logging.WARNING, "tailrace"):
        assert models.load(tmp_path).predict(batch).equals(logistic.predict(batch))
    (warning,) = caplog.messages
    assert f"was stored with scikit-learn 1.8.9; scikit-learn {sklearn.__version__} is installed here" in warning


@pytest.mark.parametrize(
    ("libraries", "expected"),
    [
        ({"scikit-learn": "1.8.9"}, "Install scikit-learn==1.8.9, or train again"),
        (None, "the tags library.* of its version in MLflow name them"),
    ],
)
def test_a_model_that_does_not_work_here_says_what_to_install(logistic, tmp_path, libraries, expected):
    """As an imputer of scikit-learn before 1.8: it is loaded, and fails when it is first used."""
    del logistic.pipeline[0].named_transformers_["numeric"][0]._fill_dtype
    logistic.save(tmp_path)
    changed(tmp_path, libraries=libraries or {})
    with pytest.raises(SignatureMismatch, match="_fill_dtype") as raised:
        models.load(tmp_path)
    assert expected in str(raised.value)


def test_a_model_of_the_release_before_is_loaded_in_silence(logistic, batch, tmp_path, caplog):
    logistic.save(tmp_path)
    changed(tmp_path, libraries={})
    assert models.load(tmp_path).predict(batch).equals(logistic.predict(batch))
    assert not caplog.messages


def test_files_that_cannot_be_read_are_named(spec, tmp_path):
    fitted(spec, "xgboost.XGBClassifier", {"n_estimators": 2}).save(tmp_path)
    (tmp_path / "model.ubj").write_bytes(b"{nothing")
    with pytest.raises(SignatureMismatch, match="cannot be loaded, although") as raised:
        models.load(tmp_path)
    assert "Restore its files from a backup" in str(raised.value)
    assert "Stack trace" not in str(raised.value)


def test_a_type_that_is_not_trusted_is_refused_before_it_is_written(spec, tmp_path):
    dice = fitted(spec, "sklearn.neighbors.KNeighborsClassifier", {"algorithm": "ball_tree", "metric": "dice"})
    with pytest.raises(SignatureMismatch, match="DiceDistance"):
        dice.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_vectorizer_of_texts_has_the_same_digest_wherever_its_stop_words_are_in_memory():
    one, other = (TfidfVectorizer(stop_words=list(words)).fit(["the cat", "a dog"]) for words in (["the"], ["the"]))
    assert one._stop_words_id != other._stop_words_id
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(one) != fingerprint(TfidfVectorizer(stop_words=["a"]).fit(["the cat", "a dog"]))
