"""The numbers, the report and its pictures."""

from __future__ import annotations

import base64
import math
import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import (  # noqa: TID253 - the reference to compare with
    average_precision_score,
    brier_score_loss,
    log_loss,
    roc_auc_score,
)

from tailrace.contracts import Trial
from tailrace.problems import as_batch
from tailrace.problems.binary import Binary
from tailrace.problems.metrics import METRICS
from tailrace.problems.probabilities import calibration_error
from tailrace.problems.regression import Regression
from tailrace.reporting import pictures
from tailrace.reporting.evaluation import ScoredHoldout, bootstrap_intervals, known_interval, slice_table, write_report
from tailrace.spec import Predictions

SKLEARN = {
    "roc_auc": roc_auc_score,
    "pr_auc": average_precision_score,
    "log_loss": log_loss,
    "brier": brier_score_loss,
}


@pytest.fixture(scope="module")
def scored() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, good scores with ties, and worse scores."""
    generator = np.random.default_rng(7)
    signal = generator.normal(size=3000)
    labels = generator.random(3000) < 1 / (1 + np.exp(1 - signal))
    good = np.round(1 / (1 + np.exp(1 - signal)), 2)
    bad = 1 / (1 + np.exp(1 - signal - generator.normal(size=3000) * 2))
    return labels, good, bad


@pytest.fixture(scope="module")
def challenger(scored: tuple[np.ndarray, np.ndarray, np.ndarray]) -> ScoredHoldout:
    labels, good, _ = scored
    origins = np.array(["JFK", "LGA", "EWR"])[np.arange(len(labels)) % 3]
    carriers = np.where(np.arange(len(labels)) < 5, "$<i>", "UA")
    slices = {"origin": origins, "carrier": carriers}
    return ScoredHoldout(name="challenger v3", problem=Binary(), labels=labels, scores=good, slices=slices)


def test_measures_are_the_known_ones(scored: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    labels, good, _ = scored
    measured = Binary().figures(labels, good)
    for name, function in SKLEARN.items():
        assert measured[name] == pytest.approx(function(labels, good), abs=1e-6)
    assert measured["rows"] == 3000
    assert measured["positive_rate"] == pytest.approx(labels.mean())


@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_accuracy_is_that_of_the_published_decisions(
    threshold: float, challenger: ScoredHoldout, tmp_path: Path
) -> None:
    labels, scores = challenger.labels, challenger.scores
    heading = f"accuracy (decisions at threshold {threshold:g})"
    measured = Binary().figures(labels, scores, threshold)
    _, published = Binary().published(Predictions(threshold=threshold), as_batch(Binary(), scores))
    assert measured[heading] == pytest.approx((published.to_numpy(zero_copy_only=False) == labels).mean())
    report = write_report(
        tmp_path, pipeline="p", facts={}, metric="roc_auc", challenger=replace(challenger, threshold=threshold)
    )
    assert heading in report.read_text()


def test_one_class_has_no_ranking() -> None:
    measured = Binary().figures(np.ones(4, bool), np.array([0.1, 0.2, 0.3, 1.0]))
    assert math.isnan(measured["roc_auc"])
    assert math.isnan(measured["pr_auc"])
    assert math.isfinite(measured["log_loss"])


def test_calibration_error_by_hand() -> None:
    labels = np.array([False, True, True, True])
    scores = np.array([0.25, 0.25, 0.85, 1.0])
    # Bins: [0.2, 0.3) off by 0.25 with 2 rows, [0.8, 0.9) off by 0.15 with 1, the last one exact.
    assert calibration_error(labels, scores) == pytest.approx((2 * 0.25 + 0.15) / 4)


@pytest.mark.parametrize("metric", Binary().metrics)
def test_weights_count_rows(metric: str, scored: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    labels, good, _ = scored
    weights = np.random.default_rng(3).integers(0, 4, len(labels))
    repeated = np.repeat(np.arange(len(labels)), weights)
    clipped = np.clip(good, 1e-7, 1 - 1e-7)
    expected = SKLEARN[metric](labels[repeated], clipped[repeated])
    assert Binary().weighted(metric, labels, good)(weights) == pytest.approx(expected, rel=1e-9)


def test_the_intervals_hold_the_values_and_their_difference(scored: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    labels, good, bad = scored
    found = bootstrap_intervals(Binary(), labels, good, bad, seed=1)
    assert list(found) == list(Binary().metrics)
    for metric, intervals in found.items():
        ours, theirs = Binary().figures(labels, good)[metric], Binary().figures(labels, bad)[metric]
        for value, (low, high) in (
            (ours, intervals.first),
            (theirs, intervals.second),
            (ours - theirs, intervals.difference),
        ):
            assert low < value < high
        assert (intervals.difference[0] > 0) == METRICS[metric].greater_is_better, (
            "the good model is better beyond doubt"
        )
    assert found == bootstrap_intervals(Binary(), labels, good, bad, seed=1)
    assert found != bootstrap_intervals(Binary(), labels, good, bad, seed=2)
    assert {
        intervals.difference for intervals in bootstrap_intervals(Binary(), labels, good, good, seed=1).values()
    } == {(0, 0)}
    alone = bootstrap_intervals(Binary(), labels, good, None, seed=1)
    assert {name: intervals.first for name, intervals in alone.items()} == {
        name: intervals.first for name, intervals in found.items()
    }
    assert {intervals.difference for intervals in alone.values()} == {None}


def test_the_interval_of_one_class_is_unknown() -> None:
    found = bootstrap_intervals(Binary(), np.zeros(5, bool), np.arange(5) / 5, np.ones(5), seed=1)
    assert all(math.isnan(bound) for bound in found["roc_auc"].difference)
    assert all(math.isfinite(bound) for bound in found["brier"].difference)


@pytest.mark.parametrize("other", [None, np.ones(1)], ids=["alone", "with a champion"])
def test_one_row_has_no_interval(other: np.ndarray | None) -> None:
    for intervals in bootstrap_intervals(Regression(), np.ones(1), np.zeros(1), other, seed=1).values():
        assert known_interval(intervals.first) is None
        assert (intervals.difference is None) == (other is None)
        assert known_interval(intervals.difference) is None
    found = bootstrap_intervals(Regression(), np.arange(2.0), np.zeros(2), None, seed=1)
    assert known_interval(found["mae"].first) == (0, 1)


def test_slices(challenger: ScoredHoldout) -> None:
    rare = {"rare": np.where(challenger.labels, "late", "punctual")}
    holdout = replace(challenger, slices=challenger.slices | rare)
    table = slice_table(holdout, "roc_auc", ["origin", "rare"])
    assert [(row.column, row.rows) for row in table[:3]] == [("origin", 1000)] * 3
    assert sum(int(row.labels) for row in table[:3]) == challenger.labels.sum()
    jfk = challenger.slices["origin"] == "JFK"
    expected = roc_auc_score(challenger.labels[jfk], challenger.scores[jfk])
    assert {row.value: row.metric for row in table}["JFK"] == pytest.approx(expected)
    assert [(row.value, row.metric) for row in table[3:]] == [("punctual", None), ("late", None)]


class Page(HTMLParser):
    """The elements and the visible text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_full_report(
    tmp_path: Path, challenger: ScoredHoldout, scored: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    labels, _, bad = scored
    trials = [
        Trial(
            number=0,
            candidate="xgboost",
            parameters={"depth": 3, "rate": 0.1234567},
            value=0.5,
            state="complete",
            seconds=1.25,
        ),
        Trial(number=1, candidate="xgboost", parameters={"depth": 4}, value=0.6, state="pruned", seconds=0.5),
        Trial(number=2, candidate="<b>logistic</b>", parameters={}, value=None, state="failed", seconds=0.1),
    ]
    started = time.perf_counter()
    report = write_report(
        tmp_path / "evaluation",
        pipeline="flights <script>alert(1)</script>",
        facts={"Owner": "<img src=x onerror=alert(1)>"},
        metric="roc_auc",
        challenger=challenger,
        champion=replace(challenger, name="champion v2", scores=bad),
        baselines=[ScoredHoldout(name="dummy", problem=Binary(), labels=labels, scores=np.full(len(labels), 0.3))],
        interval=(0.01, 0.02),
        importance={f"feature_{i}": 1 / 30 for i in range(30)},
        trials=trials,
        gate_lines=[(True, "roc_auc is above the floor."), (False, "origin = JFK falls below the champion.")],
        search_metric="log_loss",
    )
    assert time.perf_counter() - started < 10
    page = Page(report.read_text())
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script>alert(1)</script>" in page.text
    assert "<img src=x onerror=alert(1)>" in page.text
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    files = {
        "roc.png",
        "precision_recall.png",
        "calibration.png",
        "champion_challenger.png",
        "importance.png",
        "slices.png",
        "search.png",
    }
    assert {path.name for path in report.parent.glob("*.png")} == files
    assert len(images) == len(files)
    embedded = {base64.b64decode(str(image["src"]).removeprefix("data:image/png;base64,")) for image in images}
    assert embedded == {(report.parent / file).read_bytes() for file in files}
    assert all(image["alt"] for image in images)
    assert not re.search(r"https?://", report.read_text()), "a report needs no network"
    for shown in (
        "✓ passed",
        "✗ failed",
        "0.0100 to 0.0200",
        "3,000",
        "rate = 0.1235",
        "champion v2",
        "dummy",
        "<b>logistic</b>: 0 of 1 trials",
    ):
        assert shown in page.text


def test_a_first_model_with_nothing_to_compare(tmp_path: Path) -> None:
    holdout = ScoredHoldout(name="only", problem=Binary(), labels=np.zeros(30, bool), scores=np.linspace(0, 1, 30))
    report = write_report(tmp_path, pipeline="flights", facts={}, metric="log_loss", challenger=holdout)
    assert {path.name for path in tmp_path.iterdir()} == {"evaluation.html", "calibration.png"}
    assert "nan" not in Page(report.read_text()).text.lower()


def test_the_report_of_one_row_says_that_there_is_no_interval(tmp_path: Path) -> None:
    holdout = ScoredHoldout(name="ours", problem=Regression(), labels=np.ones(1), scores=np.zeros(1))
    report = write_report(
        tmp_path,
        pipeline="flights",
        facts={},
        metric="mae",
        challenger=holdout,
        champion=replace(holdout, name="theirs"),
        interval=(math.nan, math.nan),
    )
    text = Page(report.read_text()).text
    assert "The difference in mae has no 95 % interval, because the holdout has fewer than two rows." in text
    assert "– to –" not in text


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [(np.arange(50.0), np.full(50, 1e20)), (np.resize([1.7e308, -1.7e308], 50), np.full(50, 1e308))],
    ids=["large predictions", "large labels"],
)
def test_errors_of_any_size_are_drawn(labels: np.ndarray, predictions: np.ndarray) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    pictures.residuals(axes, Regression(), [("ours", labels, predictions)])
    figure.draw_without_rendering()
    drawn = axes.patches[0].get_path().vertices[:, 1]
    assert drawn.max() >= 1


def test_metrics_of_any_scale_and_sign_are_seen_side_by_side():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    ours = {"mae": 2000.0, "r2": -0.2, "bias": -5.0, "rows": 10.0}
    pictures.comparison(axes, ["ours", "theirs"], {"ours": ours, "theirs": {**ours, "r2": 0.4, "bias": math.nan}})
    assert [label.get_text().split("\n")[0] for label in axes.get_yticklabels()] == ["bias", "r2", "mae"]
    assert [bar.get_width() for bar in axes.patches] == [-1.0, -0.5, 1.0, 0.0, 1.0, 1.0]
