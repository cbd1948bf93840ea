"""Candidates that cannot be trained are found by the check, and named by whatever a training leaves."""

from __future__ import annotations

import datetime as dt
import json
import logging
from dataclasses import replace

import pytest

from tailrace.errors import SpecError
from tailrace.operations import reproduce, stage_result_file
from tailrace.operations.checks import check_all
from tailrace.spec import Candidate, Estimator
from tailrace.stages import evaluate
from tests.stages.conftest import Loop, installation, memory
from tests.support import new_project

TRAINED = dt.date(2013, 1, 9)
BROKEN = Candidate(
    "broken", "sklearn.multiclass.OutputCodeClassifier", {"estimator": Estimator("sklearn.linear_model.Perceptron")}
)


@pytest.fixture
def trained(tmp_path, spec):
    """Trains other candidates: the loop, and what came of its training."""

    def train(*candidates: Candidate):
        changed = replace(spec, candidates=candidates)
        loop = Loop(installation(memory, tmp_path, changed), changed)
        loop.take()
        return loop, loop.train(TRAINED)

    return train


def test_a_candidate_that_was_not_trained_is_named_in_result_log_and_report(trained, spec, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "tailrace"):
        loop, result = trained(spec.candidates[0], BROKEN)
    sentence = result.not_trained
    assert sentence.startswith("broken: 0 of 1 trials completed; the first ended with: OutputCodeClassifier gives nei")
    assert f"churn: candidate {sentence}" in caplog.messages
    assert result.candidate == "baseline"
    stage_result_file.write_result(tmp_path / "result", [result])
    assert sentence in json.loads((tmp_path / "result").read_text())["rows"][0]["not_trained"]
    evaluate.run(loop.work(), result.training_run)
    for report in ("evaluation.html", "model_card.md"):
        path = loop.services.tracker.fetch(result.training_run, f"{evaluate.FOLDER}/{report}", tmp_path)
        assert sentence in path.read_text()


def test_a_training_whose_candidates_all_complete_names_none(trained, spec):
    assert trained(spec.candidates[0])[1].not_trained == ""


def test_a_nested_estimator_is_reproduced(trained):
    from sklearn.ensemble import RandomForestClassifier

    nested = {"estimator": RandomForestClassifier(5), "cv": 2}
    loop, result = trained(Candidate("calibrated", "sklearn.calibration.CalibratedClassifierCV", nested))
    reproduced = reproduce.run(loop.services, loop.spec, result.training_run)
    assert reproduced.same, reproduced.sentence()


FILE = """
from dataclasses import replace
from pipelines.flight_delay import SPEC as FLIGHTS
from tailrace.spec import Candidate, Estimator
VOTES = {"estimators": [("one", Estimator("sklearn.linear_model.LogisticRegression"))]}
BROKEN = Candidate("broken", "sklearn.ensemble.VotingClassifier", VOTES)
FOREST = Candidate("forest", "pyspark.ml.classification.RandomForestClassifier")
SPEC = replace(FLIGHTS, name="flights", candidates=(*FLIGHTS.candidates[:1], BROKEN, FOREST))
"""


def test_the_check_names_pipeline_and_candidate(tmp_path, spec, monkeypatch):
    (new_project(tmp_path / "project", monkeypatch).pipelines / "flights.py").write_text(FILE)
    services = installation(memory, tmp_path, replace(spec, name="flights"))
    notes: list[str] = []
    with pytest.raises(SpecError) as raised:
        check_all(services, notes.append)
    assert [problem for problem in raised.value.problems if "candidates" in problem] == [
        "pipelines/flights.py:6: flights: candidates['broken'] cannot be fitted: VotingClassifier gives neither "
        "probabilities nor decision values that could be calibrated to probabilities with these parameters. Set "
        "voting to 'soft'."
    ]
    (note,) = notes
    assert "checked by name and parameters only (the engine is 'local'): 'forest'" in note
