"""Fitted pipelines of every kind: loads a stored one by the kind that its description names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tailrace.contracts import Model
from tailrace.engines import (
    adjusted,
    baseline_models,
    distributed_models,
    lightgbm_models,
    sklearn_models,
    versions,
    xgboost_models,
)
from tailrace.engines.adjusted import Adjusted
from tailrace.engines.baseline_models import BaselineModel
from tailrace.engines.lightgbm_models import LightgbmModel
from tailrace.engines.signatures import DESCRIPTION
from tailrace.engines.sklearn_models import SklearnModel
from tailrace.engines.xgboost_models import XgboostModel
from tailrace.errors import SignatureMismatch

LOADERS: Mapping[str, Callable[[Path, Mapping[str, Any]], Model]] = {
    XgboostModel.kind: xgboost_models.load,
    LightgbmModel.kind: lightgbm_models.load,
    SklearnModel.kind: sklearn_models.load,
    BaselineModel.kind: baseline_models.load,
    **dict.fromkeys(distributed_models.KINDS, distributed_models.load),
}
"""What loads each kind of model."""


def load(folder: Path) -> Model:
    """A model as `save` wrote it.

    Raises SignatureMismatch if its kind is unknown, or if it does not work with the libraries installed here.
    """
    return _checked(folder, json.loads((folder / DESCRIPTION).read_text()))


def _checked(folder: Path, description: Mapping[str, Any]) -> Model:
    return versions.load(folder, description, lambda: _read(folder, description))


def _read(folder: Path, description: Mapping[str, Any]) -> Model:
    kind = description["kind"]
    if kind == Adjusted.stored_kind:
        return adjusted.load(description, _checked(folder, description[adjusted.MODEL]))
    if kind not in LOADERS:
        known = ", ".join((*LOADERS, Adjusted.stored_kind))
        raise SignatureMismatch(
            f"The model in {folder} is of kind {kind!r}; this version of Tailrace loads {known}. "
            "Score with the version that trained it, or train again."
        )
    return LOADERS[kind](folder, description)


def digest_to_compare(model: Model, recorded: str) -> str:
    """The model's digest; computed in the way of releases up to 0.1 if the recorded digest is such a one."""
    if isinstance(model, SklearnModel) and model.former_digest() == recorded:
        return recorded
    return model.digest()
