"""MLflow's own tools answer exactly as the batch does, for the rows that the model was trained on and for others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tailrace.contracts import Trial
from tailrace.engines.estimators import fit
from tailrace.engines.search import refit
from tailrace.problems.regression import Regression
from tailrace.spec import LABEL, Candidate
from tailrace.stages.train import example_of
from tailrace.tracking import mlflow_model
from tailrace.training.arrow_rows import ArrowRows
from tailrace.training.training_set import TrainingSet
from tests.support import churn_rows

# isort: split
import mlflow.pyfunc
from mlflow.pyfunc import scoring_server


@pytest.fixture
def rows():
    """A whole number with nulls, none of them in the first rows."""
    table, labels = churn_rows(300)
    visits = [None if number > 50 and number % 9 == 0 else number % 7 for number in range(300)]
    table = table.set_column(2, "visits", pa.array(visits, pa.int32()))
    return table.append_column("seats", pa.array(range(300), pa.int64())), labels


@pytest.fixture(params=[1, 2], ids=["logistic", "trees"])
def served(request, spec, rows, tmp_path: Path):
    """The model, and what MLflow makes of its stored folder."""
    table, labels = rows
    columns = {**spec.features.columns, "seats": "numeric"}
    spec = replace(spec, features=replace(spec.features, columns=columns))
    candidate = spec.candidates[request.param]
    model = fit(spec, candidate, candidate.parameters, rows=table, labels=labels.to_numpy(False), seed=1, threads=1)
    held = table.append_column(LABEL, labels)
    example = example_of(TrainingSet(ArrowRows(held.slice(0, 200), tuple(columns)), held.slice(200), {}, {}))
    folder = tmp_path / "saved"
    folder.mkdir()
    model.save(folder)
    scores = pa.Table.from_batches([model.predict(example.combine_chunks().to_batches()[0])])
    mlflow_model.write_pyfunc(
        folder, tmp_path / "pyfunc", loader_module="tailrace.engines.pyfunc", example=example, predictions=scores
    )
    return model, mlflow.pyfunc.load_model(str(tmp_path / "pyfunc"))


def test_whole_numbers_are_doubles_where_nulls_occur(served):
    types = {column.name: column.type.name for column in served[1].metadata.signature.inputs.inputs}
    assert types == {"plan": "string", "age": "double", "visits": "double", "seats": "long"}


def test_its_signature_takes_the_rows_it_was_trained_on(served, rows):
    model, loaded = served
    expected = model.predict(rows[0].combine_chunks().to_batches()[0])["score"].to_numpy()
    assert np.array_equal(loaded.predict(rows[0].to_pandas()), expected)
    nullable = rows[0].to_pandas().astype({"visits": "Int32"})
    assert np.array_equal(loaded.predict(nullable), expected)


@pytest.mark.parametrize("first", [0, 51], ids=["no nulls", "nulls"])
def test_the_scoring_server_answers_as_the_batch_does(served, rows, first):
    model, loaded = served
    some = rows[0].slice(first, 30)
    split = {"columns": some.column_names, "data": [list(row.values()) for row in some.to_pylist()]}
    answer = scoring_server.invocations(
        json.dumps({"dataframe_split": split}), "application/json", loaded, loaded.metadata.get_input_schema()
    )
    assert answer.status == 200, answer.response
    expected = model.predict(some.combine_chunks().to_batches()[0])["score"].to_pylist()
    assert json.loads(answer.response)["predictions"] == expected


@pytest.mark.parametrize("served", [1], indirect=True)
def test_a_model_of_an_earlier_release_loads_and_answers_the_same(served, rows, tmp_path: Path):
    """Its file names the loader module by the library's earlier name."""
    description = tmp_path / "pyfunc" / "MLmodel"
    description.write_text(description.read_text().replace("loader_module: tailrace.", "loader_module: pipelines."))
    old = mlflow.pyfunc.load_model(str(tmp_path / "pyfunc"))
    assert old.loader_module == "pipelines.engines.pyfunc"
    frame = rows[0].to_pandas()
    assert np.array_equal(old.predict(frame), served[1].predict(frame))


def test_a_model_with_intervals_answers_with_their_ends(spec, rows, tmp_path):
    problem = Regression(intervals=(0.1, 0.9))
    candidates = (Candidate("linear", "sklearn.linear_model.LinearRegression"),)
    asked = replace(spec, outcome=replace(spec.outcome, problem=problem), candidates=candidates)
    best = Trial(number=0, candidate="linear", parameters={}, value=0.0, state="complete", seconds=0.0)
    model = refit(asked, best, rows[0], np.arange(300.0), seed=1, threads=1)
    example = rows[0].select(list(model.features)).slice(0, 20)
    folder = tmp_path / "saved"
    folder.mkdir()
    model.save(folder)
    predicted = pa.Table.from_batches([model.predict(example.combine_chunks().to_batches()[0])])
    mlflow_model.write_pyfunc(
        folder, tmp_path / "pyfunc", loader_module="tailrace.engines.pyfunc", example=example, predictions=predicted
    )
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "pyfunc"))
    assert [column.name for column in loaded.metadata.signature.outputs.inputs] == ["score", "low", "high"]
    assert loaded.predict(example.to_pandas()).equals(predicted.to_pandas())
