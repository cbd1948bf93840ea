"""Models that Spark ML fitted, made by hand: what they predict, how they are stored, and that no JVM is needed."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from tailrace.engines import models
from tailrace.engines.distributed_models import LinearModel, Trees, TreesModel, logistic
from tailrace.engines.vectors import VectorEncoding
from tailrace.errors import SignatureMismatch
from tailrace.problems import as_array
from tailrace.problems.binary import Binary
from tailrace.problems.multiclass import Multiclass
from tailrace.problems.regression import Regression

FEATURES = {"plan": "categorical", "age": "numeric"}
ROWS = pa.record_batch(
    {"plan": pa.array(["free", "pro", "gold", None]), "age": pa.array([30.0, 50.0, None, float("nan")])}
)


def encoding(*, one_hot: bool) -> VectorEncoding:
    scaled = {"age": 40.0}, {"age": 10.0}
    centres, scales = scaled if one_hot else ({}, {})
    return VectorEncoding(
        features=FEATURES,
        categories={"plan": ["free", "pro"]},
        medians={"age": 45.0},
        one_hot=one_hot,
        centres=centres,
        scales=scales,
    )


def linear() -> LinearModel:
    return LinearModel(encoding(one_hot=True), Binary(), np.array([1.0, -1.0, 0.5]), 0.25)


def trees(link="log_odds") -> TreesModel:
    """One tree that asks for the plan, then for the age; one that is a leaf."""
    laid_out = Trees(
        roots=np.array([0, 5]),
        scale=np.array([1.0, 0.5]),
        feature=np.array([0, -1, 1, -1, -1, -1]),
        threshold=np.array([0.0, 0.0, 45.0, 0.0, 0.0, 0.0]),
        left=np.array([1, -1, 3, -1, -1, -1]),
        right=np.array([2, -1, 4, -1, -1, -1]),
        value=np.array([0.0, 0.1, 0.0, 0.2, 0.3, 0.4]),
        subset=np.array([0, -1, -1, -1, -1, -1]),
        subsets=np.array([[True, False, False]]),
    )
    return TreesModel(encoding(one_hot=False), Binary(), laid_out, link=link, decreases=np.array([3.0, 1.0]))


def test_a_category_has_a_column_and_a_number_is_scaled():
    assert encoding(one_hot=True).matrix(ROWS).tolist() == [[1, 0, -1], [0, 1, 1], [0, 0, 0.5], [0, 0, 0.5]]


def test_for_trees_a_category_has_a_code_and_unseen_ones_share_one():
    assert encoding(one_hot=False).matrix(ROWS).tolist() == [[0, 30], [1, 50], [2, 45], [2, 45]]


def test_a_linear_model_predicts_the_logistic_of_its_sum():
    expected = [1 / (1 + np.exp(-margin)) for margin in (0.75, -0.25, 0.5, 0.5)]
    assert linear().predict(ROWS)["score"].to_pylist() == pytest.approx(expected)


def test_trees_are_walked_by_code_and_by_threshold():
    sums = np.array([0.1, 0.3, 0.2, 0.2]) + 0.5 * 0.4
    assert trees().predict(ROWS)["score"].to_numpy() == pytest.approx(1 / (1 + np.exp(-2 * sums)))
    assert trees("share").predict(ROWS)["score"].to_numpy() == pytest.approx(sums / 2)


def test_the_logistic_does_not_overflow():
    assert logistic(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("model", [linear(), trees()], ids=["linear", "trees"])
def test_a_stored_model_is_the_same_model(model, tmp_path):
    model.save(tmp_path)
    loaded = models.load(tmp_path)
    assert loaded.predict(ROWS).equals(model.predict(ROWS))
    assert loaded.digest() == model.digest()
    assert loaded.importance() == model.importance()
    assert {path.name for path in tmp_path.iterdir()} == {"model.json", "model.npz"}


def test_the_digest_says_every_number():
    other = linear()
    other.coefficients = other.coefficients + np.array([0, 0, 1e-15])
    assert other.digest() != linear().digest()
    assert trees("share").digest() != trees().digest()


OF_RELEASE_0_1 = {
    "linear": (linear(), "5901ad994c7e666c4c7bb6fda00209e99d2c048341864d76bffa6c13c7fc5021"),
    "boosted": (trees(), "0122ea4bf55bb1100914ef5a54a582b73b287b82d90aac00641f6b72f1c4a352"),
    "forest": (trees("share"), "d9b5e31e1c8fd86d7b37c67a411ddd1bbe5a4b15288e4412d58e3cb72114e307"),
}


@pytest.mark.parametrize(("model", "digest"), OF_RELEASE_0_1.values(), ids=OF_RELEASE_0_1)
def test_a_model_of_release_0_1_is_loaded_as_the_same_model(model, digest, tmp_path):
    model.save(tmp_path)
    described = json.loads((tmp_path / "model.json").read_text())
    del described["problem"]  # that release wrote none
    assert "link" not in described or model.kind == "spark_trees"
    (tmp_path / "model.json").write_text(json.dumps(described))
    loaded = models.load(tmp_path)
    assert loaded.digest() == digest
    assert loaded.predict(ROWS).equals(model.predict(ROWS))


@pytest.mark.parametrize(
    ("link", "inverse"), [("identity", lambda margin: margin), ("log", np.exp), ("log_odds", logistic)]
)
def test_a_linear_model_predicts_by_its_link(link, inverse, tmp_path):
    problem = Binary() if link == "log_odds" else Regression()
    model = LinearModel(encoding(one_hot=True), problem, np.array([1.0, -1.0, 0.5]), 0.25, link=link)
    assert model.predict(ROWS)["score"].to_numpy() == pytest.approx(inverse(np.array([0.75, -0.25, 0.5, 0.5])))


def test_a_linear_model_of_several_classes_predicts_their_shares():
    coefficients = np.array([[1.0, -1.0, 0.5], [0.0, 0.0, 0.0], [0.0, 700.0, 0.0]])
    model = LinearModel(
        encoding(one_hot=True), Multiclass(("a", "b", "c")), coefficients, np.array([0.25, 0.0, 0.0]), link="softmax"
    )
    shares = as_array(model.predict(ROWS))
    raised = np.exp([0.75, 0.0, 0.0])
    np.testing.assert_allclose(shares[0], raised / raised.sum())
    np.testing.assert_allclose(shares[1], [0, 0, 1], atol=1e-200)
    assert model.importance()["plan"] == pytest.approx(702 / 702.5)


def test_importance_is_by_feature():
    assert linear().importance() == {"plan": 0.8, "age": 0.2}
    assert trees().importance() == {"plan": 0.75, "age": 0.25}


@pytest.mark.parametrize("model", [linear(), trees()], ids=["linear", "trees"])
def test_no_rows_and_rows_that_do_not_fit(model):
    assert len(model.predict(ROWS.slice(0, 0))) == 0
    with pytest.raises(SignatureMismatch, match="'age' is missing"):
        model.predict(ROWS.select(["plan"]))


def test_scoring_does_not_import_spark(tmp_path):
    trees().save(tmp_path)
    code = f"""
import sys
from pathlib import Path
from tailrace.engines import models
models.load(Path({str(tmp_path)!r}))
assert "pyspark" not in sys.modules and "sklearn" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
