"""Boosted trees of every library, for every kind of question: one model on one core and two, here and once loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tailrace.engines import models
from tailrace.problems import as_array
from tailrace.spec import problems_of
from tests.boosted import KINDS, NUMBERS, asking, fitted, rows_of

FEW = {"n_estimators": 3}
VARIANTS = {
    "hist": ("xgboost.XGB{}", {"subsample": 0.7, **FEW}, None),
    "approx": ("xgboost.XGB{}", {"tree_method": "approx", **FEW}, None),
    "exact": ("xgboost.XGB{}", {"tree_method": "exact", **FEW}, NUMBERS),
    "dart": ("xgboost.XGB{}", {"booster": "dart", "rate_drop": 0.5, "skip_drop": 0.1, **FEW}, None),
    "linear": ("xgboost.XGB{}", {"booster": "gblinear", **FEW}, NUMBERS),
    "forest": ("xgboost.XGBRF{}", FEW, None),
    "lightgbm": ("lightgbm.LGBM{}", {"subsample": 0.7, "subsample_freq": 1, **FEW}, None),
    "lightgbm dart": ("lightgbm.LGBM{}", {"boosting_type": "dart", "drop_rate": 0.5, **FEW}, None),
    "lightgbm goss": ("lightgbm.LGBM{}", {"data_sample_strategy": "goss", **FEW}, None),
    "lightgbm linear": ("lightgbm.LGBM{}", {"linear_tree": True, **FEW}, None),
}
"""Estimators, with their parameters and the features if those are not the spec's."""

IN_A_FRESH_PROCESS = """
import json, sys
from pathlib import Path
import pyarrow.parquet as pq
from tailrace.engines import models

rows = pq.read_table(sys.argv[1]).to_batches()[0]
found = {folder.name: models.load(folder) for folder in map(Path, sys.argv[2:])}
print(json.dumps({name: [model.digest(), model.predict(rows).to_pydict()] for name, model in found.items()}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("boosted")


def variant(spec, name, kind):
    estimator, parameters, columns = VARIANTS[name]
    problem = KINDS[kind]
    role = {"classifier": "Classifier", "regressor": "Regressor"}[problem.estimators]
    return asking(spec, problem, estimator.format(role), parameters, columns=columns)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_model_is_the_same_on_two_cores_and_predicts_alike_whatever_comes_with_it(spec, name, kind, folder):
    asked = variant(spec, name, kind)
    assert problems_of(asked) == []
    model, other = fitted(asked, count=200), fitted(asked, count=200, threads=2)
    assert model.digest() == other.digest()
    rows = rows_of(asked.problem, 100)[0].to_batches()[0]
    predicted = as_array(model.predict(rows))
    assert np.isfinite(predicted).all()
    assert len(np.unique(predicted)) > 3, "it has learned something"
    np.testing.assert_array_equal(as_array(model.predict(rows.slice(7, 20))), predicted[7:27])
    assert model.predict(rows.slice(0, 0)).num_rows == 0
    assert sum(model.importance().values()) == pytest.approx(1.0)
    assert model.importance().keys() == model.features.keys()
    (folder / f"{name}-{kind}").mkdir()
    model.save(folder / f"{name}-{kind}")


def test_every_model_is_loaded_in_a_fresh_process_and_predicts_the_same(spec, folder):
    import pyarrow.parquet as pq

    rows = rows_of(KINDS["binary"])[0].slice(0, 50)
    pq.write_table(rows, folder / "rows.parquet")
    stored = sorted(each for each in folder.iterdir() if each.is_dir())
    assert stored, "the tests above store them"
    command = [sys.executable, "-c", IN_A_FRESH_PROCESS, folder / "rows.parquet", *stored]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for each in stored:
        model = models.load(Path(each))
        assert found[each.name] == [model.digest(), model.predict(rows.to_batches()[0]).to_pydict()]
