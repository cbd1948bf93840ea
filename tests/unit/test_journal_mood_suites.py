"""The suites of journal_mood: a day of the source passes, and every critical expectation catches its fault."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.journal_mood import SPEC
from pipelines.sources.rated_texts import RatedTexts
from tailrace.contracts import Verdict
from tailrace.operations import checks
from tailrace.validation.great_expectations import GreatExpectationsValidator
from tailrace.validation.memory import MemoryValidator
from tests.suite_faults import faults, replace, with_value

EXPECTATIONS = Path(__file__).parents[2] / "expectations"
MOODS = ("negative", "neutral", "positive")
DAY = dt.date(2014, 3, 5)


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    """The tables of a day, by suite."""
    source = RatedTexts(tmp_path_factory.mktemp("cache"))
    texts, ratings = source.extract("texts", DAY), source.extract("ratings", DAY)
    bodies = texts["text"].to_pylist()
    means = ratings["mean_rating"].to_numpy()
    shares = np.random.default_rng(5).dirichlet([2, 1, 2], len(bodies))
    day = pa.array([DAY] * len(bodies), pa.date32())
    written: dict[str, Callable[[str], Any]] = {
        "characters": len,
        "words": lambda body: len(body.split()),
        "exclamation_marks": lambda body: body.count("!"),
        "question_marks": lambda body: body.count("?"),
        "capitals_share": lambda body: sum(map(str.isupper, body)) / len(body),
    }
    features = {
        "ds": day,
        "text_id": texts["text_id"],
        "received_at": texts["received_at"],
        "known_at": texts["received_at"],
        "genre": texts["genre"],
        "body": texts["text"],
    } | {name: [measure(body) for body in bodies] for name, measure in written.items()}
    outcomes = {
        "ds": day,
        "text_id": ratings["text_id"],
        "known_at": ratings["rated_at"],
        "mood": [MOODS[1 + int(mean > 0.5) - int(mean < -0.5)] for mean in means],
        "mean_rating": means,
        "rating_deviation": ratings["rating_deviation"],
        "raters": ratings["raters"],
    }
    predictions = {
        "ds": day,
        "text_id": texts["text_id"],
        "received_at": texts["received_at"],
        "mood_probability": shares.max(axis=1),
        "mood_predicted": [MOODS[place] for place in shares.argmax(axis=1)],
        **{f"mood_probability_{mood}": shares[:, place] for place, mood in enumerate(MOODS)},
        "model_version": ["3"] * len(bodies),
    }
    tables = {"features": features, "outcomes": outcomes, "predictions": predictions}
    return {suite: pa.table(columns) for suite, columns in tables.items()}


def judge(validator: Any, suite: str, rows: pa.Table) -> Verdict:
    verdict: Verdict = validator.validate(f"journal_mood/{suite}", DAY, rows.to_reader(), ["text_id"])
    return verdict


def failed(verdict: Verdict) -> list[str]:
    return [
        f"{item.severity}: {item.expectation} {item.column}: {item.observed}"
        for item in verdict.results
        if not item.success
    ]


@pytest.mark.parametrize("suite", ["features", "outcomes", "predictions"])
def test_an_ordinary_day_passes_without_a_warning(ordinary: dict[str, pa.Table], suite: str) -> None:
    assert failed(judge(GreatExpectationsValidator(EXPECTATIONS), suite, ordinary[suite])) == []


@pytest.mark.parametrize("suite", ["features", "outcomes", "predictions"])
def test_every_critical_expectation_catches_its_fault(ordinary: dict[str, pa.Table], suite: str) -> None:
    validator = MemoryValidator(EXPECTATIONS)
    content = json.loads((EXPECTATIONS / "journal_mood" / f"{suite}.json").read_text())["expectations"]
    critical = [(place, each) for place, each in enumerate(content) if each["severity"] == "critical"]
    assert len(critical) > 12
    for place, expectation in critical:
        for broken in faults(ordinary[suite], expectation):
            result = judge(validator, suite, broken).results[place]
            assert (result.expectation, result.success) == (expectation["type"], False), expectation


@pytest.mark.parametrize("suite", ["features", "outcomes", "predictions"])
def test_the_suites_can_run_on_the_columns_that_the_spec_names(suite: str) -> None:
    MemoryValidator(EXPECTATIONS).check(f"journal_mood/{suite}", checks.columns_of(SPEC, suite))


WARNED = [
    ("features", lambda rows: rows.slice(0, 99), "expect_table_row_count_to_be_between"),
    ("features", lambda rows: all_of(rows, "genre", "tweet"), "expect_column_values_to_be_in_set"),
    ("features", lambda rows: all_of(rows, "capitals_share", None), "expect_column_values_to_not_be_null"),
    ("features", lambda rows: all_of(rows, "characters", 12), "expect_column_mean_to_be_between"),
    ("outcomes", lambda rows: with_value(rows, "raters", 14), "expect_column_values_to_be_between"),
    ("predictions", lambda rows: rows.slice(0, 99), "expect_table_row_count_to_be_between"),
]


def all_of(rows: pa.Table, column: str, value: Any) -> pa.Table:
    return replace(rows, column, pa.array([value] * rows.num_rows, rows[column].type))


@pytest.mark.parametrize(("suite", "fault", "expectation"), WARNED)
def test_what_is_unusual_warns_and_does_not_stop(
    ordinary: dict[str, pa.Table], suite: str, fault: Callable[[pa.Table], pa.Table], expectation: str
) -> None:
    verdict = judge(MemoryValidator(EXPECTATIONS), suite, fault(ordinary[suite]))
    assert [(item.severity, item.expectation) for item in verdict.results if not item.success] == [
        ("warning", expectation)
    ]


@pytest.mark.parametrize("mood", MOODS)
def test_a_day_of_one_mood_or_without_one_warns(ordinary: dict[str, pa.Table], mood: str) -> None:
    rows = all_of(ordinary["outcomes"], "mood", mood)
    verdict = judge(MemoryValidator(EXPECTATIONS), "outcomes", rows)
    assert verdict.failures("critical") == ()
    assert len(verdict.failures("warning")) == 2
