"""What is said to have drifted is what went beyond its allowance, and never a bystander."""

from __future__ import annotations

import json

import pytest

from tailrace.monitoring import drift_rows
from tailrace.spec import Monitor

LIMITS = Monitor(watch_psi=0.1, alarm_psi=0.25)


def row(drift="alarm", *, score=(1.174, 0.2), features=None, worst="weather_age_minutes", kept=True):
    """A row of the performance table; of each what moved, its PSI and its allowance."""
    features = {"weather_age_minutes": (0.0037, 0.001)} if features is None else features
    made = {
        "drift": drift,
        "score_psi": score[0],
        "worst_feature": worst,
        "worst_feature_psi": features.get(worst, (None, None))[0],
        "feature_psi": json.dumps({name: psi for name, (psi, _) in features.items()}),
    }
    allowed = json.dumps({name: allowance for name, (_, allowance) in features.items()})
    return made | ({"score_allowance": score[1], "feature_allowance": allowed} if kept else {})


def said(row) -> list[str]:
    return [str(each) for each in drift_rows.culprits(row, LIMITS)]


def test_predictions_that_drifted_are_named_and_no_innocent_feature():
    assert said(row()) == ["the predictions (PSI 1.17, 0.20 allowed)"]


def test_a_feature_with_a_large_allowance_is_not_named_for_its_large_index():
    features = {"pressure_mb": (6.93, 7.0), "visibility": (0.9, 0.1)}
    assert said(row(score=(0.3, 0.4), features=features, worst="visibility")) == ["visibility (PSI 0.90, 0.10 allowed)"]


def test_of_an_alarm_what_jumped_is_named_and_not_what_moved_slowly():
    features = {"season": (2.0, 0.1), "speed": (0.9, 0.1)}
    day = row(score=(0.3, 0.4), features=features, worst="speed")
    assert said(day | {"jumped": '["speed"]'}) == ["speed (PSI 0.90, 0.10 allowed)"]
    assert said(day | {"jumped": '["", "speed"]'})[1] == "the predictions (PSI 0.30, 0.40 allowed)"
    assert said(day | {"jumped": "[]"}) == [], "rows were lost: nothing moved"
    assert said(day | {"drift": "watch", "jumped": "[]"}) == ["season (PSI 2.00, 0.10 allowed)"]


@pytest.mark.parametrize("drift", ["ok", None, ""])
def test_of_a_day_that_did_not_drift_nothing_is_named(drift):
    assert said(row(drift)) == []


def test_everything_is_listed_by_its_excess():
    features = {"pressure_mb": (6.93, 7.0), "visibility": (0.9, 0.1)}
    listed = drift_rows.of_row(row(score=(0.5, 0.4), features=features))
    assert [each.title for each in listed] == ["visibility", "the predictions", "pressure_mb"]
    assert [each.excess for each in listed] == pytest.approx([0.8, 0.1, -0.07])


@pytest.mark.parametrize(
    ("score", "psi", "named"),
    [
        (1.174, 0.0037, ["the predictions (PSI 1.17)"]),
        (0.01, 0.6, ["visits (PSI 0.60)"]),
        (0.9, 0.6, ["the predictions (PSI 0.90)", "visits (PSI 0.60)"]),
        (0.01, 0.02, []),
    ],
)
def test_of_a_day_without_allowances_only_what_can_have_drifted_is_named(score, psi, named):
    features = {"visits": (psi, 0), "age": (0.5, 0)}
    assert said(row(score=(score, 0), features=features, worst="visits", kept=False)) == named


def test_a_table_of_days_has_what_went_furthest_first():
    calm = row("ok", score=(0.1, 0.2), features={"age": (0.3, 0.2), "plan": (0.1, 0.4)})
    moved = row(score=(1.2, 0.2), features={"plan": (0.1, 0.4)})
    found = drift_rows.by_day([calm, moved], 2)
    assert [title for title, _ in found] == ["the predictions", "age"]
    assert [[each and round(each.excess, 2) for each in days] for _, days in found] == [[-0.1, 1.0], [0.1, None]]
    assert drift_rows.by_day([row(kept=False)], 2) == []


def test_damaged_rows_name_nothing():
    assert drift_rows.of_row({"drift": "alarm", "score_psi": float("nan"), "feature_psi": "{"}) == ()
    assert said({"drift": "alarm", "score_psi": None, "feature_psi": None}) == []
