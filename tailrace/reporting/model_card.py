"""The model card: what people must know before they use a model's predictions.

The sections follow Mitchell et al., Model Cards for Model Reporting (FAT* 2019).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tailrace.contracts import Pin
from tailrace.reporting.evaluation import SliceRow
from tailrace.reporting.templating import render

CARD = "model_card.md"


@dataclass(frozen=True)
class CardMetric:
    """A metric on the holdout, with its 95 % interval if it is known."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The content of the card. Ranges of days include both ends; `reasons` explain `production_ready`.

    `features` and `outputs` map columns to (type, meaning), `libraries` distributions to versions, and
    `pins` the role of each table to the exact data that the model learned from.
    """

    pipeline: str
    version: str
    description: str
    users: str
    owner: str
    kind: str
    training_run: str
    features: Mapping[str, tuple[str, str]]
    outputs: Mapping[str, tuple[str, str]]
    input_format: str
    trained_from: dt.date
    trained_to: dt.date
    training_rows: int
    holdout_from: dt.date
    holdout_to: dt.date
    holdout_rows: int
    pins: Mapping[str, Pin]
    metrics: Mapping[str, CardMetric]
    production_ready: bool
    reasons: Sequence[str]
    limitations: Sequence[str]
    libraries: Mapping[str, str]
    slice_metric: str = ""
    slice_heading: str = ""
    slices: Sequence[SliceRow] = field(default_factory=tuple)


def write_model_card(folder: Path, card: ModelCard) -> Path:
    """Write `model_card.md` into the folder, which is created if necessary; returns the file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CARD
    path.write_text(render("model_card.md.j2", card=card), encoding="utf-8")
    return path
