"""The model card answers what someone must know before using the predictions."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from tailrace.contracts import Pin
from tailrace.reporting.evaluation import SliceRow
from tailrace.reporting.model_card import CardMetric, ModelCard, write_model_card

CARD = ModelCard(
    pipeline="flight_delay",
    version="3",
    description="Whether a flight arrives late.",
    users="The operations desk, each night.",
    owner="ops@example.org",
    kind="xgboost",
    training_run="0123abc",
    features={"hour": ("numeric", "scheduled hour"), "carrier": ("categorical", "")},
    outputs={"score": ("float64", "probability of a late arrival")},
    input_format="One row per flight.",
    trained_from=dt.date(2013, 1, 1),
    trained_to=dt.date(2013, 2, 20),
    training_rows=41234,
    holdout_from=dt.date(2013, 2, 21),
    holdout_to=dt.date(2013, 2, 28),
    holdout_rows=7000,
    pins={
        "features": Pin(
            table="features/flight_delay",
            version="12",
            first=dt.date(2013, 1, 1),
            last=None,
            rows=48234,
            files=59,
            digest="ab" * 32,
        )
    },
    metrics={"roc_auc": CardMetric(0.71234, 0.7, 0.72), "pr_auc": CardMetric(float("nan"))},
    production_ready=False,
    reasons=["roc_auc 0.7123 is below the floor 0.75."],
    limitations=["Trained on departures from New York only."],
    libraries={"xgboost": "3.2.0"},
    slice_metric="roc_auc",
    slices=[
        SliceRow(column="origin", value="JFK", rows=2400, labels="600", metric=0.7),
        SliceRow(column="origin", value="LGA", rows=3, labels="0", metric=None),
    ],
)


@pytest.mark.parametrize(
    "answer",
    [
        "# Model card: flight_delay version 3",
        "**Ready for production: no.**",
        "- roc_auc 0.7123 is below the floor 0.75.",
        "Whether a flight arrives late.",
        "| For whom | The operations desk, each night. |",
        "| Owner | ops@example.org |",
        "| hour | numeric | scheduled hour |",
        "| score | float64 | probability of a late arrival |",
        "One row per flight.",
        "| Training | 2013-01-01 | 2013-02-20 | 41,234 |",
        "| Holdout | 2013-02-21 | 2013-02-28 | 7,000 |",
        f"| features | features/flight_delay | 12 | 2013-01-01 | – | 48,234 | `{'ab' * 32}` |",
        "| roc_auc | 0.7123 | 0.7000 to 0.7200 |",
        "| pr_auc | – | – |",
        "| origin | JFK | 2,400 | 600 | 0.7000 |",
        "| origin | LGA | 3 | 0 | – |",
        "- Trained on departures from New York only.",
        "| xgboost | 3.2.0 |",
    ],
)
def test_it_answers(tmp_path: Path, answer: str) -> None:
    assert answer in write_model_card(tmp_path / "new", CARD).read_text().splitlines()


def test_text_cannot_break_out_of_its_place(tmp_path: Path) -> None:
    hostile = "late | <script>alert(1)</script>\n# Not a heading [link](http://example.org)"
    card = replace(CARD, owner=hostile, features={hostile: ("numeric", hostile)}, production_ready=True)
    lines = write_model_card(tmp_path, card).read_text().splitlines()
    assert not [line for line in lines if "<script>" in line.replace("\\<", "")]
    assert [line for line in lines if line.startswith("# ")] == ["# Model card: flight_delay version 3"]
    owner = next(line for line in lines if line.startswith("| Owner"))
    assert owner.replace("\\|", "").count("|") == 3
    assert "**Ready for production: yes.**" in lines
