"""What a task leaves for people: readable lines, JSON values, the sentence it failed with, links."""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from tailrace import errors, settings
from tailrace.lineage import xcom_keys
from tailrace.orchestration import links, task_results, task_run

DAY = dt.date(2013, 3, 10)


@dataclass(frozen=True)
class Part:
    version: str = "3"


@dataclass(frozen=True)
class Result:
    day: dt.date = DAY
    rows: int = 12345
    psi: float | None = float("nan")
    unchanged: bool = True
    part: Part = Part()
    warnings: tuple[str, ...] = ("a\nb", "c")
    note: str = ""
    counts: dict[str, int] = field(default_factory=lambda: {"flights": 2})


@pytest.fixture
def left():
    return {}


@pytest.fixture
def context(left):
    return {"ti": SimpleNamespace(xcom_push=lambda key, value: left.update({key: value}))}


def links_of(left):
    return {
        key.removeprefix(xcom_keys.LINK): address for key, address in left.items() if key.startswith(xcom_keys.LINK)
    }


def test_why_is_said_where_the_settings_are_what_is_wrong(context, left, caplog, monkeypatch):
    monkeypatch.setenv("TAILRACE_ENGINE", "sprak")
    with pytest.raises(errors.SettingsError) as raised:
        settings.load()
    task_results.say_why(context | {"exception": raised.value})
    assert left == {xcom_keys.ERROR: str(raised.value)}
    assert caplog.records[-1].getMessage() == str(raised.value)


def test_a_result_is_kept_in_json_terms_and_told_in_aligned_lines(context, left, caplog):
    with caplog.at_level(logging.INFO, logger="tailrace"):
        task_results.leave(
            context, Result(), {task_results.MLFLOW_RUN: "", task_results.PUBLISHED_DAY: "tailrace/pages/x/2013-03-10"}
        )
    kept = left[xcom_keys.RESULT]
    assert json.loads(json.dumps(kept)) == kept
    assert (kept["day"], kept["psi"], kept["part"]) == ("2013-03-10", None, {"version": "3"})
    assert links_of(left) == {task_results.PUBLISHED_DAY: "tailrace/pages/x/2013-03-10"}
    assert [record.getMessage() for record in caplog.records] == [
        "day             2013-03-10",
        "rows            12,345",
        "psi             -",
        "unchanged       yes",
        "part.version    3",
        "warnings        a b; c",
        "note            -",
        "counts.flights  2",
    ]


def test_the_log_says_how_long_it_took(left, caplog):
    begun = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=61)
    ti = SimpleNamespace(xcom_push=lambda key, value: left.update({key: value}), start_date=begun)
    with caplog.at_level(logging.INFO, logger="tailrace"):
        task_results.leave({"ti": ti}, {"rows": 3})
    assert re.fullmatch(r"done in 6\d\.\d s", caplog.records[-1].getMessage())


def test_several_days_are_told_as_a_table():
    rows = [{"day": "2013-03-09", "rows": 5}, {"day": "2013-03-10", "rows": 1234}]
    assert list(task_results.lines(rows)) == ["day         rows", "2013-03-09  5", "2013-03-10  1,234"]


def test_a_list_of_objects_is_told_by_their_sentences():
    held = {"rules": [{"passed": True, "sentence": "It is better."}], "bins": [{"rows": 1234, "note": None}]}
    assert list(task_results.lines(held)) == ["rules  It is better.", "bins   rows 1,234, note -"]
    rules = [{"sentence": "It is better."}, {"sentence": "It is new."}]
    assert list(task_results.lines({"rules": rules, "days": ["a", "b"]})) == [
        "rules  It is better. It is new.",
        "days   a; b",
    ]


def test_a_failed_try_ends_with_its_sentence(context, left, caplog, tmp_path, monkeypatch):
    monkeypatch.setenv("TAILRACE_HOME", str(tmp_path))
    page = tmp_path / "data_docs" / "validations" / "x y" / "page.html"
    sentence = f"Refused:\n  - 31% null scores. Data Docs: {page}"
    with caplog.at_level(logging.INFO, logger="tailrace"):
        task_results.say_why(context | {"exception": errors.AuditFailed(sentence)})
    assert left[xcom_keys.ERROR] == sentence
    assert links_of(left) == {task_results.DATA_DOCS: "tailrace/data-docs/validations/x%20y/page.html"}
    assert caplog.records[-1].getMessage() == sentence


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.BadInput("No such day."), "No such day."),
        (KeyError("model"), "KeyError: 'model'"),
        (ConnectionResetError(), "ConnectionResetError"),
        (
            IsADirectoryError(21, "Is a directory", "/data/x"),
            "/data/x cannot be used (Is a directory): a file is where a folder should be, or the other way round. "
            "Move it away, or choose another folder in the settings.",
        ),
    ],
)
def test_what_is_not_meant_for_people_gets_its_class_in_front(error, said):
    assert task_results.said_by(error) == said


def test_a_skipped_task_leaves_why(context, left):
    with pytest.raises(AirflowSkipException, match="Dry run"):
        task_results.skip(context, "Dry run: nothing was published.")
    assert left[xcom_keys.RESULT] == {"skipped": "Dry run: nothing was published."}


@pytest.mark.parametrize(
    ("history", "links"),
    [
        ("http://spark.example:18080/", {task_results.SPARK: "http://spark.example:18080/history/local-17/"}),
        ("", {}),
    ],
)
def test_a_task_links_to_spark_as_soon_as_it_runs(context, left, monkeypatch, history, links):
    from tailrace import wiring

    monkeypatch.setenv("TAILRACE_SPARK_HISTORY", history)
    monkeypatch.setattr(wiring, "open_services", lambda engine, on_spark: on_spark)
    tell = task_run.services("spark", context)
    tell("local-17")
    task_results.keep_links(context, {task_results.MLFLOW_RUN: "https://mlflow.example/run"})
    assert links_of(left) == {task_results.MLFLOW_RUN: "https://mlflow.example/run", **links}


def test_data_docs_lead_only_below_their_root(tmp_path):
    assert task_results.data_docs(str(tmp_path / "a" / "b.html"), tmp_path) == "tailrace/data-docs/a/b.html"
    assert task_results.data_docs(str(tmp_path.parent / "secret.html"), tmp_path) is None
    assert task_results.data_docs("", tmp_path) is None


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://mlflow.example/run", "https://mlflow.example/run"),
        ("tailrace/pages/x/2013-03-10", "http://airflow.example/base/tailrace/pages/x/2013-03-10"),
        ("javascript:alert(1)", ""),
        (None, ""),
    ],
)
def test_links_lead_to_web_pages_alone(monkeypatch, address, expected):
    from airflow.configuration import conf

    monkeypatch.setattr(links, "_left", lambda ti_key, name: address if name == task_results.MLFLOW_RUN else None)
    monkeypatch.setattr(conf, "get", lambda *given, **more: "http://airflow.example/base/")
    assert links.TaskLink(task_results.MLFLOW_RUN).get_link(None, ti_key=None) == expected
    assert links.TaskLink(task_results.DATA_DOCS).get_link(None, ti_key=None) == ""


def test_there_is_a_link_of_every_name():
    assert {link.name for link in links.LINKS} == set(task_results.LINK_NAMES)
