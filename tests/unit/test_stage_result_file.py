"""A stage's result or error survives 4096 bytes of a pod's status."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field

import pytest

from tailrace import errors
from tailrace.commands.main import app
from tailrace.operations import stage_result_file


@dataclass(frozen=True)
class Trained:
    run_id: str
    day: dt.date
    rows: int
    unchanged: bool
    metrics: dict[str, float] = field(default_factory=lambda: {f"metric_{n}": 0.5 for n in range(500)})


def test_plain_fields_of_a_result_come_back(tmp_path):
    file = tmp_path / "result"
    stage_result_file.write_result(file, [Trained("r1", dt.date(2013, 3, 1), 3, False)])
    assert stage_result_file.read(file.read_text()) == [
        {"run_id": "r1", "day": "2013-03-01", "rows": 3, "unchanged": False}
    ]


def test_a_result_of_many_rows_is_cut_to_what_fits(tmp_path):
    file = tmp_path / "result"
    stage_result_file.write_result(file, [{"node": "n" * 50, "number": number} for number in range(200)])
    assert file.stat().st_size <= stage_result_file.LIMIT
    assert stage_result_file.read(file.read_text())[0]["number"] == 0


def test_a_row_that_is_too_long_is_handed_back_with_its_long_texts_cut(tmp_path):
    file = tmp_path / "result"
    run = "0123456789abcdef0123456789abcdef"
    stage_result_file.write_result(file, [{"report": "é" * 9000, "run_id": run, "files": "f" * 9000, "rows": 3}])
    assert file.stat().st_size <= stage_result_file.LIMIT
    (row,) = stage_result_file.read(file.read_text())
    assert (row["run_id"], row["rows"]) == (run, 3)
    assert row["report"].startswith("éé")
    assert row["report"].endswith("é...")


@pytest.mark.parametrize(
    "error",
    [
        errors.AuditFailed("churn: the scores of 2013-03-01 moved: PSI is 0.9, at most 0.25 is allowed."),
        errors.UnknownName("pipeline", "chrun", ["churn"]),
        errors.SettingsError("The environment's settings are wrong:", ["TAILRACE_SEED is 'x'."]),
        errors.LakeUnavailable("The lake does not answer."),
    ],
)
def test_an_error_comes_back_as_its_own_class_and_sentence(tmp_path, error):
    stage_result_file.write_error(tmp_path / "result", error)
    with pytest.raises(type(error)) as raised:
        stage_result_file.read((tmp_path / "result").read_text())
    assert str(raised.value) == str(error)


@pytest.mark.parametrize("letter", ["x", "é", '"', "\n", "😀"])
def test_a_long_message_is_cut_and_says_so(tmp_path, letter):
    stage_result_file.write_error(tmp_path / "result", errors.BuildFailed("first " + letter * 9000))
    text = (tmp_path / "result").read_text()
    assert stage_result_file.LIMIT - 100 < len(text.encode()) <= stage_result_file.LIMIT
    with pytest.raises(errors.BuildFailed, match=r"^first (?s:.*) \.\.\. \(the log has the rest\)$"):
        stage_result_file.read(text)


def test_an_error_of_a_library_is_no_error_of_tailrace(tmp_path):
    stage_result_file.write_error(tmp_path / "result", KeyError("plan"))
    with pytest.raises(stage_result_file.StageFailed, match="KeyError: 'plan'"):
        stage_result_file.read((tmp_path / "result").read_text())


def test_an_address_is_handed_back_whole_or_not_at_all(tmp_path):
    file = tmp_path / "result"
    address = "http://mlflow.example:5000/#/experiments/1/runs/0123456789abcdef0123456789abcdef"
    stage_result_file.write_result(
        file, [{"day": str(number), "url": address, "note": address + " is it"} for number in range(3)]
    )
    assert {row["url"] for row in stage_result_file.read(file.read_text())} == {address}
    stage_result_file.write_result(
        file, [{"day": str(number), "url": address, "note": address + " is it"} for number in range(30)]
    )
    assert file.stat().st_size <= stage_result_file.LIMIT
    rows = stage_result_file.read(file.read_text())
    assert {row["url"] for row in rows} == {""}
    assert len(rows) > 20


def test_the_spark_application_is_handed_over_with_a_result_and_with_an_error(tmp_path):
    file = tmp_path / "result"
    stage_result_file.write_result(file, [{"node": "n" * 50, "number": number} for number in range(200)], "spark-1")
    assert file.stat().st_size <= stage_result_file.LIMIT
    assert stage_result_file.spark_application(file.read_text()) == "spark-1"
    stage_result_file.write_error(file, errors.JobFailed("é" * 9000), "spark-2")
    assert file.stat().st_size <= stage_result_file.LIMIT
    assert stage_result_file.spark_application(file.read_text()) == "spark-2"
    stage_result_file.write_result(file, [])
    assert [stage_result_file.spark_application(text) for text in (file.read_text(), "", "killed", "[]")] == [""] * 4


@pytest.mark.parametrize("text", ["", "killed", "[]", "{}", '{"rows": 1}', '{"error": "X"}'])
def test_what_was_not_handed_over_is_said(text):
    with pytest.raises(ValueError, match=r".+"):
        stage_result_file.read(text)


def test_an_error_cannot_name_what_is_no_error():
    with pytest.raises(stage_result_file.StageFailed):
        stage_result_file.read(json.dumps({"error": "did_you_mean", "message": "?"}))


def test_the_command_hands_over_its_error(tmp_path, monkeypatch):
    monkeypatch.setenv("TAILRACE_HOME", str(tmp_path))
    command = ["run", "score", "flight_dela", "--date", "2013-03-01", "--result", str(tmp_path / "result")]
    with pytest.raises(errors.UnknownName) as raised:
        app(command, standalone_mode=False)
    assert json.loads((tmp_path / "result").read_text()) == {"error": "UnknownName", "message": str(raised.value)}
